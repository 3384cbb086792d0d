//! Bad input at every door: a sentence, a problem in the report, an exit code; never a panic, a hang, half a report
//! or a lost one.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::{Finished, run, run_with_input};
use foretrace_tests::evidence::Evidence;
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, World, built_programs};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn said_clearly(finished: &Finished, code: i32) -> Result<()> {
    ensure!(finished.status.code() == Some(code), "exit code {code} expected: {finished}");
    ensure!(!finished.errors().trim().is_empty(), "not a word: {finished}");
    ensure!(!finished.errors().contains("panicked"), "{finished}");
    Ok(())
}

#[test]
fn wrong_use_is_exit_2_and_no_match_exit_1_each_with_a_sentence() -> Result<()> {
    let world = World::new()?;
    for wrong in [
        &["--no-such-option"][..],
        &["frobnicate"],
        &["trace"],
        &["trace", "abc", "--format", "png"],
        &["consent", "abc", "--grant", "nonsense"],
        &["list", "-n", "minus-three"],
    ] {
        said_clearly(&run(world.foretrace().args(wrong))?, 2).with_context(|| format!("{wrong:?}"))?;
    }
    for missing in
        [&["info", "abc"][..], &["trace", "abc"], &["send", "abc"], &["preview", "abc"], &["forget", "abc"]]
    {
        said_clearly(&run(world.foretrace().args(missing))?, 1).with_context(|| format!("{missing:?}"))?;
    }
    said_clearly(&run(world.foretrace().args(["import", "/etc/passwd"]))?, 1)?;
    said_clearly(&run(world.foretrace().args(["snapshot", "999999999"]))?, 1)?;
    said_clearly(&run(Command::new(world.program("foretrace-coredump")).arg("--nonsense"))?, 2)?;
    said_clearly(&run(Command::new(world.program("foretrace-server")).args(["--listen", "nowhere"]))?, 2)
}

#[test]
fn an_unreadable_report_is_named_and_the_others_are_listed() -> Result<()> {
    let world = Installed::new()?;
    let victim = || -> Result<Command> {
        let mut victim = Command::new(built_programs()?.join("secret"));
        victim.arg("plain");
        Ok(victim)
    };
    let damaged = world.crash(&mut victim()?)?;
    let whole = world.crash(&mut victim()?)?;
    let reports = world.root().join("var/lib/foretrace/reports/0");
    let bundle = reports.join(&damaged).join("bundle.zip");
    let content = fs::read(&bundle)?;
    fs::write(&bundle, &content[..content.len() / 2])?;
    let listed = run(world.foretrace().args(["list", "--json"]))?;
    ensure!(listed.text().contains(&whole), "the whole report is not listed: {listed}");
    let asked = run(world.foretrace().args(["info", &damaged]))?;
    said_clearly(&asked, 1)?;
    ensure!(asked.errors().contains("damaged"), "{asked}");
    // The empty prefix is every report's.
    let ambiguous = run(world.foretrace().args(["info", ""]))?;
    ensure!(!ambiguous.status.success(), "{ambiguous}");
    Ok(())
}

/// Runs the handler as the kernel would, for a process that is not really crashing.
fn run_handler(world: &World, pid: &str, stream: &[u8]) -> Result<Finished> {
    let mut handler = Command::new(world.program("foretrace-coredump"));
    handler.arg("--root").arg(world.root()).args([pid, "0", "0", "11", "1700000000", "0", "host", "1"]);
    run_with_input(&mut handler, stream, Duration::from_secs(15))
}

struct Sleeper(Child);

