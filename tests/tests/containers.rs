//! Crashes inside containers: numbers of both sides, the trail's lanes, and what the container's own root directory says.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::{Evidence, check};
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, World, built_programs, checkout};

/// A user, who needs no rights to make namespaces.
const USER: u32 = 30_001;

/// Becomes `program` in namespaces of users, processes and mounts of its own. It is not the first process there, whose
/// end would be everybody's; and its death is not this command's.
fn apart(program: &[&str]) -> Command {
    apart_with(&[], program)
}

/// The same with further words for `unshare`.
fn apart_with(more: &[&str], program: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"]).args(more);
    command.args(["sh", "-c", "true; \"$0\" \"$@\"; exit 0"]).args(program).uid(USER).gid(USER);
    command
}

fn crash(world: &Installed, command: &mut Command) -> Result<Evidence> {
    let known = world.ids()?;
    run(command)?.success()?;
    let id = world.wait_for_new_report(&known)?;
    Evidence::open(world, &id)
}

/// A program whose threads record, and then it crashes.
struct Recording {
    book: PathBuf,
    words: Vec<String>,
}

impl Recording {
    fn new(world: &Installed, threads: usize) -> Result<Recording> {
        let (book, victim) = (world.work("ledger"), world.work("victim-rust"));
        ledger::create(&book, threads)?;
        chown(&book, Some(USER), Some(USER))?;
        fs::copy(built_programs()?.join("victim-rust"), &victim)?;
        let (victim, accounts, threads) =
            (victim.display().to_string(), book.display().to_string(), threads.to_string());
        Ok(Recording { book, words: vec![victim, "null".into(), accounts, threads, "1000".into()] })
    }
}

