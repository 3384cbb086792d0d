//! Real programs crash under gdb, gdb writes their cores, and our backtraces must equal gdb's frame for frame.
//!
//! Needs gdb, gcc and xz. Every victim is a program of its own, compiled here.

#![allow(clippy::unwrap_used, reason = "a victim that cannot be prepared fails its test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use foretrace_capture::core::{self, CoreHead};
use foretrace_capture::maps::{self, Mapping};
use foretrace_capture::memory::{CoreMemory, ProcessMemory};
use foretrace_capture::module::Modules;
use foretrace_capture::symbol::Symbolizer;
use foretrace_capture::unwind::{End, Unwinder, Walk};
use foretrace_report::schema::{Frame, Problem, Trust};
use tempfile::TempDir;

/// Prints every thread's frames as gdb sees them.
const GDB_SCRIPT: &str = r#"
import gdb
for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    thread.switch()
    print("THREAD %d" % thread.ptid[1])
    frame, count = gdb.newest_frame(), 0
    while frame is not None and count < 1000:
        # Tail calls leave nothing on the stack; gdb concludes them from DWARF.
        if frame.type() == gdb.TAILCALL_FRAME:
            frame = frame.older()
            continue
        kind = {gdb.SIGTRAMP_FRAME: "signal", gdb.INLINE_FRAME: "inline"}.get(frame.type(), "normal")
        line = frame.find_sal().line if frame.find_sal().symtab else 0
        print("FRAME\t%#x\t%s\t%d\t%s" % (frame.pc(), kind, line, frame.name() or "?"))
        try:
            frame = frame.older()
        except gdb.error:
            frame = None
        count += 1
"#;

/// A program that was stopped by its fatal signal.
struct Crash {
    // Keeps program and core until the end of the test.
    directory: TempDir,
    core: PathBuf,
    gdb: Vec<GdbThread>,
}

#[derive(Debug)]
struct GdbThread {
    tid: i32,
    frames: Vec<GdbFrame>,
}

#[derive(Debug)]
struct GdbFrame {
    ip: String,
    kind: String,
    line: u32,
    function: String,
}

/// What we make of it.
struct Seen {
    head: CoreHead,
    threads: Vec<(i32, Walk, Vec<Frame>)>,
    problems: Vec<Problem>,
}

impl Crash {
    /// Compiles `source` and runs it under gdb. `passed` are signals that the program handles itself.
    fn of(source: &str, compiler: &[&str], passed: &[&str]) -> Crash {
        let directory = tempfile::tempdir().unwrap();
        let extension = match compiler[0] {
            "g++" => "cpp",
            "rustc" => "rs",
            _ => "c",
        };
        let file = directory.path().join("victim").with_extension(extension);
        fs::write(&file, source).unwrap();
        run(Command::new(compiler[0])
            .arg(&file)
            .args(&compiler[1..])
            .arg("-o")
            .arg(directory.path().join("victim")));
        Crash::in_directory(directory, passed)
    }

    fn in_directory(directory: TempDir, passed: &[&str]) -> Crash {
        let script = directory.path().join("frames.py");
        let core = directory.path().join("core");
        fs::write(&script, GDB_SCRIPT).unwrap();
        let mut gdb = Command::new("gdb");
        gdb.args([
            "-nx",
            "-batch",
            "-q",
            "-ex",
            "set backtrace past-main on",
            "-ex",
            "set debuginfod enabled off",
        ]);
        for signal in passed {
            gdb.args(["-ex", &format!("handle {signal} nostop noprint pass")]);
        }
        gdb.args(["-ex", "run", "-ex", &format!("generate-core-file {}", core.display())]);
        gdb.args(["-ex", &format!("source {}", script.display()), "-ex", "kill"]);
        let output = run(gdb.arg(directory.path().join("victim")).env_remove("DEBUGINFOD_URLS"));
        Crash { core, gdb: gdb_threads(&output), directory }
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("victim")
    }

