//! The handler's own crash: a report all the same where anything of it is left, and never another handler.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::{Installed, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Sleeper, USER, handler, victim};

const NOBODY: u32 = 65_534;

/// A handler at work, waiting for a core that does not come.
pub fn at_work(world: &World, sleeper: &Sleeper) -> Result<Child> {
    let mut handler = handler(world, sleeper.0.id(), USER, 1);
    Ok(handler.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

/// Which of a handler's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Worker,
    Broker,
}

/// The handler's child that is this part, once it has become so: both are nobody, and the broker has capabilities.
pub fn child_of(handler: &Child, part: Part) -> Result<Pid> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        for (pid, parent) in processes()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let user = field(&status, "Uid").and_then(|users| users.split('\t').next()?.parse().ok());
            let capable = field(&status, "CapEff").is_some_and(|held| held.contains(|c| c != '0'));
            if parent == handler.id() && user == Some(NOBODY) && capable == (part == Part::Broker) {
                return Ok(Pid::from_raw(pid as i32));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!("the handler has no {part:?}")
}

/// The value of a line of `/proc/PID/status`.
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
}

/// All processes and their parents.
fn processes() -> Result<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        all.extend(parent.map(|parent| (pid, parent)));
    }
    Ok(all)
}

/// The problems of the only report that there is.
fn problems_of_the_only_report(world: &World) -> Result<String> {
    let rows = world.list()?;
    ensure!(rows.len() == 1, "{} reports, the crash's own expected: {rows:?}", rows.len());
    let report = world.info(rows[0]["id"].as_str().context("a row without an id")?)?;
    ensure!(report["program"]["name"] == "sleep", "{report}");
    Ok(report["problems"].to_string())
}

#[test]
fn a_worker_or_broker_that_crashes_costs_no_report_and_makes_none() -> Result<()> {
    for part in [Part::Worker, Part::Broker] {
        let world = Installed::new()?;
        let sleeper = Sleeper::start(USER)?;
        let mut handler = at_work(&world, &sleeper)?;
        kill(child_of(&handler, part)?, Signal::SIGABRT)?;
        // The core has ended; what still works goes on.
        drop(handler.stdin.take());
        ensure!(handler.wait()?.success(), "the handler failed with its {part:?}");
        thread::sleep(Duration::from_millis(300));
        let problems = problems_of_the_only_report(&world)?;
        let said = problems.contains("SIGABRT") && problems.contains("tried again");
        ensure!(said, "no word of the {part:?}: {problems}");
    }
    Ok(())
}

#[test]
fn a_supervisor_that_dies_takes_its_children_along_starts_no_handler_and_its_crash_is_reported() -> Result<()>
{
    for signal in [Signal::SIGABRT, Signal::SIGKILL] {
        let world = Installed::new()?;
        let sleeper = Sleeper::start(USER)?;
        let mut handler = at_work(&world, &sleeper)?;
        let children = [child_of(&handler, Part::Worker)?, child_of(&handler, Part::Broker)?];
        kill(Pid::from_raw(handler.id() as i32), signal)?;
        ensure!(!handler.wait()?.success(), "the handler survived");
        let began = Instant::now();
        while children.iter().any(|child| kill(*child, None).is_ok()) {
            ensure!(began.elapsed() < Duration::from_secs(3), "its children live on");
            thread::sleep(Duration::from_millis(5));
        }
        world.wait_for_report()?;
        thread::sleep(Duration::from_millis(300));
        let problems = problems_of_the_only_report(&world)?;
        ensure!(problems.contains("the handler itself died"), "{problems}");
        // The next one works, and clears away what was left.
        world.crash(&mut Command::new(victim(&world, "bare", "bare")?))?;
        let incoming = world.root().join("var/lib/foretrace/incoming");
        let began = Instant::now();
        while fs::read_dir(&incoming)?.next().is_some() {
            ensure!(began.elapsed() < Duration::from_secs(3), "left behind");
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

#[test]
fn a_worker_killed_while_it_looks_up_names_leaves_the_report_as_it_was_published() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nRepeats=infinity\n")?;
    let bare = victim(&world, "bare", "bare")?;
    let reports = world.root().join("var/lib/foretrace/reports/0");
    let (mut unfinished, mut crashes) = (0, 0);
    while unfinished == 0 && crashes < 20 {
        let known = fs::read_dir(&reports).map_or(0, Iterator::count);
        let mut crashed = Command::new(&bare);
        let mut crashed = crashed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        crashes += 1;
        let began = Instant::now();
        while fs::read_dir(&reports).map_or(0, Iterator::count) == known {
            ensure!(began.elapsed() < Duration::from_secs(10), "no report");
        }
        for (pid, _) in processes()? {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if name.starts_with("foretrace-cored") && status.contains("\nUid:\t65534\t") {
                // It may have ended this moment.
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
        }
        crashed.wait()?;
        for row in world.list()? {
            let report = world.info(row["id"].as_str().context("a row without an id")?)?;
            let said = report["problems"].to_string().contains("before it had looked up");
            let frames = report["threads"][0]["frames"].as_array().context("no frames")?;
            let named = frames.iter().any(|frame| frame["function"].is_string());
            ensure!(named, "no function has a name: {report}");
            unfinished += u32::from(said && frames.iter().all(|frame| frame["line"].is_null()));
        }
    }
    ensure!(unfinished > 0, "none of {crashes} workers was killed in time");
    Ok(())
}
