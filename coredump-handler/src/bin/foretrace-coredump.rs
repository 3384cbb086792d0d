//! `foretrace-coredump`: what the kernel runs when a process crashes, and the commands that make it so.
//!
//! Arguments in, exit code out. The kernel ignores the code and nobody sees a terminal, so what goes wrong while a
//! crash is handled is said in the kernel's log.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use foretrace_capture::follow;
use foretrace_capture::handler::{self, Crash};
use foretrace_capture::install::{Installation, Mode};
use foretrace_capture::journal;
use foretrace_report::text::escape;
use foretrace_store::Places;

/// Makes reports of crashes: the kernel's core-dump handler.
#[derive(Parser)]
#[command(name = "foretrace-coredump", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Keep settings, state and run-time files below this directory.
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Make the kernel give crashes to this program.
    Install {
        /// How the kernel reaches it; without this the best that is offered: the socket where `serve` answers it,
        /// else the pipe.
        #[arg(long, value_name = "MODE")]
        mode: Option<Mode>,
        /// Hand each core on to the handler that is there now, after the report is complete.
        #[arg(long)]
        chain: bool,
    },
    /// Put back what was there before, where nobody else has changed it.
    Uninstall,
    /// Answer the coredump socket, for `install --mode socket`. Ends by SIGTERM; the pipe stands in then.
    Serve,
    /// Make reports of what systemd-coredump keeps, where that stays the kernel's handler. Goes on until it is ended.
    Follow {
        /// Make reports of what is there and has none yet, and end.
        #[arg(long)]
        once: bool,
        /// Where systemd-coredump keeps its cores [default: /var/lib/systemd/coredump]
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Say whether crashes become reports, and what keeps them from it.
    Status {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if Crash::is_meant(&arguments) {
        let made = match Crash::parse(&arguments) {
            Ok(crash) => handler::respond_to_pipe(&crash),
            Err(error) => {
                journal::log(&error.to_string());
                eprintln!("foretrace-coredump: {error}");
                false
            }
        };
        return if made { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("foretrace-coredump: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = arguments.root.clone().or_else(|| std::env::var_os("FORETRACE_ROOT").map(PathBuf::from));
    let root = std::path::absolute(root.unwrap_or("/".into())).context("the root directory")?;
    let places = Places::system(&root);
    let program = std::env::current_exe().context("this program's own path")?;
    let installation = Installation::new(&places, &program);
    match &arguments.command {
        Command::Follow { once, directory } => {
            let directory = directory.clone().unwrap_or_else(|| root.join(follow::ENTRIES));
            follow::follow(&places, &directory, *once)?;
        }
        Command::Install { mode, chain } => {
            let mode = mode.unwrap_or_else(|| installation.best());
            let written = installation.install(mode, *chain).context("the handler was not installed")?;
            println!("kernel.core_pattern = {}", escape(&written.core_pattern));
            println!("kernel.core_pipe_limit = {}", written.core_pipe_limit);
            println!("fs.suid_dumpable = {}", written.suid_dumpable);
            println!(
                "Crashes become reports from now on, through the {}; `foretrace list` shows them.",
                mode.name()
            );
        }
        Command::Serve => handler::serve(&places, &installation)?,
        Command::Uninstall => {
            let removed = installation.uninstall().context("the handler was not removed")?;
            removed.restored.iter().for_each(|setting| println!("{}", escape(setting)));
            removed
                .left
                .iter()
                .for_each(|setting| println!("{} was left: somebody else has set it", escape(setting)));
            if removed.restored.is_empty() && removed.left.is_empty() {
                println!("The handler was not installed; nothing was changed.");
            }
        }
        Command::Status { json } => {
            let status = installation.status().context("the kernel's settings could not be read")?;
            if *json {
                println!("{}", serde_json::to_string(&status)?);
            } else {
                match status.mode {
                    Some(mode) => println!("installed, through the {}", mode.name()),
                    None => println!("not installed"),
                }
                println!("kernel.core_pattern = {}", escape(&status.settings.core_pattern));
                println!("kernel.core_pipe_limit = {}", escape(&status.settings.core_pipe_limit));
                println!("fs.suid_dumpable = {}", escape(&status.settings.suid_dumpable));
                let answered = if status.answered { "answered" } else { "not answered" };
                println!("{}: {answered}", escape(&installation.socket().display().to_string()));
                status.problems.iter().for_each(|problem| println!("{problem}"));
            }
            return Ok(if status.installed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}
