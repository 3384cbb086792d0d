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
    let token =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let (Some(token), Some(id)) = (token.map(|token| token.trim().to_owned()), pages::report_id(&id)) else {
        return (StatusCode::UNAUTHORIZED, "Erasing a report takes its token.\n").into_response();
    };
    pages::in_background(move || {
        let erased = site.store.erase(&id.to_string(), &token)?;
        site.readings.forget(&id.to_string());
        Ok(match erased {
            Erased::Now(_) | Erased::Before => StatusCode::NO_CONTENT.into_response(),
            // Whether there is such a report is told to nobody without its token.
            Erased::Forbidden | Erased::Unknown => {
                (StatusCode::NOT_FOUND, "There is no such report with this token.\n").into_response()
            }
        })
    })
    .await
}
