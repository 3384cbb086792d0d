//! Entries such as systemd-coredump keeps, made by hand from a core that the real kernel wrote: each becomes one report,
//! whatever is wrong with it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::machine::KernelSettings;
use foretrace_tests::world::{World, built_programs};
use nix::sys::stat::Mode;
use xattr::FileExt;

const USER: u32 = 30_001;
const BOOT: &str = "0123456789abcdef0123456789abcdef";
const TIME: &str = "1700000000123456";

/// Lets the kernel write the core of a victim of the user's that notes what it records.
fn core_of_a_victim(world: &World, book: &Path) -> Result<PathBuf> {
    let kernel = KernelSettings::take()?;
    let home = world.work("home");
    fs::create_dir(&home)?;
    chown(&home, Some(USER), Some(USER))?;
    ledger::create(book, 4)?;
    chown(book, Some(USER), Some(USER))?;
    // The victim as its user may start it, wherever it was built.
    let victim = world.work("victim");
    fs::copy(built_programs()?.join("victim-rust"), &victim)?;
    kernel.set_core_pattern("core")?;
    let script = format!("ulimit -Sc unlimited; exec {} null {} 4 20000", victim.display(), book.display());
    run(Command::new("sh").args(["-c", &script]).current_dir(&home).uid(USER).gid(USER))?;
    let core = fs::read_dir(&home)?.flatten().next().context("the kernel wrote no core")?;
    Ok(core.path())
}

