//! The retry policy: what an attempt to send meant, and when the next one is due.
//!
//! Pure: outcomes and times come in, a verdict and the next `delivery.json` go out. It reads no clock, draws
//! no random number and speaks to nobody. Delivery is at least once; a try after which nobody knows whether
//! the server stored the report is counted as doubtful and shown as `maybe-sent`.

use std::time::Duration;

use foretrace_report::receipt::{Delivery, DeliveryState};
use foretrace_report::text::escape;
use jiff::Timestamp;

/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// No pause of our own is longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// No server can make us wait longer than this; a next attempt further away means that the clock jumped.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// What a server's words may take up in `delivery.json`.
const QUOTE: usize = 200;

/// What one attempt met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// `Retry-After` as the server wrote it.
        retry_after: Option<String>,
        /// `Location` as the server wrote it.
        location: Option<String>,
        /// The first bytes of the answer's body.
        body: Vec<u8>,
    },
    /// There was no connection: nothing left this machine.
    Unreached {
        /// A sentence.
        why: String,
    },
    /// The connection ended without an answer.
    Broken {
        /// A sentence.
        why: String,
        /// Whether the whole body had been handed over by then.
        body_left: bool,
    },
}

/// What an outcome means for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server has it, under this name.
    Stored {
        /// The server's name for it.
        remote_id: String,
    },
    /// The server does not want it; trying again would change nothing.
    Refused {
        /// A sentence.
        why: String,
    },
    /// To be tried again.
    Again {
        /// A sentence.
        why: String,
        /// Whether the server may have stored it all the same.
        doubtful: bool,
        /// How long the server asked to be left alone.
        wait: Option<Duration>,
    },
}

/// Reads an outcome by the rules of Socorro's dialect.
pub fn judge(outcome: &Outcome, now: Timestamp) -> Verdict {
    let (status, retry_after, location, body) = match outcome {
        Outcome::Answered { status, retry_after, location, body } => (*status, retry_after, location, body),
        Outcome::Unreached { why } => return again(why.clone(), false),
        Outcome::Broken { why, body_left } => return again(why.clone(), *body_left),
    };
    let wait = retry_after.as_deref().and_then(|text| waiting_time(text, now));
    let discarded = line_after(body, "Discarded=");
    match (status, discarded) {
        (200..=299 | 400..=499, Some(rule)) => Verdict::Refused {
            why: format!("the server discarded it by its rule '{rule}' (status {status})"),
        },
        (200..=299, None) => match line_after(body, "CrashID=") {
            Some(remote_id) => Verdict::Stored { remote_id },
            None => again(format!("the answer (status {status}) is not one of a crash server"), true),
        },
        (300..=399, _) => again(
            match location {
                Some(place) => format!(
                    "the server points to {}: what was agreed to goes nowhere else; if that is right, set [Upload] Url= to it",
                    quote(place)
                ),
                None => format!("the server points elsewhere (status {status}) without saying where"),
            },
            false,
        ),
        (400, _) => Verdict::Refused { why: "the server calls the report malformed (status 400)".into() },
        (413, _) => Verdict::Refused { why: "the report is too large for the server (status 413)".into() },
        (429, _) => Verdict::Again {
            why: "the server has too much to do just now (status 429)".into(),
            doubtful: false,
            wait,
        },
        (401 | 403 | 404 | 405 | 410, _) => Verdict::Again {
            why: format!(
                "the server takes no reports at this address (status {status}): check [Upload] Url="
            ),
            doubtful: false,
            wait,
        },
        _ => Verdict::Again {
            why: format!("the server could not take it (status {status})"),
            doubtful: false,
            wait,
        },
    }
}

fn again(why: String, doubtful: bool) -> Verdict {
    Verdict::Again { why, doubtful, wait: None }
}

/// What `delivery.json` says while an attempt is under way: a process killed from here on leaves a doubtful
/// try.
pub fn begun(previous: Option<&Delivery>, now: Timestamp, jitter: u64) -> Delivery {
    let (attempts, doubtful) = previous.map_or((0, 0), |delivery| (delivery.attempts, delivery.doubtful));
    let attempts = attempts.saturating_add(1);
    Delivery {
        state: DeliveryState::MaybeSent,
        attempts,
        doubtful: doubtful.saturating_add(1),
        next: Some(later(now, pause(attempts, jitter))),
        why: Some(format!("the attempt that began at {} did not end", to_the_second(now))),
        remote_id: None,
        sent: None,
    }
}

