//! Backtraces against gdb's, on cores that the kernel wrote: every victim's every thread, frame by frame.
//!
//! The victims crash under the plain pattern `core` in a directory each; `foretrace-capture import` makes a report of
//! the core, gdb opens the same one. Differences are listed and, where they stay, explained in docs/unwinding.md.

mod comparison;
mod victims;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use foretrace_report::Report;
use foretrace_report::schema::Trust;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::machine::KernelSettings;
use foretrace_tests::world::checkout;
use serde::Deserialize;
use serde_json::json;

use self::comparison::{Frame, Outcome, SIGNAL, compare};
use self::victims::{EXPLAINED, Kind, VICTIMS, Victim};
use crate::build::{self, say};
use crate::{interrupt, setup};

/// Of gdb's named frames in native victims.
const BAR: f64 = 0.98;
/// A victim that is not dead by then is killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long walks keep their beginning and their end: this much of both is compared.
const INNERMOST: usize = 250;
const OUTERMOST: usize = 60;

/// Which victims.
#[derive(Args)]
pub struct Options {
    /// Only the victims whose name contains this
    filter: Option<String>,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Keep programs, cores and reports in DIR
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Take this foretrace-capture instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

// A victim that was prepared, and where.
struct Prepared {
    victim: &'static Victim,
    folder: PathBuf,
}

struct Compared {
    victim: &'static Victim,
    threads: usize,
    outcome: Outcome,
    /// Frames without a name in gdb: code that no file describes.
    unnamed: usize,
    seconds: (f64, f64),
}

/// Builds, crashes and compares.
///
/// # Errors
/// Not root, a victim that cannot be built or does not crash, or fewer frames than the bar asks for.
pub fn run(options: &Options) -> Result<()> {
    let wanted = |victim: &&Victim| options.filter.as_ref().is_none_or(|part| victim.name.contains(part));
    setup::install_missing(&[setup::TO_BUILD, setup::TO_COMPARE_BACKTRACES])?;
    let program = match &options.program {
        Some(file) => file.clone(),
        None => {
            build::cargo(["build", "--release", "--package", "foretrace-capture"])?;
            build::release_folder().join("foretrace-capture")
        }
    };
    let temporary = tempfile::tempdir()?;
    let folder = options.keep.as_deref().unwrap_or(temporary.path());
    let mut prepared = Vec::new();
    let mut missing = Vec::new();
    say("building the victims");
    for victim in VICTIMS.iter().filter(wanted) {
        interrupt::check()?;
        match victim.tools.split(' ').find(|tool| !is_there(tool)) {
            Some(tool) => missing.push(format!("{} (needs {tool})", victim.name)),
            None => prepared.push(prepare(victim, folder)?),
        }
    }
    say(&format!("crashing {} victims", prepared.len()));
    crash(&prepared)?;
    say("comparing");
    let mut rows = Vec::new();
    for one in &prepared {
        interrupt::check()?;
        rows.push(examine(one, &program).with_context(|| format!("victim {}", one.victim.name))?);
    }
    print(&rows, &missing, options.json);
    judge(&rows)
}

fn is_there(tool: &str) -> bool {
    if tool == "gcc-i386" {
        return can_build_for_i386();
    }
    Command::new("sh")
        .args(["-c", "command -v \"$1\"", "which", tool])
        .env("PATH", search_path())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

// gcc is there or not; its 32-bit half is another package.
fn can_build_for_i386() -> bool {
    Command::new("gcc")
        .args(["-m32", "-print-libgcc-file-name"])
        .output()
        .is_ok_and(|answer| Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_file())
}

// Debian keeps Go where no PATH leads.
fn search_path() -> String {
    format!("{}:/usr/lib/go/bin:/usr/lib/go-1.19/bin", std::env::var("PATH").unwrap_or_default())
}

fn shell(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder).env("PATH", search_path());
    command.env("S", checkout().join("tests/victims/crashes"));
    // The kernel's headers, also where the package that links them for 32-bit programs is not installed.
    command.env("GCC32", "gcc -m32 -idirafter /usr/include/x86_64-linux-gnu");
    // Go and Rust keep their caches below it.
    command.env("GOCACHE", folder.join("../go-cache")).env("GOFLAGS", "-mod=mod").env("GO111MODULE", "off");
    command.stdin(Stdio::null());
    command
}

fn prepare(victim: &'static Victim, below: &Path) -> Result<Prepared> {
    let folder = below.join(victim.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let built = shell(victim.build, &folder).output()?;
    ensure!(
        built.status.success(),
        "victim {} cannot be built:\n{}",
        victim.name,
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(Prepared { victim, folder })
}

// All in one go: others wait for the kernel's settings.
fn crash(prepared: &[Prepared]) -> Result<()> {
    let settings = KernelSettings::take()?;
    settings.set_core_pattern("core.%P")?;
    for one in prepared {
        interrupt::check()?;
        let run = format!("ulimit -c unlimited; {}", one.victim.run);
        let mut child = shell(&run, &one.folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(one.folder.join("stderr"))?)
            .spawn()?;
        let began = Instant::now();
        while child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                bail!("victim {} did not die", one.victim.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        core_in(&one.folder).with_context(|| format!("victim {} left no core", one.victim.name))?;
    }
    Ok(())
}

fn core_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let cores = entries.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("core.") || name.ends_with(".core"))
    });
    // QEMU writes its program's core under a name of its own, and then dies as its program did.
    cores.max_by_key(|path| path.extension().is_some_and(|extension| extension == "core"))
}

