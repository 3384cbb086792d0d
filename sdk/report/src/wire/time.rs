//! Times as the dialects want them: numbers since 1970.

/// Nanoseconds since 1970 of an RFC 3339 time in UTC; `None` for anything else.
pub fn nanoseconds(time: &str) -> Option<u64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<u32>().ok().map(i64::from);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let shaped = separators.iter().all(|&(at, byte)| time.as_bytes().get(at) == Some(&byte));
    if !shaped || !time.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from the civil calendar, with the year starting in March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second;
    let fraction = time.get(19..time.len() - 1)?.strip_prefix('.').unwrap_or_default();
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_numbers_and_nonsense_becomes_nothing() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59.999Z", Some(951_868_799_999_000_000)),
            ("2026-11-20T21:30:00Z", Some(1_795_210_200_000_000_000)),
            ("2026-11-20T21:30:00.123456789012Z", Some(1_795_210_200_123_456_789)),
            ("2026-11-20 21:30:00Z", None),
            ("2026-13-20T21:30:00Z", None),
            ("2026-11-20T21:30:00+01:00", None),
            ("2026-11-20T21:30:00.xZ", None),
            ("0001-01-01T00:00:00Z", None),
            ("", None),
            ("２026-11-20T21:30:00Z", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
