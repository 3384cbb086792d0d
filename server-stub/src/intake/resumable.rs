//! `/reports`: resumable uploads by tus 1.0, of one `outgoing.zip` each.
//!
//! Owns the protocol's headers and statuses. A small report comes along with its announcement and is kept at once; a
//! larger one grows in a file, keeps what came of a connection that broke, and becomes a report with its last byte.
//! What was announced and is complete is still known for a day, for a sender who missed the answer.
#![allow(clippy::result_large_err, reason = "a refusal is an answer like any other")]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use foretrace_report::ReportId;
use foretrace_report::receipt::Protocol;
use foretrace_report::wire::foretrace::{ERASURE, MEDIA_TYPE, METADATA, REPORT_HEADER, read_metadata};

use super::{Parts, Refusal, Told, heard, in_background, settle};
use crate::service::Site;
use crate::store::{Announced, Claim, Draft, KEPT};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,termination,expiration";
/// What came is written to disk in pieces of this size.
const PIECE: usize = 1 << 20;
/// The checksum extension's word for a body that is not what it should be.
const CHECKSUM_MISMATCH: u16 = 460;

/// `OPTIONS /reports`: what this server can do.
pub async fn options(State(site): State<Arc<Site>>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    set(headers, "tus-resumable", VERSION);
    set(headers, "tus-version", VERSION);
    set(headers, "tus-extension", EXTENSIONS);
    set(headers, "tus-max-size", &site.max_body.to_string());
    response
}

/// `POST /reports`: announces a report, or brings it along.
pub async fn announce(State(site): State<Arc<Site>>, request: Request) -> Response {
    marked(match announced(&site, request).await {
        Ok(response) => response,
        Err(response) => response,
    })
}

/// `HEAD /reports/upload/<key>`: how far it has come.
pub async fn inquire(State(site): State<Arc<Site>>, Path(key): Path<String>) -> Response {
    let Some(claim) = site.store.uploads.claim(&key) else {
        return marked(StatusCode::LOCKED.into_response());
    };
    let Some(announced) = claim.announced() else { return marked(StatusCode::NOT_FOUND.into_response()) };
    let offset = match &announced.report {
        Some(_) => Some(announced.length),
        None => claim.offset(),
    };
    let Some(offset) = offset else { return marked(StatusCode::NOT_FOUND.into_response()) };
    let mut response = standing(StatusCode::OK, offset, announced.report.as_deref());
    set(response.headers_mut(), "upload-length", &announced.length.to_string());
    set(response.headers_mut(), "cache-control", "no-store");
    marked(response)
}

/// `PATCH /reports/upload/<key>`: goes on.
pub async fn append(State(site): State<Arc<Site>>, Path(key): Path<String>, request: Request) -> Response {
    marked(match appended(&site, &key, request).await {
        Ok(response) => response,
        Err(response) => response,
    })
}

/// `DELETE /reports/upload/<key>`: the sender does not want to go on.
pub async fn terminate(State(site): State<Arc<Site>>, Path(key): Path<String>) -> Response {
    let Some(claim) = site.store.uploads.claim(&key) else {
        return marked(StatusCode::LOCKED.into_response());
    };
    marked(match claim.announced().map(|_| claim.remove()) {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(error)) => Refusal::from(error).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn announced(site: &Arc<Site>, request: Request) -> Result<Response, Response> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    speaks_tus(headers)?;
    let length = number(headers, "upload-length")
        .ok_or_else(|| wrong("Upload-Length is missing: uploads of unknown length are not taken"))?;
    if length > site.max_body as u64 {
        return Err(Refusal::TooLarge.into_response());
    }
    let metadata = headers.get(METADATA).and_then(|value| value.to_str().ok()).map(read_metadata);
    let metadata = metadata.unwrap_or_default();
    let told = Told { id: metadata.get("id").cloned(), erasure: metadata.get(ERASURE).cloned() };
    let announced = Announced { length, sha256: metadata.get("sha256").cloned(), told, report: None };
    let brought = number(headers, "content-length").unwrap_or(0);
    if brought > 0 && brought == length {
        is_offset_stream(headers)?;
        let draft = taken(site, body, length).await.map_err(IntoResponse::into_response)?;
        let id = finished(site, draft, &announced).await?;
        // It is complete and needs no address to go on at; this one says so to whoever asks.
        let mut response = standing(StatusCode::CREATED, length, Some(&name_of(id)));
        set(response.headers_mut(), "location", &format!("/report/{id}"));
        return Ok(response);
    }
    let begun = site.store.uploads.begin(&announced).map_err(|error| Refusal::from(error).into_response())?;
    let Some(key) = begun else {
        let busy = (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "600")],
            "Too many unfinished uploads.\n",
        );
        return Err(busy.into_response());
    };
    let mut offset = 0;
    if brought > 0 {
        is_offset_stream(headers)?;
        if let Some(claim) = site.store.uploads.claim(&key) {
            offset = grown(&claim, body, length).await?;
        }
    }
    let mut response = standing(StatusCode::CREATED, offset, None);
    set(response.headers_mut(), "location", &format!("/reports/upload/{key}"));
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::try_from(KEPT).unwrap_or_default();
    let expires = expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    set(response.headers_mut(), "upload-expires", &expires);
    Ok(response)
}

