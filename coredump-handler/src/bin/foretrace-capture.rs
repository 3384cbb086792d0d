//! Reports of errors, panics, live processes and core files: what applications and `foretrace` run.

use std::process::ExitCode;

use clap::Parser;
use foretrace_capture::capture::{Arguments, run};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foretrace-capture: {error:#}");
            ExitCode::FAILURE
        }
    }
}
