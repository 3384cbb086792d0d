//! The example, as a process of its own.
#![allow(clippy::unwrap_used)]

mod rings;

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use foretrace_ring::reader;
use foretrace_ring::trail::Value;

#[test]
fn the_example_records_what_it_says() {
    // Cargo builds examples beside the tests.
    let program = std::env::current_exe().unwrap().with_file_name("../examples/hello");
    let mut child = Command::new(program)
        .args(["world", "moon"])
        .env_remove("FORETRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo builds the examples with the tests: cargo test -p foretrace");
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "hello, world");
    assert_eq!(said.next().unwrap().unwrap(), "hello, moon");
    let ring = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("foretrace.v1")))
        .expect("the example has a ring");
    let ring = std::fs::File::open(ring).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let snapshot = reader::read(&rings::Live::of(ring.as_raw_fd())).unwrap();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let names: Vec<&str> = trail.events.iter().map(|event| trail.kind_of(event).name.as_str()).collect();
    let greet = ["greet begin", "greeting", "greet end"];
    assert_eq!(names, [&greet[..], &greet, &["done"]].concat());
    assert_eq!(trail.events[1].values, [Value::Unsigned(5), Value::Text("w".into())]);
    assert_eq!(snapshot.annotations[0].value, "named");
}
