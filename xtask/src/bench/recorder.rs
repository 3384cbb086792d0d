//! The cost of recording: runs the SDK's own benchmark in its release form and reads its rows.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::checkout;
use serde_json::Value;

use super::table::Row;
use crate::build::say;

/// Runs the benchmark.
///
/// # Errors
/// A build that fails, or output that is no row.
pub fn measure() -> Result<Vec<Row>> {
    say("building and running the recorder's benchmark (a few minutes)");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "foretrace", "--example", "bench"])
        .current_dir(checkout())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the benchmark ended with {}", output.status);
    String::from_utf8(output.stdout)?.lines().map(read_row).collect()
}

fn read_row(line: &str) -> Result<Row> {
    let row: Value = serde_json::from_str(line).with_context(|| format!("no row: {line}"))?;
    let number = |name: &str| row[name].as_f64().with_context(|| format!("a row without '{name}': {line}"));
    Ok(Row {
        what: row["what"].as_str().context("a row without a name")?.to_owned(),
        median: number("median")?,
        spread: (number("min")?, number("max")?),
        samples: number("samples")? as usize,
        unit: if row["unit"] == "ns" { "ns" } else { "×" },
        bar: row["bar"].as_f64(),
    })
}
