//! Whose a report is: nobody gets to read what they could not read before the crash.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use foretrace_tests::command::{run, run_with_input};
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, World};

use super::{OTHER, Sleeper, USER, as_user, briefly, handler, is_hidden_from, owner_of, victim};

#[test]
fn a_persons_crash_is_theirs_and_nobody_elses() -> Result<()> {
    let world = Installed::new()?;
    let id = world.crash(&mut as_user(victim(&world, "bare", "bare")?, USER))?;
    ensure!(owner_of(&world, &id)? == USER, "it is not its user's");
    let mut list = world.foretrace();
    let theirs = briefly(list.args(["info", &id]).uid(USER).gid(USER))?.success()?;
    ensure!(theirs.text().contains("bare"), "{theirs}");
    is_hidden_from(&world, &id, OTHER)
}

#[test]
fn a_program_with_more_rights_than_its_user_is_a_report_of_roots_alone() -> Result<()> {
    let world = Installed::new()?;
    let mut copies = Vec::new();
    for (name, mode) in [("set-uid", 0o4755), ("set-gid", 0o2755), ("capable", 0o755), ("unreadable", 0o711)]
    {
        let copy = victim(&world, "bare", name)?;
        fs::set_permissions(&copy, Permissions::from_mode(mode))?;
        copies.push(copy);
    }
    grant_a_capability(&copies[2])?;
    for copy in &copies {
        let id = world.crash(&mut as_user(copy, USER))?;
        ensure!(owner_of(&world, &id)? == 0, "{} is not root's", copy.display());
        is_hidden_from(&world, &id, USER)?;
    }
    // The kernel's setting for debugging: it calls them dumpable like any other then.
    world.kernel().set_suid_dumpable(1)?;
    for copy in &copies[..3] {
        let id = world.crash(&mut as_user(copy, USER))?;
        ensure!(owner_of(&world, &id)? == 0, "{} is not root's when all is dumpable", copy.display());
    }
    Ok(())
}

/// CAP_NET_RAW, permitted and effective.
fn grant_a_capability(program: &Path) -> Result<()> {
    let script = "import os, struct, sys\nos.setxattr(sys.argv[1], 'security.capability', struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0))";
    run(Command::new("/usr/bin/python3").args(["-c", script]).arg(program))?.success()?;
    Ok(())
}

#[test]
fn what_once_was_root_stays_roots_also_when_it_calls_itself_dumpable() -> Result<()> {
    let world = Installed::new()?;
    for dumpable in ["", "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)"] {
        let script = format!(
            "import ctypes, os\nos.setgroups([])\nos.setresgid({USER}, {USER}, {USER})\nos.setresuid({USER}, {USER}, {USER})\n{dumpable}\nctypes.string_at(0)"
        );
        let id = world.crash(Command::new("/usr/bin/python3").args(["-c", &script]))?;
        ensure!(owner_of(&world, &id)? == 0, "'{dumpable}' made it its later user's");
    }
    Ok(())
}

#[test]
fn users_that_are_no_persons_leave_their_reports_to_root() -> Result<()> {
    let world = Installed::new()?;
    let bare = victim(&world, "bare", "bare")?;
    // A service, a dynamic user, nobody, a subordinate one.
    for uid in [33, 61_200, 65_534, 100_000] {
        let id = world.crash(&mut as_user(&bare, uid))?;
        ensure!(owner_of(&world, &id)? == 0, "the report of {uid} is not root's");
    }
    Ok(())
}

#[test]
fn only_a_process_that_the_kernel_calls_dumpable_is_its_users() -> Result<()> {
    let world = World::new()?;
    let sleeper = Sleeper::start(USER)?;
    for (n, (dumpable, owner)) in [(0, 0), (1, USER), (2, 0), (3, 0)].into_iter().enumerate() {
        run_with_input(&mut handler(&world, sleeper.0.id(), USER, dumpable), b"", Duration::from_secs(9))?;
        ensure!(world.list()?.len() == n + 1, "no report with dumpable {dumpable}");
        let ids: Vec<String> =
            world.list()?.iter().filter_map(|row| row["id"].as_str().map(Into::into)).collect();
        let owners = ids.iter().map(|id| owner_of(&world, id)).collect::<Result<Vec<_>>>()?;
        let theirs = owners.iter().filter(|found| **found == USER).count();
        ensure!(theirs == usize::from(n >= 1), "dumpable {dumpable}, {owner} expected: {owners:?}");
    }
    Ok(())
}

