//! `POST /reports/<id>/comment`: what somebody says of a report after it was sent.
//!
//! Only whoever has the report's token may: it is the sender. The same words sent twice are one comment.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use foretrace_report::wire::foretrace::COMMENT_LIMIT;

use crate::pages;
use crate::question::{self, NO_SUCH_REPORT};
use crate::service::Site;
use crate::store::Commented;

/// Adds a comment to a report.
pub async fn add(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((id, token)) = question::bearer(&id, &headers) else {
        return (StatusCode::UNAUTHORIZED, "A comment takes the report's token.\n").into_response();
    };
    let text = match std::str::from_utf8(&body).map(str::trim) {
        Ok(text) if !text.is_empty() && text.len() <= COMMENT_LIMIT => text.to_owned(),
        Ok(text) if !text.is_empty() => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        _ => return (StatusCode::BAD_REQUEST, "A comment is a text.\n").into_response(),
    };
    pages::in_background(move || {
        let received = jiff::Timestamp::now().as_millisecond();
        let done = site.store.reports.comment(&id, &token, received, &text)?;
        site.readings.forget(&id);
        Ok(match done {
            Commented::Kept => StatusCode::NO_CONTENT.into_response(),
            Commented::TooMany => StatusCode::TOO_MANY_REQUESTS.into_response(),
            Commented::Unknown => (StatusCode::NOT_FOUND, NO_SUCH_REPORT).into_response(),
        })
    })
    .await
}
