//! Power cuts at random instants: what `tests/tests/power.rs` does in little.

use std::time::Duration;

use anyhow::Result;
use foretrace_tests::power::Powered;

use crate::build::{self, say};
use crate::{interrupt, setup};

/// Cuts of one disk. Then others who wait for the kernel's settings have their turn, and the next disk is empty.
const CUTS_OF_A_DISK: u32 = 10;

/// Cuts the power that often.
///
/// # Errors
/// Something that was promised and is not there, is there by half, was sent without a yes, or arrived not once.
pub fn prove(cuts: u32) -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_TEST])?;
    let programs = build::programs_and_victims()?;
    println!(
        "{:>5} {:>15} {:>15} {:>13} {:>12} {:>10}",
        "cuts", "reports before", "answers before", "interrupted", "confirmed", "arrived"
    );
    let mut done = 0;
    while done < cuts {
        let mut powered = Powered::start(programs.join("bare"))?;
        let here = CUTS_OF_A_DISK.min(cuts - done);
        for number in done..done + here {
            interrupt::check()?;
            // Spread over what a period may hold; who is where by then is left to the machine.
            powered.cut_after(Duration::from_millis(100 + u64::from(number) * 1481 % 2400))?;
        }
        let met = powered.settle()?;
        done += here;
        println!(
            "{done:>5} {:>15} {:>15} {:>13} {:>12} {:>10}",
            met.reports, met.answers, met.interrupted, met.confirmed, met.arrived
        );
    }
    say("nothing that was promised is missing, nothing half was there, every yes arrived once and no no did");
    Ok(())
}