async fn appended(site: &Arc<Site>, key: &str, request: Request) -> Result<Response, Response> {
    let (head, body) = request.into_parts();
    speaks_tus(&head.headers)?;
    is_offset_stream(&head.headers)?;
    let Some(claim) = site.store.uploads.claim(key) else { return Err(StatusCode::LOCKED.into_response()) };
    let Some(mut announced) = claim.announced() else { return Err(StatusCode::NOT_FOUND.into_response()) };
    let from = number(&head.headers, "upload-offset").ok_or_else(|| wrong("Upload-Offset is missing"))?;
    let there = if announced.report.is_some() { Some(announced.length) } else { claim.offset() };
    let there = there.ok_or_else(|| StatusCode::NOT_FOUND.into_response())?;
    if from != there {
        return Err(standing(StatusCode::CONFLICT, there, None));
    }
    if announced.report.is_some() {
        return Ok(standing(StatusCode::NO_CONTENT, there, announced.report.as_deref()));
    }
    let offset = grown(&claim, body, announced.length).await?;
    if offset < announced.length {
        return Ok(standing(StatusCode::NO_CONTENT, offset, None));
    }
    let draft = site.store.blobs.adopt(claim.path()).map_err(|error| Refusal::from(error).into_response())?;
    // Whatever it turns out to be, it cannot be gone on with: the draft takes the file along.
    let id = match finished(site, draft, &announced).await {
        Ok(id) => id,
        Err(response) => {
            claim.remove().map_err(|error| Refusal::from(error).into_response())?;
            return Err(response);
        }
    };
    announced.report = Some(name_of(id));
    claim.complete(&announced).map_err(|error| Refusal::from(error).into_response())?;
    Ok(standing(StatusCode::NO_CONTENT, offset, announced.report.as_deref()))
}

/// Takes a whole body.
async fn taken(site: &Site, mut body: Body, length: u64) -> Result<Draft, Refusal> {
    let mut draft = site.store.blobs.draft();
    let mut room = length;
    while let Some(piece) = heard(next(&mut body)).await? {
        let piece = piece.map_err(|_| Refusal::Malformed("incomplete"))?;
        room = room.checked_sub(piece.len() as u64).ok_or(Refusal::TooLarge)?;
        if draft.push(&piece) {
            draft = in_background(move || draft.flush().map(|()| draft)).await?;
        }
    }
    if room > 0 { Err(Refusal::Malformed("incomplete")) } else { Ok(draft) }
}

/// Adds what comes to an upload, also when it breaks off; returns how long it is now.
async fn grown(claim: &Claim<'_>, mut body: Body, length: u64) -> Result<u64, Response> {
    let failed = |error: std::io::Error| Refusal::from(error).into_response();
    let mut offset = claim.offset().ok_or_else(|| StatusCode::NOT_FOUND.into_response())?;
    let mut waiting: Vec<u8> = Vec::new();
    let ended = loop {
        match heard(next(&mut body)).await {
            Ok(Some(Ok(piece))) if offset + (waiting.len() + piece.len()) as u64 > length => {
                break Some(wrong("more came than was announced"));
            }
            Ok(Some(Ok(piece))) => waiting.extend_from_slice(&piece),
            Ok(None) => break None,
            Ok(Some(Err(_))) => break Some(wrong("the body broke off")),
            Err(silent) => break Some(silent.into_response()),
        }
        if waiting.len() >= PIECE {
            // A write of a mebibyte into the page cache: no reason to change threads.
            claim.append(&waiting).map_err(failed)?;
            offset += waiting.len() as u64;
            waiting.clear();
        }
    };
    claim.append(&waiting).map_err(failed)?;
    offset += waiting.len() as u64;
    match ended {
        None => Ok(offset),
        Some(response) => Err(response),
    }
}

async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await? {
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                // Trailers say nothing.
                Err(_) => continue,
            },
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Makes a complete upload a report.
async fn finished(site: &Arc<Site>, draft: Draft, announced: &Announced) -> Result<ReportId, Response> {
    if announced.sha256.as_ref().is_some_and(|told| *told != draft.sha256()) {
        let status = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST);
        return Err((status, "What arrived is not what was announced; send it again.\n").into_response());
    }
    let place = site.unpacking.clone().acquire_owned().await;
    let site = site.clone();
    let told = announced.told.clone();
    let settled = in_background(move || {
        let _place = place;
        settle(&site, Parts { bundle: Some(draft), told, ..Parts::default() }, Protocol::Foretrace)
    });
    settled.await.map_err(IntoResponse::into_response)
}

fn name_of(id: ReportId) -> String {
    format!("bp-{}", id.uuid())
}

fn standing(status: StatusCode, offset: u64, report: Option<&str>) -> Response {
    let mut response = status.into_response();
    set(response.headers_mut(), "upload-offset", &offset.to_string());
    if let Some(report) = report {
        set(response.headers_mut(), &REPORT_HEADER.to_ascii_lowercase(), report);
    }
    response
}

fn marked(mut response: Response) -> Response {
    set(response.headers_mut(), "tus-resumable", VERSION);
    response
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    // Names are ours and lower case, values numbers and names made of hex digits.
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn speaks_tus(headers: &HeaderMap) -> Result<(), Response> {
    if headers.get("tus-resumable").is_some_and(|version| version == VERSION) {
        return Ok(());
    }
    let mut response = (StatusCode::PRECONDITION_FAILED, "This address speaks tus 1.0.0.\n").into_response();
    set(response.headers_mut(), "tus-version", VERSION);
    Err(response)
}

fn is_offset_stream(headers: &HeaderMap) -> Result<(), Response> {
    match headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE) {
        true => Ok(()),
        false => {
            let words = format!("The Content-Type must be {MEDIA_TYPE}.\n");
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, words).into_response())
        }
    }
}

fn wrong(why: &'static str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}
