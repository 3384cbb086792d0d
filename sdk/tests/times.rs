//! Times that callers give, and coarse ones: each thread's events stay in order, for us and for babeltrace2.
#![allow(unsafe_code)]

mod rings;

use std::process::Command;
use std::time::Duration;

use foretrace::{Time, at, coarse, event};
use foretrace_ring::Snapshot;
use foretrace_ring::trail::Trail;

/// The only event of that name, or the first.
fn time_of(trail: &Trail, name: &str) -> u64 {
    let event = trail.events.iter().find(|event| trail.kind_of(event).name == name);
    event.unwrap_or_else(|| panic!("no event {name}")).time
}

fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What babeltrace2 has to say of the trail: the times in its order. It must not complain.
fn judged(snapshot: &Snapshot) -> Vec<u64> {
    let directory = std::env::temp_dir().join(format!("foretrace-times-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a trail in a folder");
    std::fs::write(directory.join("metadata"), &snapshot.metadata).expect("a trail in a folder");
    for (name, bytes) in &snapshot.streams {
        std::fs::write(directory.join(name), bytes).expect("a trail in a folder");
    }
    let output = Command::new("babeltrace2").arg("--clock-cycles").arg(&directory).output();
    let output = output.expect("this test needs babeltrace2: install the package `babeltrace2`");
    std::fs::remove_dir_all(&directory).expect("a trail in a folder");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "babeltrace2 complains: {complaints}");
    let lines = String::from_utf8(output.stdout).expect("a trail in a folder");
    let cycles = |line: &str| {
        line.trim_start_matches('[')
            .split(']')
            .next()
            .expect("a trail in a folder")
            .parse()
            .expect("a trail in a folder")
    };
    lines.lines().map(cycles).collect()
}

#[test]
fn given_and_coarse_times_stay_in_order_and_are_what_they_say() {
    assert!(foretrace::start());
    // The first event of each type takes the slow path, which records given times as well.
    event!(info, "first");
    let (early, early_ns) = (Time::now(), monotonic());
    std::thread::sleep(Duration::from_millis(20));
    let middle_ns = monotonic();
    std::thread::sleep(Duration::from_millis(20));
    event!(at: at(early), info, "told late", number = u64::MAX);
    event!(at: at(Time::from_monotonic(middle_ns)), info, "by the clock");
    event!(at: at(early), info, "too early");
    let now_ns = monotonic();
    event!(at: at(Time::from_monotonic(u64::MAX)), info, "not yet");
    event!(info, "present");

    // Times to and fro, among other events and with values that look like times.
    let replay = at(early);
    let clock = coarse();
    for round in 0..30_000_u64 {
        let then = Time::now();
        event!(at: replay, info, "replayed", number = round << 16 | 7);
        if round % 3 == 0 {
            replay.set(then);
            event!(info, "between", number = u64::MAX);
        }
        if round % 5 == 0 {
            event!(batch: clock, info, "coarse", number = round);
            event!(batch: clock, info, "coarse", number = round);
        }
        if round % 7 == 0 {
            replay.set(early);
        }
    }

    let snapshot = rings::snapshot();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert!(trail.events.is_sorted_by_key(|event| event.time), "the time went back");
    let order: Vec<u64> = judged(&snapshot);
    assert_eq!(order.len(), trail.events.len());
    assert!(order.is_sorted(), "the time went back for babeltrace2");
    let shared = trail.events.windows(2).filter(|pair| pair[0].time == pair[1].time).count();
    assert!(shared > 6000, "only {shared} of {} share a time", trail.events.len());

    let since_early = |name: &str| Duration::from_nanos(time_of(&trail, name) - time_of(&trail, "told late"));
    let near = |found: Duration, ns: u64| found.abs_diff(Duration::from_nanos(ns)) < Duration::from_millis(2);
    assert!(since_early("too early") == since_early("by the clock"), "clamped to the one before");
    assert!(near(since_early("by the clock"), middle_ns - early_ns), "{:?}", since_early("by the clock"));
    assert!(near(since_early("not yet"), now_ns - early_ns), "{:?}", since_early("not yet"));
    assert!(time_of(&trail, "not yet") <= time_of(&trail, "present"));
}
