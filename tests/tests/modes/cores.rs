//! Whole cores: kept beside the report, handed on to the handler that was there before, written for developers; and
//! programs that are ignored.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::world::{Installed, Mode, built_programs};

use super::{crash, wait_for_reports};

const USER: u32 = 30_001;

/// Waits for a file that appears whole.
fn wait_for(path: &Path) -> Result<fs::Metadata> {
    let began = Instant::now();
    loop {
        if let Ok(found) = fs::symlink_metadata(path) {
            return Ok(found);
        }
        ensure!(began.elapsed() < Duration::from_secs(20), "{} does not appear", path.display());
        thread::sleep(Duration::from_millis(10));
    }
}

/// What gdb says of a core.
fn backtrace(arguments: &[&str]) -> Result<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "bt"]).args(arguments);
    Ok(run(&mut gdb)?.success()?.text())
}

/// A program that stands in the way of gdb with batch commands, so that `debug` can be asked without a terminal.
fn gdb_that_prints_a_backtrace(world: &Installed) -> Result<PathBuf> {
    let program = world.program("gdb-once");
    fs::write(&program, "#!/bin/sh\nexec gdb -nx -batch -iex 'set debuginfod enabled off' -ex bt \"$@\"\n")?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    Ok(program)
}

fn developers_copy(world: &Installed) -> Result<PathBuf> {
    let copy = world.work("bare");
    fs::copy(built_programs()?.join("bare"), &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

#[test]
fn a_kept_core_is_whole_and_opens_in_gdb() -> Result<()> {
    for mode in [Mode::Pipe, Mode::Socket] {
        let world = Installed::through(mode)?;
        world.configure("[Storage]\nCore=keep\n")?;
        let bare = developers_copy(&world)?;
        let id = world.crash(Command::new(&bare).uid(USER).gid(USER))?;
        let report = world.root().join(format!("var/lib/foretrace/reports/{USER}/{id}"));
        let kept = wait_for(&report.join("core.gz"))?;
        ensure!((kept.uid(), kept.mode()) == (USER, 0o100600), "{} {:o}", kept.uid(), kept.mode());
        let core = world.work("core");
        let core_text = core.display().to_string();
        world.ask(&["dump", &id, "--part", "core", "-o", &core_text])?;
        let said = backtrace(&[&bare.display().to_string(), "-c", &core_text])?;
        ensure!(said.contains("in main") || said.contains(" main ("), "{mode:?}: {said}");
        let gdb = gdb_that_prints_a_backtrace(&world)?;
        let debugged = world.ask(&["debug", &id, "--debugger", &gdb.display().to_string()])?.text();
        ensure!(debugged.contains("main ("), "{mode:?}: {debugged}");
        ensure!(world.ask(&["info", &id])?.text().contains("  core  "), "info does not show the core");
        fs::remove_file(core)?;
    }
    Ok(())
}

#[test]
fn kept_cores_have_a_quota_of_their_own_and_reports_stay() -> Result<()> {
    let world = Installed::new()?;
    // A core of this program is some dozen KiB; its compressed form takes 8 to 16.
    world.configure("[Storage]\nRepeats=infinity\nCore=keep\nCoreMaxUse=40K\n")?;
    let bare = built_programs()?.join("bare");
    for round in 1..=6 {
        crash(&bare)?;
        wait_for_reports(&world, round)?;
    }
    thread::sleep(Duration::from_millis(500));
    let shelf = world.root().join("var/lib/foretrace/reports/0");
    let mut bytes = 0;
    let mut cores = 0;
    for report in fs::read_dir(&shelf)? {
        if let Ok(core) = fs::metadata(report?.path().join("core.gz")) {
            bytes += core.blocks() * 512;
            cores += 1;
        }
    }
    ensure!((1..6).contains(&cores) && bytes <= 40 << 10, "{cores} cores of {bytes} bytes");
    world.configure("[Storage]\nRepeats=infinity\nCore=keep\nCoreMaxUse=1K\n")?;
    crash(&bare)?;
    ensure!(wait_for_reports(&world, 7)?.len() == 7, "a core beyond the quota cost its report");
    Ok(())
}

#[test]
fn memory_that_was_never_touched_costs_next_to_nothing_in_a_kept_core() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nCore=keep\n")?;
    let script = "import ctypes, mmap\nm = mmap.mmap(-1, 1 << 30)\nm[0] = 1\nctypes.string_at(0)";
    let began = Instant::now();
    let id = world.crash(Command::new("/usr/bin/python3").args(["-c", script]))?;
    let core = wait_for(&world.root().join(format!("var/lib/foretrace/reports/0/{id}/core.gz")))?;
    ensure!(core.len() < 16 << 20, "{} bytes", core.len());
    ensure!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    Ok(())
}

#[test]
fn the_handler_before_gets_the_whole_core_and_the_kernels_words_after_our_report() -> Result<()> {
    for mode in [Mode::Pipe, Mode::Socket] {
        let world = Installed::through(mode)?;
        run(world.coredump().arg("uninstall"))?.success()?;
        let seen = world.work("seen");
        let previous = world.program("previous");
        let script = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\ncat >{0}.core\nls {1}/*/* >{0}.reports\necho \"$@\" >{0}.words\nreadlink /proc/self/fd/3 >{0}.pidfd\nmv {0}.words {0}\n",
            seen.display(),
            world.root().join("var/lib/foretrace/reports").display(),
        );
        fs::write(&previous, script)?;
        fs::set_permissions(&previous, Permissions::from_mode(0o755))?;
        world.kernel().set_core_pattern(&format!("|{} %P %u %s %e %F x%%", previous.display()))?;
        let name = if mode == Mode::Pipe { "pipe" } else { "socket" };
        run(world.coredump().args(["install", "--chain", "--mode", name]))?.success()?;
        let bare = developers_copy(&world)?;
        let mut child = Command::new(&bare).uid(USER).gid(USER).spawn()?;
        let pid = child.id();
        child.wait()?;
        wait_for(&seen)?;
        ensure!(
            fs::read_to_string(&seen)? == format!("{pid} {USER} 11 bare 3 x%\n"),
            "{}",
            fs::read_to_string(&seen)?
        );
        ensure!(fs::read_to_string(seen.with_extension("pidfd"))?.contains("pidfd"), "no pidfd");
        ensure!(
            fs::read_to_string(seen.with_extension("reports"))?.contains("bundle.zip"),
            "it came before our report"
        );
        let core = seen.with_extension("core").display().to_string();
        let said = backtrace(&[&bare.display().to_string(), "-c", &core])?;
        ensure!(said.contains(" main ("), "{said}");
        ensure!(world.ids()?.len() == 1);
        run(world.coredump().arg("uninstall"))?.success()?;
        let back = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
        ensure!(back.contains("/previous "), "{back}");
    }
    Ok(())
}

#[test]
fn a_program_that_is_ignored_leaves_nothing_and_a_developers_leaves_a_core_where_it_ran() -> Result<()> {
    let world = Installed::new()?;
    let bare = developers_copy(&world)?;
    let ignored = world.work("ignored");
    fs::copy(&bare, &ignored)?;
    world.configure(&format!(
        "[Capture]\nIgnore={}\nPlainCore={}/*\n",
        ignored.display(),
        bare.parent().context("no folder")?.display()
    ))?;
    let home = world.work("home");
    fs::create_dir(&home)?;
    std::os::unix::fs::chown(&home, Some(USER), Some(USER))?;
    let run_in_home = |program: &Path, limit: &str| -> Result<u32> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -Sc {limit}; exec {}", program.display())]);
        let mut child = shell.current_dir(&home).uid(USER).gid(USER).spawn()?;
        let pid = child.id();
        child.wait()?;
        Ok(pid)
    };
    let pid = run_in_home(&bare, "unlimited")?;
    let core = home.join(format!("core.{pid}"));
    let found = wait_for(&core)?;
    ensure!((found.uid(), found.mode()) == (USER, 0o100600), "{} {:o}", found.uid(), found.mode());
    let said = backtrace(&[&bare.display().to_string(), "-c", &core.display().to_string()])?;
    ensure!(said.contains(" main ("), "{said}");
    wait_for_reports(&world, 1)?;
    run_in_home(&ignored, "unlimited")?;
    run_in_home(&bare, "0")?;
    wait_for_reports(&world, 2)?;
    thread::sleep(Duration::from_millis(300));
    ensure!(world.ids()?.len() == 2, "the ignored program has a report");
    let cores = fs::read_dir(&home)?.count();
    ensure!(
        cores == 2,
        "{cores} cores: of the developer's, and of the ignored program, which wanted one as well"
    );
    Ok(())
}

#[test]
fn a_plain_core_is_never_a_set_uid_programs_and_never_follows_or_replaces_a_name() -> Result<()> {
    let world = Installed::new()?;
    let bare = developers_copy(&world)?;
    world.configure("[Capture]\nPlainCore=*\n")?;
    let home = world.work("home");
    fs::create_dir(&home)?;
    std::os::unix::fs::chown(&home, Some(USER), Some(USER))?;
    let secret = world.work("secret");
    fs::write(&secret, "mine")?;
    fs::set_permissions(&secret, Permissions::from_mode(0o666))?;
    // The name is taken, by a link to somebody else's file that the user may write.
    let script = format!("ulimit -Sc unlimited; ln -s {} core.$$; exec {}", secret.display(), bare.display());
    Command::new("sh").args(["-c", &script]).current_dir(&home).uid(USER).gid(USER).spawn()?.wait()?;
    let set_uid = world.work("set-uid");
    fs::copy(&bare, &set_uid)?;
    fs::set_permissions(&set_uid, Permissions::from_mode(0o4755))?;
    world.kernel().set_suid_dumpable(1)?;
    let script = format!("ulimit -Sc unlimited; exec {}", set_uid.display());
    Command::new("sh").args(["-c", &script]).current_dir(&home).uid(USER).gid(USER).spawn()?.wait()?;
    wait_for_reports(&world, 2)?;
    thread::sleep(Duration::from_millis(300));
    ensure!(fs::read_to_string(&secret)? == "mine", "a link was followed");
    let names: Vec<_> = fs::read_dir(&home)?.flatten().collect();
    ensure!(names.len() == 1 && names[0].file_type()?.is_symlink(), "{names:?}");
    // Where a link leads into a directory of root's, nothing is written there either.
    let inside = world.root().join("etc");
    symlink(&inside, home.join("elsewhere"))?;
    let script = format!("ulimit -Sc unlimited; exec {}", bare.display());
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(home.join("elsewhere"))
        .uid(USER)
        .gid(USER)
        .spawn()?
        .wait()?;
    wait_for_reports(&world, 3)?;
    thread::sleep(Duration::from_millis(300));
    ensure!(fs::read_dir(&inside)?.count() == 1, "a core in root's directory");
    Ok(())
}