/// What `delivery.json` says after the attempt that `begun` announced.
pub fn ended(begun: &Delivery, verdict: &Verdict, now: Timestamp, jitter: u64) -> Delivery {
    let doubtful_before = begun.doubtful.saturating_sub(1);
    let unsettled = |doubtful| if doubtful > 0 { DeliveryState::MaybeSent } else { DeliveryState::Pending };
    let settled = Delivery {
        state: DeliveryState::Sent,
        attempts: begun.attempts,
        doubtful: doubtful_before,
        next: None,
        why: None,
        remote_id: None,
        sent: None,
    };
    match verdict {
        Verdict::Stored { remote_id } => {
            Delivery { remote_id: Some(remote_id.clone()), sent: Some(to_the_second(now)), ..settled }
        }
        Verdict::Refused { why } => {
            Delivery { state: DeliveryState::Refused, why: Some(why.clone()), ..settled }
        }
        Verdict::Again { why, doubtful, wait } => {
            let doubtful = doubtful_before.saturating_add(u32::from(*doubtful));
            let pause = pause(begun.attempts, jitter).max(wait.unwrap_or_default());
            Delivery {
                state: unsettled(doubtful),
                doubtful,
                next: Some(later(now, pause)),
                why: Some(why.clone()),
                ..settled
            }
        }
    }
}

/// How long to wait before `delivery` is tried again; `None` when it is due. A time that is unreadable, or so
/// far away that the clock must have jumped, makes it due.
pub fn remaining(delivery: &Delivery, now: Timestamp) -> Option<Duration> {
    let next: Timestamp = delivery.next.as_deref()?.parse().ok()?;
    let wait = Duration::try_from(next.duration_since(now)).ok()?;
    (!wait.is_zero() && wait <= LONGEST_WAIT).then_some(wait)
}

/// The pause after the given number of attempts: doubled each time, and between half and all of that by
/// `jitter`, so that machines which failed together do not return together.
pub fn pause(attempts: u32, jitter: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    let half = whole / 2;
    half + Duration::from_millis(jitter % (half.as_millis() as u64 + 1))
}

