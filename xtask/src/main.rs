//! `cargo xtask`: the developer's commands. Each is a file; this one only reads the arguments.

mod bench;
mod build;
mod check;
mod demo;
mod interrupt;
mod pending;
mod qemu;
mod setup;
mod soak;
mod systemd;
mod test;

use clap::{Parser, Subcommand};

/// Build, try, test and measure foretrace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Crash a sample application, answer the prompt, look at the page; then put the machine back
    Demo(demo::Options),
    /// Install what is missing, then run every test, on the real kernel
    Test(test::Options),
    /// Measure, beside the limit and the peers
    Bench(bench::Options),
    /// Prove for minutes what happens once in a million
    Soak(soak::Options),
    /// Crash victims under Debian's own kernel, in an emulated machine
    Qemu(qemu::Options),
    /// Prove with tools of their own: loom, Miri, libFuzzer
    Check(check::Options),
}

fn main() -> anyhow::Result<()> {
    interrupt::watch()?;
    match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Qemu(options) => qemu::run(&options),
        Command::Check(options) => check::run(&options),
    }
}
