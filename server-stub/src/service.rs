//! The web service: which address does what, what every answer carries, and how it ends.
//!
//! Owns routes, headers and the lifetime of the listener. Says nothing itself: intake, pages and API do.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::routing::{delete, get, head, options, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::intake::{envelope, resumable};
use crate::reading::Readings;
use crate::store::Store;
use crate::{api, comment, intake, pages, question};

/// How long requests may take that are under way when the server is told to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// The pause after a connection that could not be accepted.
const BREATH: Duration = Duration::from_millis(200);

/// The largest question.
const MAX_QUESTION: usize = 64 << 10;

/// Reports that are unpacked at the same time.
const UNPACKING: usize = 8;

/// Pages are text and one stylesheet: nothing that a report says can load or run anything.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What strangers' connections may take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request's head may take, and how long a connection may stand idle.
    pub idle: Duration,
    /// Connections at the same time; the next ones wait.
    pub connections: usize,
}

/// What every request can reach.
pub struct Site {
    /// The reports.
    pub store: Store,
    /// Reports that were read lately.
    pub readings: Readings,
    /// Where the server listens.
    pub address: SocketAddr,
    /// The largest body, in bytes, as it comes in and unpacked.
    pub max_body: usize,
    /// Places for reports that are being unpacked, each of which may need much memory.
    pub unpacking: Arc<Semaphore>,
}

impl Site {
    /// A site over `store`.
    pub fn new(store: Store, address: SocketAddr, max_body: usize) -> Site {
        Site {
            store,
            readings: Readings::default(),
            address,
            max_body,
            unpacking: Arc::new(Semaphore::new(UNPACKING)),
        }
    }
}

/// Serves until SIGTERM or SIGINT, then lets requests that are under way end.
///
/// # Errors
/// Signals that cannot be handled.
pub async fn serve(listener: TcpListener, site: Arc<Site>, limits: Limits) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let service = TowerToHyperService::new(routes(site));
    let mut http = http1::Builder::new();
    // Also the time for which a connection may stand idle between two requests.
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle);
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            accepted = accepted => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                log(&format!("a connection could not be accepted: {error}"));
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        // Answers are small and waited for; where it cannot be set, they come later.
        let _ = stream.set_nodelay(true);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            // Whoever breaks a connection off knows it already.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    // Whoever has not come to an end by then is cut off.
    let _ = tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await;
    Ok(())
}

/// Tells whoever keeps the server running.
pub fn log(sentence: &str) {
    // Nobody may be listening any more; that is no reason to stop serving.
    let _ = writeln!(std::io::stderr(), "foretrace-server: {sentence}");
}

fn routes(site: Arc<Site>) -> Router {
    let submit = post(intake::submit)
        .layer::<_, Infallible>(DefaultBodyLimit::max(site.max_body))
        .layer::<_, Infallible>(RequestDecompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(site.clone(), intake::receive));
    let envelope = post(envelope::submit)
        .layer::<_, Infallible>(DefaultBodyLimit::max(site.max_body))
        .layer::<_, Infallible>(RequestDecompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(site.clone(), intake::receive));
    let announce =
        post(resumable::announce).layer(axum::middleware::from_fn_with_state(site.clone(), intake::receive));
    let upload = head(resumable::inquire).patch(resumable::append).delete(resumable::terminate);
    let header = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    Router::new()
        .route("/", get(pages::problems))
        .route("/problem/{key}", get(pages::problem))
        .route("/report/{id}", get(pages::report))
        .route("/report/{id}/trail", get(pages::trail))
        .route("/report/{id}/bundle.zip", get(pages::bundle))
        .route("/report/{id}/minidump.dmp", get(pages::minidump))
        .route("/style.css", get(pages::style))
        .route("/icon.svg", get(pages::icon))
        .route("/api/problems", get(api::problems))
        .route("/api/report/{id}", get(api::report))
        .route("/healthz", get(api::health))
        .route("/submit", submit)
        .route("/api/{project}/envelope/", envelope)
        .route("/reports", options(resumable::options).merge(announce))
        .route("/reports/question", post(question::answer).layer(DefaultBodyLimit::max(MAX_QUESTION)))
        .route("/reports/{id}", delete(question::erase))
        .route("/reports/{id}/comment", post(comment::add).layer(DefaultBodyLimit::max(MAX_QUESTION)))
        .route("/reports/upload/{key}", upload)
        .fallback(pages::nothing_here)
        .with_state(site)
        .layer(header(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "same-origin"))
        .layer(header(header::CACHE_CONTROL, "private, no-store"))
}
