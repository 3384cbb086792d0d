//! `POST /reports/question`: what developers have said of a signature; and `DELETE /reports/<id>`, a sender's last word.
//!
//! Neither tells anybody whether a report exists who could not know it anyway.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use foretrace_report::wire::question::{Answer, Question, Reply};
use foretrace_report::{Class, Preset};

use crate::pages;
use crate::service::Site;
use crate::store::{Erased, Mark};
use crate::submission::key_of;

/// Answers the question that goes before a report.
pub async fn answer(State(site): State<Arc<Site>>, body: Bytes) -> Response {
    let Ok(question) = serde_json::from_slice::<Question>(&body) else {
        return (StatusCode::BAD_REQUEST, "This is no question about a signature.\n").into_response();
    };
    pages::in_background(move || {
        let mark = site.store.reports.mark(&key_of(&question.signature))?;
        let reply = serde_json::to_string(&reply(mark)).unwrap_or_default();
        Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], reply).into_response())
    })
    .await
}

fn reply(mark: Mark) -> Reply {
    let fixed_in = Some(mark.fixed_in).filter(|version| !version.is_empty());
    match mark.wants.as_str() {
        "stop" => Reply { answer: Answer::Stop, classes: None, fixed_in },
        word => {
            let classes = word.parse::<Class>().ok().map(|class| Preset(class).classes());
            Reply { answer: Answer::Send, classes, fixed_in }
        }
    }
}

/// Erases a report for whoever has its token.
pub async fn erase(State(site): State<Arc<Site>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some((id, token)) = bearer(&id, &headers) else {
        return (StatusCode::UNAUTHORIZED, "Erasing a report takes its token.\n").into_response();
    };
    pages::in_background(move || {
        let erased = site.store.erase(&id, &token)?;
        site.readings.forget(&id);
        Ok(match erased {
            Erased::Now(_) | Erased::Before => StatusCode::NO_CONTENT.into_response(),
            // Whether there is such a report is told to nobody without its token.
            Erased::Forbidden | Erased::Unknown => (StatusCode::NOT_FOUND, NO_SUCH_REPORT).into_response(),
        })
    })
    .await
}

/// What whoever has no token for a report is told of it.
pub const NO_SUCH_REPORT: &str = "There is no such report with this token.\n";

/// The report that an address names, and the token that a request shows for it.
pub fn bearer(id: &str, headers: &HeaderMap) -> Option<(String, String)> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    Some((pages::report_id(id)?.to_string(), shown.trim().to_owned()))
}
