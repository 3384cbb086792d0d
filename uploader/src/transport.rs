//! The one file that speaks HTTP, and so the one file through which anything leaves.
//!
//! Owns connections, time limits and what an address may look like. [`Transport::post`] takes a [`Verified`]
//! body by value: there is no way to hand it bytes that nobody agreed to, nor to send them elsewhere. To the
//! body it adds this framing and nothing else: the request line, `Host`, `User-Agent`
//! (`foretrace/<version>`), `Accept`, `Content-Type`, `Content-Encoding: gzip` and `Content-Length`. It
//! follows no redirect, stores no cookie, repeats no request and looks nothing up before it is given
//! something to send.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use foretrace_report::text::escape;
use http_body::{Frame, SizeHint};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Body, Client, Response, Url, redirect};
use tokio::runtime::Runtime;

use crate::delivery::Outcome;
use crate::receipt::Verified;

/// No crash server's answer is longer; the rest is not read.
const LONGEST_ANSWER: usize = 64 << 10;
/// The pieces in which a body is handed over.
const PIECE: usize = 64 << 10;

/// How long the transport waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the answer, beside the time that the body may take.
    pub answer: Duration,
    /// The slowest line on which a body may still arrive, in bytes a second.
    pub slowest: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { connect: Duration::from_secs(10), answer: Duration::from_secs(60), slowest: 4 << 10 }
    }
}

impl Patience {
    fn whole(&self, length: u64) -> Duration {
        self.connect + self.answer + Duration::from_secs(length / self.slowest.max(1))
    }
}

/// Why nothing may be sent to an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no address.
    #[error("'{}' is no http or https address: correct [Upload] Url=", escape(.0))]
    Malformed(String),
    /// Anybody on the way could read it.
    #[error("'{}' is not encrypted: plain http is for this machine only, use https in [Upload] Url=", escape(.0))]
    Plain(String),
}

/// Checks an address without any look at the network.
///
/// # Errors
/// An address that nothing may be sent to.
pub fn check_address(url: &str) -> Result<(), AddressError> {
    Address::parse(url).map(drop)
}

#[derive(Debug)]
struct Address {
    url: Url,
    near: bool,
}

impl Address {
    fn parse(text: &str) -> Result<Address, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        let url = Url::parse(text).map_err(|_| malformed())?;
        let host = url.host_str().ok_or_else(malformed)?;
        let number: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let near = host == "localhost" || number.is_some_and(|number| number.is_loopback());
        match url.scheme() {
            "https" => Ok(Address { url, near }),
            "http" if near => Ok(Address { url, near }),
            "http" => Err(AddressError::Plain(text.to_owned())),
            _ => Err(malformed()),
        }
    }
}

/// Connections, kept open between reports for the same server.
#[derive(Debug)]
pub struct Transport {
    patience: Patience,
    // Runs only inside of `post`: no thread, and nothing happens between two sendings.
    runtime: Runtime,
    near: Option<Client>,
    far: Option<Client>,
}

impl Transport {
    /// A transport that has not connected to anything.
    ///
    /// # Errors
    /// The system has no descriptors left to wait with.
    pub fn new(patience: Patience) -> io::Result<Transport> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Transport { patience, runtime, near: None, far: None })
    }

    /// Sends a body that somebody agreed to, once. `progress` is told how many bytes have been handed over.
    pub fn post(
        &mut self,
        verified: Verified,
        progress: impl FnMut(u64) + Send + Sync + Unpin + 'static,
    ) -> Outcome {
        let address = match Address::parse(verified.url()) {
            Ok(address) => address,
            Err(error) => return Outcome::Unreached { why: error.to_string() },
        };
        let patience = self.patience.whole(verified.length());
        let client = match self.client(address.near) {
            Ok(client) => client,
            Err(error) => {
                return Outcome::Unreached { why: format!("cannot prepare a connection: {}", cause(&error)) };
            }
        };
        let content_type = verified.content_type().to_owned();
        let left = Arc::new(AtomicBool::new(false));
        let parcel =
            Parcel { body: Bytes::from(verified.into_body()), handed: 0, left: Arc::clone(&left), progress };
        let request = client
            .post(address.url.clone())
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_ENCODING, "gzip")
            .body(Body::wrap(parcel))
            .timeout(patience);
        self.runtime.block_on(async {
            match request.send().await {
                Ok(answer) => read(answer).await,
                Err(error) => failure(&error, &address, left.load(Ordering::Relaxed)),
            }
        })
    }

    fn client(&mut self, near: bool) -> reqwest::Result<Client> {
        let known = if near { &mut self.near } else { &mut self.far };
        if let Some(client) = known {
            return Ok(client.clone());
        }
        // It is set once for the process; a second time it is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("foretrace/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.patience.connect);
        if near {
            // Neither a proxy nor a name server may turn "this machine" into another.
            let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            builder =
                builder.no_proxy().resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, 0)));
        }
        Ok(known.insert(builder.build()?).clone())
    }
}

