//! What `tracing` says is what the ring holds.
#![cfg(feature = "tracing")]

mod rings;

use foretrace::Level;
use foretrace_ring::trail::Value;
use tracing_subscriber::prelude::*;

#[test]
fn tracing_events_and_spans_come_back_as_they_were() {
    tracing_subscriber::registry().with(foretrace::Layer::new()).init();
    for (round, optional) in [Some("x"), None, Some("y")].into_iter().enumerate() {
        tracing::warn!(target: "app::db", round, optional, wide = 1.5, "said {}", "it");
    }
    tracing::info_span!("request", path = "/").in_scope(|| tracing::debug!(text = ?Some(1), yes = true));
    tracing::info!(long = "ä".repeat(5000));

    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(snapshot.problems, ["1 fields were too long and were cut"]);
    let text = |text: &str| Value::Text(text.into());
    let values: Vec<&[Value]> = trail.events.iter().map(|event| event.values.as_slice()).collect();
    assert_eq!(values[0], [text("said it"), Value::Unsigned(0), text("x"), Value::Float(1.5)]);
    assert_eq!(values[1], [text("said it"), Value::Unsigned(1), Value::Float(1.5)]);
    assert_eq!(values[2], [text("said it"), Value::Unsigned(2), text("y"), Value::Float(1.5)]);
    assert_eq!(trail.events[0].kind, trail.events[2].kind);
    let kind = trail.kind_of(&trail.events[0]);
    assert_eq!((kind.provider.as_str(), kind.level), ("app::db", Level::Warn));
    assert_eq!(trail.kind_of(&trail.events[3]).name, "request begin");
    assert_eq!(values[3][1], text("/"));
    assert_eq!(values[4], [values[3][0].clone(), text("Some(1)"), Value::Bool(true)]);
    assert_eq!(trail.kind_of(&trail.events[5]).name, "request end");
    assert_eq!(values[6], [text(&"ä".repeat(1023))]);
}
