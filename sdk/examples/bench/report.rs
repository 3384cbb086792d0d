//! How long a program waits that reports an error: until it goes on, with the program that makes the report started.
//!
//! A process may start five reports a minute, so that many processes report five each. They have memory of their own, of
//! which starting a program must not copy even the page tables.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use crate::itself;
use crate::measure::{Bar, row};

/// Processes that report five errors each.
const PROCESSES: usize = 20;
/// Reports that one process may start.
const EACH: usize = 5;
/// Bytes of memory that each has.
const MEMORY: usize = 64 << 20;

/// Waits for no neighbour, if that is allowed: of what remains nothing is the machine's load.
fn go_first() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads a structure; the calling thread's own, and its children's.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) };
}

/// Reports errors, and prints for each the microseconds until the program goes on.
pub fn some(first: bool) {
    if first {
        go_first();
    }
    let mut memory = vec![1_u8; MEMORY];
    black_box(&mut memory);
    foretrace::start();
    for number in 0..EACH {
        let start = Instant::now();
        let started = foretrace::report_error("measured");
        let took = start.elapsed();
        assert!(started, "report {number} was not started");
        println!("{}", took.as_nanos() as f64 / 1000.0);
        // The program that was started has ended, and the next report is not slowed by it.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The median and the slowest twentieth, as the machine's load has it and before all other processes.
pub fn rows() {
    for (argument, how) in [("0", ""), ("1", ", before all others (SCHED_FIFO)")] {
        let mut took = Vec::new();
        for _ in 0..PROCESSES {
            let output = itself(&["report", argument]).env("FORETRACE_CAPTURE", "/bin/true").output();
            let output = output.expect("this program runs itself");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            took.extend(said.lines().filter_map(|line| line.parse::<f64>().ok()).map(|us| us / 1000.0));
        }
        assert_eq!(took.len(), PROCESSES * EACH);
        took.sort_by(f64::total_cmp);
        let slowest = took[took.len() * 95 / 100 - 1];
        row(&format!("report_error, until the caller goes on{how}"), "ms", Bar::AtMost(2.0), &took);
        row("… the 95th of 100", "ms", Bar::Open, &[slowest]);
    }
}
