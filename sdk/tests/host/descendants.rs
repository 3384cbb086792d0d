//! What a process becomes, and what comes out of it: daemons, programs, children that borrow its memory.

use std::ffi::c_void;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use foretrace::event;

use crate::apart::{apart, fork, step, steps, wait_for};

/// Descriptors of this process that are rings.
fn rings_open() -> usize {
    let is_ring = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:foretrace"))
    };
    fs::read_dir("/proc/self/fd").unwrap().filter(|entry| is_ring(entry.as_ref().unwrap())).count()
}

#[test]
fn a_child_that_borrows_our_memory_until_it_executes_something_records_into_our_ring() {
    apart(
        "descendants::a_child_that_borrows_our_memory_until_it_executes_something_records_into_our_ring",
        |_| {},
        || {
            extern "C" fn child(_: *mut c_void) -> libc::c_int {
                step(1);
                let program = c"/bin/true".as_ptr();
                let arguments = [program, std::ptr::null()];
                // SAFETY: terminated strings in a terminated array.
                unsafe { libc::execve(program, arguments.as_ptr(), [std::ptr::null()].as_ptr()) };
                127
            }
            for round in 0..50 {
                step(0);
                let mut stack = vec![0_u64; 8192];
                let top = stack.as_mut_ptr_range().end;
                let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
                // SAFETY: as vfork, with a stack of its own: we are suspended until it executes the program.
                let pid = unsafe { libc::clone(child, top.cast(), flags, std::ptr::null_mut()) };
                assert!(pid > 0, "round {round}");
                wait_for(pid);
                step(2);
            }
            assert_eq!(steps(), [0, 1, 2].repeat(50));
        },
    );
}

#[test]
fn a_daemon_has_a_ring_of_its_own() {
    apart(
        "descendants::a_daemon_has_a_ring_of_its_own",
        |_| {},
        || {
            let mut ends = [0; 2];
            // SAFETY: writes two descriptors.
            assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
            step(0);
            let parent = fork(|| {
                step(1);
                // SAFETY: forks; the parent ends, the child goes on.
                assert_eq!(unsafe { libc::daemon(0, 0) }, 0);
                step(2);
                let good = steps() == [2];
                // SAFETY: one byte.
                unsafe { libc::write(ends[1], [u8::from(good)].as_ptr().cast(), 1) };
            });
            wait_for(parent);
            let mut good = [0_u8];
            // SAFETY: one byte.
            assert_eq!(unsafe { libc::read(ends[0], good.as_mut_ptr().cast(), 1) }, 1);
            assert_eq!(good, [1]);
            assert_eq!(steps(), [0]);
        },
    );
}

#[test]
fn an_executed_program_inherits_nothing() {
    const AGAIN: &str = "FORETRACE_TEST_AGAIN";
    let claim = "descendants::an_executed_program_inherits_nothing";
    apart(
        claim,
        |_| {},
        || {
            if std::env::var_os(AGAIN).is_some() {
                assert_eq!(rings_open(), 0);
                let maps = fs::read_to_string("/proc/self/maps").unwrap();
                assert!(!maps.contains("foretrace.v1"), "{maps}");
                step(1);
                assert_eq!(steps(), [1]);
                return;
            }
            step(0);
            assert_eq!(rings_open(), 1);
            let error = Command::new(std::env::current_exe().unwrap())
                .args(std::env::args_os().skip(1))
                .env(AGAIN, "1")
                .exec();
            panic!("{error}");
        },
    );
}

#[test]
fn a_program_that_closes_every_descriptor_loses_no_event_and_no_descriptor_of_its_own() {
    let claim =
        "descendants::a_program_that_closes_every_descriptor_loses_no_event_and_no_descriptor_of_its_own";
    apart(
        claim,
        |_| {},
        || {
            step(0);
            let ring = foretrace::descriptor().unwrap();
            // SAFETY: a duplicate, to look at the ring later.
            let kept = unsafe { libc::dup2(ring, 3) };
            // SAFETY: takes numbers; nobody here uses what is closed.
            assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0) }, 0);
            step(1);
            assert_eq!(foretrace::descriptor(), None);
            // The program's own file gets the number that was the ring's.
            let file = fs::File::open("/proc/self/stat").unwrap();
            let own = std::os::fd::AsRawFd::as_raw_fd(&file);
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::dup2(own, ring) }, ring);
            assert_eq!(foretrace::descriptor(), None);
            wait_for(fork(|| {
                step(2);
                assert_eq!(steps(), [2]);
                // SAFETY: takes numbers.
                let own = unsafe { libc::fcntl(ring, libc::F_GETFD) };
                assert!(own >= 0, "the child closed a file of the program");
            }));
            let snapshot = foretrace_ring::reader::read(&crate::rings::Live::of(kept)).unwrap();
            assert_eq!(snapshot.recorded, 2);
        },
    );
}

#[test]
fn children_of_children_of_threads_each_have_their_own() {
    let claim = "descendants::children_of_children_of_threads_each_have_their_own";
    apart(
        claim,
        |_| {},
        || {
            step(0);
            let noisy = std::thread::spawn(|| {
                (0..50_000_u64).for_each(|number| event!(info, "noise", number = number))
            });
            let family = std::thread::spawn(|| {
                for _ in 0..20 {
                    wait_for(fork(|| {
                        step(1);
                        wait_for(fork(|| {
                            step(2);
                            assert_eq!(steps(), [2]);
                        }));
                        assert_eq!(steps(), [1]);
                    }));
                }
            });
            noisy.join().unwrap();
            family.join().unwrap();
            let snapshot = crate::rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.discarded), (50_001, 0));
        },
    );
}
