//! Machines whose clocks are not what they were, or not what they are elsewhere.

use std::fs;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use crate::apart::{apart, fork, not_tried, step, steps, wait_for};
use crate::rings;

/// Has later children live in a namespace whose CLOCK_MONOTONIC is a day ahead. For a process with one thread. False:
/// that cannot be had here.
fn move_childrens_clock() -> bool {
    // SAFETY: takes a number; later children, not this process, live in the new time namespace.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWTIME) } == 0
        && fs::write("/proc/self/timens_offsets", "monotonic 86400 0\n").is_ok();
    if !moved {
        not_tried("time", "this process cannot have another clock");
    }
    moved
}

#[test]
fn a_child_whose_clock_is_another_tells_the_right_time() {
    let claim = "clocks::a_child_whose_clock_is_another_tells_the_right_time";
    apart(
        claim,
        |_| {},
        || {
            wait_for(fork(|| {
                step(0);
                if !move_childrens_clock() {
                    return;
                }
                for _ in 0..3 {
                    wait_for(fork(|| {
                        step(1);
                        std::thread::sleep(Duration::from_millis(20));
                        step(2);
                        assert_eq!(steps(), [1, 2]);
                    }));
                }
                assert_eq!(steps(), [0]);
            }));
        },
    );
}

/// As after a suspend or a migration: the counter goes on, and the kernel's clock is all at once another.
#[test]
fn a_clock_that_jumps_is_counted_and_times_are_right_again() {
    let claim = "clocks::a_clock_that_jumps_is_counted_and_times_are_right_again";
    apart(
        claim,
        |_| {},
        || {
            // A process may move itself only while it has one thread.
            wait_for(fork(|| {
                step(0);
                // Until the frequency is known well, nothing can be said of jumps.
                for number in 1..=30 {
                    std::thread::sleep(Duration::from_millis(50));
                    (0..1200).for_each(|_| step(number));
                }
                assert_eq!(rings::snapshot().problems, Vec::<String>::new());
                if !move_childrens_clock() {
                    return;
                }
                let children = fs::File::open("/proc/self/ns/time_for_children").unwrap();
                let children = std::os::fd::AsRawFd::as_raw_fd(&children);
                // SAFETY: takes numbers.
                assert_eq!(unsafe { libc::setns(children, libc::CLONE_NEWTIME) }, 0);
                // A pair is looked at when it is old and a packet is full.
                for number in 31..=60 {
                    std::thread::sleep(Duration::from_millis(50));
                    (0..1200).for_each(|_| step(number));
                }
                let snapshot = rings::snapshot();
                assert_eq!((snapshot.recorded, snapshot.discarded), (60 * 1200 + 1, 0));
                let said = snapshot.problems.join("; ");
                assert!(said.starts_with("the clock jumped 1 times"), "{said}");
                // Asserts that the newest event is of now.
                assert_eq!(steps().last(), Some(&60));
            }));
        },
    );
}

#[test]
fn where_the_kernel_does_not_keep_time_by_the_counter_nor_does_the_recorder() {
    let claim = "clocks::where_the_kernel_does_not_keep_time_by_the_counter_nor_does_the_recorder";
    const SOURCE: &std::ffi::CStr = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return not_tried("mounts", "only root can show a program another clock source");
    }
    let other = std::env::temp_dir().join(format!("foretrace-clocksource-{}", std::process::id()));
    fs::write(&other, "hpet\n").unwrap();
    let source = std::ffi::CString::new(other.clone().into_os_string().into_encoded_bytes()).unwrap();
    apart(
        claim,
        |command| {
            let pretend = move || {
                // SAFETY: takes a number.
                let mut failed = unsafe { libc::unshare(libc::CLONE_NEWNS) };
                let flags = libc::MS_REC | libc::MS_PRIVATE;
                let (none, nothing) = (c"none".as_ptr(), std::ptr::null());
                // SAFETY: terminated strings.
                failed |= unsafe { libc::mount(none, c"/".as_ptr(), nothing, flags, nothing.cast()) };
                let (from, to) = (source.as_ptr(), SOURCE.as_ptr());
                // SAFETY: terminated strings.
                failed |= unsafe { libc::mount(from, to, nothing, libc::MS_BIND, nothing.cast()) };
                if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: between fork and exec, system calls.
            unsafe { command.pre_exec(pretend) };
        },
        || {
            (0..100_000).for_each(step);
            let snapshot = rings::snapshot();
            assert!(snapshot.metadata.contains("clock.mono.value"), "the counter was used");
            assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (100_000, 0, 0));
            assert_eq!(steps().last(), Some(&99_999));
        },
    );
    let _ = fs::remove_file(other);
}
