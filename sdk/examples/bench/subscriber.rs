//! The same event through `tracing` and the recorder's layer.

use std::hint::black_box;

use tracing_subscriber::prelude::*;

use crate::measure::{Bar, ROUNDS, each, ratios, row};
use crate::single::numbers;

const EVENTS: u64 = 500_000;

#[inline(never)]
fn traced(count: u64) {
    for number in 0..count {
        tracing::info!(value = black_box(number));
    }
}

/// Direct and through the layer, alternating.
pub fn rows() {
    tracing_subscriber::registry().with(foretrace::Layer::new()).init();
    traced(EVENTS);
    let (mut direct, mut layered) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        direct.push(each(EVENTS, numbers));
        layered.push(each(EVENTS, traced));
    }
    row("event with a u64 through the tracing layer", "ns", Bar::Open, &layered);
    row("tracing layer ÷ direct", "×", Bar::AtMost(1.35), &ratios(&layered, &direct));
}
