//! `cargo xtask demo`: the whole path once, on this machine: a sample application crashes under the real kernel, a
//! person answers, a server shows the page. Puts every setting back, however it ends.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use foretrace_tests::command;
use foretrace_tests::server::Server;
use foretrace_tests::world::{Installed, World};

use crate::build::{self, run as run_on_terminal, say};
use crate::{interrupt, setup};

/// Show the whole path.
#[derive(Args)]
pub struct Options {
    /// Answer the prompt with yes
    #[arg(long)]
    yes: bool,
    /// Exit when the page is there, instead of serving it until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Where the server listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

/// Runs the demo.
///
/// # Errors
/// A step that fails; the machine's settings are back by then.
pub fn run(options: &Options) -> Result<()> {
    let root = nix::unistd::geteuid().is_root();
    if root {
        setup::install_missing(&[setup::TO_BUILD])?;
    }
    let programs = build::programs()?;
    if root { crash(options, &programs) } else { report_error(options, &programs) }
}

fn crash(options: &Options, programs: &Path) -> Result<()> {
    let world = Installed::new()?;
    say(&format!(
        "the handler is installed in this kernel; core_pattern was '{}' and comes back at the end",
        world.kernel().saved_core_pattern()
    ));
    say("a shop's till opens, sells, and dereferences a null pointer at its fourteenth customer");
    let id = world.crash(&mut Command::new(programs.join("till")))?;
    answer_and_show(options, &world, &id)
}

fn report_error(options: &Options, programs: &Path) -> Result<()> {
    let world = World::new()?;
    say(
        "without root there is no core_pattern handler: this shows an error that the application reports itself; left out: the crash, its core notes, the system's store",
    );
    let mut till = Command::new(programs.join("till"));
    till.arg("--error")
        .env("FORETRACE_CAPTURE", world.program("foretrace-capture"))
        .env("FORETRACE_ROOT", world.root());
    let ended = command::run(&mut till)?;
    ensure!(ended.status.success(), "the till did not go on after its error: {ended}");
    let id = world.wait_for_report()?;
    answer_and_show(options, &world, &id)
}

fn answer_and_show(options: &Options, world: &World, id: &str) -> Result<()> {
    let server = Server::start(&world.program("foretrace-server"), &options.listen, &world.work("server"))?;
    world.configure(&format!("[Upload]\nUrl={}/reports\n", server.address))?;
    say("the report, as `foretrace info` tells it:");
    run_on_terminal(world.foretrace().args(["info", id]))?;
    if options.yes {
        say("yes: foretrace consent --grant trail");
        run_on_terminal(world.foretrace().args(["consent", id, "--grant", "trail"]))?;
    }
    say("foretrace send");
    run_on_terminal(world.foretrace().args(["send", id]))?;
    if !is_sent(world, id)? {
        say("nothing was sent: that was the answer");
        return Ok(());
    }
    let page = format!("{}/report/{id}", server.address);
    say(&format!("the developer's page: {page}"));
    println!("{page}");
    if options.once {
        return Ok(());
    }
    say("serving it until Ctrl-C");
    while !interrupt::requested() {
        thread::sleep(Duration::from_millis(100));
    }
    say("putting the machine back");
    Ok(())
}

fn is_sent(world: &World, id: &str) -> Result<bool> {
    let rows = world.list()?;
    let row = rows.iter().find(|row| row["id"] == id).context("the report is gone from the list")?;
    match row["delivery"].as_str() {
        Some("sent") => Ok(true),
        Some("refused") => bail!("the server refused the report: {row}"),
        _ => Ok(false),
    }
}
