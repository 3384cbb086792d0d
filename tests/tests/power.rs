//! A disk whose power fails. `cargo xtask soak power` does it often.

use std::time::Duration;

use anyhow::{Result, ensure};
use foretrace_tests::power::Powered;
use foretrace_tests::world::built_programs;

#[test]
fn what_was_there_and_answered_is_there_after_a_power_cut_and_nothing_half_is() -> Result<()> {
    let mut powered = Powered::start(built_programs()?.join("bare"))?;
    for milliseconds in [2500, 1300, 1900] {
        powered.cut_after(Duration::from_millis(milliseconds))?;
    }
    let met = powered.settle()?;
    ensure!(met.reports >= 3 && met.answers >= 2 && met.arrived >= 1, "hardly anything happened: {met:?}");
    Ok(())
}