/// The body as the connection takes it, with a note of whether all of it was taken.
struct Parcel<P> {
    body: Bytes,
    handed: u64,
    left: Arc<AtomicBool>,
    progress: P,
}

impl<P: FnMut(u64) + Unpin> http_body::Body for Parcel<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let parcel = &mut *self;
        if parcel.body.is_empty() {
            return Poll::Ready(None);
        }
        let piece = parcel.body.split_to(PIECE.min(parcel.body.len()));
        parcel.handed += piece.len() as u64;
        parcel.left.store(parcel.body.is_empty(), Ordering::Relaxed);
        (parcel.progress)(parcel.handed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    // An exact size makes it a body with Content-Length: collectors do not take chunks.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }
}

async fn read(mut answer: Response) -> Outcome {
    let status = answer.status().as_u16();
    let header = |name: HeaderName| {
        answer.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (retry_after, location) = (header(RETRY_AFTER), header(LOCATION));
    let mut body = Vec::new();
    // An answer that breaks off is judged by what came of it.
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece[..piece.len().min(LONGEST_ANSWER - body.len())]);
        if body.len() == LONGEST_ANSWER {
            break;
        }
    }
    Outcome::Answered { status, retry_after, location, body }
}

fn failure(error: &reqwest::Error, address: &Address, body_left: bool) -> Outcome {
    let host = escape(&address.url.host_str().map_or_else(String::new, str::to_owned));
    if error.is_connect() {
        return Outcome::Unreached { why: format!("cannot reach {host}: {}", cause(error)) };
    }
    let why = match error.is_timeout() {
        true => format!("{host} did not answer in time"),
        false => format!("the connection to {host} broke off: {}", cause(error)),
    };
    Outcome::Broken { why, body_left }
}

/// The innermost cause: the outer ones only repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    escape(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in [
            "https://crash.example.org/submit",
            "http://127.0.0.1:8080/submit",
            "http://127.9.9.9/",
            "http://[::1]:80/",
            "http://localhost:1/submit",
            "https://localhost/",
            "HTTP://LOCALHOST/",
        ] {
            assert_eq!(check_address(url), Ok(()), "{url}");
        }
        for url in [
            "http://crash.example.org/submit",
            "http://10.0.0.1/",
            "http://localhost.example.org/",
            "http://127.0.0.1@example.org/",
            "http://[::ffff:10.0.0.1]/",
            "http://0.0.0.0/",
        ] {
            assert_eq!(check_address(url), Err(AddressError::Plain(url.into())), "{url}");
        }
        for url in ["", "example.org", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "https://[::1"] {
            assert_eq!(check_address(url), Err(AddressError::Malformed(url.into())), "{url}");
        }
    }

    #[test]
    fn a_large_body_gets_more_time_than_a_small_one() {
        let patience = Patience::default();
        assert_eq!(patience.whole(0), Duration::from_secs(70));
        assert_eq!(patience.whole(4 << 20), Duration::from_secs(70 + 1024));
    }

    #[test]
    fn a_server_that_says_nothing_ends_in_time_and_counts_as_doubtful() {
        use std::io::Cursor;

        use foretrace_report::bundle::BundleWriter;
        use foretrace_report::receipt::{Answer, Consent, Destination, How, Protocol};
        use foretrace_report::{Preset, Report};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/submit", listener.local_addr().unwrap());
        let report: Report = serde_json::from_str(
            r#"{"schema":1,"id":"00017f80ff6162636465666768696a6b","kind":"crash","time":"2026-01-01T00:00:00Z",
            "program":{"name":"a","pid":1}}"#,
        )
        .unwrap();
        let id = report.id;
        let zip = BundleWriter::new(Cursor::new(Vec::new())).finish(report).unwrap().0.into_inner();
        let destination = Destination { url, protocol: Protocol::Socorro };
        let receipt = crate::receipt::issue(id, &destination, Preset::USUAL.classes(), &zip).unwrap();
        let consent = Consent {
            report: id,
            answer: Answer::Granted(receipt),
            who: "a".into(),
            how: How::Command,
            when: String::new(),
            wording: 1,
        };
        let verified = Verified::check(&consent, id, &zip, &destination).unwrap();
        let moment = Duration::from_millis(100);
        let started = std::time::Instant::now();
        let outcome = Transport::new(Patience { connect: moment, answer: moment, slowest: 1 << 20 })
            .unwrap()
            .post(verified, |_| {});
        assert!(started.elapsed() < Duration::from_secs(5));
        let Outcome::Broken { why, body_left: true } = outcome else { panic!("{outcome:?}") };
        assert_eq!(why, "127.0.0.1 did not answer in time");
    }
}
