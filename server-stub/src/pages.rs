//! The pages: problems, one problem, one report, its whole trail. HTML that reads without scripts.
//!
//! Owns the answers to browsers and what an address may ask for. Every text from a report is escaped twice over:
//! control and bidirectional characters by [`words::said`], markup by the templates.

mod backtrace;
mod frame;
mod problem;
mod problems;
mod report;
mod timeline;
mod trail;
mod words;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use foretrace_report::ReportId;
use foretrace_report::trail::level_name;
use foretrace_ring::trail::Level;
use maud::{Markup, html};
use serde::Deserialize;

use crate::service::{Site, log};
use crate::store::{Blob, Order, Record, StoreError};

/// Rows of a list on one page.
pub const PAGE: u64 = 50;

/// What a list of problems was asked for.
#[derive(Default, Deserialize)]
pub struct Choice {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: String,
    page: Option<u64>,
}

impl Choice {
    /// The words to look for.
    pub fn text(&self) -> &str {
        self.q.trim()
    }

    /// The order; a word that is none is the usual one.
    pub fn order(&self) -> Order {
        if self.sort == "count" { Order::Count } else { Order::Last }
    }

    /// The page, from 1.
    pub fn page(&self) -> u64 {
        self.page.unwrap_or(1).clamp(1, 1 << 32)
    }

    /// Rows before this page.
    pub fn skip(&self) -> u64 {
        (self.page() - 1) * PAGE
    }
}

/// What a report's page was asked for.
#[derive(Default, Deserialize)]
pub struct View {
    level: Option<String>,
    last: Option<String>,
    page: Option<usize>,
}

impl View {
    /// Events of this level and more important ones; a word that is none means all.
    fn level(&self) -> Level {
        self.level.as_deref().and_then(words::level_named).unwrap_or(Level::Trace)
    }

    fn page(&self) -> usize {
        self.page.unwrap_or(1).clamp(1, 1 << 32)
    }

    /// The same view of a report with another level.
    fn with_level(&self, id: &str, level: Level) -> String {
        let last =
            self.last.as_deref().map(|last| format!("&last={}", frame::query(last))).unwrap_or_default();
        format!("/report/{id}?level={}{last}#events", level_name(level))
    }

    /// The same view of a report with another stretch of time.
    fn with_last(&self, id: &str, last: &str) -> String {
        format!("/report/{id}?level={}&last={last}#trail", level_name(self.level()))
    }
}

/// `GET /`
pub async fn problems(State(site): State<Arc<Site>>, Query(choice): Query<Choice>) -> Response {
    // Whoever pastes a report's id or a CrashID wants that report.
    if let Some(id) = report_id(choice.text()) {
        return Redirect::to(&format!("/report/{id}")).into_response();
    }
    in_background(move || Ok(problems::page(&site, &choice)?.into_response())).await
}

/// `GET /problem/<key>`
pub async fn problem(
    State(site): State<Arc<Site>>,
    Path(key): Path<String>,
    Query(choice): Query<Choice>,
) -> Response {
    in_background(move || match site.store.reports.problem(&key)? {
        Some(row) => Ok(problem::page(&site, &row, &choice)?.into_response()),
        None => Ok(missing("There is no such problem.")),
    })
    .await
}

/// `GET /report/<id>`; a CrashID is taken too.
pub async fn report(
    State(site): State<Arc<Site>>,
    Path(text): Path<String>,
    Query(view): Query<View>,
) -> Response {
    let Some(id) = report_id(&text) else { return missing(NO_REPORT) };
    if text != id.to_string() {
        return Redirect::to(&format!("/report/{id}")).into_response();
    }
    in_background(move || match site.readings.read(&site.store, &text)? {
        Some(reading) => {
            let mark = site.store.reports.mark(&reading.record.problem)?;
            Ok(report::page(&reading, &mark, &view).into_response())
        }
        None => Ok(missing(NO_REPORT)),
    })
    .await
}

/// `GET /report/<id>/trail`
pub async fn trail(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Query(view): Query<View>,
) -> Response {
    in_background(move || match site.readings.read(&site.store, &id)? {
        Some(reading) => Ok(trail::page(&reading, &view).into_response()),
        None => Ok(missing(NO_REPORT)),
    })
    .await
}

/// `GET /report/<id>/bundle.zip`
pub async fn bundle(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    let file = |record: &Record| {
        Some((record.bundle.clone()?, if record.is_encrypted() { "zip.age" } else { "zip" }))
    };
    download(site, id, file).await
}

/// `GET /report/<id>/minidump.dmp`: the one that came beside the bundle.
pub async fn minidump(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    download(site, id, |record| Some((record.minidump.clone()?, "dmp"))).await
}

/// `GET /style.css`
pub async fn style() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, include_str!("pages/style.css"))
}

/// `GET /icon.svg`
pub async fn icon() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=86400")];
    (headers, include_str!("pages/icon.svg"))
}

/// Any other address.
pub async fn nothing_here(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return (StatusCode::NOT_FOUND, "There is nothing at this address.\n").into_response();
    }
    missing("There is nothing at this address.")
}

/// A report's id in any of its forms: 32 digits, a UUID, a CrashID.
pub fn report_id(text: &str) -> Option<ReportId> {
    let digits = text.trim().strip_prefix("bp-").unwrap_or(text.trim()).replace('-', "");
    digits.to_ascii_lowercase().parse().ok()
}

/// Runs what reads files and the database where it blocks nobody.
pub async fn in_background(work: impl FnOnce() -> Result<Response, StoreError> + Send + 'static) -> Response {
    let problem = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) => return response,
        Ok(Err(error)) => error.to_string(),
        Err(lost) => lost.to_string(),
    };
    log(&format!("a page could not be made: {problem}"));
    let text = "The reports cannot be read just now. The server's log says why.";
    (StatusCode::SERVICE_UNAVAILABLE, message("Out of order", text)).into_response()
}

const NO_REPORT: &str = "There is no such report. It may have been sent to another server, or not yet.";

fn missing(text: &str) -> Response {
    (StatusCode::NOT_FOUND, message("Not found", text)).into_response()
}

fn message(title: &str, text: &str) -> Markup {
    frame::page(
        title,
        html! {
            h1 { (title) }
            p.lead { (text) }
            p { a href="/" { "All problems" } }
        },
    )
}

async fn download(
    site: Arc<Site>,
    id: String,
    choose: fn(&Record) -> Option<(Blob, &'static str)>,
) -> Response {
    in_background(move || {
        let Some(record) = site.store.reports.report(&id)? else { return Ok(missing(NO_REPORT)) };
        let Some((blob, extension)) = choose(&record) else {
            return Ok(missing("The report has no such file."));
        };
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut site.store.blobs.read(&blob)?, &mut content)?;
        let name = format!("attachment; filename=\"foretrace-{}.{extension}\"", record.id);
        let name = HeaderValue::from_str(&name).expect("an id is hex digits");
        let kind = HeaderValue::from_static("application/octet-stream");
        Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], Body::from(content))
            .into_response())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_found_by_any_form_of_its_name() {
        let plain = "00017f80ff6162636465666768696a6b";
        for text in [plain, "bp-00017f80-ff61-6263-6465-666768696a6b", " 00017F80FF6162636465666768696A6B "] {
            assert_eq!(report_id(text).map(|id| id.to_string()).as_deref(), Some(plain));
        }
        assert_eq!(report_id("main"), None);
    }
}