/// A slow machine: before the handler looks, its process is killed and another one bears its number.
fn replace_before_the_handler_looks(world: &Installed, decoy: u32, pidfd: &str) -> Result<()> {
    let script = format!(
        "#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
kill -9 $1
while [ -e /proc/$1 ]; do sleep 0.01; done
tries=0
while [ $tries -lt 200 ]; do
    echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
    LANG=decoy-marker setpriv --reuid {decoy} --regid {decoy} --clear-groups sleep 3 </dev/null 3>&- &
    [ $! = $1 ] && break
    kill -9 $!
    tries=$((tries + 1))
done
until [ \"$(cat /proc/$1/comm)\" = sleep ]; do sleep 0.01; done
exec {} --root {} \"$@\"
",
        world.program("foretrace-coredump").display(),
        world.root().display()
    );
    let slow = world.program("slow");
    fs::write(&slow, script)?;
    fs::set_permissions(&slow, Permissions::from_mode(0o755))?;
    world.kernel().set_core_pattern(&format!("|{} %P %u %g %s %t %c %h %d{pidfd}", slow.display()))
}

#[test]
fn a_number_that_was_given_to_another_process_gives_nothing_of_it_away() -> Result<()> {
    let world = Installed::new()?;
    let privileged = victim(&world, "bare", "privileged")?;
    fs::set_permissions(&privileged, Permissions::from_mode(0o4755))?;
    replace_before_the_handler_looks(&world, USER, " %F")?;
    let id = world.crash(&mut as_user(&privileged, USER))?;
    ensure!(owner_of(&world, &id)? == 0, "a killed set-uid program's report became its user's");
    let evidence = Evidence::open(&world, &id)?;
    ensure!(evidence.holds(b"decoy-marker").is_none(), "the new process is in the report");
    ensure!(evidence.report.program.name != "sleep", "the new process gave its name");
    let problems = &evidence.report.problems;
    let said = problems.iter().any(|problem| problem.what.contains("belongs to another one"));
    ensure!(said, "no word of it: {problems:?}");
    Ok(())
}

#[test]
fn without_a_pidfd_another_users_process_is_never_given_to_the_crashed_one() -> Result<()> {
    let world = Installed::new()?;
    let bare = victim(&world, "bare", "bare")?;
    replace_before_the_handler_looks(&world, OTHER, "")?;
    let id = world.crash(&mut as_user(&bare, USER))?;
    ensure!(owner_of(&world, &id)? == 0, "the report may hold what is another user's");
    let said = &Evidence::open(&world, &id)?.report.problems;
    let expected = "the kernel gave no pidfd, and the process with its number is not being dumped";
    ensure!(said.iter().any(|problem| problem.what.contains(expected)), "{said:?}");
    ensure!(
        Evidence::open(&world, &id)?.holds(b"decoy-marker").is_none(),
        "the other process is in the report"
    );
    is_hidden_from(&world, &id, USER)
}

#[test]
fn a_user_who_fills_the_store_costs_nobody_else_a_report() -> Result<()> {
    let world = Installed::new()?;
    let theirs = world.crash(&mut as_user(victim(&world, "bare", "quiet")?, OTHER))?;
    let one = world.list()?[0]["bytes"].as_u64().unwrap_or(1);
    world.configure(&format!("[Storage]\nMaxUse={}\n", one * 4))?;
    // Each another program, so that none is folded into another, and as large as a report gets by itself.
    for number in 0..8 {
        world.crash(&mut as_user(victim(&world, "bare", format!("loud{number}"))?, USER))?;
    }
    world.ask(&["vacuum"])?;
    let left = world.list()?;
    ensure!(left.len() < 9, "nothing had to go: {left:?}");
    ensure!(left.iter().any(|row| row["id"] == theirs.as_str()), "another user's report went: {left:?}");
    Ok(())
}
