//! The cost of recording: the SDK's own benchmark, C beside Rust, start-up, and the peer.
//!
//! Owns which programs run and in what order; they measure themselves and print nanoseconds. Whatever is compared runs
//! in turns.

mod peer;
mod startup;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use foretrace_tests::world::checkout;
use serde_json::Value;

use super::table::{Bar, Row};
use crate::build::{self, release_folder, say};
use crate::{interrupt, setup};

/// How often programs take turns.
const ROUNDS: usize = 15;
/// What a call site is called in the benchmark, for whoever wants to see its machine code.
const CALL_SITE: &str = "foretrace_bench_call_site";

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Install LTTng-UST if it is missing, and measure it in turns with ours
    #[arg(long)]
    with_peers: bool,
    /// First print the machine code of a call site: up to the return it is what an event costs that is switched off
    #[arg(long)]
    assembly: bool,
}

/// Measures.
///
/// # Errors
/// A build that fails, or output that is no row.
pub fn measure(options: &Options) -> Result<Vec<Row>> {
    setup::install_missing(&[setup::TO_BUILD])?;
    if options.with_peers {
        setup::install_missing(&[setup::TO_COMPARE])?;
    }
    say("building the benchmarks (release)");
    build::cargo([
        "build",
        "--release",
        "--package",
        "foretrace",
        "--features",
        "tracing",
        "--example",
        "bench",
    ])?;
    build::cargo(["build", "--release", "--package", "foretrace-capi"])?;
    let programs = Programs::compile(options.with_peers)?;
    if options.assembly {
        show_call_site(&programs.rust)?;
    }
    say("measuring the recorder (about a quarter of a minute)");
    let mut rows = own_rows(&programs.rust)?;
    say("measuring C beside Rust, and start-up");
    rows.extend(c_beside_rust(&programs)?);
    rows.extend(startup::measure(&programs)?);
    if options.with_peers {
        rows.extend(peer::measure(&programs)?);
    }
    Ok(rows)
}

/// Programs that measure, or that are measured.
struct Programs {
    /// The SDK's own benchmark.
    rust: PathBuf,
    /// Where those in C are, and the library under the name by which they look for it.
    folder: tempfile::TempDir,
}

impl Programs {
    fn compile(with_peers: bool) -> Result<Programs> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let release = release_folder();
        for name in ["libforetrace.so.0", "libforetrace.so"] {
            std::os::unix::fs::symlink(release.join("libforetrace.so"), folder.path().join(name))?;
        }
        let programs = Programs { rust: release.join("examples/bench"), folder };
        let source = |name: &str| checkout().join(name).display().to_string();
        let (bench, start) =
            (source("sdk/capi/examples/bench.c"), source("xtask/src/bench/recorder/startup.c"));
        let headers = format!("-I{}", source("sdk/capi/include"));
        let at = programs.folder.path().display();
        let (search, find) = (format!("-L{at}"), format!("-Wl,-rpath,{at}"));
        let shared = [headers.as_str(), &search, &find, "-lforetrace"];
        let archive = release.join("libforetrace.a").display().to_string();
        programs.cc("bench", &[&bench], &shared)?;
        programs.cc("start-without", &[&start, "-DWITHOUT"], &[])?;
        programs.cc("start-shared", &[&start], &shared)?;
        programs.cc("start-static", &[&start], &[&headers, &archive, "-static-libgcc", "-ldl", "-lm"])?;
        if with_peers {
            let peer = source("xtask/src/bench/lttng");
            let (here, provider) = (format!("-I{peer}"), format!("{peer}/provider.c"));
            let lttng = [here.as_str(), "-llttng-ust", "-ldl"];
            programs.cc("bench-lttng", &[&bench, &provider, "-DRECORDER=\"recorder.h\""], &lttng)?;
            programs.cc("start-lttng", &[&start, &provider, "-DRECORDER=\"recorder.h\""], &lttng)?;
        }
        Ok(programs)
    }

    fn cc(&self, name: &str, sources: &[&str], link: &[&str]) -> Result<()> {
        let mut compiler = Command::new("gcc");
        compiler.args(["-std=gnu11", "-O2", "-pthread", "-o"]).arg(self.c(name));
        build::run(compiler.args(sources).args(link))
    }

    /// One of those in C.
    fn c(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs a program to its end; its output.
fn output(program: &Path, arguments: &[&str]) -> Result<String> {
    interrupt::check()?;
    let name = program.display();
    let output = Command::new(program)
        .args(arguments)
        .env_remove("FORETRACE")
        .env_remove("FORETRACE_SIZE")
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(output.status.success(), "{name} {arguments:?} ended with {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{name} does not speak UTF-8"))
}

/// Runs a program that prints one number.
fn number(program: &Path, arguments: &[&str]) -> Result<f64> {
    let said = output(program, arguments)?;
    said.trim().parse().with_context(|| format!("{} says no number: {said}", program.display()))
}

/// What each round's values are to each other.
fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}

fn own_rows(bench: &Path) -> Result<Vec<Row>> {
    output(bench, &[])?.lines().map(read_row).collect()
}

fn read_row(line: &str) -> Result<Row> {
    let row: Value = serde_json::from_str(line).with_context(|| format!("no row: {line}"))?;
    let text = |name: &str| row[name].as_str().with_context(|| format!("a row without '{name}': {line}"));
    let bar = match (row["at_most"].as_f64(), row["at_least"].as_f64()) {
        (Some(most), _) => Some(Bar::AtMost(most)),
        (_, Some(least)) => Some(Bar::AtLeast(least)),
        _ => None,
    };
    let samples = row["samples"].as_array().with_context(|| format!("a row without samples: {line}"))?;
    let samples = samples.iter().filter_map(Value::as_f64).collect();
    Ok(Row::from_samples(text("what")?, text("unit")?, bar, samples))
}

fn c_beside_rust(programs: &Programs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, what, most) in [
        ("number", "u64", Some(1.05)),
        ("text", "u64 + 16-byte string", Some(1.05)),
        ("batch", "u64 in a batch of 8", None),
        ("coarse", "u64 with a coarse time", None),
        ("given", "u64 with a given time", None),
    ] {
        let (mut c, mut rust) = (vec![], vec![]);
        for round in 0..2 * ROUNDS {
            let mut measure = |in_c: bool| -> Result<()> {
                if in_c {
                    c.push(number(&programs.c("bench"), &[kind, "1000000", "1"])?);
                } else {
                    rust.push(number(&programs.rust, &[kind, "1000000"])?);
                }
                Ok(())
            };
            measure(round % 2 == 0)?;
            measure(round % 2 != 0)?;
        }
        let ratio = ratios(&c, &rust);
        rows.push(Row::from_samples(format!("from C, {what}"), "ns", None, c));
        let what = format!("from C through the header ÷ Rust, {what}");
        rows.push(Row::from_samples(what, "×", most.map(Bar::AtMost), ratio));
    }
    Ok(rows)
}

/// Prints the machine code of a call site.
fn show_call_site(bench: &Path) -> Result<()> {
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn", &format!("--disassemble={CALL_SITE}")])
        .arg(bench)
        .output()
        .context("cannot run objdump: it is in the package binutils")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(start) = text.find(&format!("<{CALL_SITE}>:")) else {
        bail!("objdump finds no {CALL_SITE} in {}", bench.display());
    };
    let end = text[start..].find("\n\n").map_or(text.len(), |length| start + length);
    println!("{}\n", &text[start..end]);
    Ok(())
}
