//! An event has the number of the span in which `tracing` sees it, whatever the thread did before.
#![cfg(feature = "tracing")]

mod rings;

use std::fmt;

use foretrace_ring::trail::{Event, Value};
use tracing_subscriber::prelude::*;

/// Formats itself by recording.
struct Talkative;

impl fmt::Debug for Talkative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tracing::info!(mark = 100_u64);
        f.write_str("talkative")
    }
}

fn mark(number: u64) {
    tracing::info!(mark = number);
}

#[test]
fn an_event_has_the_number_of_its_span() {
    tracing_subscriber::registry().with(foretrace::Layer::new()).init();
    mark(0);
    let outer = tracing::info_span!("outer");
    let inner = tracing::info_span!("inner");
    outer.in_scope(|| {
        mark(1);
        inner.in_scope(|| mark(2));
        mark(3);
        tracing::info!(parent: &inner, mark = 4_u64);
        tracing::info!(parent: None, mark = 5_u64);
        let elsewhere = tracing_subscriber::registry().with(foretrace::Layer::new());
        tracing::subscriber::with_default(elsewhere, || mark(6));
        mark(7);
        std::thread::scope(|scope| {
            scope.spawn(|| mark(8));
        });
        tracing::info!(mark = 9_u64, text = ?Talkative);
    });
    mark(10);

    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!((&trail.problems, &snapshot.problems), (&vec![], &vec![]));
    let field = |event: &Event, name: &str| {
        let at = trail.kind_of(event).fields.iter().position(|field| field.name == name)?;
        event.values.get(at).cloned()
    };
    let find = |wanted: &dyn Fn(&Event) -> bool, what: &str| {
        trail.events.iter().find(|event| wanted(event)).unwrap_or_else(|| panic!("{what} is there"))
    };
    let begin = |name: &str| field(find(&|event| trail.kind_of(event).name == name, name), "span").unwrap();
    let (outer, inner) = (begin("outer begin"), begin("inner begin"));
    assert_ne!(outer, inner);
    let expected = [
        (0, None),
        (1, Some(&outer)),
        (2, Some(&inner)),
        (3, Some(&outer)),
        (4, Some(&inner)),
        (5, None),
        (6, None),
        (7, Some(&outer)),
        (8, None),
        (9, Some(&outer)),
        (10, None),
        (100, Some(&outer)),
    ];
    for (mark, span) in expected {
        let marked = |event: &Event| field(event, "mark") == Some(Value::Unsigned(mark));
        let event = find(&marked, &format!("event {mark}"));
        assert_eq!(field(event, "span").as_ref(), span, "event {mark}");
    }
    assert!(trail.events.iter().any(|event| event.values.contains(&Value::Text("talkative".into()))));
}
