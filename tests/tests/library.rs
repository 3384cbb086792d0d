//! The other roads to a report: an error, a panic, a snapshot of a live process, a core file.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_report::schema::Trust;
use foretrace_tests::command::run;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, World, built_programs, checkout};

fn with_capture(world: &World, mut program: Command) -> Command {
    program.env("FORETRACE_CAPTURE", world.program("foretrace-capture")).env("FORETRACE_ROOT", world.root());
    program
}

#[test]
fn an_error_that_the_application_reports_becomes_a_report_and_the_application_goes_on() -> Result<()> {
    let world = World::new()?;
    let mut till = Command::new(built_programs()?.join("till"));
    till.arg("--error");
    run(&mut with_capture(&world, till))?.success().context("the application did not go on")?;
    let evidence = Evidence::open(&world, &world.wait_for_report()?)?;
    ensure!(evidence.report.kind.name() == "error", "{:?}", evidence.report.kind);
    ensure!(evidence.report.message.as_deref().is_some_and(|message| message.contains("no card to mask")));
    ensure!(!evidence.events("no card").is_empty(), "the trail does not lead to the error");
    let reporter =
        evidence.report.threads.iter().find(|thread| thread.crashed).context("no reporting thread")?;
    ensure!(reporter.name == "printer", "reported by {reporter:?}");
    ensure!(
        reporter
            .frames
            .iter()
            .any(|frame| frame.function.as_deref().is_some_and(|f| f.contains("print_receipts"))),
        "{:?}",
        reporter.frames
    );
    Ok(())
}

#[test]
fn a_caught_panic_is_one_report_and_an_aborting_one_is_one_too() -> Result<()> {
    let world = Installed::new()?;
    let panicking = built_programs()?.join("panicking");
    let mut caught = Command::new(&panicking);
    caught.arg("caught");
    run(&mut with_capture(&world, caught))?.success()?;
    let id = world.wait_for_report()?;
    let report = world.info(&id)?;
    ensure!(report["kind"] == "panic", "{report}");
    ensure!(report["message"].as_str().is_some_and(|message| message.contains("index out of")), "{report}");
    let signature = report["signature"].as_str().unwrap_or_default();
    ensure!(signature.contains("panicking::look_up"), "{signature}");
    let evidence = Evidence::open(&world, &id)?;
    let panicked =
        evidence.report.threads.iter().find(|thread| thread.crashed).context("no panicking thread")?;
    let at = |part: &str| {
        panicked.frames.iter().position(|frame| frame.function.as_deref().is_some_and(|f| f.contains(part)))
    };
    ensure!(at("panicking::look_up").is_some_and(|at| at <= 3), "{:?}", panicked.frames);
    ensure!(at("report_panic").is_none(), "the hook's own frames: {:?}", panicked.frames);
    ensure!(panicked.frames.iter().all(|frame| frame.trust == Trust::Stated), "{:?}", panicked.frames);
    ensure!(panicked.frames.iter().any(|frame| frame.line.is_some()), "{:?}", panicked.frames);

    let mut aborting = Command::new(&panicking);
    aborting.arg("abort");
    let id = world.crash(&mut with_capture(&world, aborting))?;
    thread::sleep(Duration::from_secs(3));
    ensure!(world.list()?.len() == 2, "{} reports for two panics", world.list()?.len());
    let report = world.info(&id)?;
    ensure!(report["kind"] == "panic" && report["signal"]["name"] == "SIGABRT", "{report}");
    ensure!(report["message"].as_str().is_some_and(|message| message.contains("index out of")), "{report}");
    Ok(())
}

#[test]
fn a_snapshot_of_a_live_process_leaves_it_undisturbed() -> Result<()> {
    let world = World::new()?;
    let book = world.work("ledger");
    ledger::create(&book, 1)?;
    let mut live =
        Command::new(built_programs()?.join("ticking")).arg(&book).stdin(Stdio::piped()).spawn()?;
    thread::sleep(Duration::from_millis(300));
    let outcome = snapshot(&world, live.id(), &book);
    drop(live.stdin.take());
    let ended = live.wait()?;
    outcome?;
    ensure!(ended.success(), "the process ended with {ended}");
    Ok(())
}

fn snapshot(world: &World, pid: u32, book: &std::path::Path) -> Result<()> {
    world.ask(&["snapshot", &pid.to_string(), "--reason", "looks slow"])?;
    let before = ledger::read(book)?[0].recorded;
    thread::sleep(Duration::from_millis(300));
    ensure!(ledger::read(book)?[0].recorded > before, "the process no longer records");
    let evidence = Evidence::open(world, &world.wait_for_report()?)?;
    ensure!(evidence.report.kind.name() == "snapshot");
    ensure!(evidence.report.message.as_deref() == Some("looks slow"), "{:?}", evidence.report.message);
    ensure!(!evidence.events("step").is_empty(), "no trail");
    ensure!(evidence.parts.iter().any(|(name, _)| name == "minidump.dmp"), "no minidump");
    ensure!(
        evidence.report.threads.iter().all(|thread| !thread.frames.is_empty()),
        "a thread without frames"
    );
    Ok(())
}

#[test]
fn core_files_with_known_answers_give_them() -> Result<()> {
    let world = World::new()?;
    let cores = checkout().join("tests/fixtures/cores");
    for (core, pid, name, threads, signal) in [
        ("segv-x86_64.core", 32259, Some("a.out"), 1, Some("SIGSEGV")),
        ("threads-x86_64.core", 5222, None, 3, Some("SIGILL")),
        ("gcore-x86_64.core", 5669, None, 3, None),
    ] {
        let known = world.ids()?;
        world.ask(&["import", &cores.join(core).display().to_string()])?;
        let report = world.info(&world.wait_for_new_report(&known)?)?;
        ensure!(report["program"]["pid"] == pid, "{core}: {report}");
        ensure!(name.is_none_or(|name| report["program"]["name"] == name), "{core}: {report}");
        ensure!(report["threads"].as_array().is_some_and(|all| all.len() == threads), "{core}: {report}");
        ensure!(signal.is_none_or(|signal| report["signal"]["name"] == signal), "{core}: {report}");
        if core.starts_with("threads") {
            let crashed =
                report["threads"].as_array().and_then(|all| all.iter().find(|t| t["crashed"] == true));
            ensure!(crashed.is_some_and(|thread| thread["tid"] == 5250), "{core}: {report}");
        }
    }
    Ok(())
}

#[test]
fn a_core_of_a_recording_program_still_holds_its_trail() -> Result<()> {
    let world = Installed::new()?;
    let (book, core) = (world.work("ledger"), world.work("core"));
    ledger::create(&book, 4)?;
    world.kernel().set_core_pattern(&core.display().to_string())?;
    let victim = built_programs()?.join("victim-rust");
    run(Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
        .arg(victim)
        .arg("null")
        .arg(&book)
        .args(["4", "50000"]))?;
    world.ask(&["import", &core.display().to_string()])?;
    fs::remove_file(core)?;
    let evidence = Evidence::open(&world, &world.wait_for_report()?)?;
    evidence.compare_with(&ledger::read(&book)?, check)
}
