//! The example, as a process of its own.
#![allow(clippy::unwrap_used)]

mod rings;

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use foretrace_ring::reader;
use foretrace_ring::trail::Value;

#[test]
fn the_example_records_what_it_says() {
    // A test that is asked for alone is built without the examples.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "foretrace", "--example", "hello", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "the example does not build");
    let mut child = Command::new(target.join("debug/examples/hello"))
        .args(["world", "moon"])
        .env_remove("FORETRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
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
