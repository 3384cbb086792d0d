//! The one file that speaks HTTP, and so the one file through which anything leaves.
//!
//! Owns connections, time limits, the bandwidth limit and what an address may look like.
//! [`Transport::exchange`] and [`Transport::fetch`] take a [`Verified`] request by value: there is no way to hand it bytes that nobody
//! agreed to, nor to send them to another server than the receipt's. To the body it adds this framing and nothing
//! else: the request line, `Host`, `User-Agent` (`foretrace/<version>`), `Accept`, `Content-Length`, and the
//! headers that the dialect wants: `Content-Type`, `Content-Encoding: gzip`, `X-Sentry-Auth` with the key from
//! the settings, and tus's `Tus-Resumable`, `Upload-Length`, `Upload-Offset` and `Upload-Metadata`, the last
//! of which is a part of the body to the receipt; to erase a report, `Authorization` with its token. It follows no redirect, stores no cookie, repeats no request
//! and looks nothing up before it is given something to send.

mod address;
mod parcel;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use foretrace_report::text::escape;
use foretrace_store::settings::Upload;
use reqwest::header::{CONTENT_LENGTH, HeaderName};
use reqwest::{Body, Certificate, Client, Method, Response, redirect};
use tokio::runtime::Runtime;

use crate::delivery::{Answer, Outcome};
use crate::receipt::Verified;

use address::Address;
pub use address::{check_address, is_near, place};
pub use parcel::Budget;
use parcel::{Parcel, Trace};

/// No crash server's answer is longer; the rest is not read.
const LONGEST_ANSWER: usize = 64 << 10;
/// The headers of an answer that anybody asks for.
const TELLING: [&str; 9] = [
    "location",
    "retry-after",
    "x-sentry-rate-limits",
    "x-sentry-error",
    "upload-offset",
    "upload-length",
    "tus-max-size",
    "tus-resumable",
    "foretrace-report",
];

/// How the transport is to behave.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for the answer, beside the time that the body may take.
    pub answer: Duration,
    /// The slowest line on which a body may still arrive, in bytes a second.
    pub slowest: u64,
    /// Further authorities whose servers are trusted: a PEM file.
    pub certificates: Option<PathBuf>,
}

impl Default for Manner {
    fn default() -> Self {
        Manner {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            slowest: 4 << 10,
            certificates: None,
        }
    }
}

impl Manner {
    fn whole(&self, length: u64) -> Duration {
        self.connect + self.answer + Duration::from_secs(length / self.slowest.max(1))
    }
}

/// Connections, kept open between reports for the same server.
#[derive(Debug)]
pub struct Transport {
    manner: Manner,
    budget: Arc<Budget>,
    // Runs only inside of `exchange`: nothing happens between two sendings.
    runtime: Runtime,
    plain: Option<Client>,
    near: Option<Client>,
    far: Option<Client>,
}

impl Transport {
    /// A transport that has not connected to anything; several may share a `budget`.
    ///
    /// # Errors
    /// The system has no descriptors left to wait with.
    pub fn new(manner: Manner, budget: Arc<Budget>) -> io::Result<Transport> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Transport { manner, budget, runtime, plain: None, near: None, far: None })
    }

    /// For one small request, as the administrator's settings have it.
    ///
    /// # Errors
    /// The system has no threads or timers.
    pub fn for_one(upload: &Upload) -> io::Result<Transport> {
        let manner = Manner { certificates: upload.certificates.clone(), ..Manner::default() };
        Transport::new(manner, Arc::new(Budget::new(upload.rate)))
    }

    /// Makes a request that somebody agreed to, once. `progress` is told how many bytes have been handed over.
    pub fn exchange(
        &mut self,
        verified: Verified,
        progress: impl FnMut(u64) + Send + Sync + Unpin + 'static,
    ) -> Outcome {
        self.converse(verified, progress, None)
    }

    /// The same for a request whose answer is a file: with status 200 it is written to `file`, `limit` bytes at most.
    pub fn fetch(&mut self, verified: Verified, file: &mut File, limit: u64) -> Outcome {
        self.converse(verified, |_| {}, Some((file, limit)))
    }

    fn converse(
        &mut self,
        verified: Verified,
        progress: impl FnMut(u64) + Send + Sync + Unpin + 'static,
        into: Option<(&mut File, u64)>,
    ) -> Outcome {
        let address = match Address::within(verified.url(), verified.agreed()) {
            Ok(address) => address,
            Err(error) => return Outcome::Unreached { why: error.to_string() },
        };
        let expected = into.as_ref().map_or(0, |(_, limit)| *limit);
        let patience = self.manner.whole(verified.length().saturating_add(expected));
        let client = match self.client(&address) {
            Ok(client) => client,
            Err(why) => return Outcome::Unreached { why },
        };
        // Only methods that the protocols use come here, all of them known.
        let method = Method::from_bytes(verified.method().as_bytes()).unwrap_or(Method::POST);
        let mut request = client.request(method, address.url().clone()).timeout(patience);
        for (name, value) in verified.headers() {
            request = request.header(*name, value);
        }
        let length = verified.length();
        let trace = Arc::new(Trace::new(length));
        let runtime = &self.runtime;
        runtime.block_on(async {
            if length == 0 && verified.method() != "HEAD" {
                // Said in so many words: a server that waits for a length refuses its absence.
                request = request.header(CONTENT_LENGTH, 0);
            } else if length > 0 {
                let parcel = Parcel::new(verified.into_load(), length, &trace, &self.budget, progress);
                request = request.body(Body::wrap(parcel));
            }
            match (request.send().await, into) {
                (Ok(answer), Some((file, limit))) if answer.status() == 200 => {
                    keep(answer, file, limit, &address).await
                }
                (Ok(answer), _) => read(answer).await,
                (Err(error), _) => failure(&error, &address, &trace),
            }
        })
    }

    fn client(&mut self, address: &Address) -> Result<Client, String> {
        let (near, plain) = (address.is_near(), address.is_plain());
        let known = match (near, plain) {
            (_, true) => &mut self.plain,
            (true, false) => &mut self.near,
            (false, false) => &mut self.far,
        };
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
            .connect_timeout(self.manner.connect);
        if plain {
            // Reading every authority that the system trusts would take longer than a report does.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &self.manner.certificates {
            builder = builder.tls_certs_merge(authorities(file)?);
        }
        if near {
            // Neither a proxy nor a name server may turn "this machine" into another.
            let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            builder =
                builder.no_proxy().resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, 0)));
        }
        let client =
            builder.build().map_err(|error| format!("cannot prepare a connection: {}", cause(&error)))?;
        Ok(known.insert(client).clone())
    }
}

