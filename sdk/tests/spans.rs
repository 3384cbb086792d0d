//! Spans: two events that belong together, each where it was.

mod rings;

use foretrace::{Level, event, span};
use foretrace_ring::trail::Value;

fn outer(path: &str) -> u64 {
    let span = span!(info, "request", path: personal = path, size = 3_u8);
    for _ in 0..2 {
        let _inner = span!(target: "app::db", debug, "query");
        event!(info, "inside");
    }
    span.number()
}

#[test]
fn a_span_is_an_event_where_it_begins_and_one_where_it_ends() {
    assert_eq!(outer("/a"), 1);
    // A panic ends the spans that it leaves.
    let panicked = std::panic::catch_unwind(|| {
        let _span = span!(warn, "brief");
        std::panic::resume_unwind(Box::new(()))
    });
    assert!(panicked.is_err());
    std::thread::spawn(|| assert_eq!(outer("/b"), 1)).join().unwrap();
    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let said: Vec<(&str, Option<&Value>)> =
        trail.events.iter().map(|event| (trail.kind_of(event).name.as_str(), event.values.first())).collect();
    let request = |number| {
        [
            ("request begin", Some(number)),
            ("query begin", Some(number + 1)),
            ("inside", None),
            ("query end", Some(number + 1)),
            ("query begin", Some(number + 2)),
            ("inside", None),
            ("query end", Some(number + 2)),
            ("request end", Some(number)),
        ]
    };
    let brief = [("brief begin", Some(4)), ("brief end", Some(4))];
    let expected: Vec<_> = request(1).into_iter().chain(brief).chain(request(1)).collect();
    let said: Vec<(&str, Option<u64>)> = said
        .into_iter()
        .map(|(name, value)| match value {
            Some(Value::Unsigned(number)) => (name, Some(*number)),
            _ => (name, None),
        })
        .collect();
    assert_eq!(said, expected);
    assert_eq!(trail.events[0].values, [Value::Unsigned(1), Value::Text("/a".into()), Value::Unsigned(3)]);
    let kind = trail.kind_of(&trail.events[3]);
    assert_eq!((kind.provider.as_str(), kind.level), ("app::db", Level::Debug));
}
