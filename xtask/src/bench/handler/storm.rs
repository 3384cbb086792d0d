//! Many crashes at once: what is counted, what is kept, and what it costs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use foretrace_tests::ledger;
use foretrace_tests::world::Installed;
use serde_json::Value;

use super::super::table::{Bar, Row};
use super::meter;
use crate::build::say;
use crate::interrupt;

const AT_ONCE: usize = 50;
/// What becomes a whole report.
const WHOLE: usize = 5;

/// A storm of 1,000 crashes, 50 at a time, with another program's crash in its middle.
///
/// # Errors
/// A victim that does not crash.
pub fn measure(programs: &Path, quick: bool) -> Result<Vec<Row>> {
    let crashes = if quick { 200 } else { 1000 };
    let world = Installed::new()?;
    meter::attach(&world, false)?;
    say(&format!("a storm of {crashes} crashes, {AT_ONCE} at a time"));
    let stormy = copy(&world, &programs.join("weight"), "stormy")?;
    let calm = copy(&world, &programs.join("weight"), "calm")?;
    let ledger_file = world.work("ledger");
    ledger::create(&ledger_file, 1)?;
    let crash = |program: &Path, at_once| crash(program, &ledger_file, at_once);
    let began = Instant::now();
    for round in 0..crashes / AT_ONCE {
        interrupt::check()?;
        if round == crashes / AT_ONCE / 2 {
            crash(&calm, 1)?;
        }
        crash(&stormy, AT_ONCE)?;
    }
    let readings = meter::wait_for(&world, crashes + 1)?;
    let took = began.elapsed().as_secs_f64();
    let rows = settled(&world, crashes + 1)?;
    let of = |name: &str| rows.iter().filter(|row| row["program"] == name).collect::<Vec<_>>();
    let counted: u64 = of("stormy").iter().filter_map(|row| row["count"].as_u64()).sum();
    // The cheapest are those that were counted.
    let mut cpu: Vec<f64> = readings.iter().map(|reading| reading.cpu).collect();
    cpu.sort_by(f64::total_cmp);
    let folded = crashes - WHOLE;
    let hundred = cpu.iter().take(folded).sum::<f64>() / folded as f64 * 100.0;
    let exactly = |number: f64| Some(Bar::AtLeast(number));
    Ok(vec![
        Row::from_samples(
            format!("storm of {crashes}: crashes counted"),
            "",
            exactly(crashes as f64),
            vec![counted as f64],
        ),
        Row::from_samples(
            "… reports that are whole",
            "",
            exactly(WHOLE as f64),
            vec![of("stormy").len() as f64],
        ),
        Row::from_samples(
            "… whole reports of the other program",
            "",
            exactly(1.0),
            vec![of("calm").len() as f64],
        ),
        Row::from_samples("… CPU time of 100 counted crashes", "s", Some(Bar::AtMost(2.0)), vec![hundred]),
        Row::from_samples("… from the first crash to the last handler's end", "s", None, vec![took]),
    ])
}

fn copy(world: &Installed, program: &Path, name: &str) -> Result<std::path::PathBuf> {
    let copy = world.work(name);
    std::fs::copy(program, &copy)?;
    Ok(copy)
}

fn crash(program: &Path, ledger_file: &Path, at_once: usize) -> Result<()> {
    let start = || {
        Command::new(program)
            .arg("1")
            .arg(ledger_file)
            .arg("crash")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let mut children = (0..at_once).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    for child in &mut children {
        ensure!(!child.wait()?.success(), "{} did not crash", program.display());
    }
    Ok(())
}

// The rows once they stand for so many crashes, or what there is after a minute.
fn settled(world: &Installed, crashes: usize) -> Result<Vec<Value>> {
    let began = Instant::now();
    loop {
        let rows = world.list()?;
        let counted: u64 = rows.iter().filter_map(|row| row["count"].as_u64()).sum();
        if counted >= crashes as u64 || began.elapsed() > Duration::from_secs(60) {
            return Ok(rows);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
