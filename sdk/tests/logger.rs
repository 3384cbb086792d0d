//! What `log` says is what the ring holds.
#![cfg(feature = "log")]

mod rings;

use foretrace::{Level, Logger};
use foretrace_ring::trail::Value;

#[test]
fn log_records_come_back_as_they_were() {
    Logger::new().install().unwrap();
    assert!(Logger::new().install().is_err());
    for round in 0..2 {
        log::warn!(target: "app::db", "said {round}");
    }
    log::trace!("plain");
    log::error!("{}", "ä".repeat(5000));
    // More targets than there is room for.
    for number in 0..2000 {
        log::info!(target: &format!("made::{number}"), "{number}");
    }

    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(snapshot.problems, ["1 fields were too long and were cut"]);
    assert_eq!((snapshot.recorded, snapshot.discarded), (2004, 0));
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(trail.events[1].values, [text("said 1")]);
    let kind = trail.kind_of(&trail.events[1]);
    assert_eq!((kind.provider.as_str(), kind.name.as_str(), kind.level), ("app::db", "log", Level::Warn));
    assert!(kind.location.as_ref().unwrap().0.ends_with("tests/logger.rs"));
    assert_eq!(trail.events[0].kind, trail.events[1].kind);
    assert_eq!(trail.kind_of(&trail.events[2]).provider, "logger");
    assert_eq!(trail.events[3].values, [text(&"ä".repeat(1024))]);
    let last = &trail.events[2003];
    assert_eq!(last.values, [text("1999"), text("made::1999")]);
    assert_eq!(trail.kind_of(last).provider, "log");
    assert_eq!(trail.kind_of(&trail.events[4]).provider, "made::0");
}
