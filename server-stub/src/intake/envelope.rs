//! `POST /api/<project>/envelope/`: what Sentry's SDKs send, and our own client in their dialect.
//!
//! Owns the envelope's framing: a header line, and items each with a header line of its own. An item that holds our
//! `outgoing.zip` is the report; else the event becomes one. What is no event (sessions, traces, …) is taken and
//! dropped, as its sender wants no error for it.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use foretrace_report::bundle::{BundleWriter, MINIDUMP};
use foretrace_report::receipt::Protocol;
use foretrace_report::wire::sentry::OUTGOING;
use foretrace_report::{Report, ReportId};
use serde_json::{Value, json};

use super::{Parts, Refusal, event, in_background, settle};
use crate::service::Site;
use crate::store::Draft;

/// Items of one envelope at most.
const MAX_ITEMS: usize = 100;

/// Takes an envelope.
pub async fn submit(State(site): State<Arc<Site>>, body: Bytes) -> Response {
    let place = site.unpacking.clone().acquire_owned().await;
    let stored = in_background(move || {
        let _place = place;
        take(&site, &body)
    });
    let (status, words) = match stored.await {
        Ok(Some(id)) => (StatusCode::OK, json!({"id": id.to_string()})),
        Ok(None) => (StatusCode::OK, json!({})),
        Err(Refusal::Malformed(why)) => (StatusCode::BAD_REQUEST, json!({"detail": why})),
        Err(other) => return other.into_response(),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{words}\n")).into_response()
}

fn take(site: &Site, body: &[u8]) -> Result<Option<ReportId>, Refusal> {
    let envelope = Envelope::parse(body).map_err(Refusal::Malformed)?;
    let draft = |content: &[u8]| {
        let mut draft = site.store.blobs.draft();
        if draft.push(content) { draft.flush().map(|()| draft) } else { Ok(draft) }
    };
    let mut parts = Parts {
        minidump: envelope.minidump.map(draft).transpose()?,
        bundle: envelope.bundle.map(draft).transpose()?,
        ..Parts::default()
    };
    if parts.bundle.is_none() {
        let Some(event) = &envelope.event else { return Ok(None) };
        parts.bundle = Some(bundled(event, &draft)?);
    }
    Ok(Some(settle(site, parts, Protocol::Sentry)?))
}

/// A bundle as our own clients make it, with the event beside what could be read of it.
fn bundled(event: &Value, draft: &dyn Fn(&[u8]) -> std::io::Result<Draft>) -> Result<Draft, Refusal> {
    let report: Report = event::report(event).ok_or(Refusal::Malformed("invalid_event"))?;
    let unwritten = |_| Refusal::Malformed("invalid_event");
    let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
    writer.add("logs/sentry-event.json", event.to_string().as_bytes()).map_err(unwritten)?;
    let (bytes, _) = writer.finish(report).map_err(unwritten)?;
    Ok(draft(bytes.get_ref())?)
}

/// What an envelope holds of interest.
#[derive(Debug, Default, PartialEq)]
struct Envelope<'a> {
    event: Option<Value>,
    bundle: Option<&'a [u8]>,
    minidump: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    fn parse(body: &'a [u8]) -> Result<Envelope<'a>, &'static str> {
        let (head, mut rest) = line(body);
        let head: Value = serde_json::from_slice(head).map_err(|_| "invalid_envelope_header")?;
        let mut envelope = Envelope::default();
        for _ in 0..MAX_ITEMS {
            // An envelope may end with empty lines.
            while let [b'\n', more @ ..] = rest {
                rest = more;
            }
            if rest.is_empty() {
                break;
            }
            let (item, after) = line(rest);
            let item: Value = serde_json::from_slice(item).map_err(|_| "invalid_item_header")?;
            let (content, after) = match item.get("length").map(|length| length.as_u64()) {
                Some(length) => {
                    let length = length
                        .and_then(|length| usize::try_from(length).ok())
                        .ok_or("invalid_item_length")?;
                    after.split_at_checked(length).ok_or("invalid_item_length")?
                }
                None => line(after),
            };
            rest = after;
            let named = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
            match (named("type"), named("attachment_type")) {
                ("event", _) => {
                    let mut event: Value =
                        serde_json::from_slice(content).map_err(|_| "invalid_event_json")?;
                    if event.get("event_id").is_none() && event.is_object() {
                        event["event_id"] = head["event_id"].clone();
                    }
                    envelope.event = Some(event);
                }
                ("attachment", "event.minidump") => envelope.minidump = Some(content),
                ("attachment", _) if named("filename") == OUTGOING => envelope.bundle = Some(content),
                ("attachment", _) if named("filename") == MINIDUMP => envelope.minidump = Some(content),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_with_and_without_a_length() {
        let body = b"{\"event_id\":\"ab\"}\n{\"type\":\"event\"}\n{\"message\":\"x\"}\n\
            {\"type\":\"attachment\",\"length\":3,\"filename\":\"outgoing.zip\"}\na\nb\n{\"type\":\"session\"}\n{}\n\n";
        let envelope = Envelope::parse(body).unwrap();
        assert_eq!(envelope.event, Some(json!({"message": "x", "event_id": "ab"})));
        assert_eq!((envelope.bundle, envelope.minidump), (Some(&b"a\nb"[..]), None));
    }

    #[test]
    fn a_broken_envelope_is_refused() {
        for (body, why) in [
            (&b""[..], "invalid_envelope_header"),
            (b"{}\nx", "invalid_item_header"),
            (b"{}\n{\"type\":\"event\",\"length\":9}\n{}", "invalid_item_length"),
            (b"{}\n{\"type\":\"event\",\"length\":-1}\n{}", "invalid_item_length"),
            (b"{}\n{\"type\":\"event\"}\nx", "invalid_event_json"),
        ] {
            assert_eq!(Envelope::parse(body), Err(why));
        }
    }
}
