//! The machine's settings come back whatever becomes of the process that took them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::machine::KernelSettings;
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
