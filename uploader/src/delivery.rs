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

/// Why a report is refused whose server answered the question before it with "stop".
pub const ENOUGH: &str = "it has enough reports of this problem";

/// What one request met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered.
    Answered(Answer),
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

/// A server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that tell something, with names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The first bytes of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header as the server wrote it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// How long the server asks to be left alone, on whatever status: `Retry-After`, or Sentry's limits.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let asked = self.header("retry-after").and_then(|text| waiting_time(text, now));
        asked.max(self.header("x-sentry-rate-limits").and_then(rate_limit))
    }
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
        upload: previous.and_then(|delivery| delivery.upload.clone()),
        known: previous.and_then(|delivery| delivery.known.clone()),
    }
}

/// Reads `delivery.json`. An empty one is the note of an attempt whose content a power cut took: only the name of that note
/// is durable before anything leaves.
///
/// # Errors
/// It is none.
pub fn read(json: &[u8]) -> serde_json::Result<Delivery> {
    if json.iter().any(|byte| *byte != 0) {
        return serde_json::from_slice(json);
    }
    Ok(Delivery {
        next: None,
        why: Some("the machine went off while it was being sent".into()),
        ..begun(None, Timestamp::UNIX_EPOCH, 0)
    })
}

/// What `delivery.json` says of a report that is left alone in this run, because the server asked for that or
/// cannot be reached: no attempt was made.
pub fn put_off(previous: Option<&Delivery>, why: &str, now: Timestamp, wait: Duration) -> Delivery {
    let blank = Delivery { attempts: 0, doubtful: 0, ..begun(previous, now, 0) };
    Delivery {
        state: previous.map_or(DeliveryState::Pending, |delivery| delivery.state),
        attempts: previous.map_or(0, |delivery| delivery.attempts),
        doubtful: previous.map_or(0, |delivery| delivery.doubtful),
        next: Some(later(now, wait)),
        why: Some(why.to_owned()),
        ..blank
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
        upload: None,
        known: begun.known.clone(),
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
                upload: begun.upload.clone(),
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

/// `X-Sentry-Rate-Limits`: the longest pause for anything that a report is made of.
fn rate_limit(header: &str) -> Option<Duration> {
    let concerns = |categories: &str| {
        categories.is_empty()
            || categories.split(';').any(|name| matches!(name, "error" | "attachment" | "default"))
    };
    let limit = |limit: &str| {
        let mut fields = limit.trim().split(':');
        let seconds = fields.next()?.trim().parse::<f64>().ok().filter(|seconds| *seconds >= 0.0)?;
        concerns(fields.next().unwrap_or_default())
            .then(|| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    };
    header.split(',').filter_map(limit).max()
}

/// A server's words, made safe to keep and to print.
pub fn quote(text: &str) -> String {
    escape(&text.trim().chars().take(QUOTE).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T21:30:00Z".parse().unwrap()
    }

    #[test]
    fn sentrys_limits_count_where_they_concern_reports() {
        for (header, seconds) in [
            ("60:error:organization, 2700:transaction:key", Some(60)),
            ("60::organization", Some(60)),
            ("50:attachment;session:key:quota,20:default", Some(50)),
            ("2700:transaction;metric_bucket:organization", None),
            ("60", Some(60)),
            ("99999999999999999999:error", Some(LONGEST_WAIT.as_secs())),
            ("-1:error", None),
            ("soon:error,,:", None),
            ("", None),
        ] {
            assert_eq!(rate_limit(header).map(|wait| wait.as_secs()), seconds, "{header}");
        }
        let both = vec![("retry-after", "30".into()), ("x-sentry-rate-limits", "60:error:key".into())];
        let answer = Answer { status: 200, headers: both, body: vec![] };
        assert_eq!(answer.wait(now()), Some(Duration::from_secs(60)));
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
    fn a_note_whose_content_is_lost_is_one_of_a_doubtful_attempt() {
        for lost in [&b""[..], &[0; 512]] {
            let delivery = read(lost).unwrap();
            assert_eq!((delivery.state, delivery.doubtful), (DeliveryState::MaybeSent, 1));
            assert_eq!(remaining(&delivery, now()), None, "it is due");
        }
        let noted = begun(None, now(), 0);
        assert_eq!(read(&serde_json::to_vec_pretty(&noted).unwrap()).unwrap(), noted);
        assert!(read(b"{").is_err());
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
