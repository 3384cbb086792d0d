//! Times as people write and read them: `--since`, `--last`, local clock times, ages.
//!
//! Pure: the time zone and the present come in as values.

use std::time::Duration;

use foretrace_report::text::escape;
use foretrace_store::quantity;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::output::WrongUse;
use crate::words::Words;

/// A report's time on the local clock; what is no time is shown as it is, escaped.
pub fn local(rfc3339: &str, zone: &TimeZone) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => escape(rfc3339),
    }
}

/// How long ago something was, in words.
pub fn ago(rfc3339: &str, now: Timestamp, words: &Words) -> Option<String> {
    let seconds = now.as_second().checked_sub(rfc3339.parse::<Timestamp>().ok()?.as_second())?;
    let counted = |key, number| words.count(key, usize::try_from(number).unwrap_or(usize::MAX));
    Some(match seconds {
        ..0 => return None,
        0..60 => words.say("ago-moment"),
        60..3600 => counted("ago-minutes", seconds / 60),
        3600..86_400 => counted("ago-hours", seconds / 3600),
        _ => counted("ago-days", seconds / 86_400),
    })
}

/// The moment that `--since` names: RFC 3339, a local date with or without time, `today`, `yesterday`, `now`, or a
/// span ago (`2h`, `-2h`).
///
/// # Errors
/// Anything else.
pub fn since(text: &str, now: &Zoned, words: &Words) -> Result<Timestamp, WrongUse> {
    let wrong = || WrongUse(words.tell("moment-wrong", &[("text", &escape(text))]));
    let named = text.trim();
    if let Ok(time) = named.parse::<Timestamp>() {
        return Ok(time);
    }
    let midnight = |date: Date| date.to_zoned(now.time_zone().clone()).map(|zoned| zoned.timestamp());
    match named {
        "now" => return Ok(now.timestamp()),
        "today" => return midnight(now.date()).map_err(|_| wrong()),
        "yesterday" => return now.date().yesterday().and_then(midnight).map_err(|_| wrong()),
        _ => {}
    }
    let ago = named.strip_prefix('-').or(named.strip_suffix("ago")).unwrap_or(named);
    if let Some(span) = quantity::span(ago.trim()) {
        return now.timestamp().checked_sub(span).map_err(|_| wrong());
    }
    let civil = named.parse::<DateTime>().or_else(|_| named.parse::<Date>().map(DateTime::from));
    let zoned = civil.and_then(|time| time.to_zoned(now.time_zone().clone()));
    zoned.map(|zoned| zoned.timestamp()).map_err(|_| wrong())
}

/// The span that `--last` names.
///
/// # Errors
/// Anything that is none.
pub fn span(text: &str, words: &Words) -> Result<Duration, WrongUse> {
    quantity::span(text.trim()).ok_or_else(|| WrongUse(words.tell("span-wrong", &[("text", &escape(text))])))
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(nanoseconds: u64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map_or_else(|_| format!("{nanoseconds} ns"), |time| format!("{time:.9}"))
}

/// Nanoseconds since 1970 as a clock time, to the nanosecond.
pub fn clock(nanoseconds: u64, zone: &TimeZone) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).map_or_else(
        |_| format!("{nanoseconds} ns"),
        |time| time.to_zoned(zone.clone()).strftime("%H:%M:%S.%9f").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-05-02T12:00:00+00:00[UTC]".parse().unwrap()
    }

    fn english() -> Words {
        Words::new(crate::words::Language::English)
    }

    #[test]
    fn since_takes_dates_words_and_spans() {
        for (text, expected) in [
            ("2026-05-01", "2026-05-01T00:00:00Z"),
            ("2026-05-01 06:30", "2026-05-01T06:30:00Z"),
            ("2026-05-01T06:30:05", "2026-05-01T06:30:05Z"),
            ("2026-05-01T06:30:05+02:00", "2026-05-01T04:30:05Z"),
            ("today", "2026-05-02T00:00:00Z"),
            ("yesterday", "2026-05-01T00:00:00Z"),
            ("2h", "2026-05-02T10:00:00Z"),
            ("-90min", "2026-05-02T10:30:00Z"),
            ("1d 2h ago", "2026-05-01T10:00:00Z"),
        ] {
            assert_eq!(since(text, &now(), &english()).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_in_words() {
        for text in ["", "soon", "2026-13-01", "5 parsecs", "infinity", "99999999999999y"] {
            assert!(since(text, &now(), &english()).is_err(), "{text}");
        }
        assert!(since("\x1b[2J", &now(), &english()).unwrap_err().to_string().contains("\\u{1b}[2J"));
    }

    #[test]
    fn times_beyond_the_calendar_are_still_shown() {
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000000001Z");
        assert!(!clock(u64::MAX, &TimeZone::UTC).is_empty());
        assert_eq!(local("a\nb", &TimeZone::UTC), "a\\u{a}b");
    }
}
