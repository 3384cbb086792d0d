//! How large a pool is: real processes with wishes of their own, in the environment and in the program.
#![allow(clippy::unwrap_used)]

mod rings;

use std::process::Command;

use foretrace::event;
use foretrace_ring::layout::{DEFAULT_POOL, Geometry};

/// Set for the process that records: what it asks for, in bytes.
const ASKED: &str = "FORETRACE_TEST_ASKED";
const MIB: u64 = 1 << 20;
/// Header and number.
const EVENT: u64 = 16;

/// Asks, records more than the pool holds, and says what it was answered, how large its ring is, and how many of the
/// newest events are there.
fn record(asked: &str) {
    let answer = asked.parse().ok().map(foretrace::start_with);
    event!(info, "first");
    let size =
        std::fs::metadata(format!("/proc/self/fd/{}", foretrace::descriptor().unwrap())).unwrap().len();
    for number in 0..size / EVENT {
        event!(info, "number", value = number);
    }
    let snapshot = rings::snapshot();
    println!("said: {answer:?} {size} {}", snapshot.recorded - snapshot.overwritten);
    assert!(!foretrace::start_with(8 * MIB), "a ring's size stays");
}

/// What a process says that asks for this, and what stands on its standard error.
fn child(environment: Option<&str>, asked: Option<u64>) -> (Option<bool>, u64, u64, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_person_chooses_before_the_program", "--nocapture", "--test-threads=1"])
        .env(ASKED, asked.map_or(String::new(), |bytes| bytes.to_string()))
        .env_remove("FORETRACE_SIZE")
        .envs(environment.map(|value| ("FORETRACE_SIZE", value)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{environment:?} {asked:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> = text.split_once("said: ").unwrap().1.split_whitespace().take(3).collect();
    let answer = match words[0] {
        "None" => None,
        said => Some(said == "Some(true)"),
    };
    let number = |at: usize| words[at].parse().unwrap();
    (answer, number(1), number(2), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_person_chooses_before_the_program() {
    if let Ok(asked) = std::env::var(ASKED) {
        return record(&asked);
    }
    for (environment, asked, answer, pool) in [
        (None, None, None, DEFAULT_POOL),
        (None, Some(16 * MIB), Some(true), 16 * MIB),
        (None, Some(300_000), Some(true), 300_000),
        (None, Some(65 * MIB), Some(false), DEFAULT_POOL),
        (None, Some(1000), Some(false), DEFAULT_POOL),
        (Some("512K"), None, None, MIB / 2),
        (Some("1M"), Some(16 * MIB), Some(true), MIB),
    ] {
        let (said, size, kept, complaint) = child(environment, asked);
        let what = format!("{environment:?} {asked:?}");
        assert_eq!((said, size), (answer, Geometry::of_pool(pool).size), "{what}");
        assert!(kept * EVENT >= pool / 10 * 9 && kept * EVENT <= pool, "{what}: {kept} events");
        assert!(!complaint.contains("foretrace"), "{what}: {complaint}");
    }
}

#[test]
fn a_size_that_is_none_is_said_and_ignored() {
    for wrong in ["64", "65M", "a lot", "-1M", ""] {
        let (_, size, _, complaint) = child(Some(wrong), None);
        assert_eq!(size, Geometry::of_pool(DEFAULT_POOL).size, "{wrong:?}");
        assert!(
            complaint.contains("FORETRACE_SIZE is ignored: it is a size from 256K to 64M"),
            "{wrong:?}: {complaint}"
        );
    }
}
