//! Forked children have rings of their own and leave their parent's alone, however they were forked.
#![allow(unsafe_code)]

mod rings;

use std::sync::atomic::{AtomicU64, Ordering};

use foretrace::{Privacy, annotate, event};

/// Words that parent and children share.
fn shared() -> &'static [AtomicU64; 8] {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: zeroed, aligned, never unmapped.
    unsafe { &*page.cast::<[AtomicU64; 8]>() }
}

/// Runs a body in a child made by `fork` and answers whether it found everything as it should be.
fn in_child(fork: impl Fn() -> libc::pid_t, body: impl Fn()) -> bool {
    let child = fork();
    if child == 0 {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status == 0
}

fn ordinary_fork() -> libc::pid_t {
    // SAFETY: the child only records and reads.
    unsafe { libc::fork() }
}

/// Past the C library: no handler of `pthread_atfork` runs.
fn raw_fork() -> libc::pid_t {
    // SAFETY: a fork; the child only records and reads.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t }
}

#[test]
fn a_child_has_its_own_ring_from_its_first_event_on() {
    fn step(number: u64) {
        event!(info, "step", number = number);
    }
    annotate("mode", "parent's", Privacy::Public);
    step(0);
    let parent = rings::snapshot();
    let seen = shared();
    for (index, fork) in [ordinary_fork as fn() -> libc::pid_t, raw_fork].into_iter().enumerate() {
        let held = in_child(fork, || {
            step(100);
            annotate("mode", "child's", Privacy::Public);
            event!(info, "declared in the child", number = 101_u64);
            std::thread::spawn(|| step(102)).join().unwrap();
            let snapshot = rings::snapshot();
            assert_eq!(snapshot.problems, Vec::<String>::new());
            assert_eq!(snapshot.owner.pid, std::process::id());
            let trail = rings::trail(&snapshot);
            assert_eq!(trail.problems, Vec::<String>::new());
            let numbers: Vec<u64> = trail.events.iter().map(|event| rings::number(event, 0)).collect();
            assert_eq!(numbers, [100, 101, 102]);
            assert_eq!(trail.kind_of(&trail.events[0]).name, "step");
            assert_eq!(snapshot.annotations[0].value, "child's");
            let held = in_child(raw_fork, || {
                step(200);
                let trail = rings::trail(&rings::snapshot());
                assert_eq!(trail.events.len(), 1);
            });
            assert!(held, "the grandchild");
            seen[index].store(1, Ordering::SeqCst);
        });
        assert!(held && seen[index].load(Ordering::SeqCst) == 1, "child {index}");
    }
    // A child that records nothing and one that executes something leave no trace either.
    assert!(in_child(ordinary_fork, || {}));
    assert!(std::process::Command::new("/bin/true").status().unwrap().success());
    let after = rings::snapshot();
    assert_eq!(parent.streams, after.streams, "a child wrote into its parent's ring");
    assert_eq!(parent.annotations, after.annotations);
    step(1);
    assert_eq!(rings::snapshot().recorded, 2);
}
