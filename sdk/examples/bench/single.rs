//! One thread that does nothing but record.

use std::hint::black_box;

use foretrace::event;

use crate::limit::{limit, shared_memory};
use crate::measure::{Bar, ROUNDS, each, ratios, row};

const EVENTS: u64 = 1_000_000;

/// Events with a number, which counts them.
#[inline(never)]
pub fn numbers(count: u64) {
    for number in 0..count {
        event!(info, "u64", value = number);
    }
}

/// Events with a number and 16 bytes of text.
#[inline(never)]
pub fn texts(count: u64) {
    let text = black_box("abcdefghijklmnop");
    for number in 0..count {
        event!(info, "u64 and text", value = number, text = text);
    }
}

/// As [`numbers`], each eight sharing one reading of the clock.
#[inline(never)]
pub fn batches(count: u64) {
    for first in (0..count).step_by(8) {
        let batch = foretrace::batch();
        for number in first..first + 8 {
            event!(batch: batch, info, "u64", value = number);
        }
    }
}

/// As [`numbers`], with the coarse clock.
#[inline(never)]
pub fn coarsely(count: u64) {
    let clock = foretrace::coarse();
    for number in 0..count {
        event!(batch: clock, info, "u64", value = number);
    }
}

/// As [`numbers`], with a time that is given.
#[inline(never)]
pub fn given(count: u64) {
    let at = foretrace::at(foretrace::Time::now());
    for number in 0..count {
        event!(at: at, info, "u64", value = number);
    }
}

/// As [`given`], each time behind another event, so that the last time has to be looked for.
#[inline(never)]
fn given_between(count: u64) {
    let at = foretrace::at(foretrace::Time::now());
    for number in 0..count / 2 {
        event!(info, "u64", value = number);
        event!(at: at, info, "u64", value = number);
    }
}

/// Nanoseconds of one, after as many that are not counted.
pub fn warm(body: fn(u64), count: u64) -> f64 {
    body(count);
    each(count, body)
}

/// The limit and the events, in an order that turns with each round.
pub fn rows() {
    let ring = shared_memory();
    let mut measured = [const { Vec::new() }; 7];
    let mut round = |number: usize, keep: bool| {
        for turn in 0..7 {
            let which = (number + turn) % 7;
            let ns = match which {
                0 => each(EVENTS, |count| limit(ring, count)),
                1 => each(EVENTS, numbers),
                2 => each(EVENTS, batches),
                3 => each(EVENTS, coarsely),
                4 => each(EVENTS, given),
                5 => each(EVENTS / 10, given_between),
                _ => each(EVENTS, texts),
            };
            if keep {
                measured[which].push(ns);
            }
        }
    };
    round(0, false);
    (0..2 * ROUNDS).for_each(|number| round(number, true));
    let [limit, numbers, batches, coarsely, given, between, texts] = &measured;
    row("the limit L: rdtsc + 24 bytes of stores", "ns", Bar::Open, limit);
    row("event with a u64", "ns", Bar::Open, numbers);
    row("event with a u64 and a 16-byte string", "ns", Bar::Open, texts);
    row("event with a u64 in a batch of 8, which share one time", "ns", Bar::Open, batches);
    row("event with a u64 and a coarse time", "ns", Bar::Open, coarsely);
    row("event with a u64 and a given time", "ns", Bar::Open, given);
    row("… every other one, behind one with its own time", "ns", Bar::Open, between);
    row("u64 ÷ L", "×", Bar::AtMost(1.15), &ratios(numbers, limit));
    row("u64 + 16-byte string ÷ L", "×", Bar::AtMost(1.30), &ratios(texts, limit));
}
