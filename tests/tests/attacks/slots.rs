//! Crashes that each try to hold the handler for ever: others still get their reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::{Installed, built_programs};
use nix::mount::{MntFlags, umount2};

use super::{OTHER, USER, as_user, victim};

const CRASHES: u64 = 16;
/// As many handlers as the attacker has crashes: without a share for each user, no one else would get one.
const PIPE_LIMIT: u32 = 16;

/// A file system that does not answer, until it is dropped.
struct Mute {
    daemon: Child,
    mountpoint: PathBuf,
}

impl Mute {
    fn mount(world: &Installed) -> Result<Self> {
        let mountpoint = world.work("mute");
        fs::create_dir(&mountpoint)?;
        let daemon = Command::new(built_programs()?.join("mute-fs"))
            .args(["-f", "-o", "allow_other"])
            .arg(&mountpoint)
            .spawn()?;
        let mute = Mute { daemon, mountpoint };
        let began = Instant::now();
        while !mute.file().exists() {
            ensure!(began.elapsed() < Duration::from_secs(5), "mute-fs did not mount");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(mute)
    }

    fn file(&self) -> PathBuf {
        self.mountpoint.join("stack")
    }

    /// The same under the name that a ring has.
    fn ring(&self) -> PathBuf {
        self.mountpoint.join("memfd:foretrace.v1")
    }

    /// Takes it out of everybody's list of mounts; who has it open still waits for it.
    fn hide(&self) -> Result<()> {
        Ok(umount2(&self.mountpoint, MntFlags::MNT_DETACH)?)
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _ = umount2(&self.mountpoint, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        // Its end is the end of its connection, and of everybody's waiting.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Crashes when its standard input ends.
fn armed(program: &Path, file: &Path) -> Result<Child> {
    mapping(as_user(program, USER).arg(file).arg("wait"), "/stack")
}

/// Waits until what it started has mapped a file of this name.
fn mapping(command: &mut Command, name: &str) -> Result<Child> {
    let child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let began = Instant::now();
    loop {
        let maps = fs::read_to_string(format!("/proc/{}/maps", child.id()))?;
        if maps.contains(name) {
            return Ok(child);
        }
        ensure!(began.elapsed() < Duration::from_secs(5), "the victim does not map {name}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn crashes_that_hold_their_handlers_keep_no_other_from_its_report() -> Result<()> {
    let world = Installed::new()?;
    world.kernel().set_core_pipe_limit(PIPE_LIMIT)?;
    let bare = victim(&world, "bare", "bare")?;
    let program = victim(&world, "mute-stack", "mute-stack")?;
    let mute = Mute::mount(&world)?;
    let mut holders = (0..CRASHES).map(|_| armed(&program, &mute.file())).collect::<Result<Vec<Child>>>()?;
    mute.hide()?;
    let began = Instant::now();
    holders.iter_mut().for_each(|holder| drop(holder.stdin.take()));
    thread::sleep(Duration::from_millis(100));
    let others = as_user(&bare, OTHER).spawn()?.wait()?;
    ensure!(!others.success(), "the other program did not crash");
    let report = loop {
        if let Some(row) = world.list()?.into_iter().find(|row| row["program"] == "bare") {
            break row;
        }
        ensure!(began.elapsed() < Duration::from_secs(3), "the other program has no report");
        thread::sleep(Duration::from_millis(20));
    };
    let report = world.info(report["id"].as_str().context("a row without an id")?)?;
    ensure!(!report["problems"].to_string().contains("tried again"), "{report}");
    ensure!(report["threads"][0]["frames"][0]["function"] == "main", "{report}");
    for holder in &mut holders {
        while holder.try_wait()?.is_none() {
            ensure!(began.elapsed() < Duration::from_secs(10), "a slot is still held");
            thread::sleep(Duration::from_millis(10));
        }
    }
    let rows = loop {
        let rows = world.list()?;
        if rows.iter().filter_map(|row| row["count"].as_u64()).sum::<u64>() > CRASHES {
            break rows;
        }
        ensure!(began.elapsed() < Duration::from_secs(10), "not every crash is listed: {rows:?}");
        thread::sleep(Duration::from_millis(50));
    };
    // Otherwise nothing was held, and nothing shown.
    let (mut held, mut turned_away) = (0, 0);
    for row in rows.iter().filter(|row| row["program"] != "bare") {
        let report = world.info(row["id"].as_str().context("a row without an id")?)?;
        ensure!(report["program"]["name"] == "mute-stack", "{report}");
        let problems = report["problems"].to_string();
        held += usize::from(problems.contains("did not come back in time"));
        turned_away += usize::from(problems.contains("all that one user may have"));
    }
    ensure!(held > 0 && held <= PIPE_LIMIT as usize / 4, "{held} crashes held their handlers: {rows:?}");
    ensure!(turned_away > 0, "{rows:?}");
    Ok(())
}

#[test]
fn a_ring_on_a_file_system_that_never_answers_is_not_even_asked() -> Result<()> {
    let world = Installed::new()?;
    let mute = Mute::mount(&world)?;
    let script = "import ctypes, mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
ring = mmap.mmap(file, 1 << 20, mmap.MAP_SHARED, mmap.PROT_READ)
sys.stdin.read()
ctypes.string_at(0)";
    let mut python = as_user("/usr/bin/python3", USER);
    let mut victim = mapping(python.args(["-c", script]).arg(mute.ring()), "/memfd:foretrace.v1")?;
    mute.hide()?;
    let began = Instant::now();
    drop(victim.stdin.take());
    victim.wait()?;
    ensure!(began.elapsed() < Duration::from_secs(3), "the process was held for {:?}", began.elapsed());
    let report = world.info(&world.wait_for_report()?)?;
    let problems = report["problems"].to_string();
    ensure!(problems.contains("no memfd but another file"), "{problems}");
    ensure!(!problems.contains("tried again"), "{problems}");
    ensure!(report["threads"][0]["frames"][0].is_object(), "{report}");
    Ok(())
}
