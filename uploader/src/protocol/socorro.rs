//! What Socorro, Breakpad and Crashpad collectors answer: `CrashID=…` or `Discarded=…`.

use crate::delivery::{Answer, Verdict, quote};

/// What the answer says beyond its status.
pub fn told(answer: &Answer) -> Option<Verdict> {
    let status = answer.status;
    match (status, line_after(&answer.body, "Discarded=")) {
        (200..=299 | 400..=499, Some(rule)) => Some(Verdict::Refused {
            why: format!("the server discarded it by its rule '{rule}' (status {status})"),
        }),
        (200..=299, None) => {
            line_after(&answer.body, "CrashID=").map(|remote_id| Verdict::Stored { remote_id })
        }
        _ => None,
    }
}

/// The rest of the first line that begins with `key`, made safe to keep and to print; `None` where it is empty.
fn line_after(body: &[u8], key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key))?;
    Some(quote(value)).filter(|value| !value.is_empty())
}
