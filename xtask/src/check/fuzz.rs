//! `cargo xtask check fuzz`: the targets of `fuzz/`, built with the stable compiler and run by processor time.
//!
//! What libFuzzer learns goes to `fuzz/found/`, which git ignores; with `--keep` as few and as small inputs as reach all
//! that is reached become `fuzz/corpus/TARGET.tar.xz`, which the next run begins with. The folder `fuzz/corpus/TARGET`
//! has the inputs that were made by hand or that once failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use foretrace_tests::world::checkout;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::build::{run as run_program, say};
use crate::interrupt;

/// One round's length: a target that leaks or slows down begins anew.
const ROUND: Duration = Duration::from_secs(120);

/// What is fed, and how long.
#[derive(Args)]
pub struct Options {
    /// The target; without one, all of them, one after the other
    target: Option<String>,
    /// Minutes of processor time for each
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Keep what reached new code in the corpus that git holds
    #[arg(long)]
    keep: bool,
}

/// Builds the targets and feeds them.
///
/// # Errors
/// A target that does not exist, or an input that breaks one: its file is named.
pub fn run(options: &Options) -> Result<()> {
    let folder = checkout().join("fuzz");
    let mut targets: Vec<String> = fs::read_dir(folder.join("targets"))
        .context("cannot list fuzz/targets")?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    if let Some(wanted) = &options.target {
        ensure!(targets.contains(wanted), "there is no target {wanted}; there are {}", targets.join(", "));
        targets.retain(|target| target == wanted);
    }
    let programs = build(&folder)?;
    println!("{:<14} {:>13} {:>12} {:>9} {:>8}", "target", "executions", "CPU minutes", "inputs", "found");
    let mut broken = Vec::new();
    for target in &targets {
        let found = feed(&folder, &programs.join(target), target, options.minutes)?;
        println!(
            "{target:<14} {:>13} {:>12.1} {:>9} {:>8}",
            found.executions,
            found.processor.as_secs_f64() / 60.0,
            count(&folder.join("found").join(target)),
            found.broken.len()
        );
        broken.extend(found.broken);
        if options.keep {
            keep(&folder, &programs.join(target), target)?;
        }
    }
    match broken.first() {
        None => Ok(()),
        Some(_) => bail!("inputs that break a target:\n{}", broken.join("\n")),
    }
}

/// Builds all targets; answers with the folder of the programs.
fn build(folder: &Path) -> Result<PathBuf> {
    say("building the fuzz targets");
    let programs = folder.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The folder's own settings instrument; they are found from there alone.
    let status = cargo
        .args(["build", "--release", "--bins", "--target-dir"])
        .arg(&programs)
        .current_dir(folder)
        .env_remove("RUSTFLAGS")
        .status()
        .context("cannot run cargo")?;
    interrupt::check()?;
    ensure!(status.success(), "the fuzz targets do not build");
    // They are built for a named target, the host, so that build scripts are not instrumented.
    fs::read_dir(&programs)?
        .filter_map(|entry| Some(entry.ok()?.path().join("release")))
        .find(|release| release.join("ring_reader").exists())
        .context("the programs are not where cargo puts them")
}

/// What a target was fed, and what broke it.
struct Fed {
    executions: u64,
    processor: Duration,
    broken: Vec<String>,
}

/// Feeds one target for so many minutes of processor time.
fn feed(folder: &Path, program: &Path, target: &str, minutes: u64) -> Result<Fed> {
    say(&format!("{target}: {minutes} minutes"));
    let found = folder.join("found").join(target);
    let artifacts = folder.join("artifacts").join(target);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let kept = kept(folder, target);
    if kept.exists() {
        run_program(Command::new("tar").arg("-xJf").arg(&kept).arg("-C").arg(&found))?;
    }
    let mut fed = Fed { executions: 0, processor: Duration::ZERO, broken: Vec::new() };
    let enough = Duration::from_secs(minutes * 60);
    while fed.processor < enough && fed.broken.is_empty() {
        let before = children_time()?;
        let round = ROUND.min(enough - fed.processor).as_secs().max(1);
        let output = Command::new(program)
            .args([
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                &format!("-max_total_time={round}"),
                &format!("-artifact_prefix={}/", artifacts.display()),
            ])
            .args([&found, &folder.join("corpus").join(target)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        interrupt::check()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        fed.executions += executions.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
        let spent = children_time()?.saturating_sub(before);
        // A round that costs nothing would never end.
        fed.processor += spent.max(Duration::from_millis(100));
        if !output.status.success() {
            let end: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
            let artifact = said.lines().rev().find_map(|line| line.split("written to ").nth(1));
            fed.broken.push(format!("{target}: {}", artifact.unwrap_or("it left no input")));
        }
    }
    Ok(fed)
}

/// Keeps the smallest inputs that together reach all that is reached.
fn keep(folder: &Path, program: &Path, target: &str) -> Result<()> {
    let least = folder.join("found").join(format!("{target}.least"));
    if least.exists() {
        fs::remove_dir_all(&least)?;
    }
    fs::create_dir_all(&least)?;
    let sources = [folder.join("corpus").join(target), folder.join("found").join(target)];
    run_program(Command::new(program).args(["-merge=1", "-timeout=10"]).arg(&least).args(sources))?;
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cJf"]).arg(kept(folder, target));
    run_program(pack.arg("-C").arg(&least).arg("."))?;
    Ok(fs::remove_dir_all(&least)?)
}

/// The archive of what earlier runs learned.
fn kept(folder: &Path, target: &str) -> PathBuf {
    folder.join("corpus").join(format!("{target}.tar.xz"))
}

/// Processor time of all children that have ended.
fn children_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
