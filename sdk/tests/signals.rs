//! Signal handlers that interrupt recordings, and that never come back to them.
#![allow(unsafe_code)]

mod rings;

use std::collections::HashMap;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foretrace::event;

static HANDLED: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn handler(_signal: libc::c_int) {
    let number = HANDLED.fetch_add(1, Ordering::Relaxed);
    event!(warn, "handled", number = number, check = !number, text = "from the handler");
}

#[test]
fn a_handler_that_interrupts_recordings_tears_none_of_them() {
    let action = handler as extern "C" fn(libc::c_int);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: all zeroes are a valid action.
        let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
        new.sa_sigaction = action as libc::sighandler_t;
        new.sa_flags = libc::SA_RESTART;
        // SAFETY: a valid action whose handler records only.
        assert_eq!(unsafe { libc::sigaction(signal, &new, std::ptr::null_mut()) }, 0);
    }
    foretrace::start();
    let writers: Vec<_> = (0..2_u64)
        .map(|writer| {
            std::thread::spawn(move || {
                let mut number = 0_u64;
                while !STOP.load(Ordering::Relaxed) {
                    event!(info, "written", number = number << 1 | writer, check = !(number << 1 | writer));
                    number += 1;
                }
                number
            })
        })
        .collect();
    for round in 0..6000 {
        for writer in &writers {
            let signal = if round % 2 == 0 { libc::SIGUSR1 } else { libc::SIGUSR2 };
            // SAFETY: the thread has not been joined.
            unsafe { libc::pthread_kill(writer.as_pthread_t(), signal) };
        }
        if round % 1500 == 0 {
            check(&rings::snapshot());
        }
    }
    STOP.store(true, Ordering::Relaxed);
    let written: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    let snapshot = rings::snapshot();
    check(&snapshot);
    let all = written + HANDLED.load(Ordering::Relaxed);
    assert_eq!((snapshot.recorded, snapshot.discarded), (all, 0));
    let nested = snapshot.streams.len();
    assert!(nested > 2, "no handler interrupted a recording: {nested} streams");
}

fn check(snapshot: &foretrace_ring::Snapshot) {
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let trail = rings::trail(snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(snapshot.overwritten + trail.events.len() as u64, snapshot.recorded);
    let mut last: HashMap<u64, u64> = HashMap::new();
    for event in &trail.events {
        let number = rings::number(event, 0);
        assert_eq!(rings::number(event, 1), !number, "a torn event");
        if trail.kind_of(event).name == "written" {
            let before = last.insert(number & 1, number);
            assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
        }
    }
}
