//! What the handler's processes may still do while a process lies open before them.

use std::fs;
use std::process::Child;

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::Installed;
use nix::unistd::Pid;

use super::own_crash::{Part, at_work, child_of, field};
use super::{Sleeper, USER};

const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const FOWNER: u32 = 3;
const KILL: u32 = 5;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
const SETPCAP: u32 = 8;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
const SYSLOG: u32 = 34;
const CHECKPOINT_RESTORE: u32 = 40;

/// That a process has these capabilities and no others, cannot gain any, and is no one's to look into.
fn has_only(pid: Pid, user: u32, capabilities: &[u32], filtered: bool) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = |name: &str| field(&status, name).with_context(|| format!("no {name} in {status}"));
    // A machine may withhold some from everybody.
    let own = fs::read_to_string("/proc/self/status")?;
    let own = u64::from_str_radix(field(&own, "CapPrm").context("no CapPrm")?, 16)?;
    let expected = own & capabilities.iter().fold(0, |mask, number| mask | 1 << number);
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        let held = u64::from_str_radix(value(set)?, 16)?;
        let allowed = if matches!(set, "CapPrm" | "CapEff") { expected } else { 0 };
        ensure!(held == allowed, "{set} of {pid} is {held:x}, {allowed:x} expected");
    }
    let users = value("Uid")?;
    ensure!(users.split('\t').all(|held| held.parse() == Ok(user)), "{pid} is {users}, not {user}");
    ensure!(value("NoNewPrivs")? == "1", "{pid} can gain rights");
    let filter = if filtered { "2" } else { "0" };
    ensure!(value("Seccomp")? == filter, "the filter of {pid} is {}", value("Seccomp")?);
    Ok(())
}

#[test]
fn no_process_of_the_handler_keeps_more_rights_than_its_work_takes() -> Result<()> {
    let world = Installed::new()?;
    let sleeper = Sleeper::start(USER)?;
    let mut handler = at_work(&world, &sleeper)?;
    let checked = check(&handler);
    drop(handler.stdin.take());
    handler.wait()?;
    checked
}

fn check(handler: &Child) -> Result<()> {
    const NOBODY: u32 = 65_534;
    let (worker, broker) = (child_of(handler, Part::Worker)?, child_of(handler, Part::Broker)?);
    has_only(worker, NOBODY, &[], true)?;
    let reading = [DAC_READ_SEARCH, SETGID, SETUID, SYS_PTRACE, SYSLOG, CHECKPOINT_RESTORE];
    has_only(broker, NOBODY, &reading, true)?;
    let publishing = [CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETPCAP, SYS_ADMIN, SYS_RESOURCE];
    has_only(Pid::from_raw(handler.id() as i32), 0, &[&reading[..], &publishing].concat(), false)
}
