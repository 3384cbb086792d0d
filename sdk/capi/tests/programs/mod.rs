//! Programs in C and C++ that a test builds and runs, and the rings that they have.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use foretrace_ring::reader::{self, Snapshot};
use foretrace_ring::trail::{Event, Trail};

pub const HERE: &str = env!("CARGO_MANIFEST_DIR");
pub const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-O2"];

/// Where libforetrace.so and libforetrace.a are: cargo builds no library for the tests of a package that nobody can
/// link with from Rust.
pub fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "foretrace-capi", "--target-dir"])
            .arg(target)
            .current_dir(HERE)
            .status();
        assert!(built.unwrap().success(), "libforetrace does not build");
        target.join("debug")
    })
}

pub fn compile(compiler: &str, source: &Path, arguments: &[&str]) {
    let output = Command::new(compiler)
        .args(WARNINGS)
        .arg(source)
        .args(arguments)
        .arg(format!("-I{HERE}/include"))
        .output()
        .unwrap_or_else(|error| {
            panic!("this test needs {compiler}: install the package `{compiler}` ({error})")
        });
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{compiler} {arguments:?} complains of {}: {complaints}",
        source.display()
    );
}

/// A directory in which programs find libforetrace.so as an installed system would have it.
pub fn installed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    symlink(libraries().join("libforetrace.so"), at.join("libforetrace.so.0")).unwrap();
    symlink("libforetrace.so.0", at.join("libforetrace.so")).unwrap();
    directory
}

/// A program that runs until its input ends.
pub struct Running {
    pub child: Child,
    /// Its line.
    pub said: String,
    _directory: tempfile::TempDir,
}

impl Running {
    /// Builds a program, runs it, and waits until it has said its line.
    pub fn start(source: &str, link: &[&str], arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        Running::start_in(installed(), source, link, arguments, environment)
    }

    /// The same, in a directory that has been prepared.
    pub fn start_in(
        directory: tempfile::TempDir,
        source: &str,
        link: &[&str],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Running {
        let (at, libraries) = (directory.path().to_str().unwrap(), libraries().to_str().unwrap());
        let program = format!("{at}/program");
        let (search, find) = (format!("-L{at}"), format!("-Wl,-rpath,{at}"));
        let statically = format!("{libraries}/libforetrace.a");
        let (compiler, standard) =
            if source.ends_with(".cpp") { ("g++", "-std=c++17") } else { ("gcc", "-std=c11") };
        let mut all = vec![standard, "-o", &program, &search, &find, "-pthread"];
        all.extend(link.iter().map(|part| if *part == "libforetrace.a" { &statically } else { *part }));
        compile(compiler, &Path::new(HERE).join(source), &all);
        let mut child = Command::new(&program)
            .args(arguments)
            .env_remove("FORETRACE")
            .env("FORETRACE_CAPTURE", "/nonexistent/foretrace-capture")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Running { child, said, _directory: directory }
    }

    pub fn trail(&self) -> (Snapshot, Trail) {
        trail_of(self.child.id())
    }

    pub fn end(mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn ring_of(process: u32) -> Option<PathBuf> {
    rings_of(process).into_iter().next()
}

/// All rings of a process that holds several copies of the recorder.
pub fn rings_of(process: u32) -> Vec<PathBuf> {
    let is_ring = |to: PathBuf| to.to_string_lossy().starts_with("/memfd:foretrace.v1");
    fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::read_link(path).is_ok_and(is_ring))
        .collect()
}

pub fn trail_of(process: u32) -> (Snapshot, Trail) {
    trail_in(&ring_of(process).expect("the program has a ring"), process)
}

/// A ring's bytes once nobody writes them: a file that is copied from its beginning to its end has events whose types
/// were declared after that place was copied.
fn at_rest(ring: &Path) -> Vec<u8> {
    let mut before = fs::read(ring).unwrap();
    for _ in 0..500 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let now = fs::read(ring).unwrap();
        if now == before {
            return now;
        }
        before = now;
    }
    panic!("the program went on recording for 5 s");
}

/// What one ring of a process holds.
pub fn trail_in(ring: &Path, process: u32) -> (Snapshot, Trail) {
    let memory = at_rest(ring);
    let snapshot = reader::read(memory.as_slice()).unwrap();
    assert_eq!(snapshot.owner.pid, process);
    let streams: Vec<_> =
        snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let trail = Trail::decode(&snapshot.metadata, &streams);
    assert_eq!(trail.problems, [""; 0]);
    assert_eq!(trail.events.len() as u64, snapshot.recorded - snapshot.overwritten);
    (snapshot, trail)
}

pub fn named<'a>(trail: &'a Trail, name: &str) -> Vec<&'a Event> {
    trail.events.iter().filter(|event| trail.kind_of(event).name == name).collect()
}
