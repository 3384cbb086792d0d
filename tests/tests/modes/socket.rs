//! The coredump socket: floods, and each of its server's processes gone.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::world::{Acceptor, Installed, Mode, World, built_programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{core_pattern, crash, crash_together, wait_for_pattern, wait_for_reports};

/// Repeated crashes become reports as well.
const EVERY_CRASH: &str = "[Storage]\nRepeats=infinity\n";

/// The process that accepts: the keeper's only child.
fn accepting(acceptor: &Acceptor) -> Result<Pid> {
    let keeper = acceptor.keeper();
    let began = Instant::now();
    loop {
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return Ok(Pid::from_raw(child.parse()?));
        }
        ensure!(began.elapsed() < Duration::from_secs(5), "nobody accepts");
        thread::sleep(Duration::from_millis(2));
    }
}

fn status(world: &World) -> Result<serde_json::Value> {
    let answer = run(world.coredump().args(["status", "--json"]))?;
    serde_json::from_slice(&answer.stdout).context("status --json printed no JSON")
}

#[test]
fn install_takes_the_socket_where_somebody_answers_it_and_else_the_pipe() -> Result<()> {
    let mut world = Installed::through(Mode::Socket)?;
    ensure!(run(world.coredump().arg("uninstall"))?.success()?.text().contains("kernel.core_pattern = "));
    run(world.coredump().arg("install"))?.success()?;
    ensure!(core_pattern()?.starts_with("@@/"), "{}", core_pattern()?);
    let found = status(&world)?;
    ensure!(found["mode"] == "socket" && found["answered"] == true, "{found}");
    ensure!(found["problems"].as_array().is_some_and(Vec::is_empty), "{found}");
    let second = run(world.coredump().arg("serve"))?;
    ensure!(!second.status.success() && second.errors().contains("answers already"), "{second}");
    kill(world.acceptor()?.keeper(), Signal::SIGTERM)?;
    ensure!(world.acceptor()?.wait()?.success(), "the server did not end as it was told");
    run(world.coredump().arg("uninstall"))?.success()?;
    let refused = run(world.coredump().args(["install", "--mode", "socket"]))?;
    ensure!(!refused.status.success() && refused.errors().contains("foretrace-coredump serve"), "{refused}");
    run(world.coredump().arg("install"))?.success()?;
    ensure!(core_pattern()?.starts_with('|'), "{}", core_pattern()?);
    ensure!(status(&world)?["mode"] == "pipe");
    Ok(())
}

#[test]
fn a_flood_of_connections_and_crashes_costs_no_report() -> Result<()> {
    const CONNECTIONS: usize = 2000;
    const CRASHES: usize = 30;
    let world = Installed::through(Mode::Socket)?;
    world.configure(EVERY_CRASH)?;
    let bare = built_programs()?.join("bare");
    let socket = world.root().join("run/foretrace/coredump.socket");
    let flood = thread::spawn(move || -> Result<usize> {
        let mut connected = 0;
        let mut open = Vec::new();
        while connected < CONNECTIONS {
            open.push(UnixStream::connect(&socket)?);
            connected += 1;
            if open.len() > 200 {
                open.clear();
            }
        }
        Ok(connected)
    });
    for mut child in crash_together(&bare, CRASHES)? {
        ensure!(child.wait()?.core_dumped(), "the kernel gave a crash up");
    }
    wait_for_reports(&world, CRASHES)?;
    let connected = flood.join().map_err(|_| anyhow::anyhow!("the flood failed"))??;
    ensure!(connected == CONNECTIONS, "{connected} connections");
    let rows = world.list()?;
    ensure!(rows.iter().all(|row| row["signal"] == "SIGSEGV"), "{rows:?}");
    Ok(())
}

#[test]
fn an_acceptor_that_is_killed_is_replaced_and_costs_no_crash() -> Result<()> {
    let mut world = Installed::through(Mode::Socket)?;
    let bare = built_programs()?.join("bare");
    for round in 1..=3 {
        let first = accepting(world.acceptor()?)?;
        kill(first, Signal::SIGKILL)?;
        crash(&bare)?;
        wait_for_reports(&world, round)?;
        ensure!(accepting(world.acceptor()?)? != first, "round {round}: still the dead one");
    }
    Ok(())
}

#[test]
fn a_supervisor_that_crashes_is_recorded_and_makes_no_crash_of_its_own() -> Result<()> {
    let mut world = Installed::through(Mode::Socket)?;
    world.configure(EVERY_CRASH)?;
    let bare = built_programs()?.join("bare");
    let accepting = accepting(world.acceptor()?)?;
    let children = format!("/proc/{accepting}/task/{accepting}/children");
    let (mut crashes, mut killed) = (0, 0);
    // Some supervisors are done before they are found.
    while killed < 3 && crashes < 40 {
        let mut victim = Command::new(&bare).spawn()?;
        crashes += 1;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            if let Some(child) = fs::read_to_string(&children)?.split_whitespace().next() {
                killed += usize::from(kill(Pid::from_raw(child.parse()?), Signal::SIGABRT).is_ok());
                break;
            }
        }
        victim.wait()?;
        wait_for_reports(&world, crashes)?;
    }
    thread::sleep(Duration::from_millis(300));
    let rows = world.list()?;
    ensure!(rows.len() == crashes, "{} reports of {crashes} crashes", rows.len());
    ensure!(rows.iter().all(|row| row["program"] == "bare"), "a handler's own crash: {rows:?}");
    let mut recorded = 0;
    for row in &rows {
        let report = world.info(row["id"].as_str().context("a row without an id")?)?;
        recorded +=
            usize::from(report["problems"].to_string().contains("the handler itself died by SIGABRT"));
    }
    ensure!(recorded >= 1, "none of {killed} killed supervisors is recorded");
    Ok(())
}

