//! The program `foretrace-capture`: arguments, the roads, and where the report goes.
//!
//! Applications start it for errors and panics, `foretrace` for snapshots and core files. As root it writes to the
//! system's store, else to the user's own. It prints the report's ID and nothing else to standard output, and for an
//! application that started it not even that: the terminal is the application's.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use foretrace_report::schema::{Kind, Problem};
use foretrace_report::text::escape;
use foretrace_store::{Incoming, Owner, Places, Published, Settings, StoreKind, random_id};

use crate::assemble::{Collected, Extent};
use crate::container;
use crate::process::Process;
use crate::successor::{Seen, Watch};
use crate::system::Machine;
use crate::{import, live, successor, symbol};

/// Makes foretrace reports of errors, panics, live processes and core files
#[derive(Debug, Parser)]
#[command(name = "foretrace-capture", version)]
pub struct Arguments {
    /// Use DIR in place of / for settings and state
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one JSON object about the report
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report an error or a panic: started by the application's recorder
    Report(Reporting),
    /// Report what a live process is doing; it goes on undisturbed
    Snapshot(Snapshot),
    /// Make a report from a core file
    Import(Import),
    /// Name places in a file by the separate debug file on the standard input: started by `foretrace symbols`
    #[command(hide = true)]
    Names(Names),
}

#[derive(Debug, Args)]
struct Names {
    /// The file's build-id in hex, which the debug file must bear
    #[arg(long, value_name = "HEX")]
    build_id: String,
    /// Distances from the module's start
    #[arg(value_name = "OFFSET")]
    offsets: Vec<u64>,
}

