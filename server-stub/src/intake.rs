//! `POST /submit`: the multipart dialect that Socorro, Breakpad and Crashpad clients speak. Beside it, in files of
//! their own, resumable uploads and Sentry's envelopes, which end in the same [`settle`].
//!
//! Owns what is read from the body, its limits, and the words of the answer: `CrashID=bp-…` once the report is on
//! disk, `Discarded=malformed_…` for what will never be taken, 413 and 503. Does not decide what a report is.

mod body;
pub mod envelope;
mod event;
pub mod resumable;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use foretrace_report::bundle::BundleError;
use foretrace_report::receipt::Protocol;
use foretrace_report::wire::foretrace::SEALED_MARK;
use foretrace_report::wire::socorro::{EXTRA, OUTGOING, UPLOAD_MINIDUMP};
use foretrace_report::{Report, ReportId};
use serde::{Deserialize, Serialize};

pub use body::receive;

use crate::reading;
use crate::service::{Site, log};
use crate::store::{Draft, StoreError};
use crate::submission::{ID_ANNOTATION, Submission};

/// Parts of one submission at most.
const MAX_PARTS: usize = 1000;
/// Bytes of all annotations at most, with their names.
const MAX_ANNOTATIONS: usize = 1 << 20;
/// How long the sender may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Takes a report.
pub async fn submit(State(site): State<Arc<Site>>, request: Request) -> Response {
    match take(&site, request).await {
        Ok(id) => format!("CrashID=bp-{}\n", id.uuid()).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Why a report was not taken.
#[derive(Debug)]
enum Refusal {
    /// It will never be taken; the word is Socorro's.
    Malformed(&'static str),
    /// It is larger than this server takes.
    TooLarge,
    /// The sender fell silent.
    Silent,
    /// Whoever sent it has erased it.
    Erased,
    /// It could not be stored; the sender should try again.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Erased => Refusal::Erased,
            error => Refusal::Store(error),
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Refusal::Store(error.into())
    }
}

impl From<MultipartRejection> for Refusal {
    fn from(_: MultipartRejection) -> Self {
        Refusal::Malformed("wrong_content_type")
    }
}

impl From<MultipartError> for Refusal {
    fn from(error: MultipartError) -> Self {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Refusal::TooLarge;
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(reason) = cause {
            // Only unpacking fails this way: a connection that breaks has nobody left to answer.
            if reason.is::<std::io::Error>() {
                return Refusal::Malformed("bad_gzip");
            }
            cause = reason.source();
        }
        Refusal::Malformed("invalid_payload_structure")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Malformed(why) => {
                (StatusCode::BAD_REQUEST, format!("Discarded=malformed_{why}\n")).into_response()
            }
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Discarded=too_large\n").into_response(),
            Refusal::Erased => (StatusCode::GONE, "Discarded=erased\n").into_response(),
            Refusal::Silent => {
                (StatusCode::REQUEST_TIMEOUT, "The report did not arrive in time; send it again.\n")
                    .into_response()
            }
            Refusal::Store(error) => {
                log(&format!("a report was turned away: {error}"));
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    [(header::RETRY_AFTER, "60")],
                    "The report could not be stored; send it again later.\n",
                )
                    .into_response()
            }
        }
    }
}

async fn take(site: &Arc<Site>, request: Request) -> Result<ReportId, Refusal> {
    let multipart = Multipart::from_request(request, &()).await?;
    let parts = Parts::read(site, multipart).await?;
    let place = site.unpacking.clone().acquire_owned().await;
    let site = site.clone();
    in_background(move || {
        // Held here: a sender that goes away must not free the place before the work is done.
        let _place = place;
        settle(&site, parts, Protocol::Socorro)
    })
    .await
}

/// The parts of a submission.
#[derive(Default)]
struct Parts {
    annotations: BTreeMap<String, String>,
    bundle: Option<Draft>,
    minidump: Option<Draft>,
    notes: Vec<String>,
    // What was said of a report that cannot be read here.
    told: Told,
}

/// What stands beside an upload: of an encrypted one nothing else is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The report's id.
    #[serde(default)]
    pub id: Option<String>,
    /// sha256 of the token that erases it, in hex.
    #[serde(default)]
    pub erasure: Option<String>,
}