#[test]
fn when_the_server_ends_however_it_does_the_pipe_stands_in_until_it_is_back() -> Result<()> {
    let mut world = Installed::through(Mode::Socket)?;
    let bare = built_programs()?.join("bare");
    for (round, signal) in [Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
        kill(world.acceptor()?.keeper(), signal)?;
        world.acceptor()?.wait()?;
        wait_for_pattern("|")?;
        crash(&bare)?;
        wait_for_reports(&world, 2 * round + 1)?;
        let found = status(&world)?;
        ensure!(
            found["problems"][0].as_str().is_some_and(|what| what.contains("through the pipe")),
            "{found}"
        );
        let began = Instant::now();
        // The dead keeper's acceptor may still be at its last crashes.
        let again = loop {
            match Acceptor::start(&world) {
                Ok(again) => break again,
                Err(error) => ensure!(began.elapsed() < Duration::from_secs(5), "{error:#}"),
            }
        };
        *world.acceptor()? = again;
        ensure!(core_pattern()?.starts_with("@@/"), "{}", core_pattern()?);
        crash(&bare)?;
        wait_for_reports(&world, 2 * round + 2)?;
    }
    run(world.coredump().arg("uninstall"))?.success()?;
    ensure!(!core_pattern()?.contains("foretrace"), "{}", core_pattern()?);
    Ok(())
}

#[test]
fn a_crash_that_nobody_answers_ends_at_once_and_status_says_so() -> Result<()> {
    let mut world = Installed::through(Mode::Socket)?;
    let accepting = accepting(world.acceptor()?)?;
    kill(accepting, Signal::SIGSTOP)?;
    kill(world.acceptor()?.keeper(), Signal::SIGKILL)?;
    kill(accepting, Signal::SIGKILL)?;
    world.acceptor()?.wait()?;
    let began = Instant::now();
    crash(&built_programs()?.join("bare"))?;
    ensure!(began.elapsed() < Duration::from_secs(2), "it was held for {:?}", began.elapsed());
    let found = status(&world)?;
    ensure!(found["answered"] == false, "{found}");
    ensure!(found["problems"][0].as_str().is_some_and(|what| what.contains("crashes are lost")), "{found}");
    Ok(())
}

#[test]
fn uninstalling_while_crashes_run_loses_none_that_the_kernel_gave_us() -> Result<()> {
    for mode in [Mode::Pipe, Mode::Socket] {
        let world = Installed::through(mode)?;
        world.configure(EVERY_CRASH)?;
        let before = crash_together(&built_programs()?.join("bare"), 12)?;
        run(world.coredump().arg("uninstall"))?.success()?;
        let mut given = 0;
        for mut child in before {
            given += usize::from(child.wait()?.core_dumped());
        }
        wait_for_reports(&world, given)?;
        thread::sleep(Duration::from_millis(300));
        ensure!(world.ids()?.len() == given, "{mode:?}: {} reports of {given}", world.ids()?.len());
    }
    Ok(())
}

#[test]
fn a_socket_that_another_has_opened_and_the_older_protocol_serve_as_well() -> Result<()> {
    let mut world = Installed::through(Mode::Socket)?;
    kill(world.acceptor()?.keeper(), Signal::SIGTERM)?;
    world.acceptor()?.wait()?;
    let socket = world.root().join("run/foretrace/coredump.socket");
    let activate = "import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind(sys.argv[1])
s.listen(4096)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[2], sys.argv[2:])";
    let mut manager = Command::new("/usr/bin/python3");
    manager.args(["-c", activate]).arg(&socket).arg(world.program("foretrace-coredump")).arg("serve");
    *world.acceptor()? = Acceptor::from_command(manager.env("FORETRACE_ROOT", world.root()))?;
    ensure!(core_pattern()?.starts_with("@@/"), "{}", core_pattern()?);
    let bare = built_programs()?.join("bare");
    crash(&bare)?;
    wait_for_reports(&world, 1)?;
    // One `@`: the core comes at once, and nothing is asked.
    world.kernel().set_core_pattern(&format!("@{}", socket.display()))?;
    crash(&bare)?;
    for id in wait_for_reports(&world, 2)? {
        let report = world.info(&id)?;
        ensure!(report["threads"][0]["frames"][0]["function"] == "main", "{report}");
        ensure!(!report["problems"].to_string().contains("core"), "{}", report["problems"]);
    }
    Ok(())
}