fn examine(one: &Prepared, program: &Path) -> Result<Compared> {
    let core = core_in(&one.folder).context("the core is gone")?;
    let began = Instant::now();
    let report = import(program, &core, &one.folder)?;
    let ours = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let threads = gdb(&core, &one.folder, &report)?;
    let seconds = (ours, began.elapsed().as_secs_f64());
    let (mut outcome, mut unnamed) = (Outcome::default(), 0);
    for thread in &threads {
        let own = report.threads.iter().find(|own| own.tid == thread.tid);
        let own: Vec<Frame> = own.map(named).unwrap_or_default();
        unnamed += thread.frames.iter().filter(|frame| frame.name.is_none()).count();
        let theirs: Vec<Frame> = thread.frames.iter().filter_map(GdbFrame::named).collect();
        let cut = theirs.len() > INNERMOST + OUTERMOST;
        let mut found = if cut {
            let mut both = compare(&theirs[..INNERMOST], &own[..INNERMOST.min(own.len())], EXPLAINED);
            let (from, to) = (theirs.len() - OUTERMOST, own.len().saturating_sub(OUTERMOST));
            both.add(compare(&theirs[from..], &own[to..], EXPLAINED));
            both
        } else {
            compare(&theirs, &own, EXPLAINED)
        };
        let tid = thread.tid;
        let lines = found.differences.iter_mut().chain(&mut found.wrong);
        lines.for_each(|line| *line = format!("thread {tid}: {line}"));
        outcome.add(found);
    }
    Ok(Compared { victim: one.victim, threads: threads.len(), outcome, unnamed, seconds })
}

fn import(program: &Path, core: &Path, folder: &Path) -> Result<Report> {
    let root = folder.join("root");
    fs::create_dir_all(&root)?;
    let mut made = Command::new(program);
    made.arg("--root").arg(&root).args(["--json", "import"]).arg(core);
    // QEMU's cores name no files.
    if core.extension().is_some_and(|extension| extension == "core") {
        made.arg("--exe").arg(folder.join("victim"));
    }
    let made = made.output()?;
    ensure!(made.status.success(), "no report: {}", String::from_utf8_lossy(&made.stderr));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout)?;
    let path = made["path"].as_str().context("the report has no path")?;
    Ok(Evidence::read(&Path::new(path).join("bundle.zip"))?.report)
}

fn named(thread: &foretrace_report::schema::Thread) -> Vec<Frame> {
    let frames = thread.frames.iter().filter_map(|frame| {
        let signal = (frame.trust == Trust::Signal).then(|| SIGNAL.to_owned());
        Some(Frame {
            ip: u64::from_str_radix(frame.ip.strip_prefix("0x")?, 16).ok()?,
            name: signal.or_else(|| frame.function.clone())?,
            sure: matches!(frame.trust, Trust::Cfi | Trust::Context | Trust::Signal),
        })
    });
    frames.collect()
}

