//! What an OpenTelemetry collector answers: nothing, or how many records it did not take; and after which statuses its
//! specification lets a sender try again.

use serde_json::Value;

use crate::delivery::{Answer, Verdict, quote};

/// What the answer says beyond its status. What was taken in part must not be sent again.
pub fn told(answer: &Answer, name: &str) -> Option<Verdict> {
    match answer.status {
        200 => {}
        // The specification's list, and no other error. What points elsewhere, or to a wrong address, is left to the
        // general rules: there nobody has looked at the records yet.
        429 | 502..=504 | 201..=399 | 401 | 403 | 404 | 405 | 407 => return None,
        status => {
            let why = format!("the collector calls it final (status {status})");
            return Some(Verdict::Refused { why });
        }
    }
    let stored = Verdict::Stored { remote_id: name.to_owned() };
    if answer.body.is_empty() {
        return Some(stored);
    }
    let said: Value = serde_json::from_slice(&answer.body).ok()?;
    let partial = said.as_object()?.get("partialSuccess").unwrap_or(&Value::Null);
    // 64-bit numbers are strings in this JSON; not everybody keeps to that.
    let rejected = match &partial["rejectedLogRecords"] {
        Value::String(number) => number.parse().unwrap_or(0),
        number => number.as_u64().unwrap_or(0),
    };
    if rejected == 0 {
        return Some(stored);
    }
    let why = quote(partial["errorMessage"].as_str().unwrap_or("it does not say why"));
    Some(Verdict::Refused { why: format!("the server did not take {rejected} of its records: {why}") })
}
