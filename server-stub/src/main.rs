//! foretrace-server: takes reports, groups them by signature, shows backtrace and timeline.
//!
//! Arguments in, exit code out. Owns nothing but the order of starting and stopping.
#![forbid(unsafe_code)]

mod api;
mod comment;
mod intake;
mod pages;
mod question;
mod reading;
mod service;
mod store;
mod submission;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use foretrace_report::Class;

/// Takes crash reports and shows them: a page for each problem and each report.
///
/// Pages need no password. Listen on a loopback address, or behind a proxy that decides who may read.
#[derive(Parser)]
#[command(
    name = "foretrace-server",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8642")]
    listen: String,

    /// Directory that holds the reports; made if it is not there
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,

    /// Largest body of a report, unpacked: bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    max_body: usize,

    /// Seconds that a request's head may take, and that a connection may stand idle
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,

    /// Connections at the same time; the next ones wait
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Say what is known of a problem: senders are told before they send; works beside a running server
    Mark(MarkArguments),
}

#[derive(Args)]
struct MarkArguments {
    /// Directory that holds the reports
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The problem's signature, as its page shows it
    #[arg(long, value_name = "TEXT")]
    signature: String,

    /// The version in which it is mended; empty to take that back
    #[arg(long, value_name = "VERSION")]
    fixed_in: Option<String>,

    /// The widest class that is wanted of further reports, `all`, or `stop` for none
    #[arg(long, value_name = "CLASS", value_parser = parse_wants)]
    want: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            service::log(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(Command::Mark(mark)) = &arguments.command {
        return self::mark(mark);
    }
    let data = arguments.data.as_deref().context("name the directory of reports: --data DIR")?;
    let store =
        store::Store::open(data).with_context(|| format!("cannot use {} for reports", data.display()))?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&arguments.listen).await.with_context(|| {
            format!("cannot listen on {}; is the address in use? (--listen ADDR)", arguments.listen)
        })?;
        let address = listener.local_addr().context("cannot learn the own address")?;
        let site = Arc::new(service::Site::new(store, address, arguments.max_body));
        let limits = service::Limits {
            idle: Duration::from_secs(arguments.idle),
            connections: arguments.connections as usize,
        };
        announce(&format!("listening on http://{address}"));
        service::serve(listener, site, limits).await
    })
}

fn mark(arguments: &MarkArguments) -> anyhow::Result<()> {
    let path = arguments.data.join("reports.sqlite");
    anyhow::ensure!(path.exists(), "{} holds no reports: is --data right?", arguments.data.display());
    let reports = store::Reports::open(path).context("cannot use the database of reports")?;
    let key = submission::key_of(&arguments.signature);
    let mut mark = reports.mark(&key).context("cannot read the database of reports")?;
    if let Some(version) = &arguments.fixed_in {
        mark.fixed_in.clone_from(version);
    }
    if let Some(wants) = &arguments.want {
        mark.wants.clone_from(wants);
    }
    reports.set_mark(&key, &mark).context("cannot write the database of reports")?;
    let wants = if mark.wants.is_empty() { "all" } else { &mark.wants };
    let fixed = if mark.fixed_in.is_empty() { "no version yet" } else { &mark.fixed_in };
    announce(&format!("problem {key}: fixed in {fixed}; wanted: {wants}"));
    Ok(())
}

fn parse_wants(text: &str) -> Result<String, String> {
    match text {
        "all" => Ok(String::new()),
        "stop" => Ok(text.to_owned()),
        class => class
            .parse::<Class>()
            .map(|class| class.name().to_owned())
            .map_err(|error| format!("{error}; or all, or stop")),
    }
}

// Whoever started the server may have closed the other end; that is no reason to die.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("use bytes, or a number with one of K, M and G".into()),
    };
    let size = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|size| *size > 0).ok_or_else(|| "use bytes, or a number with one of K, M and G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_at_most_one_unit() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("100"), Ok(100));
        for wrong in ["", "0", "M", "1MK", "-1", "99999999999999999999", "17179869184G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
