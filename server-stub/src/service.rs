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
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::reading::Readings;
use crate::store::Store;
use crate::{api, intake, pages};

/// How long requests may take that are under way when the server is told to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Reports that are unpacked at the same time.
const UNPACKING: usize = 8;

/// Pages are text and one stylesheet: nothing that a report says can load or run anything.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

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
/// Signals that cannot be handled, or a listener that fails.
pub async fn serve(listener: TcpListener, site: Arc<Site>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let (told, mut ending) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        let _ = told.send(true);
    });
    let mut too_late = ending.clone();
    let serving = axum::serve(listener, routes(site)).with_graceful_shutdown(async move {
        let _ = ending.wait_for(|ending| *ending).await;
    });
    tokio::select! {
        served = serving.into_future() => served.context("cannot accept connections any more"),
        () = async {
            let _ = too_late.wait_for(|ending| *ending).await;
            tokio::time::sleep(LAST_REQUESTS).await;
        } => Ok(()),
    }
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
        .fallback(pages::nothing_here)
        .with_state(site)
        .layer(header(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "same-origin"))
        .layer(header(header::CACHE_CONTROL, "private, no-store"))
}
