//! The attacks that broke core-dump handlers before, made against this one on the real kernel.
//!
//! Each theme is a file, each test's name the rule that the attack teaches. The users are numbers without accounts.

mod links;
mod names;
mod own_crash;
mod owners;
mod privileges;
mod roots;
mod slots;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::{Finished, run_with_input};
use foretrace_tests::world::{World, built_programs};

/// A person whose programs crash.
const USER: u32 = 30_001;
/// Another one, who is curious.
const OTHER: u32 = 30_002;

/// How long any command may take, whatever was put in its way.
const PATIENCE: Duration = Duration::from_secs(8);

/// A copy of the victim `name`, which everybody may run, under a name of the test's choice.
fn victim(world: &World, name: &str, copy: impl AsRef<Path>) -> Result<PathBuf> {
    let copy = world.root().with_file_name("work").join(copy);
    let built = built_programs()?.join(name);
    fs::copy(&built, &copy).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// A command that `uid` runs.
fn as_user(program: impl AsRef<OsStr>, uid: u32) -> Command {
    let mut command = Command::new(program);
    command.uid(uid).gid(uid);
    command
}

/// Runs `command`, whatever its end, but not for long.
fn briefly(command: &mut Command) -> Result<Finished> {
    run_with_input(command, b"", PATIENCE)
}

/// Where reports lie.
fn reports(world: &World) -> PathBuf {
    world.root().join("var/lib/foretrace/reports")
}

/// Whose a report is, by its place; that its files say the same and admit nobody else is checked.
fn owner_of(world: &World, id: &str) -> Result<u32> {
    for shelf in fs::read_dir(reports(world))? {
        let shelf = shelf?;
        let report = shelf.path().join(id);
        if !report.exists() {
            continue;
        }
        let owner: u32 = shelf.file_name().to_string_lossy().parse()?;
        for (path, mode) in
            [(shelf.path(), 0o40700), (report.clone(), 0o40700), (report.join("bundle.zip"), 0o100600)]
        {
            let found = fs::symlink_metadata(&path)?;
            ensure!(found.uid() == owner, "{} belongs to {}", path.display(), found.uid());
            ensure!(found.mode() == mode, "{} has the mode {:o}", path.display(), found.mode());
        }
        return Ok(owner);
    }
    anyhow::bail!("{id} is nobody's")
}

/// That `uid` cannot see a report by any way that its owner has.
fn is_hidden_from(world: &World, id: &str, uid: u32) -> Result<()> {
    let shelf = reports(world).join(owner_of(world, id)?.to_string());
    for (program, path) in [
        ("cat", shelf.join(id).join("bundle.zip")),
        ("ls", shelf.join(id)),
        ("ls", shelf),
        ("ls", reports(world)),
    ] {
        let tried = briefly(as_user(program, uid).arg(&path))?;
        ensure!(!tried.status.success(), "user {uid} may {program} {}: {tried}", path.display());
    }
    let mut list = world.foretrace();
    let listed = briefly(list.args(["list", "--json"]).uid(uid).gid(uid))?;
    ensure!(!listed.text().contains(id), "user {uid} is shown {id}: {listed}");
    for command in ["info", "dump", "trace"] {
        let mut ask = world.foretrace();
        let answered = briefly(ask.args([command, id]).uid(uid).gid(uid))?;
        ensure!(answered.status.code() == Some(1), "{command} for user {uid}: {answered}");
    }
    Ok(())
}

/// Opens the pidfd of a process, and becomes the program that is given its number.
const WITH_PIDFD: &str = "import os, sys
pidfd = os.pidfd_open(int(sys.argv[1]))
os.set_inheritable(pidfd, True)
os.execv(sys.argv[2], [*sys.argv[2:], str(pidfd)])";

/// Starts the handler as the kernel would, for `pid`, with the kernel's `dumpable`.
fn handler(world: &World, pid: u32, uid: u32, dumpable: u32) -> Command {
    let mut handler = Command::new("/usr/bin/python3");
    handler.args(["-c", WITH_PIDFD, &pid.to_string()]).arg(world.program("foretrace-coredump"));
    let (uid, now) = (uid.to_string(), std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH));
    let now = now.map_or(0, |now| now.as_secs());
    handler.arg("--root").arg(world.root()).args([&pid.to_string(), &uid, &uid, "11", &now.to_string(), "0"]);
    handler.args(["host", &dumpable.to_string()]);
    handler
}

/// A process that lives until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start(uid: u32) -> Result<Self> {
        let mut sleep = as_user("sleep", uid);
        Ok(Sleeper(sleep.arg("60").stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
