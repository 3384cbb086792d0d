//! The dialects, as conversations: which requests carry a report, and what the answers mean.
//!
//! Owns what all dialects share about HTTP's statuses; each file below owns one dialect. Judging is pure: an answer
//! goes in, a verdict comes out. [`deliver`] is the one place that knows which dialect takes more than one request.

mod faf;
mod foretrace;
mod otlp;
pub mod question;
mod sentry;
mod socorro;

use std::time::Duration;

use foretrace_report::receipt::{Protocol, Upload};
use jiff::Timestamp;

use crate::delivery::{Answer, Outcome, Verdict, quote};
use crate::receipt::Agreed;
use crate::transport::Transport;

/// What an attempt came to, and how long its server wants to be left alone, whatever it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What it means for the report.
    pub verdict: Verdict,
    /// What it means for the next ones.
    pub hold: Option<Duration>,
    /// Whether nobody was there.
    pub unreachable: bool,
}

/// Checks that an address is one that the dialect can use.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn check_url(protocol: Protocol, url: &str) -> Result<(), String> {
    match protocol {
        Protocol::Sentry => sentry::endpoint(url).map(drop),
        _ => Ok(()),
    }
}

/// Sends a report once, in as many requests as its dialect needs. `upload` is an upload that can be gone on with;
/// `begun` is told of one that can be from now on. `progress` is told how many bytes of the body have left.
pub fn deliver(
    agreed: &Agreed,
    transport: &mut Transport,
    upload: Option<&Upload>,
    begun: &mut dyn FnMut(&Upload),
    progress: impl FnMut(u64) + Clone + Send + Sync + Unpin + 'static,
) -> Judged {
    let request = match agreed.protocol() {
        Protocol::Foretrace => return foretrace::deliver(agreed, transport, upload, begun, progress),
        Protocol::Socorro | Protocol::Otlp => Ok(agreed.post(agreed.url().to_owned(), &[])),
        Protocol::Faf => {
            Ok(agreed.post(agreed.url().to_owned(), &[("Accept", "application/json".to_owned())]))
        }
        Protocol::Sentry => sentry::endpoint(agreed.url())
            .map(|endpoint| agreed.post(endpoint.url, &[("X-Sentry-Auth", endpoint.authority)])),
    };
    let outcome = match request {
        Ok(request) => transport.exchange(request, progress),
        Err(why) => Outcome::Unreached { why },
    };
    let name = agreed.report().to_string();
    judge(agreed.protocol(), &name, &outcome, Timestamp::now())
}

/// Reads an outcome by the rules of a dialect that sends a report in one request. `name` is what a report is called
/// at a server that gives it no name.
fn judge(protocol: Protocol, name: &str, outcome: &Outcome, now: Timestamp) -> Judged {
    let answer = match outcome {
        Outcome::Answered(answer) => answer,
        other => return unanswered(other),
    };
    let told = match protocol {
        Protocol::Socorro => socorro::told(answer),
        Protocol::Sentry => sentry::told(answer, name),
        Protocol::Faf => faf::told(answer),
        Protocol::Otlp => otlp::told(answer, name),
        Protocol::Foretrace => foretrace::told(answer),
    };
    settle(answer, told, now)
}

/// What an outcome without an answer means: nobody knows more.
fn unanswered(outcome: &Outcome) -> Judged {
    let (why, doubtful) = match outcome {
        Outcome::Broken { why, body_left } => (why.clone(), *body_left),
        Outcome::Unreached { why } => (why.clone(), false),
        Outcome::Answered(answer) => (format!("status {}", answer.status), false),
    };
    let unreachable = matches!(outcome, Outcome::Unreached { .. });
    Judged { verdict: Verdict::Again { why, doubtful, wait: None }, hold: None, unreachable }
}

/// What the dialect said of an answer; where it says nothing, the status speaks as it does everywhere.
fn settle(answer: &Answer, told: Option<Verdict>, now: Timestamp) -> Judged {
    let hold = answer.wait(now);
    let mut verdict = told.unwrap_or_else(|| status(answer));
    if let Verdict::Again { wait, .. } = &mut verdict {
        *wait = hold;
    }
    Judged { verdict, hold, unreachable: false }
}

