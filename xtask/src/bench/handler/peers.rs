//! The same crashes as others handle them: systemd-coredump's entry, gdb's backtraces, LLDB on our minidump.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use foretrace_tests::command::{run, run_with_input};
use foretrace_tests::machine::KernelSettings;
use foretrace_tests::world::{Installed, checkout};
use tempfile::TempDir;

use super::super::table::{Bar, Row};
use super::GIBIBYTE;
use super::timing::{self, Shape, time_crash};
use crate::build::{self, say};
use crate::interrupt;
use crate::systemd::{ENTRIES, Systemd, entries};

/// gdb takes seconds for a large program.
const PATIENCE: Duration = Duration::from_secs(300);

/// All comparisons.
///
/// # Errors
/// A peer that does not work here.
pub fn measure(programs: &Path, rounds: usize, quick: bool) -> Result<Vec<Row>> {
    let victim = programs.join("weight");
    let mut rows = Vec::new();
    for (size, least) in [(256, 20.0), (GIBIBYTE, 50.0)] {
        let shape = Shape { resident: size, ..Shape::default() };
        say(&format!("{size} MiB resident, foretrace and then systemd-coredump, {rounds} crashes each"));
        let (mut ours, mut our_bytes) = (vec![], vec![]);
        {
            let world = Installed::new()?;
            world.configure("[Storage]\nRepeats=infinity\n")?;
            let state = world.root().join("var/lib/foretrace");
            for _ in 0..rounds {
                interrupt::check()?;
                let before = on_disk(&state);
                ours.push(time_crash(&world, &victim, shape)?.ready);
                our_bytes.push((on_disk(&state) - before) as f64);
            }
        }
        let (mut theirs, mut their_bytes) = (vec![], vec![]);
        {
            let systemd = Systemd::start()?;
            for _ in 0..rounds {
                interrupt::check()?;
                let entry = time_entry(&systemd, &victim, shape)?;
                theirs.push(entry.milliseconds);
                their_bytes.push(entry.bytes as f64);
            }
        }
        let ours = Row::from_samples(format!("fault to report, {size} MiB"), "ms", None, ours);
        let theirs = Row::from_samples(
            format!("systemd-coredump: fault to its entry, {size} MiB"),
            "ms",
            None,
            theirs,
        );
        let our_bytes = Row::from_samples(format!("bytes on disk, {size} MiB"), "B", None, our_bytes);
        let their_bytes =
            Row::from_samples(format!("systemd-coredump: bytes written, {size} MiB"), "B", None, their_bytes);
        let ratio = |what: &str, least, one: &Row, other: &Row| {
            let name = format!("systemd-coredump ÷ foretrace: {what}, {size} MiB");
            Row::from_samples(name, "×", Some(Bar::AtLeast(least)), vec![one.median / other.median])
        };
        rows.push(ratio("time", least, &theirs, &ours));
        if size == GIBIBYTE {
            rows.push(ratio("bytes", 500.0, &their_bytes, &our_bytes));
        }
        rows.extend([ours, theirs, our_bytes, their_bytes]);
    }
    rows.push(lldb()?);
    rows.extend(gdb(programs, if quick { 1 } else { 3 })?);
    Ok(rows)
}

fn on_disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = |path: PathBuf| {
        fs::symlink_metadata(&path).map_or(0, |it| match it.is_dir() {
            true => on_disk(&path),
            false => it.blocks() * 512,
        })
    };
    entries.map(|entry| below(entry.path())).sum()
}

struct Entry {
    milliseconds: f64,
    bytes: u64,
}

// Its entry is complete when the process that answered the socket ends.
fn time_entry(systemd: &Systemd, victim: &Path, shape: Shape) -> Result<Entry> {
    let folder = tempfile::tempdir()?;
    let ledger_file = folder.path().join("ledger");
    let before = entries()?;
    let mut child = timing::start(victim, &ledger_file, shape, "crash")?;
    let began = Instant::now();
    let (mut worker, mut bytes) = (None, 0);
    loop {
        let pid = systemd.listener();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        match (worker, children.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok())) {
            (None, found) => worker = found,
            (Some(pid), Some(_)) if is_running(pid) => bytes = written(pid).unwrap_or(bytes).max(bytes),
            (Some(_), _) => break,
        }
        ensure!(began.elapsed() < PATIENCE, "systemd-coredump did not answer");
        thread::sleep(Duration::from_micros(500));
    }
    let end = timing::now();
    child.wait()?;
    let new: Vec<PathBuf> = entries()?.into_iter().filter(|entry| !before.contains(entry)).collect();
    ensure!(!new.is_empty(), "systemd-coredump kept nothing in {ENTRIES}");
    for entry in new {
        fs::remove_file(entry)?;
    }
    Ok(Entry { milliseconds: (end - timing::fault(&ledger_file)?) * 1e3, bytes })
}

fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim_start().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn written(pid: u32) -> Option<u64> {
    let counters = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

// What LLDB prints of a crashed method's locals and object, from our minidump.
fn lldb() -> Result<Row> {
    say("LLDB on the report of a crash in a method");
    let world = Installed::new()?;
    let program = world.work("object");
    let source = checkout().join("tests/victims/c/object.cpp");
    build::run(Command::new("g++").args(["-g", "-O0", "-o"]).arg(&program).arg(source))?;
    let id = world.crash(&mut Command::new(&program))?;
    let dump = world.work("minidump.dmp");
    fs::write(&dump, world.part(&id, "minidump.dmp")?)?;
    let mut command = Command::new("lldb");
    command.arg("-b").arg("-c").arg(&dump).arg(&program);
    for command_line in ["frame select 0", "frame variable", "expression -- *this"] {
        command.args(["-o", command_line]);
    }
    let said = run(&mut command)?;
    let text = said.text();
    // 1250 and the change of 58.
    let found = ["amount = 100", "change = 58", "drawer = 7", "cents = 1308"];
    let seen = found.iter().filter(|value| text.contains(*value)).count();
    if seen < found.len() {
        eprintln!("{said}");
    }
    let what = "values that LLDB prints of locals and *this from our minidump";
    Ok(Row::from_samples(what, "of 4", Some(Bar::AtLeast(4.0)), vec![seen as f64]))
}

// The same core for both: gdb's `thread apply all backtrace`, and `foretrace-capture import`.
fn gdb(programs: &Path, rounds: usize) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let server = build::server_with_debug_information()?;
    let compiler = rustc()?;
    let mut rows = Vec::new();
    for (name, program, arguments) in [
        ("rustc", compiler.as_path(), ["-", "--crate-type=lib", "--emit=metadata", "-oempty.rmeta"]),
        ("a server with full DWARF", server.as_path(), ["--listen", "127.0.0.1:0", "--data", "data"]),
    ] {
        let megabytes = fs::metadata(program)?.len() >> 20;
        say(&format!(
            "backtraces of all threads, {name} ({megabytes} MiB), gdb and foretrace, {rounds} each"
        ));
        let core = core_of(program, &arguments, &folder)?;
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..rounds {
            interrupt::check()?;
            let mut import = Command::new(programs.join("foretrace-capture"));
            import.env("FORETRACE_ROOT", folder.path().join("root")).arg("import").arg(&core);
            import.arg("--exe").arg(program);
            ours.push(run_with_input(&mut import, b"", PATIENCE)?.success()?.took.as_secs_f64());
            let mut gdb = Command::new("gdb");
            gdb.args(["-batch", "-nx", "-ex", "thread apply all backtrace"]).arg(program).arg(&core);
            theirs.push(run_with_input(&mut gdb, b"", PATIENCE)?.success()?.took.as_secs_f64());
        }
        let ours = Row::from_samples(format!("foretrace-capture import, {name}"), "s", None, ours);
        let theirs = Row::from_samples(format!("gdb, all threads' backtraces, {name}"), "s", None, theirs);
        let ratio = vec![theirs.median / ours.median];
        rows.push(Row::from_samples(
            format!("gdb ÷ foretrace: backtraces, {name}"),
            "×",
            Some(Bar::AtLeast(20.0)),
            ratio,
        ));
        rows.extend([ours, theirs]);
    }
    Ok(rows)
}

// The compiler itself, not rustup's stand-in for it.
fn rustc() -> Result<PathBuf> {
    let said = run(Command::new("rustc").args(["--print", "sysroot"]))?.success()?;
    Ok(Path::new(said.text().trim()).join("bin/rustc"))
}

// A core of a program that waits for its input, as the kernel writes it.
fn core_of(program: &Path, arguments: &[&str], folder: &TempDir) -> Result<PathBuf> {
    let kernel = KernelSettings::take()?;
    let core = folder.path().join(format!("core-{}", arguments.len() + program.as_os_str().len()));
    kernel.set_core_pattern(&core.display().to_string())?;
    let mut child = Command::new("prlimit");
    child.args(["--core=unlimited:unlimited"]).arg(program).args(arguments).current_dir(folder.path());
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    thread::sleep(Duration::from_secs(2));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGABRT)?;
    let ended = child.wait()?;
    let written = fs::read_dir(folder.path())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().starts_with(&*core.to_string_lossy()));
    match written {
        Some(core) if ended.core_dumped() => Ok(core),
        _ => bail!("{} left no core: {ended}", program.display()),
    }
}
