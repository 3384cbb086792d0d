//! What ABRT's FAF answers: whether it knew the problem, and the hash that it goes by.

use serde_json::Value;

use crate::delivery::{Answer, Verdict, quote};

/// What the answer says beyond its status.
pub fn told(answer: &Answer) -> Option<Verdict> {
    let said: Value = serde_json::from_slice(&answer.body).ok()?;
    match answer.status {
        200..=299 => {
            let hash = said.get("bthash")?.as_str()?;
            Some(Verdict::Stored { remote_id: quote(hash) })
        }
        400 => {
            let why = said.get("error")?.as_str()?;
            Some(Verdict::Refused { why: format!("the server refused it: {} (status 400)", quote(why)) })
        }
        _ => None,
    }
}
