//! Signal handlers that record before anybody else does.

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foretrace::event;

use crate::apart::apart;
use crate::rings;

static HANDLED: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn handler(_signal: libc::c_int) {
    let number = HANDLED.fetch_add(1, Ordering::Relaxed);
    event!(warn, "handled", number = number, check = !number);
}

fn handle(signal: libc::c_int, flags: libc::c_int) {
    // SAFETY: all zeroes are a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | flags;
    // SAFETY: a valid action whose handler records only.
    assert_eq!(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }, 0);
}

#[test]
fn a_first_event_in_a_handler_of_a_fresh_thread_waits_for_nothing() {
    let claim = "handlers::a_first_event_in_a_handler_of_a_fresh_thread_waits_for_nothing";
    apart(
        claim,
        |_| {},
        || {
            handle(libc::SIGUSR1, 0);
            // The first of these makes the ring, in its handler; each interrupts a thread that may hold malloc's locks.
            for round in 1..=300 {
                STOP.store(false, Ordering::Relaxed);
                let thread = std::thread::spawn(|| {
                    while !STOP.load(Ordering::Relaxed) {
                        std::hint::black_box(vec![0_u8; 100_000]);
                    }
                });
                // SAFETY: the thread runs until it is told to stop.
                unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
                while HANDLED.load(Ordering::Relaxed) < round {
                    std::thread::yield_now();
                }
                STOP.store(true, Ordering::Relaxed);
                thread.join().unwrap();
            }
            let snapshot = rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.discarded), (300, 0));
            let trail = rings::trail(&snapshot);
            assert_eq!(trail.problems, Vec::<String>::new());
            let mut numbers: Vec<u64> = trail.events.iter().map(|event| rings::number(event, 0)).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..300).collect::<Vec<u64>>());
            assert!(trail.events.iter().all(|event| rings::number(event, 1) == !rings::number(event, 0)));
        },
    );
}

#[test]
fn a_first_event_finds_room_on_the_smallest_usual_alternate_stack() {
    // What programs have that were compiled when a constant said so. Unoptimised code needs more.
    let size = if cfg!(debug_assertions) { 16_384 } else { 8192 };
    let claim = "handlers::a_first_event_finds_room_on_the_smallest_usual_alternate_stack";
    for rules in ["", "app=debug,off,host=info"] {
        let prepare = |command: &mut std::process::Command| {
            command.env("FORETRACE", rules);
        };
        let said = apart(claim, prepare, || {
            handle(libc::SIGUSR2, libc::SA_ONSTACK);
            std::thread::spawn(move || {
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                // SAFETY: a new mapping at an address that the kernel chooses.
                let memory =
                    unsafe { libc::mmap(std::ptr::null_mut(), 4096 + size, protection, flags, -1, 0) };
                assert_ne!(memory, libc::MAP_FAILED);
                // SAFETY: the mapping's first page: whoever goes below the stack dies of it.
                assert_eq!(unsafe { libc::mprotect(memory, 4096, libc::PROT_NONE) }, 0);
                let stack = libc::stack_t { ss_sp: memory.wrapping_add(4096), ss_flags: 0, ss_size: size };
                // SAFETY: a stack that is nobody else's and outlives the thread.
                assert_eq!(unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) }, 0);
                // SAFETY: sends a signal to this thread.
                unsafe { libc::raise(libc::SIGUSR2) };
            })
            .join()
            .unwrap();
            assert_eq!(rings::snapshot().recorded, 1);
        });
        if said.is_none() {
            return;
        }
    }
}

/// Has SIGALRM sent every so many microseconds; 0 is never.
fn rain(every: libc::suseconds_t) {
    let interval = libc::timeval { tv_sec: 0, tv_usec: every };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: reads the structure it is given.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) }, 0);
}

#[test]
fn a_handler_that_interrupts_the_making_of_the_ring_finds_one() {
    let claim = "handlers::a_handler_that_interrupts_the_making_of_the_ring_finds_one";
    apart(
        claim,
        |_| {},
        || {
            handle(libc::SIGALRM, 0);
            // Each child makes its ring while signals rain on it.
            for round in 0..40 {
                crate::apart::wait_for(crate::apart::fork(|| {
                    HANDLED.store(0, Ordering::Relaxed);
                    rain(20 + round % 7);
                    for number in 0..200_u64 {
                        event!(info, "made", number = number, check = !number);
                    }
                    rain(0);
                    let snapshot = rings::snapshot();
                    assert_eq!(snapshot.recorded + snapshot.discarded, 200 + HANDLED.load(Ordering::Relaxed));
                    let trail = rings::trail(&snapshot);
                    assert_eq!(trail.problems, Vec::<String>::new());
                    assert!(
                        trail.events.iter().all(|event| rings::number(event, 1) == !rings::number(event, 0))
                    );
                    assert_eq!(snapshot.discarded, 0, "events were lost to the making of the ring");
                }));
            }
        },
    );
}