/// A time as receipts and `delivery.json` write it.
pub fn to_the_second(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn later(now: Timestamp, pause: Duration) -> String {
    let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
    to_the_second(now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
}

/// `Retry-After` in either of its forms, as a wait from `now`, bounded.
fn waiting_time(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The rest of the first line that begins with `key`, made safe to keep and to print; `None` where it is
/// empty.
fn line_after(body: &[u8], key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key))?;
    Some(quote(value)).filter(|value| !value.is_empty())
}

fn quote(text: &str) -> String {
    escape(&text.trim().chars().take(QUOTE).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T21:30:00Z".parse().unwrap()
    }

    fn answer(status: u16, body: &str) -> Outcome {
        Outcome::Answered { status, retry_after: None, location: None, body: body.into() }
    }

    #[test]
    fn each_answer_has_one_meaning() {
        let stored = |outcome: &Outcome| matches!(judge(outcome, now()), Verdict::Stored { .. });
        let refused = |outcome: &Outcome| matches!(judge(outcome, now()), Verdict::Refused { .. });
        let again = |outcome: &Outcome, doubt: bool| matches!(judge(outcome, now()), Verdict::Again { doubtful, .. } if doubtful == doubt);
        assert!(stored(&answer(200, "CrashID=bp-1234\n")));
        assert!(stored(&answer(201, "\r\nCrashID=bp-1234\r\n")));
        assert!(refused(&answer(200, "Discarded=rule_x")));
        assert!(refused(&answer(403, "Discarded=rule_x")));
        assert!(refused(&answer(400, "")));
        assert!(refused(&answer(413, "CrashID=bp-1234")));
        for status in [401, 403, 404, 418, 429, 500, 502, 503, 507, 599] {
            assert!(again(&answer(status, "oh"), false), "{status}");
        }
        assert!(again(&answer(500, "Discarded=rule_x"), false));
        for body in ["", "CrashID=", "<html>hello</html>", "\u{0}\u{ff}"] {
            assert!(again(&answer(200, body), true), "{body}");
        }
        assert!(again(&answer(302, ""), false));
        assert!(again(&Outcome::Unreached { why: "no route".into() }, false));
        assert!(again(&Outcome::Broken { why: "reset".into(), body_left: true }, true));
        assert!(again(&Outcome::Broken { why: "reset".into(), body_left: false }, false));
    }

    #[test]
    fn a_servers_words_are_escaped_and_bounded() {
        let Verdict::Stored { remote_id } = judge(&answer(200, "CrashID=bp\u{1b}[31m\u{202e}x"), now())
        else {
            panic!("a crash server's answer")
        };
        assert_eq!(remote_id, "bp\\u{1b}[31m\\u{202e}x");
        let Verdict::Refused { why } = judge(&answer(400, &format!("Discarded={}", "x".repeat(9999))), now())
        else {
            panic!("a refusal")
        };
        assert!(why.len() < 300);
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_jitter_stays_between_half_and_whole() {
        for (attempts, whole) in
            [(0, 60), (1, 60), (2, 120), (3, 240), (9, 15_360), (10, 21_600), (u32::MAX, 21_600)]
        {
            let whole = Duration::from_secs(whole);
            assert_eq!(pause(attempts, 0), whole / 2, "{attempts}");
            assert!((0..1000).all(|n| {
                let pause = pause(attempts, n * 7_919_111);
                pause >= whole / 2 && pause <= whole
            }));
        }
        assert_ne!(pause(3, 1), pause(3, 2));
    }

    #[test]
    fn a_server_may_ask_for_more_time_but_not_for_ever() {
        let wait = |text: &str| waiting_time(text, now());
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait(" 99999999999 "), Some(LONGEST_WAIT));
        assert_eq!(wait("Fri, 20 Nov 2026 21:31:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(wait("Fri, 20 Nov 2020 21:31:30 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-5"), None);

        let asked =
            Verdict::Again { why: "x".into(), doubtful: false, wait: Some(Duration::from_secs(3600)) };
        let delivery = ended(&begun(None, now(), 0), &asked, now(), 0);
        assert_eq!(delivery.next.as_deref(), Some("2026-11-20T22:30:00Z"));
        let asked = Verdict::Again { why: "x".into(), doubtful: false, wait: Some(Duration::from_secs(1)) };
        let delivery = ended(&begun(None, now(), 0), &asked, now(), 0);
        assert_eq!(delivery.next.as_deref(), Some("2026-11-20T21:30:30Z"));
    }

    #[test]
    fn doubt_is_counted_once_and_stays_until_the_server_has_it() {
        let again = |doubtful| Verdict::Again { why: "x".into(), doubtful, wait: None };
        let first = begun(None, now(), 0);
        assert_eq!((first.state, first.attempts, first.doubtful), (DeliveryState::MaybeSent, 1, 1));
        let clean = ended(&first, &again(false), now(), 0);
        assert_eq!((clean.state, clean.attempts, clean.doubtful), (DeliveryState::Pending, 1, 0));
        let doubtful = ended(&begun(Some(&clean), now(), 0), &again(true), now(), 0);
        assert_eq!((doubtful.state, doubtful.attempts, doubtful.doubtful), (DeliveryState::MaybeSent, 2, 1));
        let still = ended(&begun(Some(&doubtful), now(), 0), &again(false), now(), 0);
        assert_eq!((still.state, still.attempts, still.doubtful), (DeliveryState::MaybeSent, 3, 1));
        let stored = Verdict::Stored { remote_id: "bp-1".into() };
        let sent = ended(&begun(Some(&still), now(), 0), &stored, now(), 0);
        assert_eq!((sent.state, sent.attempts, sent.doubtful), (DeliveryState::Sent, 4, 1));
        assert_eq!((sent.next, sent.sent.as_deref()), (None, Some("2026-11-20T21:30:00Z")));
    }

    #[test]
    fn a_killed_attempt_stays_doubtful_and_due_later() {
        let killed = begun(None, now(), 0);
        assert_eq!(remaining(&killed, now()), Some(Duration::from_secs(30)));
        let next = begun(Some(&killed), now(), 0);
        assert_eq!((next.attempts, next.doubtful), (2, 2));
    }

    #[test]
    fn an_unreadable_or_far_away_time_makes_a_report_due() {
        let at = |next: Option<&str>| {
            let delivery = Delivery { next: next.map(str::to_owned), ..begun(None, now(), 0) };
            remaining(&delivery, now())
        };
        assert_eq!(at(Some("2026-11-20T21:30:10Z")), Some(Duration::from_secs(10)));
        for due in [
            None,
            Some("garbage"),
            Some("2026-11-20T21:30:00Z"),
            Some("1970-01-01T00:00:00Z"),
            Some("2099-01-01T00:00:00Z"),
        ] {
            assert_eq!(at(due), None, "{due:?}");
        }
    }
}
