//! Crashes in containers of real engines: the report names the engine and the container, has both sides' numbers, and its
//! functions.
//!
//! podman runs on runc, which also takes machines whose control groups are of both kinds. What an engine cannot do here
//! is said, and fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_report::Report;
use foretrace_tests::command::run as run_command;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, World};

use crate::build::{self, say};

const NAME: &str = "foretrace-check";
const PROGRAM: &str = "/usr/bin/shop";

/// Crashes a program in a container of each engine.
///
/// # Errors
/// An engine that does not run here, or a report that is not what it should be.
pub fn run() -> Result<()> {
    let programs = build::programs_and_victims()?;
    let world = Installed::new()?;
    let room = room(&world, &programs)?;

    say("systemd-nspawn");
    let mut nspawn = Command::new("systemd-nspawn");
    nspawn.args(["--quiet", "--as-pid2", "--register=no", "--keep-unit", "--machine", NAME]);
    nspawn.args(["--uuid", "0123456789abcdef0123456789abcdef", "-D"]).arg(&room).arg(PROGRAM);
    let report = crash(&world, &mut nspawn)?;
    is_told(&report, "nspawn", Some("01234567-89ab-cdef-0123-456789abcdef"))?;

    say("podman");
    let identity = world.work("identity");
    let mut podman = Command::new("podman");
    podman.args(["--runtime", "runc", "run", "--rm", "--network", "none", "--name", NAME]);
    // Not every machine lets root raise limits.
    podman.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--cidfile"]);
    let report = crash(&world, podman.arg(&identity).arg("--rootfs").arg(&room).arg(PROGRAM))?;
    is_told(&report, "podman", Some(&fs::read_to_string(identity)?))
}

// A root directory with one static program.
fn room(world: &World, programs: &Path) -> Result<PathBuf> {
    let room = world.work("room");
    for folder in ["usr/bin", "etc", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(room.join(folder))?;
    }
    fs::write(room.join("etc/os-release"), "ID=check\nPRETTY_NAME=\"Container Linux 7\"\n")?;
    fs::copy(programs.join("bare"), room.join(Path::new(PROGRAM).strip_prefix("/")?))?;
    Ok(room)
}

fn crash(world: &Installed, engine: &mut Command) -> Result<Report> {
    let known = world.ids()?;
    let ended = run_command(engine)?;
    let id = world.wait_for_new_report(&known).with_context(|| format!("the engine said: {ended}"))?;
    Ok(Evidence::open(world, &id)?.report)
}

fn is_told(report: &Report, engine: &str, id: Option<&str>) -> Result<()> {
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    let around = report.surroundings.as_ref().context("nothing surrounded it")?;
    let container = around.container.as_ref().context("no container")?;
    ensure!((container.engine.as_str(), container.id.as_deref()) == (engine, id), "{container:?}");
    ensure!(container.os.as_deref() == Some("Container Linux 7"), "{container:?}");
    ensure!(around.inner_pid.is_some_and(|inner| inner < 10), "{around:?}");
    let crashed = report.threads.first().context("no thread")?;
    ensure!(crashed.tid == report.program.pid, "{crashed:?} of {}", report.program.pid);
    ensure!(crashed.inner_tid == around.inner_pid.and_then(|inner| inner.try_into().ok()), "{crashed:?}");
    let function = crashed.frames.first().and_then(|frame| frame.function.as_deref());
    ensure!(function == Some("main"), "{crashed:?}");
    Ok(())
}
