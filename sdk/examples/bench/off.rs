//! A call site that is switched off. Run with `FORETRACE=off`.
#![allow(unsafe_code)]

use std::hint::black_box;

use foretrace::event;

use crate::measure::{Bar, ROUNDS, each, row};

const EVENTS: u64 = 20_000_000;

/// One call site, under a name by which a disassembler finds it: up to the return it is what a disabled event costs.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn foretrace_bench_call_site(value: u64) {
    event!(info, "switched off", value = value);
}

#[inline(never)]
fn with(count: u64) {
    for number in 0..count {
        black_box(number);
        event!(info, "switched off", value = number);
    }
}

#[inline(never)]
fn without(count: u64) {
    for number in 0..count {
        black_box(number);
    }
}

/// A loop with the call site and one without, alternating.
pub fn rows() {
    foretrace_bench_call_site(black_box(1));
    assert!(!foretrace::start(), "this is to be run with FORETRACE=off");
    with(EVENTS);
    without(EVENTS);
    let (mut costs, mut bare) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let loops = each(EVENTS, without);
        costs.push(each(EVENTS, with) - loops);
        bare.push(loops);
    }
    row("an empty loop", "ns", Bar::Open, &bare);
    row("event that is switched off, added to it", "ns", Bar::Open, &costs);
}
