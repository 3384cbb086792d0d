//! Faults put into the handler while it handles a crash: a system call that fails, or a process that is killed at one.
//!
//! strace stands between the kernel and the handler and meddles with the n-th writing call of each of its processes.
//! What must hold whatever fails: no half report is ever visible, no report that was visible is lost, and what a dead
//! handler left is cleared away by the next.

use std::fs::{self, Permissions};
use std::ops::AddAssign;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::run;
use crate::world::Installed;

/// The system calls that change what is kept, or what the handler's processes leave for each other.
pub const CALLS: [&str; 11] = [
    "mkdirat",
    "fchmod",
    "fchown",
    "ftruncate",
    "fsync",
    "renameat2",
    "unlinkat",
    "write",
    "pwrite64",
    "mkdir",
    "fdatasync",
];

/// How long a handler works on after its report is there.
const SECOND_FORM: Duration = Duration::from_secs(15);

/// What happens at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error, as in `ENOSPC`, once in each of the handler's processes.
    Error(&'static str),
    /// It and all further ones of the same process fail with this error.
    ErrorFromThen(&'static str),
    /// The process is killed.
    Kill,
}

/// What a sweep over all system calls has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Crashes during which something was made to fail.
    pub crashes: u32,
    /// Of these, crashes without a report; each left everything as it was.
    pub without_report: u32,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, more: Swept) {
        self.crashes += more.crashes;
        self.without_report += more.without_report;
    }
}

/// Lets `victim` crash again and again, and each time puts `fault` at a later one of each of `calls`, until there are no
/// more.
///
/// # Errors
/// Something that must hold did not.
pub fn sweep(world: &Installed, victim: &Path, fault: Fault, calls: &[&str]) -> Result<Swept> {
    sweep_with(world, victim, fault, |swept| {
        for call in calls {
            // On a crowded machine one crash may get less done than the others.
            let (mut number, mut missed) = (1, 0);
            while missed < 2 {
                missed = if meddle(world, victim, (fault, call, number), swept)? { 0 } else { missed + 1 };
                number += 1;
            }
        }
        Ok(())
    })
}

/// The same at these numbers of one call alone.
///
/// # Errors
/// Something that must hold did not.
pub fn sample(world: &Installed, victim: &Path, fault: Fault, call: &str, numbers: &[u32]) -> Result<Swept> {
    sweep_with(world, victim, fault, |swept| {
        numbers.iter().try_for_each(|number| meddle(world, victim, (fault, call, *number), swept).map(drop))
    })
}

fn sweep_with(
    world: &Installed,
    victim: &Path,
    fault: Fault,
    meddle: impl FnOnce(&mut Swept) -> Result<()>,
) -> Result<Swept> {
    world.configure("[Storage]\nRepeats=infinity\n")?;
    world.crash(&mut Command::new(victim))?;
    let mut swept = Swept::default();
    meddle(&mut swept)?;
    world.kernel().set_core_pattern(&pattern(world, "foretrace-coredump"))?;
    world.crash(&mut Command::new(victim))?;
    let incoming = world.root().join("var/lib/foretrace/incoming");
    let began = Instant::now();
    loop {
        let left: Vec<_> = fs::read_dir(&incoming)?.flatten().map(|entry| entry.path()).collect();
        if left.is_empty() {
            return Ok(swept);
        }
        // The last handler may still be at work on the second form of its report.
        ensure!(began.elapsed() < SECOND_FORM, "{fault:?}: {left:?} were left and not cleared away");
        thread::sleep(Duration::from_millis(20));
    }
}

// One crash with one fault. False: no process has so many of these calls.
fn meddle(
    world: &Installed,
    victim: &Path,
    (fault, call, number): (Fault, &str, u32),
    swept: &mut Swept,
) -> Result<bool> {
    let known = whole_reports(world)?;
    let name = victim.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let log = inject(world, fault, call, number)?;
    crash(victim)?;
    let said = fs::read_to_string(&log).context("strace wrote no log")?;
    fs::remove_file(&log)?;
    let what = format!("{fault:?} at {call} number {number}");
    let after = whole_reports(world)?;
    let lost: Vec<_> = known.iter().filter(|id| !after.contains(id)).collect();
    ensure!(lost.is_empty(), "{what}: the visible reports {lost:?} were lost\n{said}");
    let new = world
        .list()?
        .into_iter()
        .filter(|row| row["id"].as_str().is_some_and(|id| !known.contains(&id.to_owned())));
    // The machine's other programs may crash as well. What only the kernel's arguments name has no name.
    let own: Vec<_> =
        new.filter(|row| [name, ""].contains(&row["program"].as_str().unwrap_or_default())).collect();
    ensure!(own.len() <= 1, "{what}: more than one report of one crash: {own:?}\n{said}");
    let hit = match fault {
        Fault::Kill => said.contains("+++ killed by SIGKILL"),
        Fault::Error(_) | Fault::ErrorFromThen(_) => said.contains("(INJECTED)"),
    };
    let reported = !own.is_empty();
    if hit {
        swept.crashes += 1;
        swept.without_report += u32::from(!reported);
    }
    // What fails once is tried again, or somebody else does it.
    let must = !hit || matches!(fault, Fault::Error(_));
    ensure!(reported || !must, "{what}: the crash has no report\n{said}");
    Ok(hit)
}

fn crash(victim: &Path) -> Result<()> {
    let mut command = Command::new(victim);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?.wait()?;
    ensure!(!ended.success(), "{} did not crash", victim.display());
    Ok(())
}

fn pattern(world: &Installed, program: &str) -> String {
    let (program, root) = (world.program(program), world.root());
    format!("|{} --root {} %P %u %g %s %t %c %h %d %F", program.display(), root.display())
}

// Puts strace before the handler; returns where it will say what it did.
fn inject(world: &Installed, fault: Fault, call: &str, number: u32) -> Result<PathBuf> {
    let log = world.work("faults.log");
    let what = match fault {
        Fault::Error(error) => format!("error={error}:when={number}"),
        Fault::ErrorFromThen(error) => format!("error={error}:when={number}+"),
        Fault::Kill => format!("signal=SIGKILL:when={number}"),
    };
    let (handler, script) = (world.program("foretrace-coredump"), world.program("faulty"));
    // The shell goes on holding the kernel's pipe, so that the crash ends when all of this has ended.
    let text = format!(
        "#!/bin/sh\nstrace -f -q -o {} -e trace={call} -e inject={call}:{what} {} \"$@\" 2>/dev/null\n",
        log.display(),
        handler.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    world.kernel().set_core_pattern(&pattern(world, "faulty"))?;
    Ok(log)
}

// Every visible report, each of which can be read to its end.
fn whole_reports(world: &Installed) -> Result<Vec<String>> {
    let listed = run(world.foretrace().args(["list", "--json"]))?;
    let said = listed.errors();
    ensure!(said.is_empty() || said.contains("there are no reports"), "a report cannot be read: {said}");
    let ids: Vec<String> = world.ids()?.into_iter().collect();
    let reports = world.root().join("var/lib/foretrace/reports");
    let mut visible = 0;
    for shelf in fs::read_dir(reports)?.flatten() {
        for report in fs::read_dir(shelf.path())?.flatten().filter(|entry| entry.path().is_dir()) {
            visible += 1;
            let bundle = report.path().join("bundle.zip");
            run(Command::new("unzip").arg("-tq").arg(&bundle))?
                .success()
                .with_context(|| format!("{} is half a report", bundle.display()))?;
        }
    }
    ensure!(visible == ids.len(), "{visible} reports lie there, {} are listed", ids.len());
    Ok(ids)
}