#[derive(Debug, Args)]
struct Reporting {
    /// What happened
    #[arg(long)]
    kind: ReportedKind,
    /// The process
    #[arg(long)]
    pid: i32,
    /// The thread that reports
    #[arg(long)]
    tid: i32,
    /// The descriptor of the process's ring
    #[arg(long, value_name = "N")]
    ring_fd: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReportedKind {
    Error,
    Panic,
}

#[derive(Debug, Args)]
struct Snapshot {
    /// The process
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
    /// Why, in your own words
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What to call it
    #[arg(long, default_value = "snapshot")]
    kind: SnapshotKind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SnapshotKind {
    Snapshot,
    Hang,
}

#[derive(Debug, Args)]
struct Import {
    /// The core file
    core: PathBuf,
    /// The program's file, where it is not at the path that the core names
    #[arg(long, value_name = "FILE")]
    exe: Option<PathBuf>,
}

/// Makes a report and prints its ID.
///
/// # Errors
/// There is nothing to make a report of, or it cannot be stored.
pub fn run(arguments: Arguments) -> Result<()> {
    let places = Places::from_environment(arguments.root.as_deref());
    let quiet = matches!(arguments.command, Command::Report(_)) && !arguments.json;
    let made = match arguments.command {
        Command::Report(reporting) => report(&places, reporting)?,
        Command::Snapshot(snapshot) => Some(snapshot_of(&places, snapshot)?),
        Command::Import(from) => Some(import_from(&places, from)?),
        Command::Names(names) => return name(&names),
    };
    match made {
        Some(made) if !quiet => print(&made, arguments.json),
        _ => Ok(()),
    }
}

// A report that has been stored.
struct Made {
    collected: Collected,
    problems: Vec<Problem>,
    published: Published,
    stood_still: Option<Duration>,
}

// None where the crash that follows makes the report.
fn report(places: &Places, arguments: Reporting) -> Result<Option<Made>> {
    let kind = match arguments.kind {
        ReportedKind::Error => Kind::Error,
        ReportedKind::Panic => Kind::Panic,
    };
    let (pid, awaited) = (arguments.pid, kind == Kind::Panic && successor::is_installed());
    let process = Process::open(pid).ok();
    if awaited && process.as_ref().is_some_and(successor::is_dumping) {
        return Ok(None);
    }
    let watch = process.as_ref().filter(|_| awaited).and_then(|_| Process::open(pid).ok()).map(Watch::new);
    let request = live::Request {
        id: random_id()?,
        time: now()?,
        kind,
        thread: Some(arguments.tid),
        ring: arguments.ring_fd.map(inherited).transpose()?,
        reason: None,
        environment_allow: Settings::load(places).0.privacy.environment_allow,
        machine: Machine::here(),
    };
    let (collected, stood_still) = match process {
        Some(process) => live::collect(&process, request),
        None => (live::orphan(pid, request), Duration::ZERO),
    };
    let written = write(places, collected)?;
    let crashed = match watch.map_or(Seen::End, |watch| watch.end(successor::PATIENCE)) {
        Seen::Dump => true,
        Seen::Life => false,
        Seen::End => {
            awaited && successor::has_report(places, pid, jiff::Timestamp::now(), successor::PATIENCE)
        }
    };
    if crashed {
        return Ok(None);
    }
    Ok(Some(Made { stood_still: Some(stood_still), ..written.publish()? }))
}

fn snapshot_of(places: &Places, arguments: Snapshot) -> Result<Made> {
    let pid = arguments.pid;
    if pid.unsigned_abs() == std::process::id() {
        bail!("a process cannot take a snapshot of itself: start foretrace-capture from another one");
    }
    let process = Process::open(pid).with_context(|| format!("there is no process {pid}"))?;
    let request = live::Request {
        id: random_id()?,
        time: now()?,
        kind: match arguments.kind {
            SnapshotKind::Snapshot => Kind::Snapshot,
            SnapshotKind::Hang => Kind::Hang,
        },
        thread: None,
        ring: None,
        reason: arguments.reason,
        environment_allow: Settings::load(places).0.privacy.environment_allow,
        machine: Machine::here(),
    };
    let (collected, stood_still) = live::collect(&process, request);
    if collected.threads.is_empty() && collected.trails.is_empty() {
        let why = collected.problems.iter().find(|problem| problem.part == "threads");
        let why = why.map_or("nothing could be read of it", |problem| &problem.what);
        bail!("no report of process {pid}: {why}");
    }
    Ok(Made { stood_still: Some(stood_still), ..write(places, collected)?.publish()? })
}

fn import_from(places: &Places, arguments: Import) -> Result<Made> {
    let path = &arguments.core;
    let shown = || escape(&path.display().to_string());
    let core = File::open(path).with_context(|| format!("{} cannot be opened", shown()))?;
    let status = core.metadata().with_context(shown)?;
    if !status.is_file() {
        bail!("{} is no file", shown());
    }
    if let Some(exe) = &arguments.exe {
        File::open(exe)
            .with_context(|| format!("{} cannot be opened", escape(&exe.display().to_string())))?;
    }
    let time = in_forms(status.modified().unwrap_or_else(|_| SystemTime::now()))?;
    let request = import::Request { id: random_id()?, time, exe: arguments.exe.clone() };
    let collected = import::collect(core, &request).map_err(|error| {
        anyhow::anyhow!("{}; `foretrace import` takes ELF core files", import::refusal(path, &error))
    })?;
    write(places, collected)?.publish()
}

// The file came from a network: this process gives up what it could do beside reading it.
fn name(arguments: &Names) -> Result<()> {
    let file = inherited(0)?;
    crate::handler::sandbox::confine().context("this process cannot give up its rights")?;
    let named = symbol::named_by(file, &arguments.build_id, &arguments.offsets)
        .context("it is no debug information of that build-id")?;
    let mut out = std::io::stdout().lock();
    for calls in named {
        writeln!(out, "{}", serde_json::to_string(&calls)?)?;
    }
    Ok(out.flush()?)
}

// A report that is written but not yet visible.
struct Written {
    incoming: Incoming,
    collected: Collected,
    // Those of its making among them.
    problems: Vec<Problem>,
    places: Places,
    kind: StoreKind,
}

/// How long old reports may be looked for when there are too many.
const ROOM: Duration = Duration::from_secs(2);

fn write(places: &Places, collected: Collected) -> Result<Written> {
    let kind = if nix::unistd::geteuid().is_root() { StoreKind::System } else { StoreKind::User };
    let incoming = Incoming::begin(places, kind).context("the report cannot be stored")?;
    let file = incoming.bundle().context("the report cannot be stored")?;
    let report = container::write_what_fits(&collected, &collected.threads, &file, &mut Extent::Whole);
    let problems = report.context("the report cannot be written")?.problems;
    Ok(Written { incoming, collected, problems, places: places.clone(), kind })
}

impl Written {
    fn publish(self) -> Result<Made> {
        let published = self
            .incoming
            .publish(self.collected.id, Owner::current())
            .context("the report cannot be stored")?;
        // The report is safe: what cannot be removed to make room for the next one must not make it look lost.
        let storage = Settings::load(&self.places).0.storage;
        let _ = foretrace_store::enforce(&self.places, &storage, self.kind, published.bytes, ROOM);
        Ok(Made { collected: self.collected, problems: self.problems, published, stood_still: None })
    }
}

fn print(made: &Made, json: bool) -> Result<()> {
    let text = if json {
        serde_json::json!({
            "id": made.collected.id,
            "kind": made.collected.kind,
            "path": made.published.path,
            "signature": made.collected.signature,
            "threads": made.collected.threads.len(),
            "problems": made.problems,
            "stopped_ms": made.stood_still.map(|time| time.as_secs_f64() * 1e3),
        })
        .to_string()
    } else {
        made.collected.id.to_string()
    };
    writeln!(std::io::stdout(), "{text}").context("the report is stored, but its ID could not be printed")
}

// Opened anew and read-only, so that the inherited descriptor's state does not matter.
fn inherited(number: u32) -> Result<File> {
    let path = Path::new("/proc/self/fd").join(number.to_string());
    File::open(path).with_context(|| format!("descriptor {number} cannot be opened"))
}

fn now() -> Result<(u32, String)> {
    in_forms(SystemTime::now())
}

fn in_forms(time: SystemTime) -> Result<(u32, String)> {
    let stamp = jiff::Timestamp::try_from(time).context("the clock is out of range")?;
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let rounded = stamp.round(jiff::Unit::Millisecond).unwrap_or(stamp);
    Ok((u32::try_from(seconds).unwrap_or(u32::MAX), rounded.to_string()))
}