fn authorities(file: &std::path::Path) -> Result<Vec<Certificate>, String> {
    let wrong = |why: String| format!("[Upload] Certificates={}: {why}", escape(&file.display().to_string()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong("it holds no certificate in PEM form".into())),
        Err(error) => Err(wrong(cause(&error))),
    }
}

async fn read(mut answer: Response) -> Outcome {
    let status = answer.status().as_u16();
    let told = |name: &&'static str| {
        let value = answer.headers().get(HeaderName::from_static(name))?;
        Some((*name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
    };
    let headers = TELLING.iter().filter_map(told).collect();
    let mut body = Vec::new();
    // An answer that breaks off is judged by what came of it.
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece[..piece.len().min(LONGEST_ANSWER - body.len())]);
        if body.len() == LONGEST_ANSWER {
            break;
        }
    }
    Outcome::Answered(Answer { status, headers, body })
}

/// Writes an answer to a file as it comes.
async fn keep(mut answer: Response, file: &mut File, limit: u64, address: &Address) -> Outcome {
    let broken = |why: String| Outcome::Broken { why, body_left: true };
    let host = || escape(address.host());
    let too_long = || broken(format!("{} sends more than {limit} bytes: it is not taken", host()));
    if answer.content_length().is_some_and(|length| length > limit) {
        return too_long();
    }
    let mut room = limit;
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => {
                let Some(left) = room.checked_sub(piece.len() as u64) else { return too_long() };
                room = left;
                if let Err(error) = file.write_all(&piece) {
                    return broken(format!("what {} sends cannot be kept: {error}", host()));
                }
            }
            Ok(None) => {
                return Outcome::Answered(Answer { status: 200, headers: Vec::new(), body: Vec::new() });
            }
            Err(error) => {
                return broken(format!("the connection to {} broke off: {}", host(), cause(&error)));
            }
        }
    }
}

fn failure(error: &reqwest::Error, address: &Address, trace: &Trace) -> Outcome {
    let host = escape(address.host());
    if let Some(torn) = trace.torn() {
        return Outcome::Broken { why: torn, body_left: false };
    }
    if error.is_connect() {
        return Outcome::Unreached { why: format!("cannot reach {host}: {}", cause(error)) };
    }
    let why = match error.is_timeout() {
        true => format!("{host} did not answer in time"),
        false => format!("the connection to {host} broke off: {}", cause(error)),
    };
    Outcome::Broken { why, body_left: trace.all_left() }
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
    fn a_large_body_gets_more_time_than_a_small_one() {
        let manner = Manner::default();
        assert_eq!(manner.whole(0), Duration::from_secs(70));
        assert_eq!(manner.whole(4 << 20), Duration::from_secs(70 + 1024));
    }

    #[test]
    fn a_server_that_says_nothing_ends_in_time_and_counts_as_doubtful() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/submit", listener.local_addr().unwrap());
        let agreed = crate::receipt::samples::agreed(&url);
        let moment = Duration::from_millis(100);
        let started = std::time::Instant::now();
        let manner = Manner { connect: moment, answer: moment, slowest: 1 << 20, certificates: None };
        let mut transport = Transport::new(manner, Arc::new(Budget::new(None))).unwrap();
        let outcome = transport.exchange(agreed.post(url, &[]), |_| {});
        assert!(started.elapsed() < Duration::from_secs(5));
        let Outcome::Broken { why, body_left: true } = outcome else { panic!("{outcome:?}") };
        assert_eq!(why, "127.0.0.1 did not answer in time");
    }

    #[test]
    fn nothing_goes_to_another_server_than_the_receipts() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let elsewhere = format!("http://{}/submit", listener.local_addr().unwrap());
        let agreed = crate::receipt::samples::agreed("http://127.0.0.1:9/submit");
        let mut transport = Transport::new(Manner::default(), Arc::new(Budget::new(None))).unwrap();
        for request in [agreed.post(elsewhere.clone(), &[]), agreed.append(&elsewhere, 0)] {
            let outcome = transport.exchange(request, |_| {});
            assert!(
                matches!(outcome, Outcome::Unreached { ref why } if why.contains("agreed")),
                "{outcome:?}"
            );
        }
        assert!(listener.accept().is_err(), "nobody has connected");
    }
}