#[test]
fn a_containers_threads_have_both_numbers_and_their_lanes_in_the_trail() -> Result<()> {
    let world = Installed::new()?;
    let Recording { book, words } = Recording::new(&world, 4)?;
    let evidence = crash(&world, &mut apart_with(&[], &words))?;
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

/// As after a container moved to a machine that has been up for longer: its clocks go on where they were.
const MOVED: [&str; 5] = ["--time", "--boottime", "86400", "--monotonic", "86400"];

#[test]
fn a_container_with_clocks_of_its_own_keeps_its_trail_and_its_times() -> Result<()> {
    let world = Installed::new()?;
    let Recording { book, words } = Recording::new(&world, 2)?;
    let evidence = crash(&world, &mut apart_with(&MOVED, &words))?;
    let report = &evidence.report;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    evidence.compare_with(&ledger::read(&book)?, check)?;
    let around = report.surroundings.as_ref().context("nothing surrounded it")?;
    ensure!(around.namespaces.iter().any(|kind| kind == "time"), "{:?}", around.namespaces);
    let newest = evidence.trail.events.last().context("no event")?.time;
    let now = u64::try_from(UNIX_EPOCH.elapsed()?.as_nanos())?;
    ensure!(newest <= now && now - newest < 60_000_000_000, "the newest event is of {newest}, it is {now}");
    // Nothing vouches for a process of which the kernel gave no pidfd but its start time and its memory.
    let (handler, root) = (world.program("foretrace-coredump"), world.root());
    let without = format!("|{} --root {} %P %u %g %s %t %c %h %d", handler.display(), root.display());
    world.kernel().set_core_pattern(&without)?;
    let evidence = crash(&world, &mut apart_with(&MOVED, &words))?;
    let said = &evidence.report.problems;
    ensure!(said.len() == 1 && said[0].what.contains("recognised by its number"), "{said:?}");
    ensure!(!evidence.trail.events.is_empty(), "no trail");
    Ok(())
}

/// Makes `argv[1]` the root of all, as container engines do, and becomes `argv[2]` in it.
const ENTER: &str = "import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def check(answer):
    if answer < 0: raise OSError(ctypes.get_errno(), 'a system call failed')
root = sys.argv[1].encode()
check(libc.mount(root, root, None, 4096 | 16384, None))
os.chdir(root)
check(libc.syscall(155, b'.', b'.'))
check(libc.umount2(b'.', 2))
os.chdir('/')
os.execv(sys.argv[2], [sys.argv[2]])";

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A container's root directory: a static program without symbols, the debug file that has them, and what says where
/// the program came from.
fn room(world: &Installed) -> Result<PathBuf> {
    let room = world.work("room");
    for folder in ["usr/bin", "etc", "run", "var/lib/dpkg/info", "proc"] {
        fs::create_dir_all(room.join(folder))?;
    }
    let (built, program) = (world.work("shop"), room.join("usr/bin/shop"));
    let source = checkout().join("tests/victims/c/bare.c");
    let mut compiler = Command::new("gcc");
    compiler.args(["-O1", "-g", "-static", "-Wl,--build-id=0x5eed5eed5eed5eed", "-o"]);
    run(compiler.arg(&built).arg(source))?.success()?;
    let debug = room.join("usr/lib/debug/.build-id/5e");
    fs::create_dir_all(&debug)?;
    let debug = debug.join("ed5eed5eed5eed.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&built).arg(debug))?.success()?;
    run(Command::new("strip").arg("-o").arg(&program).arg(&built))?.success()?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let sum = run(Command::new("md5sum").arg(&program))?.success()?.text();
    let sum = sum.split(' ').next().context("no sum")?;
    for (name, text) in [
        ("etc/os-release", "PRETTY_NAME=\"Container Linux 7\"\n".into()),
        (
            "run/.containerenv",
            format!("engine=\"podman-4.3.1\"\nname=\"web\"\nid=\"{ID}\"\nimage=\"shop:4\"\n"),
        ),
        (
            "var/lib/dpkg/status",
            "Package: shop\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4.2-1\n".into(),
        ),
        ("var/lib/dpkg/info/shop.md5sums", format!("{sum}  usr/bin/shop\n")),
    ] {
        fs::write(room.join(name), text)?;
    }
    Ok(room)
}

#[test]
fn a_containers_own_files_name_system_package_and_functions() -> Result<()> {
    let world = Installed::new()?;
    let room = room(&world)?;
    let path = room.display().to_string();
    let ways: [&[&str]; 2] =
        [&["/usr/bin/python3", "-c", ENTER, &path, "/usr/bin/shop"], &["chroot", &path, "/usr/bin/shop"]];
    for way in ways {
        let evidence = crash(&world, &mut apart(way))?;
        let report = &evidence.report;
        ensure!(report.problems.is_empty(), "{:?}", report.problems);
        let container = report.surroundings.as_ref().and_then(|around| around.container.as_ref());
        let container = container.context("no container")?;
        ensure!(
            (container.engine.as_str(), container.id.as_deref()) == ("podman", Some(ID)),
            "{container:?}"
        );
        ensure!(container.os.as_deref() == Some("Container Linux 7"), "{container:?}");
        let package = report.program.package.as_ref().context("no package")?;
        ensure!((package.name.as_str(), package.version.as_str()) == ("shop", "4.2-1"), "{package:?}");
        let functions = evidence.crashed_functions();
        ensure!(functions.first().is_some_and(|name| name == "main"), "{functions:?}");
    }
    // Another program under the package's name is not the package.
    let program = room.join("usr/bin/shop");
    run(Command::new("sh").args(["-c", "printf x >>\"$0\""]).arg(&program))?.success()?;
    let evidence = crash(&world, &mut apart(ways[0]))?;
    ensure!(evidence.report.program.package.is_none(), "{:?}", evidence.report.program);
    Ok(())
}

#[test]
fn links_out_of_a_container_lead_nowhere() -> Result<()> {
    const SECRET: &[u8] = b"root-only-marker-4711";
    let world = Installed::new()?;
    let room = room(&world)?;
    let secret = world.root().join("secret");
    fs::write(&secret, SECRET)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let outside = "../".repeat(12) + &secret.display().to_string();
    for (name, target) in [
        ("etc/os-release", outside.as_str()),
        ("run/.containerenv", &outside),
        ("var/lib/dpkg/info/shop.md5sums", "/proc/self/root/etc/shadow"),
        ("usr/lib/debug/.build-id/5e/ed5eed5eed5eed.debug", "/proc/1/exe"),
    ] {
        fs::remove_file(room.join(name))?;
        symlink(target, room.join(name))?;
    }
    // A journal of the container's own, which the handler must not take for the machine's.
    fs::create_dir_all(room.join("run/systemd/journal"))?;
    let forged = UnixDatagram::bind(room.join("run/systemd/journal/socket"))?;
    forged.set_nonblocking(true)?;
    let path = room.display().to_string();
    let evidence = crash(&world, &mut apart(&["chroot", &path, "/usr/bin/shop"]))?;
    ensure!(forged.recv(&mut [0; 16]).is_err(), "the container's own journal was told");
    ensure!(evidence.holds(SECRET).is_none(), "the host's file is in {:?}", evidence.holds(SECRET));
    let report = &evidence.report;
    ensure!(report.program.name == "shop" && report.program.package.is_none(), "{:?}", report.program);
    ensure!(evidence.crashed_functions().is_empty(), "{:?}", evidence.crashed_functions());
    Ok(())
}

/// The host's number of the process with this command name.
fn number_of(name: &str) -> Result<i32> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim_end() == name {
                return Ok(pid);
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("no process is called {name}")
}

#[test]
fn a_snapshot_of_a_running_container_has_its_lanes_as_well() -> Result<()> {
    let world = World::new()?;
    let book = world.work("ledger");
    ledger::create(&book, 1)?;
    chown(&book, Some(USER), Some(USER))?;
    // A name that no other test's process has.
    let name = format!("tick{}", std::process::id());
    let victim = world.work(&name);
    fs::copy(built_programs()?.join("ticking"), &victim)?;
    let mut inside = apart_with(&MOVED, &[&victim.display().to_string(), &book.display().to_string()]);
    let mut running = inside.stdin(Stdio::piped()).spawn()?;
    let pid = number_of(&name)?;
    // A thread has its line in the ledger before it has a lane: only a noted event is in the trail.
    while ledger::read(&book)?.iter().all(|account| account.recorded == 0) {
        thread::sleep(Duration::from_millis(10));
    }
    let taken = world.ask(&["snapshot", &pid.to_string()]);
    drop(running.stdin.take());
    running.wait()?;
    taken?;
    let evidence = Evidence::open(&world, &world.wait_for_report()?)?;
    let report = &evidence.report;
    let ticker = i32::try_from(ledger::read(&book)?[0].tid)?;
    let thread = report.threads.iter().find(|thread| thread.inner_tid == Some(ticker));
    let thread = thread.with_context(|| format!("{ticker} is nobody in {:?}", report.threads))?;
    ensure!(thread.tid > pid && thread.name == name, "{thread:?}");
    let steps = evidence.events("step");
    ensure!(steps.iter().all(|event| Some(event.thread) == thread.trail_tid()), "another's lane");
    ensure!(!steps.is_empty(), "no trail: {:?}", report.problems);
    Ok(())
}
