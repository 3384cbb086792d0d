//! A trivial program with the SDK and without, before its first event.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{Programs, output, ratios};
use crate::bench::table::{Bar, Row};
use crate::interrupt;

const ROUNDS: usize = 15;
/// Starts in a round; its value is their median (time passed) or their mean (processor time).
const STARTS: usize = 40;

/// Measures the library as a shared object and linked statically.
///
/// # Errors
/// A program that cannot be run.
pub fn measure(programs: &Programs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut without = Taken::default();
    for (name, how) in [("start-static", "SDK linked statically"), ("start-shared", "libforetrace.so")] {
        without = Taken::default();
        let mut with = Taken::default();
        beside(&programs.c("start-without"), &mut without, &programs.c(name), &mut with, ROUNDS)?;
        let what = format!("start-up, {how} ÷ without");
        rows.push(Row::from_samples(
            &what,
            "×",
            Some(Bar::AtMost(1.2)),
            ratios(&with.passed, &without.passed),
        ));
        let what = format!("{what}, processor time");
        rows.push(Row::from_samples(what, "×", Some(Bar::AtMost(1.2)), ratios(&with.cpu, &without.cpu)));
        rows.push(Row::from_samples(format!("start to end, {how}"), "µs", None, with.passed));
    }
    rows.push(Row::from_samples("start to end, without the SDK", "µs", None, without.passed));
    let (threads, descriptors) = look(&programs.c("start-shared"))?;
    let (_, plain) = look(&programs.c("start-without"))?;
    let most = Some(Bar::AtMost(1.0));
    rows.push(Row::from_samples("threads before the first event", "", most, vec![threads]));
    let what = "descriptors that the SDK adds before the first event";
    rows.push(Row::from_samples(what, "", Some(Bar::AtMost(0.0)), vec![descriptors - plain]));
    Ok(rows)
}

/// What starts took, by round, in microseconds.
#[derive(Default)]
pub struct Taken {
    /// Time passed from start to end.
    pub passed: Vec<f64>,
    /// Processor time of the program, the kernel's work for it included.
    pub cpu: Vec<f64>,
}

/// Starts two programs in turns.
///
/// # Errors
/// A program that cannot be run.
pub fn beside(one: &Path, ones: &mut Taken, other: &Path, others: &mut Taken, rounds: usize) -> Result<()> {
    start(one)?;
    start(other)?;
    for _ in 0..rounds {
        interrupt::check()?;
        let mut round = [(one, vec![], 0.0), (other, vec![], 0.0)];
        for turn in 0..STARTS {
            round.rotate_left(turn % 2);
            for (program, passed, cpu) in &mut round {
                let (took, used) = start(program)?;
                passed.push(took);
                *cpu += used;
            }
        }
        for (program, mut passed, cpu) in round {
            passed.sort_by(f64::total_cmp);
            let into = if program == one { &mut *ones } else { &mut *others };
            into.passed.push(passed[STARTS / 2]);
            into.cpu.push(cpu / STARTS as f64);
        }
    }
    Ok(())
}

/// Runs a program to its end: time passed and processor time, in microseconds.
fn start(program: &Path) -> Result<(f64, f64)> {
    let used = || -> Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("no count of the children's time")?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64)
    };
    let (before, begin) = (used()?, Instant::now());
    let status = Command::new(program).stdin(Stdio::null()).status();
    let passed = begin.elapsed().as_secs_f64() * 1e6;
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok((passed, used()? - before))
}

/// How many threads and descriptors a program has.
fn look(program: &Path) -> Result<(f64, f64)> {
    let said = output(program, &["look"])?;
    let mut numbers = said.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(threads)), Some(Ok(descriptors))) => Ok((threads, descriptors)),
        _ => anyhow::bail!("{} says no two numbers: {said}", program.display()),
    }
}
