//! The JSON that other programs read: problems, one report, and whether the server is well.
//!
//! Says what the pages say, in `report.json`'s own words where there is one.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::pages::{self, Choice};
use crate::service::Site;
use crate::store::{Facet, ProblemRow, StoreError};

/// `GET /api/problems?q=&sort=&page=`
pub async fn problems(State(site): State<Arc<Site>>, Query(choice): Query<Choice>) -> Response {
    pages::in_background(move || {
        let (rows, total) =
            site.store.reports.problems(choice.text(), choice.order(), choice.skip(), pages::PAGE)?;
        let rows: Vec<_> = rows.iter().map(|row| problem(&site, row)).collect::<Result<_, _>>()?;
        Ok(answer(StatusCode::OK, &json!({"total": total, "page": choice.page(), "problems": rows})))
    })
    .await
}

/// `GET /api/report/<id>`
pub async fn report(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    pages::in_background(move || {
        let Some(id) = pages::report_id(&id) else { return Ok(missing()) };
        let Some(reading) = site.readings.read(&site.store, &id.to_string())? else { return Ok(missing()) };
        let record = &reading.record;
        let annotations: Value = serde_json::from_str(&record.annotations).unwrap_or_default();
        let comments: Vec<_> = reading
            .comments
            .iter()
            .map(|(received, text)| json!({"received": time(*received), "text": text}))
            .collect();
        let blob = |blob: &crate::store::Blob| json!({"sha256": blob.sha256, "bytes": blob.bytes});
        Ok(answer(
            StatusCode::OK,
            &json!({
                "id": record.id,
                "crash_id": format!("bp-{}", id.uuid()),
                "received": time(record.received),
                "problem": record.problem,
                "signature": record.signature,
                "dialect": record.dialect,
                "encrypted": record.is_encrypted(),
                "bundle": record.bundle.as_ref().map(blob),
                "minidump": record.minidump.as_ref().map(blob),
                "comments": comments,
                "annotations": annotations,
                "trail": {"events": reading.trail.events.len(), "rings": reading.rings},
                "problems": reading.problems,
                "report": reading.report,
            }),
        ))
    })
    .await
}

/// `GET /healthz`: whether reports can be found; whether they can be kept shows only when one comes.
pub async fn health(State(site): State<Arc<Site>>) -> Response {
    pages::in_background(move || {
        let total = site.store.reports.total()?;
        Ok(answer(StatusCode::OK, &json!({"status": "ok", "reports": total})))
    })
    .await
}

fn problem(site: &Site, row: &ProblemRow) -> Result<Value, StoreError> {
    let values = |facet| -> Result<Vec<String>, StoreError> {
        let counts = site.store.reports.counts(&row.key, facet, 20)?;
        Ok(counts.into_iter().map(|(value, _)| value).filter(|value| !value.is_empty()).collect())
    };
    Ok(json!({
        "key": row.key,
        "signature": row.signature,
        "count": row.count,
        "first": time(row.first),
        "last": time(row.last),
        "newest": row.newest,
        "programs": values(Facet::Program)?,
        "versions": values(Facet::Version)?,
    }))
}

fn time(milliseconds: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(milliseconds).ok().map(|time| time.to_string())
}

fn missing() -> Response {
    answer(StatusCode::NOT_FOUND, &json!({"error": "there is no such report"}))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}
