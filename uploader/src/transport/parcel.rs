//! A body on its way to the socket: small ones from memory, large ones from the thread that reads and checks them.
//!
//! Owns the pace and the account of what was handed over. A body that breaks off on this side ends the request:
//! the connection is closed before anything that was not agreed to could follow.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::receipt::{Load, Torn};

/// The pieces in which a body is handed over.
const PIECE: usize = 64 << 10;
/// Checked chunks that may wait for the socket.
const WAITING: usize = 2;

/// A limit on the bytes a second, shared by all connections.
#[derive(Debug)]
pub struct Budget {
    rate: Option<u64>,
    free: Mutex<Option<Instant>>,
}

impl Budget {
    /// At most `rate` bytes a second; none means no limit.
    pub fn new(rate: Option<u64>) -> Budget {
        Budget { rate, free: Mutex::new(None) }
    }

    /// Takes room for `bytes`; returns until when to wait before the next ones.
    fn take(&self, bytes: usize) -> Option<Instant> {
        let rate = self.rate?.max(1);
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let next = free.unwrap_or(now).max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *free = Some(next);
        Some(next)
    }
}

/// What became of a body, for whoever has to judge the outcome.
#[derive(Debug)]
pub struct Trace {
    left: AtomicBool,
    torn: Mutex<Option<String>>,
}

impl Trace {
    /// Of a body of this length; one without bytes is gone with the headers.
    pub fn new(length: u64) -> Trace {
        Trace { left: AtomicBool::new(length == 0), torn: Mutex::new(None) }
    }

    /// Whether all of it was handed over.
    pub fn all_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Why it broke off on this side, where it did: a sentence.
    pub fn torn(&self) -> Option<String> {
        self.torn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The body as the connection takes it.
pub struct Parcel<P> {
    source: Source,
    piece: Bytes,
    length: u64,
    handed: u64,
    trace: Arc<Trace>,
    budget: Arc<Budget>,
    pause: Option<Pin<Box<Sleep>>>,
    progress: P,
}

enum Source {
    Exhausted,
    Thread(mpsc::Receiver<Result<Bytes, Torn>>),
}

impl<P: FnMut(u64) + Unpin> Parcel<P> {
    /// Of a request's load. A streamed one is read by a thread of its own, which ends with the parcel.
    pub fn new(load: Load, length: u64, trace: &Arc<Trace>, budget: &Arc<Budget>, progress: P) -> Parcel<P> {
        let (piece, source) = match load {
            Load::Nothing => (Bytes::new(), Source::Exhausted),
            Load::Memory(bytes) => (bytes, Source::Exhausted),
            Load::Stream(stream) => {
                let (sender, receiver) = mpsc::channel(WAITING);
                tokio::task::spawn_blocking(move || {
                    let mut take =
                        |piece| sender.blocking_send(Ok(Bytes::from(piece))).map_err(|_| Torn::Unwanted);
                    if let Err(torn) = stream.pour(&mut take) {
                        // Whoever does not listen any more needs no reason either.
                        let _ = sender.blocking_send(Err(torn));
                    }
                });
                (Bytes::new(), Source::Thread(receiver))
            }
        };
        Parcel {
            source,
            piece,
            length,
            handed: 0,
            trace: Arc::clone(trace),
            budget: Arc::clone(budget),
            pause: None,
            progress,
        }
    }

    fn hand_over(&mut self) -> Bytes {
        let piece = self.piece.split_to(PIECE.min(self.piece.len()));
        self.handed += piece.len() as u64;
        self.trace.left.store(self.handed == self.length, Ordering::Relaxed);
        self.pause = self.budget.take(piece.len()).map(|until| Box::pin(tokio::time::sleep_until(until)));
        (self.progress)(self.handed);
        piece
    }
}

impl<P: FnMut(u64) + Unpin> http_body::Body for Parcel<P> {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        let parcel = &mut *self;
        if let Some(pause) = &mut parcel.pause {
            ready!(pause.as_mut().poll(context));
            parcel.pause = None;
        }
        while parcel.piece.is_empty() {
            let Source::Thread(receiver) = &mut parcel.source else { return Poll::Ready(None) };
            match ready!(receiver.poll_recv(context)) {
                Some(Ok(piece)) => parcel.piece = piece,
                Some(Err(torn)) => {
                    let mut why = parcel.trace.torn.lock().unwrap_or_else(PoisonError::into_inner);
                    *why = Some(torn.to_string());
                    return Poll::Ready(Some(Err(torn)));
                }
                None => parcel.source = Source::Exhausted,
            }
        }
        let piece = parcel.hand_over();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    // An exact size makes it a body with Content-Length: collectors do not take chunks.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.handed)
    }

    fn is_end_stream(&self) -> bool {
        self.handed == self.length
    }
}
