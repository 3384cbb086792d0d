//! A program that is compiled, run under gdb until its fatal signal, and dumped; and what gdb and we make of it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use foretrace_capture::core::{self, CoreHead};
use foretrace_capture::maps::{self, Mapping};
use foretrace_capture::memory::CoreMemory;
use foretrace_capture::module::{Modules, Places};
use foretrace_capture::symbol::symbolize;
use foretrace_capture::unwind::{End, Unwinder, Walk};
use foretrace_report::schema::{Frame, Problem, Trust};
use tempfile::TempDir;

/// Prints every thread's frames as gdb sees them.
pub const GDB_SCRIPT: &str = r#"
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
pub struct Crash {
    // Keeps program and core until the end of the test.
    pub directory: TempDir,
    pub core: PathBuf,
    pub gdb: Vec<GdbThread>,
}

#[derive(Debug)]
pub struct GdbThread {
    pub tid: i32,
    pub frames: Vec<GdbFrame>,
}

#[derive(Debug)]
pub struct GdbFrame {
    pub ip: String,
    pub kind: String,
    pub line: u32,
    pub function: String,
}

/// What we make of it.
pub struct Seen {
    pub head: CoreHead,
    pub threads: Vec<(i32, Walk, Vec<Frame>)>,
    pub problems: Vec<Problem>,
}

impl Crash {
    /// Compiles `source` and runs it under gdb. `passed` are signals that the program handles itself.
    pub fn of(source: &str, compiler: &[&str], passed: &[&str]) -> Crash {
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

    pub fn in_directory(directory: TempDir, passed: &[&str]) -> Crash {
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

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("victim")
    }

    /// Our view of it, with each mapped file opened by its path.
    pub fn seen(&self) -> Seen {
        self.seen_through(&mut |mapping| File::open(&mapping.path).ok())
    }

    pub fn seen_through(&self, open: &mut dyn FnMut(&Mapping) -> Option<File>) -> Seen {
        self.seen_in(Places::System, open)
    }

    pub fn seen_in(&self, places: Places, open: &mut dyn FnMut(&Mapping) -> Option<File>) -> Seen {
        let file = File::open(&self.core).unwrap();
        let head = core::read_file(&file).unwrap();
        let memory = CoreMemory::new(file, &head.segments);
        let (modules, problems) = Modules::new(&maps::from_core(&head).0, &memory, open);
        let modules = modules.looking_in(places);
        let mut unwinder = Unwinder::new(&modules);
        let threads = head
            .threads
            .iter()
            .map(|thread| {
                let walk = unwinder.walk(&thread.registers, &memory);
                let frames = symbolize(&walk.steps, &modules);
                (thread.tid, walk, frames)
            })
            .collect();
        Seen { head, threads, problems }
    }
}

impl Seen {
    pub fn thread(&self, tid: i32) -> &(i32, Walk, Vec<Frame>) {
        self.threads.iter().find(|thread| thread.0 == tid).expect("gdb's thread is in the core")
    }

    pub fn crashed(&self) -> &(i32, Walk, Vec<Frame>) {
        &self.threads[0]
    }

    pub fn functions(&self) -> Vec<&str> {
        self.crashed().2.iter().filter_map(|frame| frame.function.as_deref()).collect()
    }
}

/// Every thread's frames are gdb's: address, kind, function, and where gdb knows it the line.
pub fn assert_equals_gdb(crash: &Crash, seen: &Seen) {
    assert_eq!(crash.gdb.len(), seen.head.threads.len(), "threads");
    for thread in &crash.gdb {
        let (_, walk, frames) = seen.thread(thread.tid);
        let ours: Vec<GdbFrame> = frames.iter().map(as_gdb).collect();
        assert_eq!(shown(&ours), shown(&thread.frames), "thread {}, which ended {:?}", thread.tid, walk.end);
        assert_eq!(walk.end, End::Outermost);
    }
}

pub fn as_gdb(frame: &Frame) -> GdbFrame {
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

pub fn shown(frames: &[GdbFrame]) -> String {
    // One function, several symbols: which of them gdb takes is chance.
    let alias =
        |name: &str| name.trim_start_matches("__GI_").replace("__libc_start_main_impl", "__libc_start_main");
    frames.iter().map(|f| format!("{} {} {} line {}\n", f.ip, f.kind, alias(&f.function), f.line)).collect()
}

pub fn gdb_threads(output: &str) -> Vec<GdbThread> {
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

pub fn run(command: &mut Command) -> String {
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
pub const CALLS: &str = r#"
volatile int zero;
int *volatile nowhere;
__attribute__((noinline)) int crash(int x) { return *nowhere + x; }
static inline int middle(int x) { return crash(x + 1) * 2; }
__attribute__((noinline)) int outer(int x) { int r = middle(x); return r + zero; }
int main(int c, char **v) { int r = outer(c); return r + zero; }
"#;
