//! Signatures beside Socorro's own (`siggen`): the cases that its tests publish, and the names of functions in real programs.
//!
//! siggen comes from the package index into an environment of its own, and runs as a second program
//! (`signature/siggen.py`). Only names are compared: which frames a signature takes is said by lists, and ours are for Linux.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_report::signature::normalize;
use foretrace_tests::command::{run as run_command, run_with_input};

use super::python;
use crate::setup;

/// The release that is compared with, and what its tests are written with.
const PACKAGES: [&str; 2] = ["siggen==2.2.20241029", "pytest==8.3.5"];
/// So many of a program's names.
const NAMES: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// What must agree, in percent.
const BAR: f64 = 99.0;
const CPP: &str = "a.cpp";
const RUST: &str = "a.rs";

/// Differences on purpose, by the name.
const EXPLAINED: [(&str, &str); 1] =
    [("fnNeedNumber", "its test lists a function whose signature has a line number; our lists have none")];

/// Compares.
///
/// # Errors
/// No siggen, or more differences than the bar allows.
pub fn run() -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_COMPARE_REDACTION])?;
    let interpreter = python::environment("siggen", &PACKAGES)?;
    let library = run_command(Command::new("gcc").arg("-print-file-name=libstdc++.so"))?.success()?.text();
    let this = std::env::current_exe()?.display().to_string();
    let names: Vec<(String, &str)> = [(library.trim(), CPP), (&this, RUST)]
        .into_iter()
        .map(|(program, file)| Ok(functions(program)?.into_iter().map(move |name| (name, file))))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    let mut siggen = Command::new(interpreter);
    siggen.args(["-c", include_str!("signature/siggen.py")]);
    let said = run_with_input(&mut siggen, &serde_json::to_vec(&names)?, PATIENCE)?.success()?;
    let (published, normalized): (Vec<(String, String, String)>, Vec<String>) =
        serde_json::from_slice(&said.stdout).context("siggen's answer")?;
    ensure!(normalized.len() == names.len() && !published.is_empty(), "siggen left out a name");

    println!("{:<34} {:>7} {:>7} {:>8}", "names", "all", "equal", "share");
    let published =
        published.iter().map(|(name, file, expected)| (name.as_str(), file.as_str(), expected.as_str()));
    let mut good = hold("siggen's published cases", published);
    for (what, wanted) in [("C++ functions in libstdc++", CPP), ("Rust functions in this program", RUST)] {
        let of = names.iter().zip(&normalized).filter(|((_, file), _)| *file == wanted);
        good &= hold(what, of.map(|((name, file), theirs)| (name.as_str(), *file, theirs.as_str())));
    }
    ensure!(good, "fewer than {BAR} % are equal");
    Ok(())
}

// Whether enough are equal: name, file, and what siggen makes of them.
fn hold<'a>(what: &str, cases: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> bool {
    let (mut all, mut equal) = (0_u32, 0_u32);
    let mut different = Vec::new();
    for (name, file, theirs) in cases {
        all += 1;
        let ours = normalize(name, Some(file));
        let why = EXPLAINED.iter().find(|(explained, _)| *explained == name);
        // A function's own type parameters are in one of Rust's two manglings alone.
        if ours == theirs || file == RUST && ours == theirs.replace("::<T>", "") {
            equal += 1;
        } else if let Some((_, why)) = why {
            all -= 1;
            different.push(format!("{name}: {theirs}, ours {ours}: {why}"));
        } else {
            different.push(format!("{name}: {theirs}, ours {ours}"));
        }
    }
    let share = f64::from(equal) * 100.0 / f64::from(all.max(1));
    println!("{what:<34} {all:>7} {equal:>7} {share:>6.2} %");
    different.iter().take(5).for_each(|line| println!("    {line:.200}"));
    all > 0 && share >= BAR
}

// Names of a program's functions, spread over all of them.
fn functions(program: &str) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for table in ["--defined-only", "--dynamic"] {
        let listed = run_command(Command::new("nm").args(["-C", table, program]))?.text();
        let named = |line: &str| {
            Some(line.get(17..)?.split_once(' ')?)
                .filter(|(kind, _)| "tTwW".contains(kind))
                .map(|(_, name)| name.to_owned())
        };
        names.extend(listed.lines().filter_map(named));
    }
    let step = names.len().div_ceil(NAMES).max(1);
    ensure!(!names.is_empty(), "{program} names no function");
    Ok(names.into_iter().step_by(step).collect())
}
