//! A fault at every writing system call of the handler: what `tests/tests/faults.rs` does in little.

use std::fs;

use anyhow::Result;
use foretrace_tests::faults::{CALLS, Fault, sweep};
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

/// Sweeps over all faults whose name contains `filter`.
///
/// # Errors
/// Half a report that was visible, a visible one that was lost, or something that the next handler did not clear away.
pub fn prove(filter: &str) -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_TEST])?;
    let programs = match std::env::var_os("FORETRACE_BIN_DIR") {
        Some(folder) => folder.into(),
        None => {
            build::test_victims()?;
            build::programs()?
        }
    };
    println!("{:<30} {:>8} {:>15}", "fault", "crashes", "without report");
    for fault in FAULTS.iter().copied().filter(|fault| format!("{fault:?}").contains(filter)) {
        interrupt::check()?;
        say(&format!("{fault:?} at each call"));
        let world = Installed::new()?;
        let victim = world.work("victim");
        fs::copy(programs.join("bare"), &victim)?;
        let swept = sweep(&world, &victim, fault, &CALLS)?;
        println!("{:<30} {:>8} {:>15}", format!("{fault:?}"), swept.crashes, swept.without_report);
    }
    Ok(())
}
