//! What the handler's processes take: a program between the kernel and the handler notes it for each crash.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::Installed;

use super::super::table::{Bar, Row};
use super::GIBIBYTE;
use super::timing::{Shape, time_crash};
use crate::build::{release_folder, say};

const MEBIBYTE: f64 = 1024.0;

/// What one crash took.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// CPU time of all of the handler's processes, in seconds.
    pub cpu: f64,
    /// The supervisor's peak memory, in MiB; 0 where peaks were not looked at.
    pub supervisor: f64,
    /// The largest of its children's.
    pub worker: f64,
}

/// Puts the meter between the kernel and the handler of `world`, from now on.
///
/// # Errors
/// The handler is not behind a pipe.
pub fn attach(world: &Installed, peaks: bool) -> Result<()> {
    fs::copy(release_folder().join("meter"), world.program("meter"))?;
    if peaks {
        fs::write(world.program("METER_PEAK"), "")?;
    }
    let handler = world.program("foretrace-coredump");
    let pattern = format!(
        "|{} --root {} %P %u %g %s %t %c %h %d %F",
        world.program("meter").display(),
        world.root().display()
    );
    ensure!(handler.exists(), "{} is missing", handler.display());
    world.kernel().set_core_pattern(&pattern)
}

/// What was noted so far.
///
/// # Errors
/// A line that the meter did not write.
pub fn readings(world: &Installed) -> Result<Vec<Reading>> {
    let text = match fs::read_to_string(world.program("meter.log")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    text.lines()
        .map(|line| {
            let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let [cpu, supervisor, worker] = numbers[..] else { anyhow::bail!("the meter wrote '{line}'") };
            Ok(Reading { cpu: cpu / 1e6, supervisor: supervisor / MEBIBYTE, worker: worker / MEBIBYTE })
        })
        .collect()
}

/// Waits until the meter has noted so many crashes.
///
/// # Errors
/// It has not within two minutes.
pub fn wait_for(world: &Installed, crashes: usize) -> Result<Vec<Reading>> {
    for _ in 0..6_000 {
        let found = readings(world)?;
        if found.len() >= crashes {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(anyhow::anyhow!("{} of {crashes} handlers ended", readings(world)?.len()))
}

/// Peaks of memory by size and by number of threads.
///
/// # Errors
/// A victim that leaves no report.
pub fn peaks(victim: &Path, quick: bool) -> Result<Vec<Row>> {
    let world = Installed::new()?;
    world.configure("[Storage]\nRepeats=infinity\n")?;
    attach(&world, true)?;
    let rounds = if quick { 1 } else { 3 };
    let mut rows = Vec::new();
    for (name, shape) in [
        ("1 GiB resident", Shape { resident: GIBIBYTE, ..Shape::default() }),
        ("500 threads", Shape { resident: 16, threads: 500, ..Shape::default() }),
        ("5,000 threads", Shape { resident: 16, threads: 5000, ..Shape::default() }),
    ] {
        say(&format!("peaks of memory, {name}"));
        let before = readings(&world)?.len();
        for _ in 0..rounds {
            time_crash(&world, victim, shape)?;
        }
        let found = wait_for(&world, before + rounds)?;
        let new = found.get(before..).context("no readings")?;
        let column = |of: fn(&Reading) -> f64| new.iter().map(of).collect::<Vec<f64>>();
        let row = |what: &str, most, samples| {
            Row::from_samples(
                format!("{what}'s peak memory, {name}"),
                "MiB",
                Some(Bar::AtMost(most)),
                samples,
            )
        };
        rows.push(row("supervisor", 16.0, column(|reading| reading.supervisor)));
        rows.push(row("worker", 100.0, column(|reading| reading.worker)));
        rows.push(Row::from_samples(format!("CPU time, {name}"), "s", None, column(|reading| reading.cpu)));
    }
    Ok(rows)
}
