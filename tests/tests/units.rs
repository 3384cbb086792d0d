//! Crashes within units of a service manager: what is wished for a unit holds, and the report says how the unit was.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::control_group::Group;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::journal::Journal;
use foretrace_tests::mount::Mounted;
use foretrace_tests::world::{Installed, built_programs};

/// Users without accounts.
const USER: u32 = 30_001;
const OTHER: u32 = 30_002;

/// Lets it crash in `folder` and returns its number.
fn crash(command: &mut Command, folder: &Path) -> Result<u32> {
    let mut crashed = command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = crashed.id();
    ensure!(!crashed.wait()?.success(), "it did not crash");
    Ok(pid)
}

/// A directory of the user's.
fn home(world: &Installed) -> Result<PathBuf> {
    let home = world.work("home");
    fs::create_dir(&home)?;
    chown(&home, Some(USER), Some(USER))?;
    Ok(home)
}

#[test]
fn what_is_wished_for_a_unit_holds_for_all_that_runs_in_it_and_for_nothing_else() -> Result<()> {
    let world = Installed::new()?;
    world.configure(
        "[Capture]\nIgnore=ft-noise@*.service\nPlainCore=ft-app.service\n[Storage]\nRepeats=infinity\n",
    )?;
    let (home, bare) = (home(&world)?, built_programs()?.join("bare"));
    let noise = Group::new("ft-test.slice/ft-noise@1.service/worker")?;
    let service = Group::new("ft-test.slice/ft-app.service")?;
    let own = Group::new(&format!("ft-user.slice/user@{USER}.service/app.slice/ft-app.service"))?;
    let neither = Group::new("ft-test.slice/ft-noise.service")?;
    let unlimited = |group: &Group| {
        let mut command = group.within_as(USER, Path::new("sh"));
        command.args(["-c", "ulimit -Sc unlimited; exec \"$0\""]).arg(&bare);
        command
    };
    let left = |pid: u32| home.join(format!("core.{pid}"));
    let ignored = crash(&mut unlimited(&noise), &home)?;
    let (of_service, of_user) =
        (crash(&mut unlimited(&service), &home)?, crash(&mut unlimited(&own), &home)?);
    let usual = crash(&mut unlimited(&neither), &home)?;
    let began = Instant::now();
    while !(left(of_service).exists() && left(of_user).exists() && world.list()?.len() >= 3) {
        ensure!(
            began.elapsed() < Duration::from_secs(20),
            "{:?} and {:?}",
            fs::read_dir(&home)?.count(),
            world.list()?
        );
        thread::sleep(Duration::from_millis(20));
    }
    for pid in [of_service, of_user] {
        let core = fs::symlink_metadata(left(pid))?;
        ensure!((core.uid(), core.mode()) == (USER, 0o100600), "{} {:o}", core.uid(), core.mode());
    }
    thread::sleep(Duration::from_millis(300));
    ensure!(!left(ignored).exists() && !left(usual).exists(), "a core of a unit that has none");
    let mut told = Vec::new();
    for id in world.ids()? {
        let report = Evidence::open(&world, &id)?.report;
        let around = report.surroundings.context("nothing surrounded it")?;
        told.push((u32::try_from(report.program.pid)?, around.unit, around.user_unit));
    }
    told.sort();
    let app = || Some("ft-app.service".to_owned());
    let mut expected = vec![
        (of_service, app(), None),
        (of_user, Some(format!("user@{USER}.service")), app()),
        (usual, Some("ft-noise.service".into()), None),
    ];
    expected.sort();
    ensure!(told == expected, "{told:?}, not {expected:?}");
    Ok(())
}

/// A machine without what a test needs of control groups says so itself, or the test fails.
fn excused(why: &str) -> Result<()> {
    let not_here = std::env::var("FORETRACE_NOT_HERE").unwrap_or_default();
    ensure!(not_here.split(',').any(|what| what == "cgroup"), "{why}; set FORETRACE_NOT_HERE=cgroup");
    Ok(())
}

/// The hierarchy that counts memory, and its file for the most that a group may have.
fn memory() -> Result<Option<(PathBuf, &'static str)>> {
    let old = Path::new("/sys/fs/cgroup/memory");
    if old.join("cgroup.procs").exists() {
        return Ok(Some((old.to_owned(), "memory.limit_in_bytes")));
    }
    let unified = Path::new("/sys/fs/cgroup");
    let counts = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
    if !counts.split_whitespace().any(|name| name == "memory") {
        return excused("no memory is counted").map(|()| None);
    }
    fs::write(unified.join("cgroup.subtree_control"), "+memory")?;
    Ok(Some((unified.to_owned(), "memory.max")))
}

