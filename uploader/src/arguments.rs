//! The command line: names, options and help texts, from which man page and completions are made too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use foretrace_report::{Class, ClassSet, Preset};
use foretrace_store::Standing;

/// Reads, answers and sends reports of programs that crashed, failed or hung.
///
/// Without a command, lists the reports there are. A report's ID may be shortened to any unique beginning.
#[derive(Debug, Parser)]
#[command(name = "foretrace", version, max_term_width = 100)]
pub struct Arguments {
    /// Keep everything below DIR instead of / (also: FORETRACE_ROOT)
    #[arg(long, global = true, value_name = "DIR", help_heading = "Options of every command")]
    pub root: Option<PathBuf>,
    /// Print JSON: one object a line for lists
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
    /// What to do; `list` where nothing is named
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `foretrace` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List reports, newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// Explain a report: what happened, where, and what led to it
    Info(Info),
    /// Show or export the events that a program recorded before the end
    Trace(Trace),
    /// Take a report, or one part of it, out of the store
    Dump(Dump),
    /// Open a report's minidump in lldb, or its whole core in gdb where one was kept
    Debug(Debug),
    /// Ask debuginfod servers for the names that a report lacks, after saying what they would be told
    Symbols(Symbols),
    /// Show exactly what would leave this machine, and what would be taken out
    Preview(Preview),
    /// Answer whether a report may be sent, now or for a program from now on
    Consent(Consent),
    /// Write something about a report: it leaves with it, or at once where the report was sent already
    Comment(Comment),
    /// Send what was agreed to; on a terminal, ask about the rest
    ///
    /// A terminal shows how far a large report has come. How reports travel is set in [Upload] of /etc/foretrace.conf: Url=
    /// and Protocol=, Rate= (bytes a second at most, all reports together), Certificates= (a file with further authorities
    /// to trust), Metered=. Proxies are taken from HTTPS_PROXY and NO_PROXY. What does not arrive is tried again by a later
    /// run; `foretrace status` says when, and why it did not.
    Send(Send),
    /// Ask on the desktop about reports that wait for an answer; started with the session
    Agent(Agent),
    /// Erase a report here, and its copy at the server
    Forget(Forget),
    /// Make or show the key that your reports are encrypted to, where the settings ask for that
    Key(Key),
    /// Make a report of a running process, which goes on undisturbed
    Snapshot(Snapshot),
    /// Make a report from a core file
    Import(Import),
    /// Remove what is older or larger than the settings allow
    Vacuum,
    /// Say how many reports there are, where they go, and whether crashes are caught
    Status(Status),
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print a shell's completions
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `list`.
#[derive(Args, Debug, Default)]
pub struct List {
    /// Only these: a PID, a command name, an executable's path, or FIELD=VALUE
    ///
    /// Fields: id, pid, program, exe, signal, kind, package, signature, uid, and coredumpctl's COREDUMP_PID,
    /// COREDUMP_COMM, COREDUMP_EXE, COREDUMP_SIGNAL, COREDUMP_SIGNAL_NAME, COREDUMP_UID. Matches of the same field are
    /// alternatives; different fields must all fit.
    #[arg(value_name = "MATCH")]
    pub matches: Vec<String>,
    /// At most this many
    #[arg(short = 'n', value_name = "N")]
    pub number: Option<usize>,
    /// Only newer than this: a time, a date, `today`, `yesterday`, or a span ago such as 2h
    #[arg(short = 'S', long, value_name = "TIME")]
    pub since: Option<String>,
}

/// Arguments of `info`.
#[derive(Args, Debug)]
pub struct Info {
    /// The report
    pub id: String,
}

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct Trace {
    /// The report
    pub id: String,
    /// How
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<TraceFormat>,
    /// Where to, instead of the standard output; for ctf, a new directory
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Only the end, such as 5s or 200ms
    #[arg(long, value_name = "SPAN")]
    pub last: Option<String>,
}

/// A form of the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// A line for each event
    Text,
    /// A JSON object a line for each event
    Json,
    /// A directory that babeltrace2 and Trace Compass open
    Ctf,
}

