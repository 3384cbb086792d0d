//! `cargo xtask bench`: every figure that docs/benchmarks.md states. Ratios within one run; medians with spread.

mod handler;
mod recorder;
mod table;
mod uploader;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Measure.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// The cost of an event, against the limit: reading the clock and storing 24 bytes
    Recorder(recorder::Options),
    /// Pending reports to a server on this machine, beside curl; memory while one of 1 GiB is sent
    Uploader(uploader::Options),
    /// From the fault to the report and to the end of the process, against SIGKILL
    Handler(handler::Options),
}

/// Runs a benchmark.
///
/// # Errors
/// A build or a measurement that fails.
pub fn run(options: &Options) -> Result<()> {
    let rows = match &options.what {
        What::Recorder(options) => recorder::measure(options)?,
        What::Uploader(options) => uploader::measure(options)?,
        What::Handler(options) => handler::measure(options)?,
    };
    table::print(&rows, options.json)
}