#[test]
fn a_services_memory_and_the_most_that_it_may_have_are_told() -> Result<()> {
    const MOST: u64 = 200 << 20;
    let Some((hierarchy, limit)) = memory()? else { return Ok(()) };
    let world = Installed::new()?;
    let group = Group::below(&hierarchy, "ft-memory.service")?;
    fs::write(group.path().join(limit), MOST.to_string())?;
    let mut large = group.within(Path::new("/usr/bin/python3"));
    large.args(["-c", "import ctypes\nheld = b'x' * (64 << 20)\nctypes.string_at(0)"]);
    let id = world.crash(&mut large)?;
    let report = Evidence::open(&world, &id)?.report;
    let pressure = report.surroundings.and_then(|around| around.pressure).context("no pressure")?;
    ensure!(pressure.group_memory_limit == Some(MOST), "{pressure:?}");
    ensure!(pressure.group_memory.is_some_and(|held| (64 << 20..MOST).contains(&held)), "{pressure:?}");
    ensure!(pressure.group_oom_kills == Some(0), "{pressure:?}");
    let said = world.ask(&["info", &id])?.text();
    ensure!(said.contains("200 MiB"), "{said}");
    Ok(())
}

/// Says something to the journal, and then waits for its input to end.
const SPEAK: &str = "import ctypes, socket, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.sendto(b'PRIORITY=6\\nMESSAGE=' + sys.argv[2].encode() + b'\\n', sys.argv[1])
print('said', flush=True)
sys.stdin.read()
ctypes.string_at(0)";

fn speaker(group: &Group, uid: u32, journal: &Journal, words: &str) -> Result<Child> {
    let mut command = group.within_as(uid, Path::new("/usr/bin/python3"));
    command.args(["-c", SPEAK]).arg(journal.socket()).arg(words);
    let mut speaker = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    BufReader::new(speaker.stdout.take().context("no stdout")?).read_line(&mut line)?;
    ensure!(line == "said\n", "it said nothing");
    journal.entry("PRIORITY=6", words)?;
    Ok(speaker)
}

#[test]
fn a_report_has_what_its_unit_said_last_and_no_other_users_or_units_words() -> Result<()> {
    let world = Installed::new()?;
    let journal = Journal::start(world.root().join("run"))?;
    let place = Path::new("/run/log/journal");
    let made = !place.exists();
    fs::create_dir_all(place)?;
    // The handler asks the machine's journal.
    let shown = Mounted::over(place, &journal.folder())?;
    let unit = Group::new("ft-test.slice/ft-talk.service")?;
    let other_unit = Group::new("ft-test.slice/ft-hush.service")?;
    let mut silent = vec![
        speaker(&unit, USER, &journal, "a sibling's words")?,
        speaker(&unit, OTHER, &journal, "another user's words")?,
        speaker(&other_unit, USER, &journal, "another unit's words")?,
    ];
    let mut victim = speaker(&unit, USER, &journal, "its own words")?;
    let known = world.ids()?;
    drop(victim.stdin.take());
    victim.wait()?;
    let id = world.wait_for_new_report(&known);
    for speaker in &mut silent {
        speaker.kill()?;
        speaker.wait()?;
    }
    let tail = world.part(&id?, "logs/journal").map(|tail| String::from_utf8_lossy(&tail).into_owned());
    drop(shown);
    if made {
        fs::remove_dir(place)?;
    }
    let tail = tail?;
    ensure!(tail.contains("a sibling's words") && tail.contains("its own words"), "{tail}");
    ensure!(!tail.contains("another"), "{tail}");
    Ok(())
}

#[test]
fn a_units_name_from_another_hierarchy_is_a_units_name() -> Result<()> {
    // Where the unified hierarchy says nothing, as on systems before it.
    let top = Path::new("/sys/fs/cgroup/systemd");
    if !top.join("cgroup.procs").exists() {
        return excused("there is no hierarchy of systemd's own");
    }
    let world = Installed::new()?;
    world.configure("[Capture]\nIgnore=ft-old.service\n")?;
    let (group, bare) = (Group::below(top, "ft-test.slice/ft-old.service")?, built_programs()?.join("bare"));
    crash(&mut group.within(&bare), &world.work(""))?;
    crash(&mut Command::new(&bare), &world.work(""))?;
    world.wait_for_report()?;
    thread::sleep(Duration::from_millis(300));
    ensure!(world.list()?.len() == 1, "{:?}", world.list()?);
    Ok(())
}
