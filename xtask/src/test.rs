//! `cargo xtask test`: everything that must hold, from formatting to the real kernel.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::build::{self, cargo, say};
use crate::setup;

/// Run every test, or only the kernel tests that match.
#[derive(Args)]
pub struct Options {
    /// Run only the tests on the real kernel whose name contains this
    filter: Option<String>,
}

/// Installs, builds, tests.
///
/// # Errors
/// Anything that does not pass.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the tests set the kernel's core_pattern and need root; without it run: cargo test --workspace --exclude foretrace-tests"
    );
    let began = Instant::now();
    setup::install_missing(&[setup::TO_BUILD, setup::TO_TEST])?;
    if options.filter.is_none() {
        say("formatting and lints");
        cargo(["fmt", "--all", "--check"])?;
        cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    }
    build::programs()?;
    build::test_victims()?;
    if options.filter.is_none() {
        say("unit and component tests");
        cargo(["test", "--workspace", "--exclude", "foretrace-tests", "--no-fail-fast"])?;
    }
    say("the whole path on the real kernel");
    let mut arguments =
        vec!["test", "--package", "foretrace-tests", "--no-fail-fast", "--", "--test-threads=2"];
    arguments.extend(options.filter.as_deref());
    cargo(arguments)?;
    say(&format!("all passed in {} s", began.elapsed().as_secs()));
    Ok(())
}
