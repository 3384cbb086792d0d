//! `foretrace-capture` as others start it: on live processes and core files, with its report read back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use foretrace_report::bundle::{BundleReader, Limits};
use foretrace_report::schema::{Report, Trust};
use minidump::{Minidump, MinidumpException, MinidumpMemoryList, MinidumpThreadList};

struct Root(tempfile::TempDir);

struct Bundle {
    report: Report,
    parts: Vec<(String, Vec<u8>)>,
    answer: serde_json::Value,
}

impl Root {
    fn new() -> Root {
        Root(tempfile::tempdir().unwrap())
    }

    fn capture(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_foretrace-capture"))
            .arg("--root")
            .arg(self.0.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn report(&self, arguments: &[&str]) -> Bundle {
        let output = self.capture(&[&["--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = Path::new(answer["path"].as_str().unwrap()).join("bundle.zip");
        let mut bundle = BundleReader::open(File::open(path).unwrap(), Limits::default()).unwrap();
        let parts =
            bundle.names().into_iter().map(|name| (name.clone(), bundle.part(&name).unwrap())).collect();
        Bundle { report: bundle.report().unwrap(), parts, answer }
    }

    fn is_empty(&self) -> bool {
        !["var/lib/foretrace/reports/0", "root/.local/state/foretrace/reports/0"].iter().any(|path| {
            fs::read_dir(self.0.path().join(path)).is_ok_and(|mut entries| entries.next().is_some())
        })
    }
}

impl Bundle {
    fn part(&self, name: &str) -> &[u8] {
        &self.parts.iter().find(|(part, _)| part == name).unwrap().1
    }
}

// A process that is ended with its test.
struct Victim {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Victim {
    fn compiled(source: &str, directory: &Path) -> Victim {
        Victim::compiled_with(&["-pthread"], source, directory)
    }

    fn compiled_with(flags: &[&str], source: &str, directory: &Path) -> Victim {
        let (code, program) = (directory.join("victim.c"), directory.join("victim"));
        fs::write(&code, source).unwrap();
        let mut compiler = Command::new("gcc");
        let compiler = compiler.args(["-g", "-O0"]).args(flags).arg("-o").arg(&program).arg(&code).output();
        let compiler = compiler.expect("this test needs gcc");
        assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
        Victim::started(&mut Command::new(program))
    }

    fn started(program: &mut Command) -> Victim {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("A_SECRET_TOKEN", "hunter2")
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Victim { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fixture(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cores").join(name).display().to_string()
}

fn functions(report: &Report, thread: usize) -> Vec<Option<&str>> {
    report.threads[thread].frames.iter().map(|frame| frame.function.as_deref()).collect()
}

const COUNTING: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static char *secret;
static volatile long counter;
static volatile int hidden_runs;
/* The key's pages lie directly above a thread's stack; half of one mapping is the stack, half is withheld. */
static void *count(void *unused) { for (;;) { counter++; usleep(100); } return unused; }
static void write_key(char *at) { const char half[] = "4M-not-in-any-dump"; at[0] = 'k'; at[1] = '3'; at[2] = 'y'; memcpy(at + 3, half, sizeof half); }
static void *hide(void *unused) { char key[64]; write_key(key); hidden_runs = 1; for (;;) pause(); return unused; }
int main(void) {
    enum { SIZE = 1 << 20, PAGE = 4096 };
    char *memory = mmap(0, SIZE + 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    secret = memory + SIZE;
    madvise(secret, 4 * PAGE, MADV_DONTDUMP);
    write_key(secret + 100);
    write_key(secret + PAGE);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, memory, SIZE);
    pthread_t thread;
    pthread_create(&thread, &attributes, count, secret);
    /* Another thread's whole stack is withheld, and has the key on it. */
    char *hidden = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(hidden, SIZE, MADV_DONTDUMP);
    pthread_attr_setstack(&attributes, hidden, SIZE);
    pthread_create(&thread, &attributes, hide, 0);
    while (!hidden_runs) usleep(100);
    puts("ready");
    fflush(stdout);
    char line[8];
    long before = 0;
    for (;;) {
        if (read(0, line, 1) != 1) return 0;
        printf("%d\n", counter > before);
        before = counter;
        fflush(stdout);
    }
}
"#;

#[test]
fn a_snapshot_tells_what_a_process_does_and_leaves_it_alone() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let mut victim = Victim::compiled(COUNTING, directory.path());
    assert_eq!(victim.line(), "ready");
    let bundle = root.report(&["snapshot", &victim.pid(), "--reason", "looks slow"]);
    let report = &bundle.report;
    assert_eq!((report.kind.name(), report.message.as_deref()), ("snapshot", Some("looks slow")));
    assert_eq!((report.program.name.as_str(), report.program.pid.to_string()), ("victim", victim.pid()));
    assert_eq!(report.signal, None);
    assert_eq!(report.threads.len(), 3);
    assert!(functions(report, 0).contains(&Some("main")), "{:?}", report.threads[0]);
    assert!(functions(report, 1).contains(&Some("count")), "{:?}", report.threads[1]);
    assert!(report.threads.iter().all(|thread| !thread.crashed && thread.name == "victim"));

    let dump = Minidump::read(bundle.part("minidump.dmp")).unwrap();
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().unwrap();
    assert_eq!(threads.threads.len(), 3);
    assert!(dump.get_stream::<MinidumpMemoryList<'_>>().unwrap().iter().count() >= 2);
    assert_eq!(
        dump.get_stream::<MinidumpException<'_>>().unwrap().raw.exception_record.exception_code,
        u32::MAX
    );

    let stopped = bundle.answer["stopped_ms"].as_f64().unwrap();
    assert!(stopped < 1000.0, "it stood still for {stopped} ms");
    victim.child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
    assert_eq!(victim.line(), "1", "its thread no longer counts");
    std::thread::sleep(Duration::from_millis(50));
    victim.child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
    assert_eq!(victim.line(), "1", "its thread no longer counts");
}

#[test]
fn what_a_process_withholds_from_dumps_is_in_no_part() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let mut victim = Victim::compiled(COUNTING, directory.path());
    assert_eq!(victim.line(), "ready");
    let bundle = root.report(&["snapshot", &victim.pid()]);
    let report = &bundle.report;
    assert!(functions(report, 1).contains(&Some("count")), "the stack beside the key was not read");
    assert!(!functions(report, 2).contains(&Some("hide")), "the withheld stack was read");
    assert!(report.problems.iter().any(|problem| problem.part == "memory"), "{:?}", report.problems);
    let contains = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    for (name, content) in &bundle.parts {
        assert!(!contains(content, b"k3y4M-not-in-any-dump"), "{name} holds the key");
        assert!(!contains(content, b"hunter2") || name == "minidump.dmp", "{name} holds the environment");
    }
}

#[test]
fn the_stack_that_a_signal_handler_interrupted_is_in_backtrace_and_minidump() {
    const OVERFLOW: &str = r#"
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <unistd.h>
        static void handler(int number) { (void)number; if (write(1, "ready\n", 6)) for (;;) pause(); }
        static int recurse(volatile int depth) { volatile char room[256]; room[0] = (char)depth; return recurse(depth + 1) + room[0]; }
        int main(void) {
            stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };
            sigaltstack(&other, 0);
            struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
            sigaction(SIGSEGV, &action, 0);
            return recurse(0);
        }"#;
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let mut victim = Victim::compiled(OVERFLOW, directory.path());
    assert_eq!(victim.line(), "ready");
    let bundle = root.report(&["snapshot", &victim.pid(), "--kind", "hang"]);
    let frames = &bundle.report.threads[0].frames;
    let signal = frames.iter().position(|frame| frame.trust == Trust::Signal).unwrap();
    assert_eq!(frames[signal - 1].function.as_deref(), Some("handler"));
    assert!(frames[signal + 1..].iter().take(100).all(|frame| frame.function.as_deref() == Some("recurse")));
    let dump = Minidump::read(bundle.part("minidump.dmp")).unwrap();
    let memory = dump.get_stream::<MinidumpMemoryList<'_>>().unwrap();
    assert!(memory.iter().any(|block| block.bytes.len() == 1 << 20), "the interrupted stack is not in it");
}

#[test]
fn a_program_of_a_package_is_reported_with_it() {
    let root = Root::new();
    let victim = Victim::started(Command::new("/bin/sleep").arg("60"));
    let report = root.report(&["snapshot", &victim.pid()]).report;
    let package = report.program.package.expect("sleep is of a package on a Debian system");
    assert_eq!(package.name, "coreutils");
    let expected =
        Command::new("dpkg-query").args(["-W", "-f=${Version}", "coreutils"]).output().unwrap().stdout;
    assert_eq!(package.version.as_bytes(), expected);
    assert!(!report.system.os.is_empty() && report.system.arch == std::env::consts::ARCH);
}

#[test]
fn an_error_of_a_process_that_has_ended_is_still_a_report() {
    let root = Root::new();
    let mut victim = Victim::started(&mut Command::new("true"));
    victim.child.wait().unwrap();
    let pid = victim.pid();
    let bundle = root.report(&["report", "--kind", "error", "--pid", &pid, "--tid", &pid]);
    assert_eq!(bundle.report.kind.name(), "error");
    assert!(bundle.report.threads.is_empty() && !bundle.report.problems.is_empty());
}

#[test]
fn a_process_that_only_waits_for_its_parent_has_ended() {
    let root = Root::new();
    let mut victim = Victim::started(&mut Command::new("true"));
    assert_eq!(victim.line(), "", "it closes its output when it ends");
    let output = root.capture(&["snapshot", &victim.pid()]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("the process has ended"), "{error}");
}

#[test]
fn an_application_that_reports_is_told_nothing_on_its_terminal() {
    let root = Root::new();
    let victim = Victim::started(Command::new("/bin/sleep").arg("60"));
    let output = root.capture(&["report", "--kind", "error", "--pid", &victim.pid(), "--tid", &victim.pid()]);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert!(!root.is_empty());
}

#[test]
fn cores_with_known_answers_become_reports() {
    let root = Root::new();
    let exe = fixture("segv-x86_64.exe");
    let bundle = root.report(&["import", &fixture("segv-x86_64.core"), "--exe", &exe]);
    let report = &bundle.report;
    let signal = report.signal.as_ref().unwrap();
    assert_eq!(
        (signal.name.as_str(), signal.code, signal.address.as_deref()),
        ("SIGSEGV", Some(1), Some("0x0"))
    );
    assert_eq!((report.program.name.as_str(), report.program.pid), ("a.out", 32259));
    assert_eq!(report.program.exe.as_deref(), Some("/home/labath/test/a.out"));
    assert_eq!(report.threads.len(), 1);
    assert!(report.threads[0].crashed);
    assert_eq!(functions(report, 0)[0], Some("bar"));
    let id = "01df54a6045e657d3f8ffb9ce111878914f8bd6d";
    assert_eq!(report.threads[0].frames[0].build_id.as_deref(), Some(id));
    assert_eq!(report.signature, "bar");
    assert_eq!(report.program.package, None, "this machine's packages are not the core's");

    let report = root.report(&["import", &fixture("threads-x86_64.core")]).report;
    assert_eq!(report.threads.iter().map(|thread| thread.tid).collect::<Vec<_>>(), [5250, 5222, 5249]);
    assert_eq!(report.signal.unwrap().name, "SIGILL");
    let report = root.report(&["import", &fixture("gcore-x86_64.core")]).report;
    assert_eq!((report.program.pid, report.threads.len()), (5669, 3));
}

#[test]
fn wrong_use_gets_a_sentence_and_leaves_nothing_behind() {
    let root = Root::new();
    let own = std::process::id().to_string();
    for (arguments, code, said) in [
        (vec!["import", "/etc/passwd"], 1, "this is no ELF core file"),
        (vec!["import", "/nowhere/core"], 1, "cannot be opened"),
        (vec!["import", "/"], 1, "is no file"),
        (vec!["snapshot", "999999999"], 1, "there is no process 999999999"),
        (vec!["snapshot", "-7"], 2, ""),
        (vec!["snapshot", "x"], 2, "invalid"),
        (vec!["report", "--kind", "bug", "--pid", &own, "--tid", &own], 2, "invalid value"),
        (vec![], 2, "Usage"),
    ] {
        let output = root.capture(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{arguments:?}: {error}");
    }
    assert!(root.is_empty());
}

#[test]
fn a_truncated_core_is_a_report_with_problems() {
    let root = Root::new();
    let mut core = Vec::new();
    File::open(fixture("threads-x86_64.core")).unwrap().take(0x1800).read_to_end(&mut core).unwrap();
    let path = root.0.path().join("core");
    fs::write(&path, core).unwrap();
    let report = root.report(&["import", &path.display().to_string()]).report;
    assert_eq!(report.program.pid, 5222);
    assert!(
        report.problems.iter().any(|problem| problem.what.contains("cut short")),
        "{:?}",
        report.problems
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_process_is_a_32_bit_report() {
    // Without a C library, which not every machine has in that width. Says that it runs, and waits.
    const SOURCE: &str = r#"
        static int call(int number, int a, const void *b, int c) {
            int result;
            __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
            return result;
        }
        static void waiting(int depth) {
            if (depth > 0) { waiting(depth - 1); return; }
            call(4, 1, "ready\n", 6);
            for (;;) call(29, 0, 0, 0);
        }
        void _start(void) {
            __asm__ volatile(".cfi_undefined eip");
            waiting(2);
        }"#;
    let root = Root::new();
    let narrow = ["-m32", "-static", "-nostdlib", "-fno-pie", "-no-pie", "-fno-stack-protector"];
    let mut victim = Victim::compiled_with(&narrow, SOURCE, root.0.path());
    assert_eq!(victim.line(), "ready");
    let bundle = root.report(&["snapshot", &victim.pid()]);
    let report = &bundle.report;
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let expected = ["call", "waiting", "waiting", "waiting", "_start"].map(Some);
    assert_eq!(functions(report, 0), expected);
    let dump = Minidump::read(bundle.part("minidump.dmp")).unwrap();
    let system = dump.get_stream::<minidump::MinidumpSystemInfo>().unwrap();
    assert_eq!(system.cpu, minidump::system_info::Cpu::X86);
    assert_eq!(dump.get_stream::<MinidumpThreadList<'_>>().unwrap().threads.len(), 1);
}
