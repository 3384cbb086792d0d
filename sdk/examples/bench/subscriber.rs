//! The same event through `tracing` and the recorder's layer, and what `tracing` takes by itself.

use std::hint::black_box;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

use crate::itself;
use crate::limit::{limit, shared_memory};
use crate::measure::{Bar, ROUNDS, each, ratios, row};
use crate::single::numbers;

const EVENTS: u64 = 500_000;

/// Looks at the fields, and does nothing: what `tracing` takes by itself.
struct Alone;

impl<S: Subscriber> tracing_subscriber::Layer<S> for Alone {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut value = Look(0);
        event.record(&mut value);
        black_box(value.0);
    }
}

/// A subscriber that is told of every event, and looks at its fields or not even at that: no registry, no layers.
struct Bare {
    looks: bool,
}

impl Subscriber for Bare {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    #[inline]
    fn event(&self, event: &Event<'_>) {
        if self.looks {
            let mut value = Look(0);
            event.record(&mut value);
            black_box(value.0);
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

struct Look(u64);

impl Visit for Look {
    fn record_u64(&mut self, _field: &Field, value: u64) {
        self.0 = value;
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

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

/// Who is told of events and does not record them, in the order in which each adds something.
const BARE: [&str; 3] = ["dispatch alone", "dispatch and one visit", "dispatch, registry and one visit"];

/// Each in a process of its own: `tracing` has one subscriber at its best speed.
pub fn alone() {
    for number in 0..BARE.len() {
        let mut command = itself(&["tracing-alone", &number.to_string()]);
        command.status().expect("this program runs itself");
    }
}

/// Direct, the limit, and through `tracing` with nobody who records, alternating: no layer can cost less than the last
/// two together.
pub fn alone_rows(number: usize) {
    match number {
        0 => Bare { looks: false }.init(),
        1 => Bare { looks: true }.init(),
        _ => tracing_subscriber::registry().with(Alone).init(),
    }
    let ring = shared_memory();
    let (mut direct, mut alone, mut least) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        direct.push(each(EVENTS, numbers));
        alone.push(each(EVENTS, traced));
        least.push(each(EVENTS, |count| limit(ring, count)));
    }
    let floor: Vec<f64> = alone.iter().zip(&least).map(|(alone, least)| alone + least).collect();
    let what = BARE[number.min(BARE.len() - 1)];
    row(&format!("tracing's {what}, nothing recorded"), "ns", Bar::Open, &alone);
    row(&format!("({what} + L) ÷ direct"), "×", Bar::Open, &ratios(&floor, &direct));
}
