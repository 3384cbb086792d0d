//! A few reports at a time: so many connections, more workers than those, and all of them share what the server said.
//!
//! While reports travel, others are made ready and what became of the last ones is written down. A server that asks for a
//! pause, or cannot be reached, is left alone by all of them for the rest of the run.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use foretrace_report::receipt::Known;
use foretrace_store::incoming::StoreKind;
use foretrace_store::settings::Upload;
use foretrace_store::{Durable, ReportDir};
use jiff::Timestamp;

use super::attempt::{self, UNREACHABLE};
use super::progress::Progress;
use super::{Line, State};
use crate::context::Context;
use crate::delivery::Verdict;
use crate::network;
use crate::protocol::Judged;
use crate::transport::{Budget, Manner, Transport, check_address, is_near};

/// Reports that are on their way at the same time, each on a connection of its own.
const CONNECTIONS: usize = 4;
/// Reports that are worked on at the same time: the others are made ready meanwhile.
const WORKERS: usize = CONNECTIONS + 2;

/// So many reports at most are each on disk as soon as it is known what became of them. Of more, all are when the run ends:
/// a power cut before that leaves attempts that count as doubtful.
const FEW: usize = 8;

/// What all workers of a run share.
pub struct Round {
    /// Whether the times of the next attempts count.
    pub now: bool,
    /// What a person sees of it.
    pub progress: Progress,
    /// Why nothing leaves before the network is another, as a sentence.
    pub obstacle: Option<&'static str>,
    /// What of an attempt's end is to outlast a power cut before the run is over.
    pub durable: Durable,
    hold: Mutex<Option<(String, Timestamp)>>,
    known: Mutex<HashMap<String, Option<Known>>>,
    // The connections that are free.
    free: Mutex<Vec<Transport>>,
    returned: Condvar,
}

/// A connection that one worker has, until it is dropped.
pub struct Loan<'a> {
    round: &'a Round,
    // There until it is given back.
    transport: Option<Transport>,
}

/// Sends `reports`, oldest first, and says of each what became of it.
///
/// # Errors
/// No connection can be prepared, or what is said cannot be written.
pub fn send(
    context: &Context,
    reports: Vec<ReportDir>,
    now: bool,
    say: &mut dyn FnMut(Line) -> io::Result<()>,
) -> Result<()> {
    let upload = &context.settings.upload;
    let budget = Arc::new(Budget::new(upload.rate));
    let connection = || {
        let manner = Manner { certificates: upload.certificates.clone(), ..Manner::default() };
        Transport::new(manner, Arc::clone(&budget))
    };
    let connections = (0..CONNECTIONS.min(reports.len())).map(|_| connection()).collect::<io::Result<_>>();
    let round = Round {
        now,
        progress: Progress::new(reports.len()),
        obstacle: if now { None } else { obstacle(upload) },
        durable: if reports.len() > FEW { Durable::Later } else { Durable::Content },
        hold: Mutex::new(None),
        known: Mutex::new(HashMap::new()),
        free: Mutex::new(connections.context("cannot prepare a connection")?),
        returned: Condvar::new(),
    };
    let workers = WORKERS.min(reports.len());
    let of = |kind| reports.iter().find(|report| report.kind() == kind).cloned();
    let stores = [of(StoreKind::System), of(StoreKind::User)];
    let waiting = Mutex::new(VecDeque::from(reports));
    let (lines, said) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (lines, waiting, round) = (lines.clone(), &waiting, &round);
            scope.spawn(move || {
                while let Some(report) = next(waiting) {
                    let line = attempt::deliver(context, &report, round).unwrap_or_else(|error| {
                        Line::because(report.id(), State::Blocked, format!("{error:#}"))
                    });
                    if lines.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        drop(lines);
        said.iter().try_for_each(|line| {
            round.progress.clear();
            say(line)
        })
    })?;
    if round.durable == Durable::Later {
        stores.iter().flatten().try_for_each(ReportDir::sync_all)?;
    }
    Ok(())
}

/// What speaks against sending over the network as it is. A server on this machine needs none.
pub fn obstacle(upload: &Upload) -> Option<&'static str> {
    let url = upload.url.as_deref().filter(|url| !is_near(url))?;
    // Nothing is asked about an address that nothing can be sent to.
    check_address(url).ok()?;
    network::obstacle(upload.metered)
}

fn next(waiting: &Mutex<VecDeque<ReportDir>>) -> Option<ReportDir> {
    locked(waiting).pop_front()
}

// What a worker that died left behind is whole: every change is one assignment.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Round {
    /// A connection, as soon as one is free.
    pub fn transport(&self) -> Loan<'_> {
        let mut free = locked(&self.free);
        loop {
            match free.pop() {
                Some(transport) => return Loan { round: self, transport: Some(transport) },
                None => free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Why the server is to be left alone, and for how long, where it is.
    pub fn held(&self, now: Timestamp) -> Option<(String, Duration)> {
        let hold = locked(&self.hold);
        let (why, until) = hold.as_ref()?;
        let left = Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())?;
        Some((why.clone(), left))
    }

    /// Takes an attempt's lesson for the rest of the run.
    pub fn learn(&self, judged: &Judged, now: Timestamp) {
        let pause = judged.hold.or(judged.unreachable.then_some(UNREACHABLE));
        let Some(pause) = pause.filter(|pause| !pause.is_zero()) else { return };
        let why = match &judged.verdict {
            Verdict::Again { why, .. } => why.clone(),
            _ => "the server asked to be left alone for a while".to_owned(),
        };
        let pause = jiff::SignedDuration::try_from(pause).unwrap_or(jiff::SignedDuration::MAX);
        *locked(&self.hold) = Some((why, now.saturating_add(pause).unwrap_or(Timestamp::MAX)));
    }

    /// What the server said to a question in this run; none where nobody has asked.
    pub fn known(&self, question: &str) -> Option<Option<Known>> {
        locked(&self.known).get(question).cloned()
    }

    /// Keeps what it said.
    pub fn remember(&self, question: &str, known: Option<Known>) {
        locked(&self.known).insert(question.to_owned(), known);
    }
}

impl Deref for Loan<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self.transport.as_ref().expect("it is given back with the loan")
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut Transport {
        self.transport.as_mut().expect("it is given back with the loan")
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        locked(&self.round.free).extend(self.transport.take());
        self.round.returned.notify_one();
    }
}
