//! foretrace-server: takes reports, groups them by signature, shows backtrace and timeline.
//!
//! Arguments in, exit code out. Owns nothing but the order of starting and stopping.
#![forbid(unsafe_code)]

mod api;
mod intake;
mod pages;
mod reading;
mod service;
mod store;
mod submission;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

/// Takes crash reports and shows them: a page for each problem and each report.
///
/// Pages need no password. Listen on a loopback address, or behind a proxy that decides who may read.
#[derive(Parser)]
#[command(name = "foretrace-server", version)]
struct Arguments {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8642")]
    listen: String,

    /// Directory that holds the reports; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Largest body of a report, unpacked: bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    max_body: usize,
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
    let store = store::Store::open(&arguments.data)
        .with_context(|| format!("cannot use {} for reports", arguments.data.display()))?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&arguments.listen).await.with_context(|| {
            format!("cannot listen on {}; is the address in use? (--listen ADDR)", arguments.listen)
        })?;
        let address = listener.local_addr().context("cannot learn the own address")?;
        let site = Arc::new(service::Site::new(store, address, arguments.max_body));
        announce(&format!("listening on http://{address}"));
        service::serve(listener, site).await
    })
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