#[derive(Deserialize)]
struct GdbThread {
    tid: i32,
    frames: Vec<GdbFrame>,
}

#[derive(Deserialize)]
struct GdbFrame {
    ip: String,
    kind: String,
    name: Option<String>,
}

impl GdbFrame {
    // Tail calls leave nothing on the stack; gdb concludes them from DWARF.
    fn named(&self) -> Option<Frame> {
        let name = match self.kind.as_str() {
            "tailcall" => return None,
            "signal" => SIGNAL.to_owned(),
            _ => self.name.clone()?,
        };
        let ip = u64::from_str_radix(self.ip.strip_prefix("0x")?, 16).ok()?;
        Some(Frame { ip, name, sure: true })
    }
}

fn gdb(core: &Path, folder: &Path, report: &Report) -> Result<Vec<GdbThread>> {
    let exe = report.program.exe.as_deref().context("the report names no program")?;
    let script = checkout().join("xtask/src/check/gdb/frames.py");
    let foreign = report.system.arch == "aarch64";
    let mut program = Command::new(if foreign { "gdb-multiarch" } else { "gdb" });
    program.args(["-nx", "-batch", "-q", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off"]);
    program.args(["-ex", "set backtrace past-main on", "-ex", &format!("source {}", script.display())]);
    program.arg(exe).arg(core).current_dir(folder).env_remove("DEBUGINFOD_URLS");
    let output = program.output().context("cannot run gdb")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let threads: Vec<GdbThread> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    ensure!(!threads.is_empty(), "gdb shows no thread:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(threads)
}

fn print(rows: &[Compared], missing: &[String], as_json: bool) {
    if !as_json {
        println!(
            "{:<24} {:>7} {:>6} {:>6} {:>7} {:>7} {:>5} {:>7} {:>7}",
            "victim", "threads", "named", "agreed", "share", "unnamed", "wrong", "ours s", "gdb s"
        );
    }
    for row in rows {
        let (name, found) = (row.victim.name, &row.outcome);
        if as_json {
            println!(
                "{}",
                json!({"victim": name, "native": row.victim.kind == Kind::Native, "threads": row.threads,
                       "named": found.named, "agreed": found.agreed, "share": found.share(),
                       "unnamed": row.unnamed, "differences": found.differences, "wrong": found.wrong,
                       "seconds": {"ours": row.seconds.0, "gdb": row.seconds.1}})
            );
            continue;
        }
        println!(
            "{name:<24} {:>7} {:>6} {:>6} {:>6.1}% {:>7} {:>5} {:>7.2} {:>7.2}",
            row.threads,
            found.named,
            found.agreed,
            found.share() * 100.0,
            row.unnamed,
            found.wrong.len(),
            row.seconds.0,
            row.seconds.1
        );
        found.differences.iter().take(8).for_each(|line| println!("    {line}"));
        found.wrong.iter().take(4).for_each(|line| println!("    WRONG {line}"));
    }
    if !as_json {
        for kind in [Kind::Native, Kind::Jit] {
            let (count, total) = sum(rows, kind);
            println!(
                "{count} victims, {}: {} of {} named frames agree, {:.2} %; {} wrong",
                if kind == Kind::Native { "native" } else { "with code made at run time" },
                total.agreed,
                total.named,
                total.share() * 100.0,
                total.wrong.len()
            );
        }
        missing.iter().for_each(|name| println!("left out: {name}"));
    }
}

fn sum(rows: &[Compared], kind: Kind) -> (usize, Outcome) {
    let mut total = Outcome::default();
    let of_kind = rows.iter().filter(|row| row.victim.kind == kind);
    let count = of_kind.map(|row| total.add(row.outcome.clone())).count();
    (count, total)
}

fn judge(rows: &[Compared]) -> Result<()> {
    let (_, total) = sum(rows, Kind::Native);
    ensure!(total.wrong.is_empty(), "{} frames that are marked as sure bear a wrong name", total.wrong.len());
    ensure!(
        total.share() >= BAR,
        "{:.2} % of gdb's named frames, not {} %",
        total.share() * 100.0,
        BAR * 100.0
    );
    Ok(())
}
