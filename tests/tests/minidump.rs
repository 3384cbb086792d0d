//! The minidump, read by those who will read it: rust-minidump's processor, gdb beside us, LLDB.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, World, built_programs, checkout};
use minidump_unwind::{Symbolizer, simple_symbol_supplier};

/// Where a minidump names the trail, as docs/report.md says.
const TRAIL_STREAM: u32 = 0x4654_0001;

fn victim(world: &Installed, name: &str, death: &str) -> Result<Command> {
    let book = world.work("ledger");
    ledger::create(&book, 4)?;
    let mut command = Command::new(built_programs()?.join(name));
    command.arg(death).arg(book).args(["4", "100"]);
    Ok(command)
}

#[test]
fn minidump_processor_finds_threads_reason_address_and_modules() -> Result<()> {
    let world = Installed::new()?;
    let id = world.crash(&mut victim(&world, "victim-rust", "null")?)?;
    let dump =
        minidump::Minidump::read(world.part(&id, "minidump.dmp")?).context("rust-minidump cannot read it")?;
    let symbols = Symbolizer::new(simple_symbol_supplier(vec![]));
    let state = tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(minidump_processor::process_minidump(&dump, &symbols))
        .context("minidump-processor cannot process it")?;
    ensure!(state.threads.len() == 4, "{} threads", state.threads.len());
    let exception = state.exception_info.as_ref().context("no exception")?;
    ensure!(exception.reason.to_string().starts_with("SIGSEGV"), "reason {}", exception.reason);
    ensure!(exception.address.0 == 0, "address {}", exception.address);
    let names: Vec<_> =
        state.modules.iter().map(|module| minidump::Module::code_file(module).into_owned()).collect();
    ensure!(names.iter().any(|name| name.ends_with("/victim-rust")), "{names:?}");
    ensure!(names.iter().any(|name| name.contains("libc.so.6")), "{names:?}");
    let crashed = state.requesting_thread.context("no crashed thread")?;
    ensure!(!state.threads[crashed].frames.is_empty(), "the crashed thread has no frames");
    let named = state.threads.iter().filter_map(|thread| thread.thread_name.clone()).collect::<Vec<_>>();
    ensure!(named.iter().any(|name| name == "worker-1"), "thread names {named:?}");
    Ok(())
}

// Opening it compares each part with the sum that the report gives, and large ones are summed up by another process.
#[test]
fn hundreds_of_threads_have_their_names_stacks_and_one_minidump_that_is_what_the_report_says() -> Result<()> {
    const THREADS: usize = 300;
    let world = Installed::new()?;
    let book = world.work("ledger");
    ledger::create(&book, 1)?;
    let mut victim = Command::new(built_programs()?.join("weight"));
    victim.arg("1").arg(book).args(["crash", "0", &THREADS.to_string()]);
    let evidence = Evidence::open(&world, &world.crash(&mut victim)?)?;
    let report = &evidence.report;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    ensure!(report.threads.len() == THREADS + 1, "{} threads", report.threads.len());
    let bare = report.threads.iter().find(|thread| thread.name != "weight" || thread.frames.is_empty());
    ensure!(bare.is_none(), "{bare:?}");
    let minidump = evidence.parts.iter().find(|(name, _)| name == "minidump.dmp");
    let bytes = minidump.context("no minidump")?.1.len();
    ensure!(bytes > THREADS * 4096, "a minidump of {bytes} bytes");
    Ok(())
}