impl Sleeper {
    fn start() -> Result<Self> {
        Ok(Sleeper(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_truncated_core_stream_still_gives_a_report_with_a_problem() -> Result<()> {
    let world = World::new()?;
    // To the handler these are one crash again and again.
    world.configure("[Storage]\nRepeats=infinity\n")?;
    let sleeper = Sleeper::start()?;
    let core = fs::read(foretrace_tests::world::checkout().join("tests/fixtures/cores/threads-x86_64.core"))?;
    for length in [0, 3, 64, 100, 700, 2000] {
        let known = world.ids()?;
        let ended = run_handler(&world, &sleeper.0.id().to_string(), &core[..length])?;
        ensure!(!ended.errors().contains("panicked"), "{ended}");
        let id = world
            .wait_for_new_report(&known)
            .with_context(|| format!("{length} bytes of a core: {ended}"))?;
        let report = world.info(&id)?;
        ensure!(report["problems"].as_array().is_some_and(|all| !all.is_empty()), "{length} bytes: {report}");
    }
    Ok(())
}

#[test]
fn a_core_of_a_machine_that_is_not_read_still_gives_a_report_that_says_so() -> Result<()> {
    let world = World::new()?;
    world.configure("[Storage]\nRepeats=infinity\n")?;
    let sleeper = Sleeper::start()?;
    let core = fs::read(foretrace_tests::world::checkout().join("tests/fixtures/cores/threads-x86_64.core"))?;
    // The ELF header's class, byte order and machine: RISC-V, a 32-bit program on x86-64's wide registers (x32), s390x.
    for (place, value, said) in [(18, 243, "machine 243"), (4, 1, "x32"), (5, 2, "big-endian")] {
        let mut core = core.clone();
        core[place] = value;
        let known = world.ids()?;
        let ended = run_handler(&world, &sleeper.0.id().to_string(), &core)?;
        ensure!(!ended.errors().contains("panicked"), "{ended}");
        let report = world.info(&world.wait_for_new_report(&known)?)?;
        let problems = report["problems"].to_string();
        ensure!(problems.contains(said), "{said} is not in {problems}");
        ensure!(!problems.contains("tried again") && report["signal"]["name"] == "SIGSEGV", "{report}");
    }
    Ok(())
}

#[test]
fn a_process_that_is_not_there_still_gives_a_report_with_a_problem() -> Result<()> {
    let world = World::new()?;
    let mut gone = Command::new("true").spawn()?;
    let pid = gone.id().to_string();
    gone.wait()?;
    run_handler(&world, &pid, b"")?;
    let report = world.info(&world.wait_for_report()?)?;
    ensure!(report["problems"].as_array().is_some_and(|all| !all.is_empty()), "{report}");
    Ok(())
}

#[test]
fn a_process_killed_while_it_dumps_never_leaves_half_a_report() -> Result<()> {
    let world = Installed::new()?;
    for delay in 0..20 {
        let mut victim = Command::new(built_programs()?.join("secret")).arg("plain").spawn()?;
        thread::sleep(Duration::from_millis(delay));
        // It may be gone already: that is one of the moments under test.
        let _ = kill(Pid::from_raw(victim.id() as i32), Signal::SIGKILL);
        victim.wait()?;
    }
    thread::sleep(Duration::from_secs(2));
    for row in world.list()? {
        let id = row["id"].as_str().context("a row without an id")?;
        Evidence::open(&world, id).with_context(|| format!("half a report: {row}"))?;
    }
    nothing_left_behind(&world)
}

fn nothing_left_behind(world: &World) -> Result<()> {
    let incoming = world.root().join("var/lib/foretrace/incoming");
    let left: Vec<_> =
        fs::read_dir(&incoming).map_or(vec![], |entries| entries.flatten().map(|e| e.path()).collect());
    ensure!(left.is_empty(), "left in incoming: {left:?}");
    Ok(())
}

/// A tmpfs that is unmounted at the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(place: &'a Path, size: &str) -> Result<Self> {
        fs::create_dir_all(place)?;
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str()))?;
        Ok(SmallDisk(place))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_leaves_no_half_report_and_the_victim_ends() -> Result<()> {
    let world = Installed::new()?;
    let state = world.root().join("var/lib/foretrace");
    let disk = SmallDisk::mount(&state, "24k")?;
    let began = Instant::now();
    let ended = run(Command::new(built_programs()?.join("till")).env("FORETRACE", ""))?;
    ensure!(ended.status.signal() == Some(11), "{ended}");
    ensure!(began.elapsed() < Duration::from_secs(10), "the victim was held for {:?}", began.elapsed());
    thread::sleep(Duration::from_secs(2));
    for row in world.list()? {
        let id = row["id"].as_str().context("a row without an id")?;
        Evidence::open(&world, id).with_context(|| format!("half a report: {row}"))?;
    }
    nothing_left_behind(&world)?;
    drop(disk);
    // With room again, the next crash is a report again.
    world.crash(&mut Command::new(built_programs()?.join("till")))?;
    Ok(())
}

// A process of so many threads, whose minidump is larger than all the rest of its report.
fn crowd(world: &Installed) -> Result<Command> {
    let ledger_file = world.work("ledger");
    ledger::create(&ledger_file, 1)?;
    let mut victim = Command::new(built_programs()?.join("weight"));
    victim.arg("1").arg(ledger_file).args(["crash", "0", "300"]);
    Ok(victim)
}

#[test]
fn a_report_that_does_not_fit_goes_without_its_memory_and_says_so() -> Result<()> {
    let world = Installed::new()?;
    // Of so small a disk the usual quotas would leave nothing.
    world.configure("[Storage]\nMaxUse=1G\nKeepFree=0\n")?;
    let whole = world.crash(&mut crowd(&world)?)?;
    let state = world.root().join("var/lib/foretrace");
    let bytes = fs::metadata(state.join("reports/0").join(&whole).join("bundle.zip"))?.len();
    // Two thirds of its first form, and one and a half times that without the minidump.
    let _disk = SmallDisk::mount(&state, &(bytes / 2).to_string())?;
    let id = world.crash(&mut crowd(&world)?)?;
    let report = world.info(&id)?;
    let problems = report["problems"].as_array().context("no problems")?;
    let left_out = |part: &str| {
        let says = |text: &str| text.contains("No space left on device");
        problems.iter().any(|it| it["part"] == part && it["what"].as_str().is_some_and(says))
    };
    ensure!(left_out("minidump") && left_out("process"), "{problems:?}");
    let threads = report["threads"].as_array().map_or(0, Vec::len);
    ensure!(threads == 301, "{threads} threads");
    nothing_left_behind(&world)
}

#[test]
fn a_crash_for_which_there_is_no_room_at_all_is_said_to_be_lost() -> Result<()> {
    let world = Installed::new()?;
    let lost = || -> Result<u64> {
        let status: Value = serde_json::from_slice(&world.ask(&["status", "--json"])?.stdout)?;
        status["lost_at_least"].as_u64().context("status does not say what was lost")
    };
    let state = world.root().join("var/lib/foretrace");
    let _disk = SmallDisk::mount(&state, "4k")?;
    fs::write(state.join("full"), [0; 4096])?;
    let before = lost()?;
    let ended = run(&mut Command::new(built_programs()?.join("bare")))?;
    ensure!(ended.status.signal().is_some(), "{ended}");
    let began = Instant::now();
    while lost()? == before {
        ensure!(began.elapsed() < Duration::from_secs(20), "nobody says that a crash was lost");
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(world.list()?.is_empty(), "{:?}", world.list()?);
    nothing_left_behind(&world)
}

#[test]
fn a_stack_on_a_file_system_that_never_answers_ends_within_ten_seconds_with_a_report() -> Result<()> {
    let world = Installed::new()?;
    let mountpoint = world.work("mute");
    fs::create_dir(&mountpoint)?;
    let mut daemon = Command::new(built_programs()?.join("mute-fs")).arg("-f").arg(&mountpoint).spawn()?;
    let outcome = crash_with_mute_stack(&world, &mountpoint);
    // Ends the connection, and with it everyone who still waits for an answer.
    let _ = umount2(&mountpoint, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    let _ = daemon.kill();
    daemon.wait()?;
    outcome
}

fn crash_with_mute_stack(world: &Installed, mountpoint: &Path) -> Result<()> {
    let file = mountpoint.join("stack");
    let began = Instant::now();
    while !file.exists() {
        ensure!(began.elapsed() < Duration::from_secs(10), "mute-fs did not mount");
        thread::sleep(Duration::from_millis(20));
    }
    let crashed = Instant::now();
    let id = world.crash(Command::new(built_programs()?.join("mute-stack")).arg(&file))?;
    ensure!(crashed.elapsed() < Duration::from_secs(10), "it took {:?}", crashed.elapsed());
    let report = world.info(&id)?;
    ensure!(report["signal"]["name"] == "SIGSEGV", "{report}");
    ensure!(report["program"]["name"] == "mute-stack", "{report}");
    ensure!(report["problems"].as_array().is_some_and(|all| !all.is_empty()), "{report}");
    Ok(())
}
