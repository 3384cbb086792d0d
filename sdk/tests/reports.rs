//! Errors and panics: an event in the ring, and a program that is started with it.
#![allow(unsafe_code)]

mod rings;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use foretrace_ring::trail::Value;

/// Says how it was called, in a file that appears at once.
const PROGRAM: &str = r#"#!/bin/sh
{ echo "$@"; readlink /proc/self/fd/3; readlink /proc/self/fd/1; ls /proc/self/fd | wc -l; } >"$FORETRACE_TEST_OUT.new"
mv "$FORETRACE_TEST_OUT.new" "$FORETRACE_TEST_OUT"
exec sleep 1
"#;

fn wait_for(file: &Path) -> Vec<String> {
    let start = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            std::fs::remove_file(file).expect("it was just read");
            return text.lines().map(String::from).collect();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the program was not started");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_error_starts_the_program_and_a_flood_of_them_does_not() {
    let directory = std::env::temp_dir().join(format!("foretrace-reports-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let (program, out) = (directory.join("capture"), directory.join("out"));
    std::fs::write(&program, PROGRAM).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    // SAFETY: nothing else runs in this process yet that reads the environment.
    unsafe { std::env::set_var("FORETRACE_CAPTURE", &program) };
    // SAFETY: as above.
    unsafe { std::env::set_var("FORETRACE_TEST_OUT", &out) };

    foretrace::start();
    let began = Instant::now();
    assert!(foretrace::report_error("the till is empty"));
    let took = began.elapsed();
    // The program lives for a second; a caller that waited for it would too.
    assert!(took < Duration::from_millis(500), "it took {took:?}");
    let said = wait_for(&out);
    let (process, thread) = (std::process::id(), rings::thread_id());
    assert_eq!(said[0], format!("report --kind error --pid {process} --tid {thread} --ring-fd 3"));
    assert_eq!(said[1], "/memfd:foretrace.v1 (deleted)");

    std::panic::set_hook(Box::new(|_| {}));
    foretrace::panic_hook();
    foretrace::panic_hook();
    let _ = std::thread::spawn(|| panic!("no {}", "way")).join();
    assert!(wait_for(&out)[0].starts_with("report --kind panic"));
    let _ = std::panic::take_hook();

    let started = (0..10).filter(|n| foretrace::report_error!("error {n}")).count();
    assert_eq!(started, 3, "five reports a minute, two were made before");

    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(trail.events.len(), 12);
    let [Value::Unsigned(0), Value::Text(message), Value::Text(place), Value::Bytes(none)] =
        &trail.events[0].values[..]
    else {
        panic!("{:?}", trail.events[0])
    };
    assert_eq!((message.as_str(), none.len()), ("the till is empty", 0));
    assert!(place.contains("tests/reports.rs:"), "{place}");
    assert_eq!(trail.events[1].values[..2], [Value::Unsigned(1), Value::Text("no way".into())]);
    let Value::Bytes(frames) = &trail.events[1].values[3] else { panic!("{:?}", trail.events[1]) };
    assert!(frames.len() >= 8 * 8, "a panic notes where it came from: {} bytes", frames.len());
    assert_eq!(snapshot.problems.len(), 1, "{:?}", snapshot.problems);
    assert!(snapshot.problems[0].starts_with("7 reports were not started"), "{:?}", snapshot.problems);

    // Nobody is left for us to wait for.
    // SAFETY: no status is wanted.
    let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert_eq!(waited, -1);
    std::thread::sleep(Duration::from_millis(200));
    std::fs::remove_dir_all(&directory).unwrap();
}
