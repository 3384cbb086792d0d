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
fn batches(count: u64) {
    for first in (0..count).step_by(8) {
        let batch = foretrace::batch();
        for number in first..first + 8 {
            event!(batch: batch, info, "u64", value = number);
        }
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
    let mut measured = [const { Vec::new() }; 4];
    let mut round = |number: usize, keep: bool| {
        for turn in 0..4 {
            let which = (number + turn) % 4;
            let ns = match which {
                0 => each(EVENTS, |count| limit(ring, count)),
                1 => each(EVENTS, numbers),
                2 => each(EVENTS, batches),
                _ => each(EVENTS, texts),
            };
            if keep {
                measured[which].push(ns);
            }
        }
    };
    round(0, false);
    (0..2 * ROUNDS).for_each(|number| round(number, true));
    let [limit, numbers, batches, texts] = &measured;
    row("the limit L: rdtsc + 24 bytes of stores", "ns", Bar::Open, limit);
    row("event with a u64", "ns", Bar::Open, numbers);
    row("event with a u64 and a 16-byte string", "ns", Bar::Open, texts);
    row("event with a u64 in a batch of 8, which share one time", "ns", Bar::Open, batches);
    row("u64 ÷ L", "×", Bar::AtMost(1.15), &ratios(numbers, limit));
    row("u64 + 16-byte string ÷ L", "×", Bar::AtMost(1.30), &ratios(texts, limit));
}
