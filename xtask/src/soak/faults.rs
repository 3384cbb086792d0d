//! A fault at every writing system call of the handler: what `tests/tests/faults.rs` does in little.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use foretrace_tests::faults::{CALLS, Fault, Swept, sweep};
use foretrace_tests::world::Installed;

use crate::build::{self, say};
use crate::{interrupt, setup};

const FAULTS: [Fault; 7] = [
    Fault::Error("ENOSPC"),
    Fault::Error("EIO"),
    Fault::Error("EDQUOT"),
    Fault::ErrorFromThen("ENOSPC"),
    Fault::ErrorFromThen("EIO"),
    Fault::ErrorFromThen("EDQUOT"),
    Fault::Kill,
];

/// Sweeps over all faults whose name contains `filter`, at `only` this call where one is given.
///
/// # Errors
/// Half a report that was visible, a visible one that was lost, or something that the next handler did not clear away.
pub fn prove(filter: &str, only: Option<&str>) -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_TEST])?;
    let programs = build::programs_and_victims()?;
    if let Some(only) = only {
        ensure!(CALLS.contains(&only), "{only} is not among the calls: {}", CALLS.join(", "));
    }
    println!("{:<30} {:>8} {:>15}", "fault", "crashes", "without report");
    for fault in FAULTS.iter().copied().filter(|fault| format!("{fault:?}").contains(filter)) {
        interrupt::check()?;
        say(&format!("{fault:?} at each call"));
        let mut swept = Swept::default();
        for call in CALLS.into_iter().filter(|call| only.is_none_or(|only| only == *call)) {
            interrupt::check()?;
            swept += at(fault, call, &programs)?;
            // Whoever waits for the kernel's settings has its turn.
            thread::sleep(Duration::from_millis(200));
        }
        println!("{:<30} {:>8} {:>15}", format!("{fault:?}"), swept.crashes, swept.without_report);
    }
    Ok(())
}

fn at(fault: Fault, call: &str, programs: &Path) -> Result<Swept> {
    let world = Installed::new()?;
    let victim = world.work("victim");
    fs::copy(programs.join("bare"), &victim)?;
    sweep(&world, &victim, fault, &[call])
}
