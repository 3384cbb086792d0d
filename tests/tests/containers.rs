//! Crashes inside containers: numbers of both sides, the trail's lanes, and what the container's own root directory says.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, built_programs};

/// A user, who needs no rights to make namespaces.
const USER: u32 = 30_001;

/// Becomes `program` in namespaces of users, processes and mounts of its own. It is not the first process there, whose
/// end would be everybody's; and its death is not this command's.
fn apart(program: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"]);
    command.args(["sh", "-c", "true; \"$0\" \"$@\"; exit 0"]).args(program).uid(USER).gid(USER);
    command
}

fn crash(world: &Installed, command: &mut Command) -> Result<Evidence> {
    let known = world.ids()?;
    run(command)?.success()?;
    let id = world.wait_for_new_report(&known)?;
    Evidence::open(world, &id)
}

#[test]
fn a_containers_threads_have_both_numbers_and_their_lanes_in_the_trail() -> Result<()> {
    let world = Installed::new()?;
    let book = world.work("ledger");
    ledger::create(&book, 4)?;
    std::os::unix::fs::chown(&book, Some(USER), Some(USER))?;
    let victim = world.work("victim-rust");
    std::fs::copy(built_programs()?.join("victim-rust"), &victim)?;
    let (victim, ledger_path) = (victim.display().to_string(), book.display().to_string());
    let evidence = crash(&world, &mut apart(&[&victim, "null", &ledger_path, "4", "1000"]))?;
    let report = &evidence.report;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    let accounts = ledger::read(&book)?;
    evidence.compare_with(&accounts, check)?;
    let around = report.surroundings.as_ref().context("nothing surrounded it")?;
    let inner = around.inner_pid.context("no number inside")?;
    ensure!(inner < 10 && report.program.pid > 10, "{inner}, {}", report.program.pid);
    for namespace in ["mnt", "pid", "user"] {
        ensure!(around.namespaces.iter().any(|kind| kind == namespace), "{:?}", around.namespaces);
    }
    ensure!(report.threads.len() == 4, "{:?}", report.threads);
    for account in &accounts {
        let inner = i32::try_from(account.tid)?;
        let thread = report.threads.iter().find(|thread| thread.inner_tid == Some(inner));
        let thread = thread.with_context(|| format!("{account:?} has no thread in {:?}", report.threads))?;
        ensure!(thread.tid != inner && thread.tid >= report.program.pid, "{thread:?}");
        let name =
            if account.index == 0 { "victim-rust".into() } else { format!("worker-{}", account.index) };
        ensure!(thread.name == name, "{account:?} is {thread:?}");
        ensure!(thread.crashed == (account.index == 0), "{thread:?}");
    }
    let crashed = report.threads.iter().find(|thread| thread.crashed).context("nobody crashed")?;
    ensure!((crashed.tid, crashed.inner_tid) == (report.program.pid, inner.try_into().ok()), "{crashed:?}");
    let said = world.ask(&["trace", &report.id.to_string()])?.text();
    for index in 1..4 {
        ensure!(said.contains(&format!(" worker-{index} ")), "a lane without its thread's name: {said}");
    }
    Ok(())
}