/// Arguments of `dump`.
#[derive(Args, Debug)]
pub struct Dump {
    /// The report
    pub id: String,
    /// Only this part, as `info` lists them; `core` is the whole core, unpacked
    #[arg(long, value_name = "NAME")]
    pub part: Option<String>,
    /// Where to, instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `debug`.
#[derive(Args, Debug)]
pub struct Debug {
    /// The report
    pub id: String,
    /// The debugger to use (also: FORETRACE_DEBUGGER)
    #[arg(long, value_name = "PROGRAM")]
    pub debugger: Option<String>,
}

/// Arguments of `symbols`.
#[derive(Args, Debug)]
pub struct Symbols {
    /// The report
    pub id: String,
    /// Ask the servers without a question before
    #[arg(long)]
    pub ask: bool,
}

/// Which classes of data are meant.
#[derive(Args, Debug, Default)]
pub struct Grant {
    /// This preset: summary, stack, trail, logs, memory or everything; each holds the narrower ones
    #[arg(long, value_name = "NAME", conflicts_with = "only")]
    pub grant: Option<Preset>,
    /// Exactly these classes, separated by commas
    #[arg(long, value_name = "CLASSES")]
    pub only: Option<ClassSet>,
}

/// Arguments of `preview`.
#[derive(Args, Debug)]
pub struct Preview {
    /// The report
    pub id: String,
    #[command(flatten)]
    pub grant: Grant,
    /// Write the bytes here
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `consent`.
#[derive(Args, Debug)]
pub struct Consent {
    /// The report
    #[arg(conflicts_with_all = ["program", "set", "max"])]
    pub id: Option<String>,
    #[command(flatten)]
    pub grant: Grant,
    /// Do not send it
    #[arg(long, conflicts_with_all = ["grant", "only", "revoke"])]
    pub deny: bool,
    /// Take an answer back
    #[arg(long, conflicts_with_all = ["grant", "only"])]
    pub revoke: bool,
    /// The program that a standing answer is for, by its command name
    #[arg(long, value_name = "NAME", requires = "set", conflicts_with_all = ["grant", "only", "deny", "revoke"])]
    pub program: Option<String>,
    /// The standing answer: ask, never or always
    #[arg(long, value_name = "ANSWER", requires = "program")]
    pub set: Option<Standing>,
    /// The widest class that `--set always` sends
    #[arg(long, value_name = "CLASS", requires = "set")]
    pub max: Option<Class>,
}

/// Arguments of `comment`.
#[derive(Args, Debug)]
pub struct Comment {
    /// The report
    pub id: String,
    /// What you want to say about it, sent as you write it; without it, what was written is shown
    #[arg(value_name = "TEXT", conflicts_with = "remove")]
    pub text: Option<String>,
    /// Take the comment back
    #[arg(long)]
    pub remove: bool,
}

/// Arguments of `send`.
#[derive(Args, Debug)]
pub struct Send {
    /// The reports
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Every report
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Now, whatever the time of the next attempt
    #[arg(long)]
    pub now: bool,
}

/// Arguments of `agent`.
#[derive(Args, Debug)]
pub struct Agent {
    /// Only about what waits now, then end
    #[arg(long)]
    pub once: bool,
}

/// Arguments of `forget`.
#[derive(Args, Debug)]
pub struct Forget {
    /// The reports
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Erase here alone, without asking the server that has a copy to erase it too
    #[arg(long)]
    pub here: bool,
}

/// Arguments of `key`.
#[derive(Args, Debug)]
pub struct Key {
    /// Make a key, and encrypt the reports that lie here in plain; a key that is there stays
    #[arg(long)]
    pub create: bool,
    /// Ask at the terminal for a passphrase that locks the key from now on; an empty one unlocks it for good
    #[arg(long)]
    pub passphrase: bool,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Only a line for a login shell, where reports wait for an answer; never fails
    #[arg(long)]
    pub login: bool,
}

/// Arguments of `snapshot`.
#[derive(Args, Debug)]
pub struct Snapshot {
    /// The process
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// Why, in a few words; kept in the report
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `import`.
#[derive(Args, Debug)]
pub struct Import {
    /// The core file
    pub core: PathBuf,
    /// The executable, where it no longer lies where the core says
    #[arg(long, value_name = "FILE")]
    pub exe: Option<PathBuf>,
}
