//! Kernels that give no pidfd: a pattern without `%F` on this one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, built_programs};

use super::wait_for_reports;

const USER: u32 = 30_001;
const OTHER: u32 = 30_002;

#[test]
fn without_a_pidfd_a_process_is_known_by_its_core_and_the_doubt_is_a_problem() -> Result<()> {
    let world = Installed::new()?;
    let handler = world.program("foretrace-coredump");
    let root = world.root();
    let pattern = format!("|{} --root {} %P %u %g %s %t %c %h %d", handler.display(), root.display());
    world.kernel().set_core_pattern(&pattern)?;
    let bare = world.work("bare");
    fs::copy(built_programs()?.join("bare"), &bare)?;
    let id = world.crash(Command::new(&bare).uid(USER).gid(USER))?;
    let evidence = Evidence::open(&world, &id)?;
    let report = &evidence.report;
    ensure!(evidence.crashed_functions().first().is_some_and(|name| name == "main"), "{report:?}");
    ensure!(evidence.parts.iter().any(|(name, _)| name == "minidump.dmp"), "no minidump");
    let doubts: Vec<&str> =
        report.problems.iter().filter(|p| p.part == "process").map(|p| p.what.as_str()).collect();
    ensure!(matches!(doubts[..], [doubt] if doubt.contains("recognised by its number")), "{doubts:?}");
    let shelf = world.root().join("var/lib/foretrace/reports").join(USER.to_string());
    ensure!(fs::metadata(shelf.join(&id))?.uid() == USER, "it is not its user's");
    Ok(())
}

#[test]
fn a_process_that_took_the_number_and_crashes_as_well_is_still_not_the_one() -> Result<()> {
    let world = Installed::new()?;
    // The first crash's handler is slow. Its process is killed, and another user's gets the number and crashes too; that
    // one's core is held back, so that it is being dumped while the first handler looks.
    let script = format!(
        "#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ $2 = {OTHER} ]; then
    # Those that did not get the number must not use up more numbers by waiting.
    [ $1 = $(cat {work}/number) ] || exit 0
    touch {work}/dumping
    while [ ! -e {work}/done ]; do sleep 0.01; done
    exit 0
fi
echo $1 >{work}/number
kill -9 $1
while [ -e /proc/$1 ]; do sleep 0.01; done
# Handlers run under a limit at which the kernel dumps nothing.
ulimit -c unlimited
tries=0
while [ $tries -lt 200 ]; do
    echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
    LANG=decoy-marker setpriv --reuid {OTHER} --regid {OTHER} --clear-groups {work}/bare </dev/null 3>&- &
    [ $! = $1 ] && break
    kill -9 $!
    tries=$((tries + 1))
done
while [ ! -e {work}/dumping ]; do sleep 0.01; done
{} --root {} \"$@\"
touch {work}/done
",
        world.program("foretrace-coredump").display(),
        world.root().display(),
        work = world.work("").display(),
    );
    let slow = world.program("slow");
    fs::write(&slow, script)?;
    fs::set_permissions(&slow, Permissions::from_mode(0o755))?;
    fs::copy(built_programs()?.join("bare"), world.work("bare"))?;
    world.kernel().set_core_pattern(&format!("|{} %P %u %g %s %t %c %h %d", slow.display()))?;
    let mut victim = Command::new(world.work("bare"));
    victim.uid(USER).gid(USER).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?.wait()?;
    let ids = wait_for_reports(&world, 1)?;
    let id = ids.iter().next().context("no report")?;
    let evidence = Evidence::open(&world, id)?;
    let problems = &evidence.report.problems;
    let said = problems.iter().any(|problem| problem.what.contains("is not the one in the core"));
    ensure!(said, "no word of it: {problems:?}");
    ensure!(evidence.holds(b"decoy-marker").is_none(), "the other process is in the report");
    ensure!(evidence.report.program.name.is_empty() || evidence.report.program.name == "bare");
    Ok(())
}
