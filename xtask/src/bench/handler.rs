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
    let resident = |mebibytes, most| {
        let shape = Shape { resident: mebibytes, ..Shape::default() };
        Case { name: format!("{mebibytes} MiB resident"), shape, most }
    };
    let mut cases = vec![resident(16, None), resident(256, None), resident(GIBIBYTE, None)];
    if !quick {
        cases.push(resident(8 * GIBIBYTE, Some(1.5)));
    }
    compare(world, victim, rounds, &cases)
}

fn shapes(world: &Installed, victim: &Path, rounds: usize) -> Result<Vec<Row>> {
    let small = Shape { resident: 16, ..Shape::default() };
    let case = |name: &str, shape, most| Case { name: name.to_owned(), shape, most };
    let sparse = Shape { reserved: 16 * GIBIBYTE, ..small };
    let threads = Shape { threads: 500, ..small };
    let cases = [
        case("16 MiB resident again", small, None),
        case("16 GiB mapped, one page touched", sparse, Some(1.5)),
        case("500 threads with stacks of 8 MiB", threads, Some(5.0)),
    ];
    compare(world, victim, rounds, &cases)
}

// What is compared with the first of its kind.
struct Case {
    name: String,
    shape: Shape,
    // How much longer its report may take.
    most: Option<f64>,
}

#[derive(Default)]
struct Samples {
    killed: Vec<f64>,
    gone: Vec<f64>,
    excess: Vec<f64>,
    ready: Vec<f64>,
    other: Vec<f64>,
}

// Each round has every case once, a kill and a crash, so that what slows the machine down slows them all down.
fn compare(world: &Installed, victim: &Path, rounds: usize, cases: &[Case]) -> Result<Vec<Row>> {
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    say(&format!("{rounds} rounds, each with a kill and a crash of: {}", names.join("; ")));
    let mut all: Vec<Samples> = cases.iter().map(|_| Samples::default()).collect();
    for _ in 0..rounds {
        for (case, samples) in cases.iter().zip(&mut all) {
            interrupt::check()?;
            // The handler of the crash before still looks up lines: on this one's processors.
            world.wait_for_handlers()?;
            let kill = time_kill(world, victim, case.shape)?;
            let crash = time_crash(world, victim, case.shape)?;
            samples.other.push(kill.other);
            samples.killed.push(kill.gone);
            samples.gone.push(crash.gone);
            samples.excess.push(crash.gone - 1.05 * kill.gone);
            samples.ready.push(crash.ready);
        }
    }
    let Some(base) = all.first() else { return Ok(Vec::new()) };
    Ok(cases.iter().zip(&all).flat_map(|(case, samples)| rows(case, samples, base)).collect())
}

fn rows(case: &Case, samples: &Samples, base: &Samples) -> Vec<Row> {
    let name = &case.name;
    // 60 µs a thread, the first one included.
    let allowed = Bar::AtMost(25.0 + 0.06 * (case.shape.threads + 1) as f64);
    let row = |what: &str, bar, samples: &Vec<f64>| {
        Row::from_samples(format!("{what}, {name}"), "ms", bar, samples.clone())
    };
    let mut rows = vec![
        row("another program, start to end", None, &samples.other),
        row("SIGKILL to process gone", None, &samples.killed),
        row("fault to process gone", None, &samples.gone),
        row("… less 1.05 × SIGKILL of the same round", Some(allowed), &samples.excess),
        row("fault to report complete and synced", None, &samples.ready),
    ];
    if let Some(most) = case.most {
        let slower = ratios(&samples.ready, &base.ready);
        let machine = ratios(&samples.other, &base.other);
        let beyond = ratios(&slower, &machine);
        let mut ratio = |what: &str, bar, samples| {
            rows.push(Row::from_samples(format!("{what}, {name}"), "×", bar, samples));
        };
        ratio("… ÷ that of 16 MiB in the same round", Some(Bar::AtMost(most)), slower);
        ratio("another program ÷ that with 16 MiB in the same round", None, machine);
        ratio("… the report's ratio ÷ that", None, beyond);
    }
    rows
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}
