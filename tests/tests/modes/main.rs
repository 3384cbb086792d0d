//! The ways in which crashes reach the handler, each on the real kernel: the reports are the same, and when a way is
//! gone another one takes its place.

mod cores;
mod pidfd;
mod socket;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, Mode, World, built_programs};

/// Crashes at once.
fn crash(program: &Path) -> Result<()> {
    let ended = run(&mut Command::new(program))?;
    ensure!(!ended.status.success(), "{} did not crash: {ended}", program.display());
    Ok(())
}

/// Starts many crashes at the same time.
fn crash_together(program: &Path, count: usize) -> Result<Vec<Child>> {
    (0..count)
        .map(|_| Ok(Command::new(program).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?))
        .collect()
}

/// Waits until there are `count` reports.
fn wait_for_reports(world: &World, count: usize) -> Result<HashSet<String>> {
    let began = Instant::now();
    loop {
        let ids = world.ids()?;
        if ids.len() >= count {
            return Ok(ids);
        }
        ensure!(began.elapsed() < Duration::from_secs(30), "{} of {count} reports", ids.len());
        thread::sleep(Duration::from_millis(20));
    }
}

fn core_pattern() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/core_pattern")?.trim_end().to_owned())
}

fn wait_for_pattern(start: &str) -> Result<()> {
    let began = Instant::now();
    while !core_pattern()?.starts_with(start) {
        ensure!(began.elapsed() < Duration::from_secs(5), "core_pattern is '{}'", core_pattern()?);
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn a_crash_is_the_same_report_by_pipe_and_by_socket() -> Result<()> {
    let mut seen = Vec::new();
    for mode in [Mode::Pipe, Mode::Socket] {
        let world = Installed::through(mode)?;
        let book = world.work("ledger");
        ledger::create(&book, 4)?;
        let mut victim = Command::new(built_programs()?.join("victim-rust"));
        let id = world.crash(victim.arg("null").arg(&book).args(["4", "20000"]))?;
        let evidence = Evidence::open(&world, &id)?;
        evidence.compare_with(&ledger::read(&book)?, check)?;
        let report = &evidence.report;
        ensure!(report.problems.is_empty(), "{mode:?}: {:?}", report.problems);
        let signal = report.signal.as_ref().context("no signal")?;
        let mut parts: Vec<String> = evidence.parts.iter().map(|(name, _)| name.clone()).collect();
        parts.retain(|name| !name.starts_with("trace/"));
        parts.sort();
        seen.push((
            (signal.number, signal.code, signal.address.clone()),
            evidence.crashed_functions(),
            (report.signature.clone(), report.threads.len()),
            parts,
        ));
    }
    ensure!(seen[0] == seen[1], "pipe: {:?}\nsocket: {:?}", seen[0], seen[1]);
    Ok(())
}