    /// Our view of it, with each mapped file opened by its path.
    fn seen(&self) -> Seen {
        self.seen_through(&mut |mapping| File::open(&mapping.path).ok())
    }

    fn seen_through(&self, open: &mut dyn FnMut(&Mapping) -> Option<File>) -> Seen {
        let file = File::open(&self.core).unwrap();
        let head = core::read_file(&file).unwrap();
        let memory = CoreMemory::new(file, &head.segments);
        let (modules, problems) = Modules::new(&maps::from_core(&head), &memory, open);
        let (mut unwinder, mut symbolizer) = (Unwinder::new(&modules), Symbolizer::new(&modules));
        let threads = head
            .threads
            .iter()
            .map(|thread| {
                let walk = unwinder.walk(&thread.registers, &memory);
                let frames = symbolizer.frames(&walk.steps);
                (thread.tid, walk, frames)
            })
            .collect();
        Seen { head, threads, problems }
    }
}

impl Seen {
    fn thread(&self, tid: i32) -> &(i32, Walk, Vec<Frame>) {
        self.threads.iter().find(|thread| thread.0 == tid).expect("gdb's thread is in the core")
    }

    fn crashed(&self) -> &(i32, Walk, Vec<Frame>) {
        &self.threads[0]
    }

    fn functions(&self) -> Vec<&str> {
        self.crashed().2.iter().filter_map(|frame| frame.function.as_deref()).collect()
    }
}

/// Every thread's frames are gdb's: address, kind, function, and where gdb knows it the line.
fn assert_equals_gdb(crash: &Crash, seen: &Seen) {
    assert_eq!(crash.gdb.len(), seen.head.threads.len(), "threads");
    for thread in &crash.gdb {
        let (_, walk, frames) = seen.thread(thread.tid);
        let ours: Vec<GdbFrame> = frames.iter().map(as_gdb).collect();
        assert_eq!(shown(&ours), shown(&thread.frames), "thread {}, which ended {:?}", thread.tid, walk.end);
        assert_eq!(walk.end, End::Outermost);
    }
}

fn as_gdb(frame: &Frame) -> GdbFrame {
    let kind = match frame.trust {
        Trust::Signal => "signal",
        _ if frame.inline => "inline",
        _ => "normal",
    };
    GdbFrame {
        ip: frame.ip.clone(),
        kind: kind.into(),
        line: frame.line.unwrap_or(0),
        function: frame.function.clone().unwrap_or_else(|| "?".into()),
    }
}

fn shown(frames: &[GdbFrame]) -> String {
    // One function, two symbols: which of them gdb takes is chance.
    let alias = |name: &str| name.replace("__libc_start_main_impl", "__libc_start_main");
    frames.iter().map(|f| format!("{} {} {} line {}\n", f.ip, f.kind, alias(&f.function), f.line)).collect()
}

fn gdb_threads(output: &str) -> Vec<GdbThread> {
    let mut threads = Vec::new();
    for row in output.lines() {
        if let Some(tid) = row.strip_prefix("THREAD ") {
            threads.push(GdbThread { tid: tid.parse().unwrap(), frames: Vec::new() });
        }
        let fields: Vec<&str> = row.split('\t').collect();
        if let (["FRAME", ip, kind, line, function], Some(thread)) = (&fields[..], threads.last_mut()) {
            let function = if *kind == "signal" { "?" } else { function };
            thread.frames.push(GdbFrame {
                ip: (*ip).into(),
                kind: (*kind).into(),
                line: line.parse().unwrap(),
                function: function.into(),
            });
        }
    }
    assert!(!threads.is_empty(), "gdb showed no thread:\n{output}");
    threads
}

fn run(command: &mut Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("{name} could not be run ({error}): these tests need gdb, gcc, g++ and xz; `apt-get install gdb gcc g++ xz-utils` gives them")
    });
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed:\n{text}");
    text
}

