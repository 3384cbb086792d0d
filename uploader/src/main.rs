//! `foretrace`: the command with which a person reads, answers and sends reports.
//!
//! Arguments in, exit code out; everything else is in the modules below [`run`].
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod context;
mod filter;
mod moment;
mod output;
mod passphrase;
mod sentence;
mod state;
mod symbols;
mod timeline;
mod words;

mod agent;
mod asking;
mod comment;
mod consent;
mod delivery;
mod network;
mod outgoing;
mod policy;
mod prompt;
mod protocol;
mod pseudonym;
mod receipt;
mod redact;
mod send;
mod transport;
mod whole_core;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::arguments::{Arguments, Command, List};
use crate::context::Context;

fn main() -> ExitCode {
    output::exit_code(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let context = Context::new(arguments.root, arguments.json);
    let command = arguments.command.unwrap_or_else(|| Command::List(List::default()));
    // Nobody is to be held up at login, nor at a terminal from which the agent happens to have been started.
    let context = match &command {
        Command::Agent(_) | Command::Status(_) => context,
        _ => context.asking_for_passphrases(),
    };
    match command {
        Command::List(list) => commands::list::run(&context, &list),
        Command::Info(info) => commands::info::run(&context, &info),
        Command::Trace(trace) => commands::trace::run(&context, &trace),
        Command::Dump(dump) => commands::dump::run(&context, &dump),
        Command::Debug(debug) => commands::debug::run(&context, &debug),
        Command::Symbols(symbols) => commands::symbols::run(&context, &symbols),
        Command::Preview(preview) => outgoing::preview(&context, &preview),
        Command::Consent(consent) => consent::run(&context, &consent),
        Command::Comment(comment) => comment::run(&context, &comment),
        Command::Send(send) => send::run(&context, &send),
        Command::Agent(agent) => agent::run(&context, &agent),
        Command::Forget(forget) => commands::forget::run(&context, &forget),
        Command::Key(key) => commands::key::run(&context, &key),
        Command::Snapshot(snapshot) => commands::capture::snapshot(&context, &snapshot),
        Command::Import(import) => commands::capture::import(&context, &import),
        Command::Vacuum => commands::vacuum::run(&context),
        Command::Status(status) => commands::status::run(&context, &status),
        Command::Man => commands::manual::man(),
        Command::Completions { shell } => commands::manual::completions(shell),
    }
}
