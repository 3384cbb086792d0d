//! The body as it arrives: its declared length, and reading it to the end.
//!
//! A sender that is refused half-way would see a reset connection and not the answer, and would come back with the
//! same report. So what the handler leaves unread is read and dropped, within limits, before the answer goes out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};

use super::Refusal;
use crate::service::Site;

/// How much of a refused body is read and dropped, as a multiple of the largest body taken.
const PATIENCE: usize = 4;
/// How long that may take.
const PATIENCE_TIME: Duration = Duration::from_secs(10);

/// Checks the declared length, hands the body on, and reads what was left of it.
pub async fn receive(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let (head, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    let answer = match declared {
        None => Refusal::Malformed("no_content_length").into_response(),
        Some(length) if length > site.max_body => Refusal::TooLarge.into_response(),
        Some(_) => next.run(Request::from_parts(head, Body::new(body.clone()))).await,
    };
    let limit = site.max_body.saturating_mul(PATIENCE);
    // Out of patience: then the connection ends with the answer.
    let _ = tokio::time::timeout(PATIENCE_TIME, body.drain(limit)).await;
    answer
}

/// A body that somebody else may go on reading.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    async fn drain(self, limit: usize) {
        let mut body = self;
        let mut read = 0;
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > limit {
                return;
            }
        }
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