/// Four calls deep, one of them inlined when optimised.
const CALLS: &str = r#"
volatile int zero;
int *volatile nowhere;
__attribute__((noinline)) int crash(int x) { return *nowhere + x; }
static inline int middle(int x) { return crash(x + 1) * 2; }
__attribute__((noinline)) int outer(int x) { int r = middle(x); return r + zero; }
int main(int c, char **v) { int r = outer(c); return r + zero; }
"#;

#[test]
fn a_null_dereference_is_walked_as_gdb_does() {
    for flags in [
        &["-O0", "-g"][..],
        &["-O2", "-g", "-fomit-frame-pointer"],
        &["-O2", "-g", "-no-pie"],
        &["-O2", "-g", "-static"],
        &["-O2", "-g", "-static-pie"],
        // No search table: entries are found one by one.
        &["-O2", "-g", "-Wl,--no-eh-frame-hdr"],
        // .debug_frame in place of .eh_frame.
        &["-O2", "-g", "-fno-asynchronous-unwind-tables"],
        &["-O1", "-g", "-gz=zlib"],
        &["-O2", "-g", "-gdwarf-4"],
        &["-O2", "-g", "-Wl,--build-id=none"],
    ] {
        let crash = Crash::of(CALLS, &[&["gcc"], flags].concat(), &[]);
        let seen = crash.seen();
        assert_eq!(seen.problems, [], "{flags:?}");
        assert_equals_gdb(&crash, &seen);
        assert_eq!(seen.functions()[..4], ["crash", "middle", "outer", "main"], "{flags:?}");
    }
}

