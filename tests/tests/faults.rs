//! A full or broken disk and killed processes, at every writing system call of the handler. `cargo xtask soak faults`
//! sweeps over more errors.

use std::fs;

use anyhow::{Result, ensure};
use foretrace_tests::faults::{Fault, Swept, sample, sweep};
use foretrace_tests::world::{Installed, built_programs};

/// Fewer would mean that nothing was made to fail.
const CRASHES: u32 = 5;
/// Those that publish a report.
const CALLS: [&str; 3] = ["fchown", "fsync", "renameat2"];

fn swept(fault: Fault) -> Result<Swept> {
    let world = Installed::new()?;
    let victim = world.work("victim");
    fs::copy(built_programs()?.join("bare"), &victim)?;
    let swept = sweep(&world, &victim, fault, &CALLS)?;
    ensure!(swept.crashes >= CRASHES, "only {swept:?}");
    Ok(swept)
}

#[test]
fn a_disk_that_is_full_at_any_one_call_costs_no_report() -> Result<()> {
    let swept = swept(Fault::Error("ENOSPC"))?;
    ensure!(swept.without_report == 0, "{swept:?}");
    Ok(())
}

#[test]
fn a_write_that_fails_once_costs_no_report() -> Result<()> {
    let world = Installed::new()?;
    let victim = world.work("victim");
    fs::copy(built_programs()?.join("bare"), &victim)?;
    // Of the supervisor, and of the worker at each of its bundles.
    let numbers = [1, 2, 3, 5, 10, 30, 60];
    let swept = sample(&world, &victim, Fault::Error("ENOSPC"), "write", &numbers)?;
    ensure!(swept.crashes >= CRASHES && swept.without_report == 0, "{swept:?}");
    Ok(())
}

#[test]
fn a_handler_killed_at_any_call_leaves_no_half_report() -> Result<()> {
    swept(Fault::Kill)?;
    Ok(())
}
