//! The trail after real crashes: every thread's last event is there, none torn, and the counts are exact.

use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, built_programs};

/// Crashes a victim and returns its evidence after holding it against the ledger.
fn crash(
    world: &Installed,
    victim: &str,
    death: &str,
    threads: usize,
    events: u64,
) -> Result<(String, Evidence)> {
    let book = world.work("ledger");
    ledger::create(&book, threads)?;
    let mut command = Command::new(built_programs()?.join(victim));
    command.arg(death).arg(&book).args([threads.to_string(), events.to_string()]);
    let id = world.crash(&mut command)?;
    let evidence = Evidence::open(world, &id)?;
    let accounts = ledger::read(&book)?;
    ensure!(accounts.len() == threads, "{} of {threads} threads began", accounts.len());
    evidence.compare_with(&accounts, check)?;
    Ok((id, evidence))
}

fn four_noisy_threads_keep_their_last_events(victim: &str) -> Result<()> {
    let world = Installed::new()?;
    for (death, signal) in
        [("null", "SIGSEGV"), ("abort", "SIGABRT"), ("stack-overflow", "SIGSEGV"), ("in-handler", "SIGSEGV")]
    {
        let (_, evidence) = crash(&world, victim, death, 4, 200_000)?;
        let report = &evidence.report;
        ensure!(report.signal.as_ref().is_some_and(|s| s.name == signal), "{death}: {:?}", report.signal);
        ensure!(report.losses.overwritten > 400_000, "{death}: the pool did not wrap: {:?}", report.losses);
        ensure!(report.losses.discarded == 0, "{death}: {:?}", report.losses);
    }
    Ok(())
}

#[test]
fn a_rust_victims_threads_keep_their_last_events_however_it_dies() -> Result<()> {
    four_noisy_threads_keep_their_last_events("victim-rust")
}

#[test]
fn a_c_victims_threads_keep_their_last_events_however_it_dies() -> Result<()> {
    four_noisy_threads_keep_their_last_events("victim-c")
}

#[test]
fn a_thousand_live_threads_keep_their_last_events() -> Result<()> {
    let world = Installed::new()?;
    let (_, evidence) = crash(&world, "victim-rust", "null", 1000, 3000)?;
    ensure!(evidence.report.losses.discarded == 0, "{:?}", evidence.report.losses);
    ensure!(evidence.report.threads.len() == 1000, "{} threads", evidence.report.threads.len());
    Ok(())
}

#[test]
fn threads_that_still_record_at_the_crash_lose_at_most_the_event_in_flight() -> Result<()> {
    let world = Installed::new()?;
    let book = world.work("ledger");
    ledger::create(&book, 4)?;
    let mut command = Command::new(built_programs()?.join("victim-rust"));
    command.arg("null").arg(&book).args(["4", "200000", "busy"]);
    let id = world.crash(&mut command)?;
    let evidence = Evidence::open(&world, &id)?;
    let mut accounts = ledger::read(&book)?;
    ensure!(evidence.trail.problems.is_empty(), "{:?}", evidence.trail.problems);
    let mut in_flight = 0;
    for account in &mut accounts {
        let last = evidence
            .events("step")
            .iter()
            .filter(|event| event.thread == account.tid)
            .filter_map(|event| match event.values.get(1) {
                Some(foretrace_ring::trail::Value::Unsigned(number)) => Some(number + 1),
                _ => None,
            })
            .max();
        let last = last.unwrap_or_default();
        ensure!(last == account.recorded || last == account.recorded + 1, "{account:?}, last event {last}");
        in_flight += last - account.recorded;
        account.recorded = last;
    }
    ensure!(in_flight <= 3, "{in_flight} events were recorded but not noted");
    evidence.compare_with(&accounts, check)
}

#[test]
fn babeltrace2_reads_the_exported_trail_with_the_same_count() -> Result<()> {
    let world = Installed::new()?;
    let (id, evidence) = crash(&world, "victim-rust", "null", 4, 200_000)?;
    let folder = world.work("ctf");
    world.ask(&["trace", &id, "--format", "ctf", "-o", &folder.display().to_string()])?;
    let read = run(Command::new("babeltrace2").arg(&folder))?.success()?;
    let steps = read.text().lines().filter(|line| line.contains(":step: ")).count();
    ensure!(steps == evidence.events("step").len(), "babeltrace2 has {steps} events");
    // Lost packets are what an overwriting ring must report; anything else is a fault in the export.
    let unexpected: Vec<_> = read
        .errors()
        .lines()
        .filter(|line| {
            !line.is_empty()
                && !line.contains("WARNING: Tracer lost")
                && !line.contains("WARNING: Tracer discarded")
        })
        .map(str::to_owned)
        .collect();
    ensure!(unexpected.is_empty(), "{unexpected:?}");
    Ok(())
}
