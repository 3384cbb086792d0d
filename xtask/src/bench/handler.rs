//! From the fault to the complete report and to the end of the process, by size and shape, beside plain SIGKILL and the
//! peers; what a storm costs; how much memory the handler takes.

mod meter;
mod peers;
mod storm;
mod timing;

use std::path::Path;

use anyhow::Result;
use clap::Args;
use foretrace_tests::world::Installed;

use super::table::{Bar, Row};
use crate::build::{self, say};
use crate::{interrupt, setup};
use timing::{Shape, time_crash, time_kill};

/// How much to measure.
#[derive(Args)]
pub struct Options {
    /// Also systemd-coredump, gdb and LLDB; installs what is missing of them
    #[arg(long)]
    with_peers: bool,
    /// Fewer rounds, no victim above 1 GiB, a smaller storm
    #[arg(long)]
    quick: bool,
    /// Only these
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// What there is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Times by resident size
    Sizes,
    /// Times of sparse memory and of many threads
    Shapes,
    /// Peaks of memory
    Memory,
    /// Many crashes at once
    Storm,
    /// systemd-coredump, gdb and LLDB
    Peers,
}

const GIBIBYTE: u64 = 1024;

/// Measures.
///
/// # Errors
/// Not root, or a victim that leaves no report.
pub fn measure(options: &Options) -> Result<Vec<Row>> {
    let programs = build::programs()?;
    build::meter()?;
    let wanted = |part: Part| {
        let peers = part != Part::Peers || options.with_peers;
        if options.only.is_empty() { peers } else { options.only.contains(&part) }
    };
    if wanted(Part::Peers) {
        setup::install_missing(&[setup::TO_BUILD, setup::TO_COMPARE_CRASHES])?;
    }
    let rounds = if options.quick { 3 } else { 9 };
    let victim = programs.join("weight");
    let mut rows = Vec::new();
    if wanted(Part::Sizes) || wanted(Part::Shapes) {
        let world = Installed::new()?;
        // Every crash of a measurement is measured whole.
        world.configure("[Storage]\nRepeats=infinity\n")?;
        if wanted(Part::Sizes) {
            rows.extend(sizes(&world, &victim, rounds, options.quick)?);
        }
        if wanted(Part::Shapes) {
            rows.extend(shapes(&world, &victim, rounds)?);
        }
    }
    if wanted(Part::Memory) {
        rows.extend(meter::peaks(&victim, options.quick)?);
    }
    if wanted(Part::Storm) {
        rows.extend(storm::measure(&programs, options.quick)?);
    }
    if wanted(Part::Peers) {
        rows.extend(peers::measure(&programs, rounds, options.quick)?);
    }
    Ok(rows)
}

fn sizes(world: &Installed, victim: &Path, rounds: usize, quick: bool) -> Result<Vec<Row>> {
    let mut sizes = vec![16, 256, GIBIBYTE];
    if !quick {
        sizes.push(8 * GIBIBYTE);
    }
    let mut rows = Vec::new();
    let mut ready = Vec::new();
    for size in &sizes {
        say(&format!("{size} MiB resident, {rounds} kills and {rounds} crashes, alternating"));
        let shape = Shape { resident: *size, ..Shape::default() };
        ready.push(measure_shape(world, victim, shape, rounds, &format!("{size} MiB resident"), &mut rows)?);
    }
    if let [first, .., last] = ready.as_slice() {
        let what = format!("report complete: {} MiB ÷ {} MiB", sizes[sizes.len() - 1], sizes[0]);
        rows.push(Row::from_samples(what, "×", Some(Bar::AtMost(1.5)), vec![last / first]));
    }
    Ok(rows)
}

fn shapes(world: &Installed, victim: &Path, rounds: usize) -> Result<Vec<Row>> {
    let small = Shape { resident: 16, ..Shape::default() };
    let cases = [
        ("16 MiB resident again", small, None),
        ("16 GiB mapped, one page touched", Shape { reserved: 16 * GIBIBYTE, ..small }, Some(1.5)),
        ("500 threads with stacks of 8 MiB", Shape { threads: 500, ..small }, Some(5.0)),
    ];
    let mut rows = Vec::new();
    let mut first = None;
    for (name, shape, most) in cases {
        say(&format!("{name}, {rounds} kills and {rounds} crashes, alternating"));
        let ready = measure_shape(world, victim, shape, rounds, name, &mut rows)?;
        let base = *first.get_or_insert(ready);
        if let Some(most) = most {
            let what = format!("report complete: {name} ÷ 16 MiB");
            rows.push(Row::from_samples(what, "×", Some(Bar::AtMost(most)), vec![ready / base]));
        }
    }
    Ok(rows)
}

// Adds the rows of one shape and returns the median of its reports' times.
fn measure_shape(
    world: &Installed,
    victim: &Path,
    shape: Shape,
    rounds: usize,
    name: &str,
    rows: &mut Vec<Row>,
) -> Result<f64> {
    let (mut killed, mut gone, mut ready, mut excess) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        interrupt::check()?;
        let kill = time_kill(victim, &world.work("ledger"), shape)?;
        let crash = time_crash(world, victim, shape)?;
        killed.push(kill);
        gone.push(crash.gone);
        ready.push(crash.ready);
        excess.push(crash.gone - 1.05 * kill);
    }
    // 60 µs a thread, the first one included.
    let allowed = 25.0 + 0.06 * (shape.threads + 1) as f64;
    rows.push(Row::from_samples(format!("SIGKILL to process gone, {name}"), "ms", None, killed));
    rows.push(Row::from_samples(format!("fault to process gone, {name}"), "ms", None, gone));
    let what = format!("… less 1.05 × SIGKILL of the same round, {name}");
    rows.push(Row::from_samples(what, "ms", Some(Bar::AtMost(allowed)), excess));
    let row = Row::from_samples(format!("fault to report complete and synced, {name}"), "ms", None, ready);
    let median = row.median;
    rows.push(row);
    Ok(median)
}