#[test]
fn the_crashed_threads_functions_equal_gdbs_on_a_core_of_the_same_victim() -> Result<()> {
    let world = Installed::new()?;
    let mut differences = Vec::new();
    for (name, death) in [
        ("victim-c", "null"),
        ("victim-c", "abort"),
        ("victim-c", "stack-overflow"),
        ("victim-c", "in-handler"),
        ("victim-rust", "null"),
        ("victim-rust", "abort"),
        ("victim-rust", "in-handler"),
    ] {
        let id = world.crash(&mut victim(&world, name, death)?)?;
        let ours = Evidence::open(&world, &id)?.crashed_functions();
        let theirs = gdb_functions(&world, name, death)?;
        // gdb is asked for its innermost 64 frames; a report bounds an endless recursion too.
        let ours: Vec<_> = ours.iter().map(|function| bare(function)).take(theirs.len()).collect();
        if ours != theirs {
            differences.push(format!("{name} {death}:\n  ours   {ours:?}\n  gdb's  {theirs:?}"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// The named frames of gdb's backtrace of a core that the kernel wrote for the same victim.
fn gdb_functions(world: &Installed, name: &str, death: &str) -> Result<Vec<String>> {
    let installed = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let core = world.work("core");
    world.kernel().set_core_pattern(&core.display().to_string())?;
    let crashed = victim(world, name, death).and_then(|victim| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]).arg(victim.get_program());
        run(shell.args(victim.get_args()))
    });
    world.kernel().set_core_pattern(installed.trim_end())?;
    crashed?;
    let program = built_programs()?.join(name);
    let output = run(Command::new("gdb")
        .args(["-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex"])
        .arg(format!("python exec({GDB_FRAMES:?})"))
        .arg(program)
        .arg(&core))?;
    fs::remove_file(&core).context("the kernel wrote no core")?;
    let text = output.success()?.text();
    let functions: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("FRAME ")).map(bare).collect();
    ensure!(functions.len() > 1, "gdb names no frames: {text}");
    Ok(functions)
}

// gdb's own frames, without those that it reconstructs from call sites: tail calls leave nothing on the stack.
const GDB_FRAMES: &str = "\
frame = gdb.newest_frame()
count = 0
while frame is not None and count < 64:
    if frame.type() not in (gdb.SIGTRAMP_FRAME, gdb.TAILCALL_FRAME) and frame.name():
        print('FRAME ' + frame.name())
        count += 1
    frame = frame.older()
";

/// A function's last path segment without type arguments and hash: debuggers agree on no more.
fn bare(function: &str) -> String {
    let mut depth = 0;
    let mut plain = String::new();
    for c in function.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let segments = plain
        .split("::")
        .filter(|segment| !segment.is_empty() && !segment.starts_with('{') && !is_hash(segment));
    segments.last().unwrap_or_default().split('@').next().unwrap_or_default().to_owned()
}

fn is_hash(segment: &str) -> bool {
    segment.len() == 17
        && segment.starts_with('h')
        && segment[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn lldb_opens_the_minidump() -> Result<()> {
    let world = Installed::new()?;
    let id = world.crash(&mut victim(&world, "victim-c", "null")?)?;
    let text = lldb(&world, &id)?;
    ensure!(text.contains("SIGSEGV"), "{text}");
    ensure!(text.contains("frame #0"), "{text}");
    ensure!(text.matches("thread #").count() >= 4, "{text}");
    Ok(())
}

/// What LLDB says of a report's minidump: its threads, and the crashed one's frames.
fn lldb(world: &World, id: &str) -> Result<String> {
    let file = world.work("victim.dmp");
    fs::write(&file, world.part(id, "minidump.dmp")?)?;
    let opened = run(Command::new("lldb")
        .args(["--batch", "--no-lldbinit", "-o"])
        .arg(format!("target create --core {}", file.display()))
        .args(["-o", "thread list", "-o", "bt"]))?;
    Ok(opened.success()?.text())
}

/// A core with known answers: its name, where its program is not under its own name, and what LLDB has to say.
type Known<'a> = (&'a str, Option<&'a str>, &'a [&'a str]);

#[test]
fn lldb_opens_the_minidumps_of_other_machines_and_other_days_with_their_numbers_and_names() -> Result<()> {
    let aarch64 = [
        "(aarch64)",
        "Process 3270 stopped",
        "thread #1: tid = 3270, 0x000000000040014c segv-aarch64.exe`crash",
        "thread #2: tid = 3280",
        "wait_for_ever",
        "SIGSEGV",
        "frame #0: 0x000000000040014c segv-aarch64.exe`crash",
        "segv-aarch64.exe`outer",
        "segv-aarch64.exe`_start",
    ];
    let segv = ["(x86_64)", "Process 32259 stopped", "tid = 32259", "a.out", "frame #0: 0x000000000040011c"];
    let threads = ["(x86_64)", "Process 5222 stopped", "tid = 5250", "tid = 5222", "tid = 5249", "SIGILL"];
    let cores: [Known<'_>; 3] = [
        ("segv-aarch64", Some("segv-aarch64.exe"), &aarch64),
        ("segv-x86_64", Some("segv-x86_64.exe"), &segv),
        ("threads-x86_64", None, &threads),
    ];
    let fixtures = checkout().join("tests/fixtures/cores");
    for (name, exe, expected) in cores {
        let world = World::new()?;
        let mut import = world.foretrace();
        import.arg("import").arg(fixtures.join(name).with_extension("core"));
        exe.map(|exe| import.arg("--exe").arg(fixtures.join(exe)));
        run(&mut import)?.success()?;
        let text = lldb(&world, &world.wait_for_report()?)?;
        let missing: Vec<_> = expected.iter().filter(|part| !text.contains(**part)).collect();
        ensure!(missing.is_empty(), "{name}: {missing:?} is not in\n{text}");
    }
    Ok(())
}

#[test]
fn every_stream_that_readers_look_for_is_there() -> Result<()> {
    use minidump::format::MINIDUMP_STREAM_TYPE as Stream;
    let world = Installed::new()?;
    let id = world.crash(&mut victim(&world, "victim-c", "null")?)?;
    let dump =
        minidump::Minidump::read(world.part(&id, "minidump.dmp")?).context("rust-minidump cannot read it")?;
    for stream in [
        Stream::SystemInfoStream,
        Stream::ThreadListStream,
        Stream::ThreadNamesStream,
        Stream::MemoryListStream,
        Stream::MemoryInfoListStream,
        Stream::ModuleListStream,
        Stream::ExceptionStream,
        Stream::HandleDataStream,
        Stream::LinuxCpuInfo,
        Stream::LinuxProcStatus,
        Stream::LinuxAuxv,
        Stream::LinuxMaps,
        Stream::LinuxDsoDebug,
        Stream::MozLinuxLimits,
        Stream::MozSoftErrors,
        Stream::CrashpadInfoStream,
    ] {
        ensure!(dump.get_raw_stream(stream as u32).is_ok_and(|bytes| !bytes.is_empty()), "no {stream:?}");
    }
    let trail = dump.get_raw_stream(TRAIL_STREAM).context("no stream names the trail")?;
    ensure!(trail.starts_with(b"trace/"), "the trail is in {}", String::from_utf8_lossy(trail));
    let handles = dump.get_stream::<minidump::MinidumpHandleDataStream>()?;
    let input = handles.iter().find(|handle| handle.raw.handle() == Some(&0)).context("no standard input")?;
    ensure!(input.object_name.as_deref().is_some_and(|name| !name.is_empty()), "it points to nothing");
    Ok(())
}

#[test]
fn a_minidump_says_what_the_program_told_everybody_and_what_could_not_be_read() -> Result<()> {
    use minidump::format::MINIDUMP_STREAM_TYPE as Stream;
    let world = Installed::new()?;
    let id = world.crash(&mut Command::new(built_programs()?.join("till")))?;
    let dump = minidump::Minidump::read(world.part(&id, "minidump.dmp")?)?;
    let told = dump.get_stream::<minidump::MinidumpCrashpadInfo>()?.simple_annotations;
    ensure!(told.get("shop").is_some_and(|told| told == "Main Street 4"), "{told:?}");
    ensure!(told.get("foretrace.trail").is_some_and(|told| told.starts_with("trace/")), "{told:?}");
    ensure!(!told.contains_key("cashier"), "what is personal is there: {told:?}");
    ensure!(dump.get_raw_stream(Stream::MozSoftErrors as u32)? == b"[]", "errors of a whole minidump");

    // The loader's list of libraries now begins where nothing is.
    let script = "import ctypes
loader = ctypes.CDLL(None)
ctypes.c_void_p.from_address(ctypes.addressof(ctypes.c_int.in_dll(loader, '_r_debug')) + 8).value = 0xdead0000
ctypes.string_at(0)";
    let id = world.crash(Command::new("/usr/bin/python3").args(["-c", script]))?;
    let dump = minidump::Minidump::read(world.part(&id, "minidump.dmp")?)?;
    let errors = String::from_utf8_lossy(dump.get_raw_stream(Stream::MozSoftErrors as u32)?).into_owned();
    let expected = "the loader's list of libraries could be read in part only";
    ensure!(errors.contains(expected), "{errors}");
    let problems = Evidence::open(&world, &id)?.report.problems;
    ensure!(problems.iter().any(|problem| problem.what.contains(expected)), "{problems:?}");
    Ok(())
}

#[test]
fn a_32_bit_programs_crash_is_whole_and_its_processor_is_x86() -> Result<()> {
    let world = Installed::new()?;
    let id = world.crash(&mut Command::new(built_programs()?.join("narrow")))?;
    let evidence = Evidence::open(&world, &id)?;
    let functions = evidence.crashed_functions();
    ensure!(functions == ["crash", "outer", "_start"], "{functions:?}");
    let report = &evidence.report;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    ensure!(
        report.signal.as_ref().is_some_and(|s| s.address.as_deref() == Some("0x0")),
        "{:?}",
        report.signal
    );
    let dump = minidump::Minidump::read(world.part(&id, "minidump.dmp")?)?;
    let system = dump.get_stream::<minidump::MinidumpSystemInfo>()?;
    ensure!(system.cpu == minidump::system_info::Cpu::X86, "{:?}", system.cpu);
    let symbols = Symbolizer::new(simple_symbol_supplier(vec![]));
    let state = tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(minidump_processor::process_minidump(&dump, &symbols))?;
    let context = &state.threads[0].frames.first().context("no frame")?.context;
    let first = &report.threads[0].frames[0].ip;
    ensure!(format!("{:#x}", context.get_instruction_pointer()) == *first, "not at {first}");
    let text = lldb(&world, &id)?;
    let (pid, ip) = (report.program.pid, first.trim_start_matches("0x"));
    let expected =
        ["(i386)", &format!("Process {pid} stopped"), &format!("frame #0: 0x{ip:0>8} narrow`crash")];
    ensure!(expected.iter().all(|part| text.contains(part)), "{expected:?} is not in\n{text}");
    ensure!(text.contains("narrow`outer") && text.contains("narrow`_start"), "{text}");
    Ok(())
}
