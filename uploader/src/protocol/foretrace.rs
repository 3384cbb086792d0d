//! Our own conversation: announce an upload, go on with it where it stopped, until the server has all of it.
//!
//! tus 1.0, so that any tus server takes it; ours also names the report and answers for what it holds. An upload that
//! broke off is gone on with at once as long as every try brings it further, and by a later run after that.

use foretrace_report::receipt::Upload;
use foretrace_report::wire::foretrace::REPORT_HEADER;
use jiff::Timestamp;

use super::{Judged, settle, socorro, unanswered};
use crate::delivery::{Answer, Outcome, Verdict, quote};
use crate::receipt::Agreed;
use crate::transport::{Transport, place};

/// Tries without a step forward after which an upload waits for a later run.
const IDLE_TRIES: u32 = 3;
/// What tus servers answer where the digest of what came does not fit.
const CHECKSUM_MISMATCH: u16 = 460;

/// Sends a report.
pub fn deliver(
    agreed: &Agreed,
    transport: &mut Transport,
    upload: Option<&Upload>,
    begun: &mut dyn FnMut(&Upload),
    progress: impl FnMut(u64) + Clone + Send + Sync + Unpin + 'static,
) -> Judged {
    let known = upload.filter(|upload| upload.sha256 == agreed.sha256());
    let mut at = match known {
        Some(upload) => match inquire(agreed, transport, &upload.location) {
            Inquiry::At(offset) => Standing { location: upload.location.clone(), offset },
            Inquiry::Over(judged) => return judged,
            Inquiry::Gone => match announce(agreed, transport, begun, progress.clone()) {
                Ok(standing) => standing,
                Err(judged) => return judged,
            },
        },
        None => match announce(agreed, transport, begun, progress.clone()) {
            Ok(standing) => standing,
            Err(judged) => return judged,
        },
    };
    let mut idle = 0;
    loop {
        let from = at.offset;
        let mut report = progress.clone();
        let request = agreed.append(&at.location, from);
        let outcome = transport.exchange(request, move |handed| report(from + handed));
        let judged = match &outcome {
            Outcome::Answered(answer) => match answer.status {
                204 | 200 => match offset_of(answer) {
                    Some(offset) if offset == agreed.length() => return stored(agreed, answer, &at.location),
                    Some(offset) if offset > from => {
                        at.offset = offset;
                        continue;
                    }
                    _ => settle(answer, None, Timestamp::now()),
                },
                // Somebody else's idea of where it stands: ask.
                409 => unanswered(&Outcome::Broken { why: "the offsets differ".into(), body_left: false }),
                _ => return judge(answer),
            },
            other => unanswered(other),
        };
        if matches!(outcome, Outcome::Unreached { .. }) {
            return judged;
        }
        match inquire(agreed, transport, &at.location) {
            Inquiry::At(offset) => {
                idle = if offset > from { 0 } else { idle + 1 };
                at.offset = offset;
            }
            Inquiry::Over(other) if matches!(other.verdict, Verdict::Stored { .. }) => return other,
            Inquiry::Over(_) | Inquiry::Gone => return judged,
        }
        if idle == IDLE_TRIES {
            return judged;
        }
    }
}

/// What our server's answer says beyond its status: it speaks as it does on `/submit`.
pub fn told(answer: &Answer) -> Option<Verdict> {
    socorro::told(answer)
}

/// An upload that the server knows.
struct Standing {
    location: String,
    offset: u64,
}

fn announce(
    agreed: &Agreed,
    transport: &mut Transport,
    begun: &mut dyn FnMut(&Upload),
    progress: impl FnMut(u64) + Send + Sync + Unpin + 'static,
) -> Result<Standing, Judged> {
    let outcome = transport.exchange(agreed.announce(), progress);
    let Outcome::Answered(answer) = &outcome else { return Err(unanswered(&outcome)) };
    if answer.status != 201 {
        return Err(judge(answer));
    }
    let Some(location) = answer.header("location").and_then(|text| place(agreed.url(), text)) else {
        return Err(settle(answer, None, Timestamp::now()));
    };
    // A server that takes no body with the announcement does not speak of an offset.
    let offset = offset_of(answer).unwrap_or(0);
    if offset >= agreed.length() {
        return Err(stored(agreed, answer, &location));
    }
    begun(&Upload { location: location.clone(), sha256: agreed.sha256().to_owned() });
    Ok(Standing { location, offset })
}

/// How an upload stands.
enum Inquiry {
    At(u64),
    /// It is complete, or nothing can be known just now.
    Over(Judged),
    /// The server does not know it any more.
    Gone,
}

fn inquire(agreed: &Agreed, transport: &mut Transport, location: &str) -> Inquiry {
    let outcome = transport.exchange(agreed.inquire(location), |_| {});
    let Outcome::Answered(answer) = &outcome else { return Inquiry::Over(unanswered(&outcome)) };
    match (answer.status, offset_of(answer)) {
        (200 | 204, Some(offset)) if offset == agreed.length() => {
            Inquiry::Over(stored(agreed, answer, location))
        }
        (200 | 204, Some(offset)) if offset < agreed.length() => Inquiry::At(offset),
        (200 | 204, _) | (403 | 404 | 410 | CHECKSUM_MISMATCH, _) => Inquiry::Gone,
        _ => Inquiry::Over(judge(answer)),
    }
}

fn judge(answer: &Answer) -> Judged {
    let told = match answer.status {
        CHECKSUM_MISMATCH => Some(Verdict::Again {
            why: "what arrived was damaged on the way (status 460)".into(),
            doubtful: false,
            wait: None,
        }),
        412 => Some(Verdict::Again {
            why: "the server speaks another version of tus (status 412): check [Upload] Protocol=".into(),
            doubtful: false,
            wait: None,
        }),
        // Every answer of a tus server says which version it speaks. That the settings are wrong is no reason to give a
        // report up.
        status @ (400 | 404 | 405 | 411 | 415 | 422 | 501) if answer.header("tus-resumable").is_none() => {
            Some(Verdict::Again {
                why: format!(
                    "nobody speaks foretrace's protocol at this address (status {status}): check [Upload] Url= and Protocol="
                ),
                doubtful: false,
                wait: None,
            })
        }
        _ => told(answer),
    };
    settle(answer, told, Timestamp::now())
}

fn stored(agreed: &Agreed, answer: &Answer, location: &str) -> Judged {
    // Another tus server's name for it is the last part of its address.
    let last = location.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let fallback = if last.is_empty() { agreed.report().to_string() } else { last.to_owned() };
    let name = answer.header(&REPORT_HEADER.to_ascii_lowercase()).map_or(fallback, str::to_owned);
    settle(answer, Some(Verdict::Stored { remote_id: quote(&name) }), Timestamp::now())
}

fn offset_of(answer: &Answer) -> Option<u64> {
    answer.header("upload-offset")?.trim().parse().ok()
}