impl Parts {
    async fn read(site: &Site, mut multipart: Multipart) -> Result<Parts, Refusal> {
        let mut parts = Parts::default();
        let mut extra = None;
        let mut room = MAX_ANNOTATIONS;
        let mut count = 0;
        while let Some(mut field) = heard(multipart.next_field()).await?? {
            count += 1;
            if count > MAX_PARTS {
                return Err(Refusal::Malformed("too_many_parts"));
            }
            let name = field.name().unwrap_or_default().to_owned();
            match name.as_str() {
                OUTGOING => parts.bundle = Some(file(site, &mut field).await?),
                UPLOAD_MINIDUMP => parts.minidump = Some(file(site, &mut field).await?),
                EXTRA => extra = Some(text(&mut field, &mut room, name.len()).await?),
                "" => return Err(Refusal::Malformed("invalid_payload_structure")),
                _ if field.file_name().is_some() => {
                    parts.notes.push(format!("A part named '{name}' came with the report and was not kept."));
                    while heard(field.chunk()).await??.is_some() {}
                }
                _ => {
                    let value = text(&mut field, &mut room, name.len()).await?;
                    parts.annotations.insert(name, value);
                }
            }
        }
        if let Some(extra) = extra {
            if !parts.annotations.is_empty() {
                return Err(Refusal::Malformed("has_json_and_kv"));
            }
            parts.annotations = annotations(&extra)?;
        }
        if parts.annotations.is_empty() {
            return Err(Refusal::Malformed("no_annotations"));
        }
        if parts.bundle.is_none() && parts.minidump.is_none() {
            return Err(Refusal::Malformed("no_report"));
        }
        Ok(parts)
    }
}

// Everything that blocks: reading the container, the files, the database.
fn settle(site: &Site, mut parts: Parts, dialect: Protocol) -> Result<ReportId, Refusal> {
    let encrypted = parts.bundle.as_mut().map(is_encrypted).transpose()?.unwrap_or(false);
    let mut erasure = None;
    let report = match &mut parts.bundle {
        Some(_) if encrypted => {
            parts.annotations.extend(parts.told.id.map(|id| (ID_ANNOTATION.to_owned(), id)));
            erasure = parts.told.erasure.filter(|digest| reading::is_digest(digest));
            Err("It is encrypted to a key that this server does not have.".to_owned())
        }
        Some(draft) => {
            erasure = erasure_of(draft)?;
            report_of(draft)?
        }
        None => Err("It came without a foretrace bundle, as other crash reporters send it.".to_owned()),
    };
    let submission = Submission {
        dialect,
        annotations: parts.annotations,
        report,
        digests: [&parts.bundle, &parts.minidump].into_iter().flatten().map(Draft::sha256).collect(),
        erasure,
        encrypted,
        notes: parts.notes,
    };
    let id = submission.id();
    let received = jiff::Timestamp::now().as_millisecond();
    site.store.keep(submission.record(received), parts.bundle, parts.minidump)?;
    Ok(id)
}

// A damaged bundle is the sender's fault and kept as it is; a draft that cannot be read is ours.
fn report_of(draft: &mut Draft) -> Result<Result<Report, String>, Refusal> {
    match reading::report_in(draft.reader()?) {
        Ok(report) => Ok(Ok(report)),
        Err(BundleError::Io(error)) if error.raw_os_error().is_some() => Err(error.into()),
        Err(error) => Ok(Err(format!("The bundle cannot be read: {error}."))),
    }
}

fn is_encrypted(draft: &mut Draft) -> Result<bool, Refusal> {
    let mut mark = Vec::new();
    draft.reader()?.take(SEALED_MARK.len() as u64).read_to_end(&mut mark)?;
    Ok(mark == SEALED_MARK)
}

fn erasure_of(draft: &mut Draft) -> Result<Option<String>, Refusal> {
    Ok(reading::erasure_in(draft.reader()?))
}

fn annotations(extra: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(extra) else {
        return Err(Refusal::Malformed("invalid_json"));
    };
    let string = |(name, value)| match value {
        serde_json::Value::String(text) => Ok((name, text)),
        _ => Err(Refusal::Malformed("invalid_json_value")),
    };
    members.into_iter().map(string).collect()
}

async fn file(site: &Site, field: &mut Field<'_>) -> Result<Draft, Refusal> {
    let mut draft = site.store.blobs.draft();
    while let Some(chunk) = heard(field.chunk()).await?? {
        if draft.push(&chunk) {
            draft = in_background(move || draft.flush().map(|()| draft)).await?;
        }
    }
    Ok(draft)
}

async fn text(field: &mut Field<'_>, room: &mut usize, name: usize) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    *room = room.checked_sub(name).ok_or(Refusal::TooLarge)?;
    while let Some(chunk) = heard(field.chunk()).await?? {
        *room = room.checked_sub(chunk.len()).ok_or(Refusal::TooLarge)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn heard<T>(next: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(SILENCE, next).await.map_err(|_| Refusal::Silent)
}

async fn in_background<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refusal>
where
    Refusal: From<E>,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        // The runtime is ending, or the work panicked: either way nothing was promised.
        Err(lost) => Err(std::io::Error::other(lost).into()),
    }
}
