//! Crashes that Debian's own systemd-coredump keeps, on the real kernel, and the reports that `foretrace-coredump follow`
//! makes of them: the whole trail, names, and the right owner.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run as run_command;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::world::World;

use crate::build::{self, say};
use crate::systemd::{ENTRIES, Systemd, entries};

const USER: u32 = 30_001;
const PATIENCE: Duration = Duration::from_secs(60);

/// Crashes a user's program, a set-uid one and root's, and follows.
///
/// # Errors
/// No systemd-coredump, or a report that is not what it should be.
pub fn run() -> Result<()> {
    let programs = build::programs_and_victims()?;
    let world = World::new()?;
    let victim = world.work("victim");
    fs::copy(programs.join("victim-rust"), &victim)?;
    let set_uid = world.work("set-uid");
    fs::copy(&victim, &set_uid)?;
    fs::set_permissions(&set_uid, fs::Permissions::from_mode(0o4755))?;
    let before = entries().unwrap_or_default();
    let mut crashes = Vec::new();
    {
        let systemd = Systemd::start()?;
        systemd.dump_set_uid()?;
        for (what, program, user, owner) in [
            ("a user's", &victim, USER, USER),
            ("a set-uid program's", &set_uid, USER, 0),
            ("root's", &victim, 0, 0),
        ] {
            say(&format!("{what} crash, kept by systemd-coredump"));
            let book = world.work(&format!("ledger-{}", crashes.len()));
            ledger::create(&book, 4)?;
            chown(&book, Some(user), Some(user))?;
            fs::set_permissions(&book, fs::Permissions::from_mode(0o666))?;
            let known = entries()?;
            let mut command = Command::new(program);
            command.arg("null").arg(&book).args(["4", "20000"]).uid(user).gid(user);
            let ended = run_command(&mut command)?;
            ensure!(!ended.status.success(), "the victim did not crash: {ended}");
            crashes.push((what, new_entry(&known)?, book, owner));
        }
    }
    let judged = judge(&world, &crashes);
    for entry in entries()?.into_iter().filter(|entry| !before.contains(entry)) {
        fs::remove_file(entry)?;
    }
    judged
}

type Crash = (&'static str, PathBuf, PathBuf, u32);

fn judge(world: &World, crashes: &[Crash]) -> Result<()> {
    let mut command = world.coredump();
    command.args(["follow", "--once", "--directory", ENTRIES]);
    let said = run_command(&mut command)?.success()?.text();
    for (what, entry, book, owner) in crashes {
        let name = entry.file_name().and_then(|name| name.to_str()).context("an entry's name is no text")?;
        let line = said.lines().find(|line| line.ends_with(name));
        let id =
            line.and_then(|line| line.split(' ').next()).with_context(|| format!("{name}: no report"))?;
        let evidence = Evidence::open(world, id)?;
        let report = &evidence.report;
        ensure!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        evidence.compare_with(&ledger::read(book)?, check).with_context(|| what.to_string())?;
        let functions = evidence.crashed_functions();
        ensure!(functions.iter().any(|function| function.contains("main")), "{what}: {functions:?}");
        ensure!(
            report.signal.as_ref().is_some_and(|signal| signal.number == 11),
            "{what}: {:?}",
            report.signal
        );
        let age = report.time.parse::<jiff::Timestamp>()?.duration_until(jiff::Timestamp::now());
        ensure!((0..600).contains(&age.as_secs()), "{what}: at {}", report.time);
        let place = world.root().join(format!("var/lib/foretrace/reports/{owner}/{id}"));
        ensure!(place.exists(), "{what}: not where {owner} finds it");
        say(&format!("{what}: {} events, {} frames", report.losses.recorded, report.threads[0].frames.len()));
    }
    Ok(())
}

fn new_entry(known: &[PathBuf]) -> Result<PathBuf> {
    let began = Instant::now();
    loop {
        let complete = |entry: &PathBuf| {
            entry.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("core."))
        };
        if let Some(new) = entries()?.into_iter().find(|entry| !known.contains(entry) && complete(entry)) {
            return Ok(new);
        }
        ensure!(began.elapsed() < PATIENCE, "systemd-coredump kept nothing in {ENTRIES}");
        thread::sleep(Duration::from_millis(50));
    }
}
