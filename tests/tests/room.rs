//! Room for reports: what is too old, or too much for the disk, goes; and whoever notices it does the same.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use foretrace_tests::mount::Mounted;
use foretrace_tests::world::{Installed, World, built_programs};
use nix::sys::statvfs::statvfs;

/// Users without accounts.
const USER: u32 = 30_001;
const OTHER: u32 = 30_002;
const PATIENCE: Duration = Duration::from_secs(20);

fn victim(world: &World, name: &str) -> Result<PathBuf> {
    let copy = world.work(name);
    fs::copy(built_programs()?.join("bare"), &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn crash(world: &Installed, program: &Path, uid: u32) -> Result<String> {
    world.crash(Command::new(program).uid(uid).gid(uid))
}

/// Where the store is.
fn state(world: &World) -> PathBuf {
    world.root().join("var/lib/foretrace")
}

/// Lets the handler look again at once, as it does after an hour.
fn forget_what_was_added_up(world: &World) -> Result<()> {
    world.wait_for_handlers()?;
    Ok(fs::remove_file(state(world).join("usage"))?)
}

/// The programs whose reports are left, once there are `count`.
fn programs(world: &World, count: usize) -> Result<Vec<String>> {
    let began = Instant::now();
    loop {
        let rows = world.list()?;
        if rows.len() <= count || began.elapsed() > PATIENCE {
            let mut programs: Vec<String> =
                rows.iter().filter_map(|row| row["program"].as_str().map(str::to_owned)).collect();
            programs.sort();
            ensure!(programs.len() == count, "{count} expected: {programs:?}");
            return Ok(programs);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_older_than_the_settings_say_goes_with_the_next_crash_or_when_somebody_asks() -> Result<()> {
    for by_the_handler in [true, false] {
        let world = Installed::new()?;
        world.configure("[Storage]\nMaxAge=2d\nKeepFree=0\n")?;
        let (old, young) =
            (crash(&world, &victim(&world, "old")?, USER)?, crash(&world, &victim(&world, "young")?, USER)?);
        world.wait_for_handlers()?;
        for (id, hours) in [(&old, 49), (&young, 47)] {
            let bundle = state(&world).join(format!("reports/{USER}/{id}/bundle.zip"));
            File::options()
                .write(true)
                .open(bundle)?
                .set_modified(SystemTime::now() - Duration::from_secs(hours * 3600))?;
        }
        forget_what_was_added_up(&world)?;
        if by_the_handler {
            crash(&world, &victim(&world, "new")?, OTHER)?;
            ensure!(programs(&world, 2)? == ["new", "young"]);
        } else {
            let said = world.ask(&["vacuum"])?.text();
            ensure!(said.contains(&old) && said.contains("MaxAge"), "{said}");
            ensure!(programs(&world, 1)? == ["young"]);
        }
    }
    Ok(())
}

#[test]
fn reports_give_way_where_the_disk_gets_full_but_the_last_of_each_program_stays() -> Result<()> {
    const SIZE: u64 = 8 << 20;
    for by_the_handler in [true, false] {
        let world = Installed::new()?;
        world.configure("[Storage]\nRepeats=infinity\nKeepFree=2M\nMaxUse=1G\n")?;
        fs::create_dir_all(state(&world))?;
        let _disk = Mounted::memory(&state(&world), SIZE)?;
        crash(&world, &victim(&world, "calm")?, OTHER)?;
        let stormy = victim(&world, "stormy")?;
        for _ in 0..5 {
            crash(&world, &stormy, USER)?;
        }
        ensure!(world.list()?.len() == 6, "what there was room for went: {:?}", world.list()?);
        // Somebody else's file takes what is left, and a little more.
        let free = || -> Result<u64> {
            let found = statvfs(&state(&world))?;
            Ok(found.blocks_available() * found.fragment_size())
        };
        let one = world.list()?[0]["bytes"].as_u64().context("a row without a size")?;
        let others = free()?.checked_sub((2 << 20) - 2 * one).context("the disk is too small")?;
        fs::write(state(&world).join("others"), vec![1; usize::try_from(others)?])?;
        forget_what_was_added_up(&world)?;
        if by_the_handler {
            crash(&world, &stormy, USER)?;
        } else {
            let said = world.ask(&["vacuum"])?.text();
            ensure!(said.contains("KeepFree"), "{said}");
        }
        let began = Instant::now();
        while free()? < 2 << 20 {
            ensure!(began.elapsed() < PATIENCE, "{} bytes are free", free()?);
            thread::sleep(Duration::from_millis(50));
        }
        let left = world.list()?;
        ensure!(
            left.iter().any(|row| row["program"] == "calm"),
            "another program's only report went: {left:?}"
        );
        ensure!((2..6).contains(&left.len()), "{left:?}");
        // However little is free then: one of each program.
        world.wait_for_handlers()?;
        fs::write(state(&world).join("more"), vec![1; usize::try_from(free()?.saturating_sub(64 << 10))?])?;
        world.ask(&["vacuum"])?;
        ensure!(programs(&world, 2)? == ["calm", "stormy"]);
    }
    Ok(())
}
