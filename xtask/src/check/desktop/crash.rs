//! A regular user's program crashes, and the session's agent asks about it: the kernel starts the handler, the handler knocks
//! at the user's socket, what holds the socket starts the agent, the agent asks, the person chooses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::server::Server;
use foretrace_tests::world::{Installed, World};
use serde_json::Value;

use super::session::{Desktop, Running};
use super::{PATIENCE, SETTLED, one_arrives};
use crate::build::say;

const USER: u32 = 1234;

/// Crashes a program, has the question's picture taken, and answers it.
///
/// # Errors
/// Whatever does not happen by itself, or happens too soon.
pub fn ask_after_one(picture: &Path) -> Result<()> {
    let world = Installed::new()?;
    let server = Server::start(&world.program("foretrace-server"), "127.0.0.1:0", &world.work("server"))?;
    world.configure(&format!("[Upload]\nUrl={}/reports\n", server.address))?;
    let desktop = Desktop::start(&world.work("home"), "Send", Some(USER))?;
    let _activator = activator(&world, &desktop)?;
    thread::sleep(SETTLED);
    desktop.wait_for_questions(0)?;

    say("a program of a user's crashes");
    let id = world.crash(Command::new("/bin/sh").args(["-c", "kill -SEGV $$"]).uid(USER).gid(USER))?;
    desktop.wait_for_questions(1)?;
    thread::sleep(SETTLED);
    desktop.picture(picture)?;
    let row = row(&world, &id)?;
    ensure!(row["consent"] == "none" && row["delivery"] == "none", "before any answer: {row}");
    ensure!(server.stored_reports()? == 0, "a question alone sent something");

    say("'Send' in the daemon's menu");
    desktop.choose()?;
    one_arrives(&server)?;
    let began = Instant::now();
    loop {
        let row = self::row(&world, &id)?;
        if row["delivery"] == "sent" {
            ensure!(row["consent"] == "granted", "{row}");
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "the server has it, and the report's state is {row}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// What a service manager does for the user's socket unit.
fn activator(world: &World, desktop: &Desktop) -> Result<Running> {
    let runtime = format!("/run/user/{USER}");
    let folder = world.root().join(&runtime[1..]);
    fs::create_dir_all(&folder)?;
    chown(&folder, Some(USER), Some(USER))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    let socket = folder.join("foretrace-agent.sock");
    let mut command = desktop.command(Path::new("systemd-socket-activate"));
    command.arg("--listen").arg(&socket);
    for passed in ["DBUS_SESSION_BUS_ADDRESS", "HOME"] {
        command.args(["-E", passed]);
    }
    command.args(["-E", &format!("XDG_RUNTIME_DIR={runtime}"), "-E", "LC_ALL=C.UTF-8"]);
    command.arg(world.program("foretrace")).arg("--root").arg(world.root()).arg("agent");
    let activator = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let began = Instant::now();
    while !socket.exists() {
        ensure!(began.elapsed() < PATIENCE, "systemd-socket-activate makes no socket");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(activator)
}

fn row(world: &World, id: &str) -> Result<Value> {
    world.list()?.into_iter().find(|row| row["id"] == id).context("the report is not listed")
}
