//! The values that settings hold: sizes, time spans, booleans, in systemd's notation. Pure.

use std::time::Duration;

/// A size in bytes: digits, perhaps a fraction, and a unit of IEC (`K` is 1024), or `infinity`.
pub fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 7] =
        [("", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50), ("E", 60)];
    if text == "infinity" {
        return Some(u64::MAX);
    }
    let (number, unit) = split(text)?;
    let unit = unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit);
    let (_, shift) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    scaled(number, 1u64 << shift)
}

/// A time span: one or more numbers with units, or `infinity`; a bare number is seconds.
pub fn span(text: &str) -> Option<Duration> {
    const UNITS: [(&[&str], u64); 8] = [
        (&["ms", "msec"], 1),
        (&["s", "sec", "second", "seconds", ""], 1000),
        (&["m", "min", "minute", "minutes"], 60_000),
        (&["h", "hr", "hour", "hours"], 3_600_000),
        (&["d", "day", "days"], 86_400_000),
        (&["w", "week", "weeks"], 7 * 86_400_000),
        (&["M", "month", "months"], 2_629_800_000),
        (&["y", "year", "years"], 31_557_600_000),
    ];
    if text == "infinity" {
        return Some(Duration::MAX);
    }
    let mut rest = text.trim();
    let mut total = 0u64;
    loop {
        let (number, after) = split(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(end);
        let (_, scale) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = tail.trim_start();
        if rest.is_empty() {
            return Some(Duration::from_millis(total));
        }
    }
}

/// Yes or no, in each of the words that systemd takes.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A number in front, and what follows it.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (!number.is_empty()).then_some((number, rest.trim_start()))
}

fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let denominator = 10u64.pow(fraction.len() as u32);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / u128::from(denominator);
    whole.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_iec() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("1K", Some(1024)),
            ("2 m", Some(2 << 20)),
            ("1.5G", Some(3 << 29)),
            ("4GiB", Some(4 << 30)),
            ("16E", None),
            ("infinity", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("G", None),
            ("1X", None),
            ("1.2.3K", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn spans_add_up() {
        for (text, seconds) in [
            ("30", Some(30)),
            ("30d", Some(30 * 86400)),
            ("2h 30min", Some(9000)),
            ("1h30m", Some(5400)),
            ("1 week", Some(604_800)),
            ("2 fortnights", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999y", None),
        ] {
            assert_eq!(span(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(span("infinity"), Some(Duration::MAX));
    }
}
