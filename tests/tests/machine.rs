//! The machine's settings come back whatever becomes of the process that took them, and nothing that it started lives
//! on.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::machine::KernelSettings;
use foretrace_tests::world::{Installed, built_programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATTERN: &str = "/proc/sys/kernel/core_pattern";
const TAKER: &str = "FORETRACE_TEST_TAKES_SETTINGS";

#[test]
fn a_killed_or_interrupted_taker_leaves_the_settings_as_they_were() -> Result<()> {
    if std::env::var_os(TAKER).is_some() {
        let settings = KernelSettings::take()?;
        settings.set_core_pattern("|/bin/false taken by a test")?;
        println!("\ntaken from '{}'", settings.saved_core_pattern());
        thread::sleep(Duration::from_secs(60));
    }
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let mut taker = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "a_killed_or_interrupted_taker_leaves_the_settings_as_they_were",
                "--nocapture",
            ])
            .env(TAKER, "1")
            .stdout(Stdio::piped())
            .spawn()?;
        let saved = BufReader::new(taker.stdout.take().context("no stdout")?)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("taken from '")?.strip_suffix('\'').map(str::to_owned))
            .context("the taker took nothing")?;
        kill(Pid::from_raw(taker.id() as i32), signal)?;
        taker.wait()?;
        let began = Instant::now();
        while fs::read_to_string(PATTERN)?.contains("taken by a test") {
            ensure!(
                began.elapsed() < Duration::from_secs(5),
                "{signal}: core_pattern is still the dead taker's"
            );
            thread::sleep(Duration::from_millis(10));
        }
        // Whoever takes them next finds what was there before.
        ensure!(KernelSettings::take()?.saved_core_pattern() == saved, "{signal}: not '{saved}'");
    }
    Ok(())
}

#[test]
fn a_killed_takers_handlers_hold_no_slot_of_the_kernels() -> Result<()> {
    if std::env::var_os(TAKER).is_some() {
        let world = Installed::new()?;
        // It has a child, which holds the kernel's pipe as well and bears no name of the world.
        let slow = world.program("slow");
        fs::write(&slow, "#!/bin/sh\n/bin/sleep 987654\n:\n")?;
        fs::set_permissions(&slow, Permissions::from_mode(0o755))?;
        world.kernel().set_core_pipe_limit(1)?;
        world.kernel().set_core_pattern(&format!("|{} %P", slow.display()))?;
        let crashed = Command::new(built_programs()?.join("bare")).spawn()?;
        while !sleeps()? {
            thread::sleep(Duration::from_millis(10));
        }
        println!("\ncrashed {}", crashed.id());
        thread::sleep(Duration::from_secs(60));
    }
    let mut taker = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_killed_takers_handlers_hold_no_slot_of_the_kernels", "--nocapture"])
        .env(TAKER, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(taker.stdout.take().context("no stdout")?).lines().map_while(Result::ok);
    let crashed = said.filter_map(|line| line.strip_prefix("crashed ").map(str::to_owned)).next();
    taker.kill()?;
    taker.wait()?;
    let crashed = crashed.context("nothing crashed")?;
    // The watchdog holds the lock until it has ended them.
    drop(KernelSettings::take()?);
    let began = Instant::now();
    while sleeps()? || is_alive(&crashed) {
        ensure!(began.elapsed() < Duration::from_secs(5), "the handler or the process that it kept lives on");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether a process has not ended; nobody may be there to take note of it.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

/// Whether the slow handler's child runs.
fn sleeps() -> Result<bool> {
    let processes = fs::read_dir("/proc")?.flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    Ok(lines.into_iter().any(|line| line == b"/bin/sleep\0987654\0"))
}