fn status(answer: &Answer) -> Verdict {
    let again = |why: String, doubtful| Verdict::Again { why, doubtful, wait: None };
    match answer.status {
        200..=299 => {
            again(format!("the answer (status {}) is not one of a crash server", answer.status), true)
        }
        300..=399 => again(
            match answer.header("location") {
                Some(place) => format!(
                    "the server points to {}: what was agreed to goes nowhere else; if that is right, set [Upload] Url= to it",
                    quote(place)
                ),
                None => {
                    format!("the server points elsewhere (status {}) without saying where", answer.status)
                }
            },
            false,
        ),
        400 => Verdict::Refused { why: "the server calls the report malformed (status 400)".into() },
        413 => Verdict::Refused { why: "the report is too large for the server (status 413)".into() },
        410 => Verdict::Refused { why: "the server does not take this report any more (status 410)".into() },
        429 => again("the server has too much to do just now (status 429)".into(), false),
        status @ (401 | 403 | 404 | 405) => again(
            format!("the server takes no reports at this address (status {status}): check [Upload] Url="),
            false,
        ),
        407 => again("a proxy wants a name and a password (status 407): check HTTPS_PROXY".into(), false),
        status => again(format!("the server could not take it (status {status})"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Outcome {
        Outcome::Answered(Answer { status, headers: vec![], body: body.into() })
    }

    fn verdict(protocol: Protocol, outcome: &Outcome) -> Verdict {
        judge(protocol, "0123", outcome, Timestamp::UNIX_EPOCH).verdict
    }

    fn is(protocol: Protocol, outcome: &Outcome, expected: &str) -> bool {
        let found = match verdict(protocol, outcome) {
            Verdict::Stored { .. } => "stored",
            Verdict::Refused { .. } => "refused",
            Verdict::Again { doubtful: true, .. } => "doubtful",
            Verdict::Again { doubtful: false, .. } => "again",
        };
        found == expected
    }

    #[test]
    fn each_answer_has_one_meaning_in_each_dialect() {
        use Protocol::{Faf, Otlp, Sentry, Socorro};
        for (protocol, status, body, expected) in [
            (Socorro, 200, "CrashID=bp-1234\n", "stored"),
            (Socorro, 201, "\r\nCrashID=bp-1234\r\n", "stored"),
            (Socorro, 200, "Discarded=rule_x", "refused"),
            (Socorro, 403, "Discarded=rule_x", "refused"),
            (Socorro, 413, "CrashID=bp-1234", "refused"),
            (Socorro, 500, "Discarded=rule_x", "again"),
            (Socorro, 200, "", "doubtful"),
            (Socorro, 200, "CrashID=", "doubtful"),
            (Socorro, 200, "<html>hello</html>", "doubtful"),
            (Socorro, 200, "\u{0}\u{ff}", "doubtful"),
            (Sentry, 200, r#"{"id":"0123"}"#, "stored"),
            (Sentry, 200, "", "stored"),
            (Sentry, 200, "<html>welcome</html>", "doubtful"),
            (Sentry, 403, r#"{"detail":"event submission rejected with_reason: ProjectId"}"#, "again"),
            (Sentry, 400, r#"{"detail":"invalid event envelope"}"#, "refused"),
            (Faf, 202, r#"{"result":false,"bthash":"ab12"}"#, "stored"),
            (Faf, 202, r#"{"result":true,"bthash":"ab12","message":"known"}"#, "stored"),
            (Faf, 202, "{}", "doubtful"),
            (Faf, 400, r#"{"error":"Element 'problem' is missing"}"#, "refused"),
            (Otlp, 200, "{}", "stored"),
            (Otlp, 200, "", "stored"),
            (Otlp, 200, r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"no"}}"#, "refused"),
            (Otlp, 200, r#"{"partialSuccess":{"rejectedLogRecords":0}}"#, "stored"),
            (Otlp, 200, "<html>", "doubtful"),
            (Otlp, 404, "", "again"),
            (Otlp, 307, "", "again"),
            (Otlp, 422, "", "refused"),
            (Otlp, 500, "", "refused"),
            (Otlp, 501, "", "refused"),
            (Otlp, 507, "", "refused"),
        ] {
            assert!(is(protocol, &answer(status, body), expected), "{protocol:?} {status} {body}");
        }
        for protocol in Protocol::ALL {
            let theirs = [418, 500, 507, 599].into_iter().filter(|_| protocol != Protocol::Otlp);
            for status in [401, 403, 404, 429, 502, 503, 504, 302].into_iter().chain(theirs) {
                assert!(is(protocol, &answer(status, "oh"), "again"), "{protocol:?} {status}");
            }
            for status in [400, 413, 410] {
                assert!(is(protocol, &answer(status, ""), "refused"), "{protocol:?} {status}");
            }
            assert!(is(protocol, &Outcome::Unreached { why: "no route".into() }, "again"));
            for (body_left, expected) in [(true, "doubtful"), (false, "again")] {
                assert!(is(protocol, &Outcome::Broken { why: "reset".into(), body_left }, expected));
            }
        }
    }

    #[test]
    fn a_servers_words_are_escaped_and_bounded() {
        let Verdict::Stored { remote_id } =
            verdict(Protocol::Socorro, &answer(200, "CrashID=bp\u{1b}[31m\u{202e}x"))
        else {
            panic!("a crash server's answer")
        };
        assert_eq!(remote_id, "bp\\u{1b}[31m\\u{202e}x");
        for (protocol, body) in [
            (Protocol::Socorro, format!("Discarded={}", "x".repeat(9999))),
            (Protocol::Sentry, format!(r#"{{"detail":"{}"}}"#, "x".repeat(9999))),
            (Protocol::Faf, format!(r#"{{"error":"{}"}}"#, "x".repeat(9999))),
        ] {
            let Verdict::Refused { why } = verdict(protocol, &answer(400, &body)) else { panic!("refused") };
            assert!(why.len() < 300, "{why}");
        }
    }

    #[test]
    fn whatever_the_status_a_server_may_ask_for_a_pause() {
        for status in [200, 400, 404, 429, 503] {
            let headers = vec![("x-sentry-rate-limits", "90:error:key".to_owned())];
            let outcome = Outcome::Answered(Answer { status, headers, body: b"{}".to_vec() });
            let judged = judge(Protocol::Sentry, "0123", &outcome, Timestamp::UNIX_EPOCH);
            assert_eq!(judged.hold, Some(Duration::from_secs(90)), "{status}");
        }
    }
}