#[test]
fn a_program_without_tables_is_walked_by_its_frame_pointers() {
    let flags = [
        "gcc",
        "-O1",
        "-fno-asynchronous-unwind-tables",
        "-fno-omit-frame-pointer",
        "-fno-optimize-sibling-calls",
    ];
    let crash = Crash::of(&CALLS.replace("static inline", "__attribute__((noinline))"), &flags, &[]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    let frames = &seen.crashed().2;
    assert_eq!(seen.functions()[..4], ["crash", "middle", "outer", "main"]);
    assert_eq!(frames[1].trust, Trust::Scan, "the leaf function has no frame: only the call tells");
    assert_eq!(frames[2].trust, Trust::FramePointer);
    assert_eq!(frames[4].trust, Trust::FramePointer, "from main on the C library has tables");
    assert_eq!(frames[5].trust, Trust::Cfi);
}

#[test]
fn an_abort_goes_through_the_c_library() {
    let source = r#"
        #include <stdlib.h>
        volatile int zero;
        __attribute__((noinline)) int give_up(int x) { if (!zero) abort(); return x; }
        int main(int c, char **v) { return give_up(c) + zero; }
    "#;
    let crash = Crash::of(source, &["gcc", "-O2", "-g"], &[]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    assert_eq!(seen.functions()[2..5], ["__GI_abort", "give_up", "main"]);
}

#[test]
fn a_crash_in_a_signal_handler_shows_what_was_interrupted() {
    let source = r#"
        #include <signal.h>
        volatile int zero;
        int *volatile nowhere;
        static void handler(int s) { zero = *nowhere; }
        __attribute__((noinline)) int work(int x) { raise(SIGUSR1); return x + zero; }
        int main(int c, char **v) { signal(SIGUSR1, handler); return work(c) + zero; }
    "#;
    for flags in [&["-O0", "-g"][..], &["-O2", "-g", "-static"]] {
        let crash = Crash::of(source, &[&["gcc"], flags].concat(), &["SIGUSR1"]);
        let seen = crash.seen();
        assert_equals_gdb(&crash, &seen);
        let frames = &seen.crashed().2;
        assert_eq!(frames[0].function.as_deref(), Some("handler"));
        assert_eq!((frames[1].function.as_deref(), frames[1].trust), (None, Trust::Signal));
        assert!(seen.functions().contains(&"work"));
    }
}

#[test]
fn a_trampoline_without_tables_is_known_by_its_code() {
    // As musl's: a restorer of three instructions and not a word about it.
    let source = r#"
        #include <signal.h>
        #include <unistd.h>
        #include <sys/syscall.h>
        volatile int zero;
        int *volatile nowhere;
        __asm__(".text\n__restore_rt: mov $15, %rax\n syscall\n");
        extern void restorer(void) __asm__("__restore_rt");
        struct action { void (*handler)(int); unsigned long flags; void (*restorer)(void); unsigned long mask; };
        static void handler(int s) { zero = *nowhere; }
        __attribute__((noinline)) int work(int x) { kill(getpid(), SIGUSR1); return x + zero; }
        int main(int c, char **v) {
            struct action a = { handler, 0x04000000, restorer, 0 };
            syscall(SYS_rt_sigaction, SIGUSR1, &a, 0, 8);
            return work(c) + zero;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O0", "-g"], &["SIGUSR1"]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    assert_eq!(seen.crashed().2[1].trust, Trust::Signal);
    assert!(seen.functions().contains(&"work"));
}

#[test]
fn a_fault_that_interrupts_is_looked_up_at_its_own_instruction() {
    // The handler of a fault gives up: the faulting line must be the very one, not the one before.
    let source = r#"
        #include <signal.h>
        #include <stdlib.h>
        volatile int zero;
        int *volatile nowhere;
        static void handler(int s) { abort(); }
        int main(int c, char **v) {
            signal(SIGSEGV, handler);
            zero = 1;
            return *nowhere;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O0", "-g"], &["SIGSEGV"]);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    let main = seen.crashed().2.iter().find(|frame| frame.function.as_deref() == Some("main")).unwrap();
    assert_eq!(main.line, Some(10));
}

#[test]
fn a_stack_overflow_is_walked_from_the_alternate_stack_back() {
    let source = r#"
        #include <signal.h>
        #include <stdlib.h>
        #include <pthread.h>
        static char alternate[65536];
        volatile int zero;
        static void handler(int s) { abort(); }
        __attribute__((noinline)) int recurse(int x) { volatile char pad[100]; pad[0] = x; return recurse(x + 1) + pad[0]; }
        static void *start(void *p) {
            stack_t s = { .ss_sp = alternate, .ss_size = sizeof alternate };
            sigaltstack(&s, 0);
            zero = recurse(0);
            return 0;
        }
        int main(int c, char **v) {
            struct sigaction a = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
            sigaction(SIGSEGV, &a, 0);
            pthread_attr_t attributes;
            pthread_attr_init(&attributes);
            pthread_attr_setstacksize(&attributes, 32768);
            pthread_t t;
            pthread_create(&t, &attributes, start, 0);
            pthread_join(t, 0);
            return zero;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O1", "-g", "-fno-optimize-sibling-calls"], &["SIGSEGV"]);
    let seen = crash.seen();
    let (_, walk, frames) = seen.crashed();
    let gdb = &crash.gdb.iter().find(|thread| thread.tid == seen.head.threads[0].tid).unwrap().frames;
    // As many as this are not cut.
    assert!(gdb.len() > 100 && gdb.len() < 320, "{} frames", gdb.len());
    assert_equals_gdb(&crash, &seen);
    assert!(frames.iter().any(|frame| frame.trust == Trust::Signal));
    assert_eq!(walk.left_out, 0);
}

#[test]
fn a_runaway_recursion_keeps_its_beginning_and_its_end() {
    let source = r#"
        volatile int zero;
        __attribute__((noinline)) int recurse(int x) { return recurse(x + 1) + zero; }
        int main(int c, char **v) { return recurse(c); }
    "#;
    let crash = Crash::of(source, &["gcc", "-O1", "-g", "-fno-optimize-sibling-calls"], &[]);
    let seen = crash.seen();
    let (_, walk, frames) = seen.crashed();
    assert!(walk.left_out > 50_000, "8 MiB of small frames, of which {} were left out", walk.left_out);
    assert_eq!((walk.end, frames.len()), (End::Outermost, 320));
    assert_eq!(frames[0].function.as_deref(), Some("recurse"));
    let outermost: Vec<_> = frames[316..].iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert_eq!(outermost, ["main", "__libc_start_call_main", "__libc_start_main_impl", "_start"]);
}

#[test]
fn a_call_through_a_wild_pointer_shows_its_caller() {
    for pointer in ["0", "(void (*)(void)) 0x1230"] {
        let source = format!(
            "volatile int zero; void (*volatile wild)(void) = {pointer};
             __attribute__((noinline)) int dispatch(int x) {{ wild(); return x + zero; }}
             int main(int c, char **v) {{ return dispatch(c) + zero; }}"
        );
        let crash = Crash::of(&source, &["gcc", "-O2", "-g"], &[]);
        let seen = crash.seen();
        assert_equals_gdb(&crash, &seen);
        let frames = &seen.crashed().2;
        assert_eq!((frames[0].module.as_deref(), frames[0].function.as_deref()), (None, None));
        assert_eq!((frames[1].function.as_deref(), frames[1].trust), (Some("dispatch"), Trust::Scan));
        assert_eq!(frames[2].trust, Trust::Cfi);
    }
}

#[test]
fn every_thread_is_walked() {
    let source = r#"
        #include <pthread.h>
        #include <unistd.h>
        volatile int zero;
        int *volatile nowhere;
        static pthread_barrier_t barrier;
        static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
        static void *sleeper(void *p) { pthread_barrier_wait(&barrier); sleep(1000); return 0; }
        static void *blocked(void *p) { pthread_barrier_wait(&barrier); pthread_mutex_lock(&held); return 0; }
        int main(int c, char **v) {
            pthread_t t;
            pthread_barrier_init(&barrier, 0, 3);
            pthread_mutex_lock(&held);
            pthread_create(&t, 0, sleeper, 0);
            pthread_create(&t, 0, blocked, 0);
            pthread_barrier_wait(&barrier);
            usleep(200000);
            return *nowhere;
        }
    "#;
    let crash = Crash::of(source, &["gcc", "-O2", "-g"], &[]);
    assert_eq!(crash.gdb.len(), 3);
    let seen = crash.seen();
    assert_equals_gdb(&crash, &seen);
    let has = |name| seen.threads.iter().any(|t| t.2.iter().any(|f| f.function.as_deref() == Some(name)));
    assert!(has("sleeper") && has("blocked") && has("main"));
}

#[test]
fn cpp_names_and_exceptions_are_gdbs() {
    let source = r#"
        #include <stdexcept>
        #include <vector>
        namespace shop {
            struct Order { int total(std::vector<int> const& items) const; };
            __attribute__((noinline)) int Order::total(std::vector<int> const& items) const {
                if (items.empty()) throw std::runtime_error("none");
                return items[0];
            }
        }
        int main() { return shop::Order().total({}); }
    "#;
    let crash = Crash::of(source, &["g++", "-O1", "-g"], &[]);
    let seen = crash.seen();
    let functions = seen.functions();
    assert!(
        functions.contains(&"shop::Order::total(std::vector<int, std::allocator<int> > const&) const"),
        "{functions:?}"
    );
    assert!(functions.contains(&"__cxa_throw"), "{functions:?}");
    let addresses = |frames: &[GdbFrame]| -> Vec<String> {
        frames.iter().filter(|frame| frame.kind != "inline").map(|frame| frame.ip.clone()).collect()
    };
    let ours: Vec<GdbFrame> = seen.crashed().2.iter().map(as_gdb).collect();
    assert_eq!(addresses(&ours), addresses(&crash.gdb[0].frames));
}

#[test]
fn rust_names_have_no_hashes_and_inlined_calls_have_frames() {
    let source = "
        #[inline(never)] fn parse(text: &str) -> u32 { text.parse().unwrap() }
        #[inline(never)] fn load(text: &str) -> u32 { parse(text) + 1 }
        fn main() { std::process::exit(load(&std::env::args().nth(1).unwrap_or_default()) as i32) }
    ";
    let flags = ["rustc", "--crate-name", "victim", "-Cpanic=abort", "-Copt-level=2", "-g"];
    let crash = Crash::of(source, &flags, &[]);
    let seen = crash.seen();
    let functions = seen.functions();
    for name in [
        "core::panicking::panic_fmt",
        "core::result::unwrap_failed",
        "victim::parse",
        "victim::load",
        "victim::main",
    ] {
        assert!(functions.contains(&name), "{name} in {functions:?}");
    }
    let inlined = seen
        .crashed()
        .2
        .iter()
        .find(|frame| frame.inline && frame.function.as_deref().is_some_and(|f| f.contains("unwrap")));
    assert!(inlined.is_some(), "{functions:?}");
    let addresses = |frames: &[GdbFrame]| -> Vec<String> {
        frames.iter().filter(|frame| frame.kind != "inline").map(|frame| frame.ip.clone()).collect()
    };
    let ours: Vec<GdbFrame> = seen.crashed().2.iter().map(as_gdb).collect();
    assert_eq!(addresses(&ours), addresses(&crash.gdb[0].frames));
}

#[test]
fn a_stripped_program_keeps_its_addresses() {
    let crash = Crash::of(CALLS, &["gcc", "-O2", "-s"], &[]);
    let seen = crash.seen();
    let frames = &seen.crashed().2;
    let ours: Vec<_> = frames.iter().map(|frame| &frame.ip).collect();
    let gdb: Vec<_> = crash.gdb[0].frames.iter().map(|frame| &frame.ip).collect();
    assert_eq!(ours, gdb);
    assert_eq!(frames[0].function, None);
    let program = crash.program();
    assert_eq!(frames[0].module.as_deref(), program.to_str());
    assert!(frames[0].build_id.is_some() && frames[0].offset.is_some());
}

#[test]
fn a_symbol_table_inside_a_stripped_program_names_its_functions() {
    // As Fedora's packages are made.
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("victim.c"), CALLS).unwrap();
    run(Command::new("gcc").args(["-O2", &path("victim.c"), "-o", &path("victim")]));
    run(Command::new("objcopy").args(["--only-keep-debug", &path("victim"), &path("mini")]));
    run(Command::new("xz").args(["-k", &path("mini")]));
    run(Command::new("strip").arg(path("victim")));
    let section = format!(".gnu_debugdata={}", path("mini.xz"));
    run(Command::new("objcopy").args(["--add-section", &section, &path("victim")]));
    let crash = Crash::in_directory(directory, &[]);
    let seen = crash.seen();
    assert_eq!(seen.functions()[..3], ["crash", "outer", "main"]);
    assert_eq!(seen.crashed().2[0].file, None);
}

#[test]
fn another_program_in_the_files_place_names_nothing() {
    for build_id in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
        let crash = Crash::of(CALLS, &["gcc", "-O2", "-g", build_id], &[]);
        let true_names = crash.seen();
        assert_eq!(true_names.functions()[0], "crash");
        let other =
            Crash::of(&CALLS.replace("crash", "innocent_function"), &["gcc", "-O0", "-g", build_id], &[]);
        let (victim, replacement) = (crash.program(), other.program());
        let seen = crash.seen_through(&mut |mapping| {
            let path = Path::new(&mapping.path);
            File::open(if path == victim { &replacement } else { path }).ok()
        });
        assert!(!seen.functions().iter().any(|name| ["innocent_function", "crash", "main"].contains(name)));
        assert!(
            seen.problems.iter().any(|problem| problem.what.contains("not the one that was mapped")),
            "{:?}",
            seen.problems
        );
    }
}

#[test]
fn without_any_file_there_are_still_addresses() {
    let crash = Crash::of(CALLS, &["gcc", "-O1", "-g", "-fno-omit-frame-pointer"], &[]);
    let seen = crash.seen_through(&mut |_| None);
    let frames = &seen.crashed().2;
    assert_eq!(frames[0].ip, crash.gdb[0].frames[0].ip);
    assert!(frames.len() >= 4, "the frame pointers lead on: {frames:?}");
    assert!(!seen.problems.is_empty());
}

#[test]
fn the_images_of_this_very_process_are_found() {
    let program = fs::read("/proc/self/exe").unwrap();
    // A copy that is only read through a mapping is no image.
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    fs::write(&copy, program).unwrap();
    let data = unmoved_mapping(&copy);
    let (mut maps, _) = maps::parse(&fs::read("/proc/self/maps").unwrap());
    maps.push(data.clone());
    let memory = ProcessMemory(File::open("/proc/self/mem").unwrap());
    let mut open = |mapping: &Mapping| File::open(&mapping.path).ok();
    let (modules, problems) = Modules::new(&maps, &memory, &mut open);
    assert_eq!(problems, []);
    let of = |path: &str| modules.iter().find(|module| module.path.contains(path));
    let here = the_images_of_this_very_process_are_found as *const () as u64;
    assert_eq!(modules.find(here).unwrap().path, std::env::current_exe().unwrap().display().to_string());
    assert!(modules.is_executable(here) && !modules.is_executable(&raw const data as u64));
    for path in ["[vdso]", "libc.so.6", "ld-linux"] {
        assert!(
            of(path).unwrap_or_else(|| panic!("{path}")).build_id.as_ref().unwrap().len() >= 16,
            "{path}"
        );
    }
    assert!(of("copy").is_none());
}

// A line of `maps` as if the file were mapped whole, for reading.
fn unmoved_mapping(path: &Path) -> Mapping {
    Mapping {
        start: 0x1000_0000,
        end: 0x1000_0000 + fs::metadata(path).unwrap().len().next_multiple_of(4096),
        readable: true,
        inode: 1,
        path: path.display().to_string(),
        ..Mapping::default()
    }
}

/// Every byte that a walk reads may be an enemy's.
#[test]
fn damaged_files_and_stacks_end_a_walk_and_nothing_else() {
    let crash = Crash::of(CALLS, &["gcc", "-O2", "-g", "-static"], &[]);
    let (program, core) = (fs::read(crash.program()).unwrap(), fs::read(&crash.core).unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        let mut damaged = program.clone();
        for _ in 0..1 << (round % 10) {
            let at = random.below(damaged.len());
            damaged[at] = random.next() as u8;
        }
        if round % 7 == 0 {
            damaged.truncate(random.below(program.len()));
        }
        let replacement = crash.directory.path().join("damaged");
        fs::write(&replacement, &damaged).unwrap();
        let mut stack = core.clone();
        if round % 3 == 0 {
            let head = core::read_file(&File::open(&crash.core).unwrap()).unwrap();
            let segment = head.segments.iter().rev().find(|s| s.flags & 2 != 0).unwrap();
            let (from, size) = (segment.file_offset as usize, segment.file_size as usize);
            for _ in 0..2000 {
                stack[from + random.below(size)] = random.next() as u8;
            }
        }
        let damaged_core = Crash {
            core: crash.directory.path().join("damaged.core"),
            directory: tempfile::tempdir().unwrap(),
            gdb: Vec::new(),
        };
        fs::write(&damaged_core.core, &stack).unwrap();
        let seen = damaged_core.seen_through(&mut |_| File::open(&replacement).ok());
        assert!(!seen.crashed().2.is_empty());
    }
}

/// xorshift: the same damage every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 24
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }
}
