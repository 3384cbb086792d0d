//! Many crashes at once: every one is counted, the first few of each way to crash are whole, and nobody else notices.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::{Installed, World, built_programs};
use serde_json::Value;

/// Users without accounts.
const USER: u32 = 30_001;
const OTHER: u32 = 30_002;

const CRASHES: u64 = 150;
const AT_ONCE: u64 = 30;
/// What becomes a whole report by default.
const WHOLE: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

fn victim(world: &World, copy: &str) -> Result<PathBuf> {
    let copy = world.work(copy);
    fs::copy(built_programs()?.join("bare"), &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn start(program: &Path, uid: u32) -> Result<Child> {
    let mut command = Command::new(program);
    Ok(command.uid(uid).gid(uid).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Lets `program` crash so often, so many at once.
fn storm(program: &Path, uid: u32, crashes: u64, at_once: u64) -> Result<()> {
    let mut left = crashes;
    while left > 0 {
        let now = left.min(at_once);
        let mut children = (0..now).map(|_| start(program, uid)).collect::<Result<Vec<Child>>>()?;
        for child in &mut children {
            ensure!(!child.wait()?.success(), "{} did not crash", program.display());
        }
        left -= now;
    }
    Ok(())
}

/// The rows of each program, once they stand for so many crashes in all.
fn rows(world: &World, crashes: u64) -> Result<HashMap<String, Vec<Value>>> {
    let began = Instant::now();
    loop {
        let rows = world.list()?;
        let counted: u64 = rows.iter().filter_map(|row| row["count"].as_u64()).sum();
        if counted >= crashes {
            ensure!(counted == crashes, "{counted} crashes are listed, and {crashes} happened");
            let mut programs: HashMap<String, Vec<Value>> = HashMap::new();
            for row in rows {
                let program = row["program"].as_str().context("a row without a program")?.to_owned();
                programs.entry(program).or_default().push(row);
            }
            return Ok(programs);
        }
        ensure!(began.elapsed() < PATIENCE, "only {counted} of {crashes} crashes are listed: {rows:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn of_a_storm_every_crash_is_counted_and_the_first_few_are_whole() -> Result<()> {
    let world = Installed::new()?;
    let stormy = victim(&world, "stormy")?;
    let calm = victim(&world, "calm")?;
    storm(&stormy, USER, CRASHES / 2, AT_ONCE)?;
    // Another program of the same user, and another user's, in the middle of it.
    let mut others = [start(&calm, USER)?, start(&calm, OTHER)?];
    storm(&stormy, USER, CRASHES - CRASHES / 2, AT_ONCE)?;
    for other in &mut others {
        other.wait()?;
    }
    let programs = rows(&world, CRASHES + 2)?;
    let whole = &programs["stormy"];
    ensure!(whole.len() == WHOLE, "{} reports of the storm are whole", whole.len());
    ensure!(programs["calm"].len() == 2, "{:?}", programs["calm"]);
    for row in whole.iter().chain(&programs["calm"]) {
        let (first, last) = (row["first"].as_str(), row["last"].as_str());
        ensure!(first.is_some() && first <= last, "{row}");
        let info = world.info(row["id"].as_str().context("a row without an id")?)?;
        ensure!(info["threads"][0]["frames"][0]["function"] == "main", "{info}");
    }
    ensure!(whole.iter().filter(|row| row["count"] != 1).count() == 1, "{whole:?}");
    // The user sees the same count, and in words.
    let mut list = world.foretrace();
    let seen = foretrace_tests::command::run(list.arg("list").uid(USER).gid(USER))?.success()?.text();
    let others = CRASHES - WHOLE as u64;
    ensure!(seen.contains(&format!("and {others} more in the same way")), "{seen}");
    Ok(())
}

#[test]
fn a_flood_that_the_kernel_could_not_hand_over_is_said_to_be_lost() -> Result<()> {
    let world = Installed::new()?;
    let at_least = || -> Result<u64> {
        let status: Value = serde_json::from_slice(&world.ask(&["status", "--json"])?.stdout)?;
        status["lost_at_least"].as_u64().context("status does not say what was lost")
    };
    let stormy = victim(&world, "stormy")?;
    storm(&stormy, USER, 1, 1)?;
    rows(&world, 1)?;
    let before = at_least()?;
    world.kernel().set_core_pipe_limit(2)?;
    storm(&stormy, USER, 40, 40)?;
    let lost = at_least()? - before;
    ensure!((1..40).contains(&lost), "at least {lost} crashes of 40 are said to be lost");
    let said = world.ask(&["status"])?.text();
    ensure!(said.contains("Lost:     at least"), "{said}");
    Ok(())
}

#[test]
fn when_its_reports_are_erased_a_storm_gets_new_ones() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nRepeats=1\n")?;
    let stormy = victim(&world, "stormy")?;
    storm(&stormy, USER, 3, 1)?;
    let first = rows(&world, 3)?["stormy"].clone();
    ensure!(first.len() == 1, "{first:?}");
    let id = first[0]["id"].as_str().context("a row without an id")?;
    // Where the user's session would be.
    let session = world.root().join(format!("run/user/{USER}"));
    fs::create_dir_all(&session)?;
    std::os::unix::fs::chown(&session, Some(USER), Some(USER))?;
    let mut forget = world.foretrace();
    foretrace_tests::command::run(forget.args(["forget", id]).uid(USER).gid(USER))?.success()?;
    ensure!(world.list()?.is_empty(), "what was counted with an erased report is still listed");
    storm(&stormy, USER, 2, 1)?;
    let second = rows(&world, 2)?["stormy"].clone();
    ensure!(second.len() == 1 && second[0]["id"] != first[0]["id"], "{second:?}");
    Ok(())
}

#[test]
fn the_handler_keeps_to_the_quota_and_spares_other_programs_only_reports() -> Result<()> {
    let world = Installed::new()?;
    let (calm, stormy) = (victim(&world, "calm")?, victim(&world, "stormy")?);
    storm(&calm, USER, 1, 1)?;
    let one = rows(&world, 1)?["calm"][0]["bytes"].as_u64().context("a row without a size")?;
    world.configure(&format!("[Storage]\nRepeats=infinity\nMaxUse={}\n", one * 6))?;
    // Each is published before the next one starts, so that it is clear what there was to remove.
    for _ in 0..12 {
        let known = world.ids()?;
        storm(&stormy, USER, 1, 1)?;
        world.wait_for_new_report(&known)?;
    }
    let began = Instant::now();
    loop {
        let listed = world.list()?;
        let bytes: u64 = listed.iter().filter_map(|row| row["bytes"].as_u64()).sum();
        if bytes <= one * 6 {
            ensure!(listed.len() >= 4, "more was removed than had to be: {listed:?}");
            ensure!(listed.iter().any(|row| row["program"] == "calm"), "{listed:?}");
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{bytes} bytes are kept, {} are allowed", one * 6);
        thread::sleep(Duration::from_millis(50));
    }
}