fn entries(world: &World) -> Result<PathBuf> {
    let directory = world.root().join("var/lib/systemd/coredump");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn name(pid: u32, end: &str) -> String {
    format!("core.victim.{USER}.{BOOT}.{pid}.{TIME}{end}")
}

/// Gives a file the attributes that systemd-coredump gives it.
fn describe(file: &Path, pid: u32, exe: &str) -> Result<()> {
    let file = File::open(file)?;
    let user = USER.to_string();
    let values = [
        ("pid", pid.to_string()),
        ("uid", user.clone()),
        ("gid", user),
        ("signal", "11".into()),
        ("timestamp", TIME.into()),
        ("comm", "victim \u{1b}[31m".into()),
        ("exe", exe.into()),
    ];
    for (name, value) in values {
        file.set_xattr(format!("user.coredump.{name}"), value.as_bytes())?;
    }
    Ok(())
}

/// Lets the user read a file, as systemd-coredump does where the process held nothing else.
fn open_to_user(file: &Path) -> Result<()> {
    let entries =
        [(1u16, 6u16, u32::MAX), (2, 4, USER), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in entries {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    Ok(File::open(file)?.set_xattr("system.posix_acl_access", &list)?)
}

fn follow_once(world: &World) -> Result<Vec<(String, String)>> {
    let said = run(world.coredump().args(["follow", "--once"]))?.success()?.text();
    let pairs = said.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs.map(|(id, name)| (id.to_owned(), name.to_owned())).collect())
}

#[test]
fn each_entry_of_systemd_coredump_becomes_one_report_with_its_whole_trail() -> Result<()> {
    let world = World::new()?;
    let book = world.work("ledger");
    let core = core_of_a_victim(&world, &book)?;
    let directory = entries(&world)?;
    let exe = world.work("victim").display().to_string();
    let packers: [(&str, &[&str]); 4] =
        [("", &["cat"]), (".zst", &["zstd", "-qc"]), (".xz", &["xz", "-0c"]), (".lz4", &["lz4", "-qc"])];
    for (number, (end, packer)) in packers.into_iter().enumerate() {
        let pid = 70_000 + number as u32;
        let file = directory.join(name(pid, end));
        let packed =
            Command::new(packer[0]).args(&packer[1..]).arg(&core).stdout(File::create(&file)?).status();
        ensure!(packed.with_context(|| format!("this test needs {}", packer[0]))?.success(), "{}", packer[0]);
        describe(&file, pid, &exe)?;
        if end == ".zst" {
            open_to_user(&file)?;
        }
    }
    let followed = follow_once(&world)?;
    ensure!(followed.len() == 4, "{followed:?}");
    for (id, name) in &followed {
        let evidence = Evidence::open(&world, id)?;
        let report = &evidence.report;
        ensure!(report.problems.is_empty(), "{name}: {:?}", report.problems);
        evidence.compare_with(&ledger::read(&book)?, check).with_context(|| name.clone())?;
        let functions = evidence.crashed_functions();
        ensure!(functions.iter().any(|function| function.contains("main")), "{name}: {functions:?}");
        ensure!(name.contains(&format!(".{}.{TIME}", report.program.pid)), "{name}: {:?}", report.program);
        ensure!(report.program.exe.as_deref() == Some(&exe), "{name}: {:?}", report.program);
        ensure!(report.time.starts_with("2023-11-14T22:13:20.123"), "{name}: {}", report.time);
        ensure!(report.signal.as_ref().is_some_and(|signal| signal.code.is_some()), "{name}");
        let owner = if name.ends_with(".zst") { USER } else { 0 };
        let place = world.root().join(format!("var/lib/foretrace/reports/{owner}/{id}"));
        ensure!(place.exists(), "{name} is not where its owner {owner} finds it");
    }
    ensure!(follow_once(&world)?.is_empty(), "an entry was followed twice");
    // Nor is it when the note of it was lost.
    fs::remove_file(world.root().join("var/lib/foretrace/followed"))?;
    ensure!(follow_once(&world)?.is_empty(), "an entry was followed twice");
    Ok(())
}

#[test]
fn an_entry_whose_core_is_broken_gives_a_report_of_what_is_known() -> Result<()> {
    let world = World::new()?;
    let directory = entries(&world)?;
    for (pid, end) in [(1, ".zst"), (2, ".xz"), (3, ".lz4"), (4, "")] {
        let file = directory.join(name(pid, end));
        fs::write(&file, b"this is neither compressed nor a core, whatever its name says of it")?;
        describe(&file, pid, "/opt/broken")?;
    }
    // Without attributes the name is all there is.
    fs::write(directory.join(name(5, ".zst")), b"")?;
    let followed = follow_once(&world)?;
    ensure!(followed.len() == 5, "{followed:?}");
    for (id, name) in &followed {
        let report = Evidence::open(&world, id)?.report;
        ensure!(
            report.problems.iter().any(|problem| problem.part == "core"),
            "{name}: {:?}",
            report.problems
        );
        let described = !name.contains(&format!(".{BOOT}.5."));
        let comm = if described { "victim \u{1b}[31m" } else { "victim" };
        ensure!(report.program.name == comm, "{name}: {:?}", report.program);
        ensure!(report.signal.as_ref().map(|signal| signal.number) == described.then_some(11), "{name}");
    }
    let shown = world.ask(&["list"])?.text();
    ensure!(!shown.contains('\u{1b}'), "the terminal was told a command's name: {shown}");
    Ok(())
}

#[test]
fn what_systemd_coredump_did_not_write_is_left_alone() -> Result<()> {
    let world = World::new()?;
    let directory = entries(&world)?;
    let secret = world.work("secret");
    fs::write(&secret, "a file of root's")?;
    symlink(&secret, directory.join(name(1, "")))?;
    nix::unistd::mkfifo(&directory.join(name(2, "")), Mode::S_IRWXU)?;
    fs::create_dir(directory.join(name(3, "")))?;
    fs::write(directory.join(name(4, "")), "of a user's")?;
    chown(directory.join(name(4, "")), Some(USER), Some(USER))?;
    fs::write(directory.join(".#core.hidden"), "not complete")?;
    ensure!(follow_once(&world)?.is_empty(), "something else became a report");
    chown(&directory, Some(0), Some(USER))?;
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let refused = run(world.coredump().args(["follow", "--once"]))?;
    ensure!(!refused.status.success(), "a directory that all may write was believed");
    let gone = run(world.coredump().args(["follow", "--once", "--directory", "/no/such/directory"]))?;
    ensure!(!gone.status.success() && gone.errors().contains("/no/such/directory"), "{gone}");
    Ok(())
}

#[test]
fn a_running_follower_sees_entries_as_they_come_and_is_the_only_one() -> Result<()> {
    let world = World::new()?;
    let directory = entries(&world)?;
    let mut follower = world.coredump().arg("follow").stdout(Stdio::piped()).spawn()?;
    let said = BufReader::new(follower.stdout.take().context("no stdout")?);
    ensure!(said.lines().next().is_some(), "the follower does not start");
    let second = run(world.coredump().args(["follow", "--once"]))?;
    let known = HashSet::new();
    let hidden = directory.join(".#core.new");
    fs::write(&hidden, "no core")?;
    describe(&hidden, 9, "/opt/new")?;
    fs::rename(&hidden, directory.join(name(9, "")))?;
    let found = world.wait_for_new_report(&known);
    follower.kill()?;
    follower.wait()?;
    ensure!(world.info(&found?)?["program"]["exe"] == "/opt/new", "another report");
    ensure!(!second.status.success() && second.errors().contains("another"), "{second}");
    Ok(())
}
