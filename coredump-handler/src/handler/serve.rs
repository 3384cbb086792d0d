//! The coredump socket's server: who listens, who accepts, and what becomes of crashes when either dies.
//!
//! ```text
//!   keeper     holds the listening socket and starts acceptors; takes the signals
//!     └─ acceptor   accepts, asks the kernel who crashed, forks; nothing else, so that it keeps up
//!          └─ supervisor   one a crash, the same as behind the kernel's pipe
//! ```
//!
//! The kernel gives a crash up when nobody listens. So the socket outlives the acceptor, connections wait in it until
//! the next acceptor has started, and when the keeper ends, the last act is to make the kernel use the pipe again.
//! No process here may be dumped: it would be a crash that waits for itself.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use foretrace_report::ReportId;
use foretrace_report::schema::{Problem, Program};
use foretrace_store::Places;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use nix::unistd::{dup2_stdin, pipe2, setsid};

use super::arguments::Crash;
use super::child::Child;
use super::{connection, sandbox, supervisor, witness};
use crate::install::Installation;
use crate::journal;

/// Crashes that wait to be accepted; the kernel drops what finds no place.
const BACKLOG: i32 = 4096;
/// Crashes that are handled at once; more wait.
const AT_ONCE: usize = 256;
/// A supervisor keeps its own time; one that has lost it is not waited for.
const LONGEST: Duration = Duration::from_secs(600);
/// An acceptor that dies at once is not restarted faster than this.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers the coredump socket until it is told to end.
///
/// # Errors
/// There is no socket to listen on, or somebody else listens already.
pub fn serve(places: &Places, installation: &Installation<'_>) -> anyhow::Result<()> {
    supervisor::guard().context("the server could not be made safe against its own crash")?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let (listener, lock) = match passed_listener()? {
        Some(listener) => (listener, None),
        None => {
            own_listener(places, &installation.socket()).map(|(listener, lock)| (listener, Some(lock)))?
        }
    };
    listener.set_nonblocking(true)?;
    if installation.raise().context("the kernel could not be told to use the socket")? {
        println!("kernel.core_pattern names the socket again");
    }
    println!("answering {}", installation.socket().display());
    Keeper { root: places.root(), installation, listener, lock }.keep(&signals)
}

struct Keeper<'a> {
    root: &'a Path,
    installation: &'a Installation<'a>,
    listener: UnixListener,
    // None where the listening socket is another's, who goes on holding it.
    lock: Option<File>,
}

impl Keeper<'_> {
    fn keep(self, signals: &SignalFd) -> anyhow::Result<()> {
        loop {
            let (lifeline, held) = pipe2(OFlag::O_CLOEXEC)?;
            let begun = Instant::now();
            let acceptor = Child::spawn(None, || self.accept(&lifeline))?;
            drop(lifeline);
            let told = first_of(signals.as_fd(), acceptor.as_fd(), None)?;
            drop(held);
            if told {
                // It ends when the crashes at hand have become reports.
                first_of(acceptor.as_fd(), acceptor.as_fd(), Some(LONGEST))?;
                return Ok(());
            }
            let how = acceptor.ended().unwrap_or_default();
            journal::log(&format!("the coredump socket's acceptor {how}; the next one goes on"));
            std::thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
        }
    }

    // Accepts until the keeper's end of the lifeline closes.
    fn accept(&self, lifeline: &OwnedFd) -> i32 {
        let lock = self.lock.iter().map(AsRawFd::as_raw_fd);
        let own: Vec<RawFd> =
            [self.listener.as_raw_fd(), lifeline.as_raw_fd()].into_iter().chain(lock).collect();
        let ready = sandbox::keep_only(&own)
            // What a terminal sends is for the keeper alone: it must not cost a report.
            .and_then(|()| setsid().map_err(io::Error::from))
            .and_then(|_| SigSet::all().thread_unblock().map_err(io::Error::from));
        if let Err(error) = ready {
            journal::log(&format!("the coredump socket's acceptor could not start: {error}"));
            return 1;
        }
        let mut running = Vec::new();
        while self.attend(lifeline, &mut running) {
            self.take_all(&mut running);
        }
        if self.lock.is_some() {
            self.give_up(&mut running);
        }
        let children: Vec<RawFd> = running.iter().map(|child| child.process.as_fd().as_raw_fd()).collect();
        // Whoever serves next may begin.
        if sandbox::keep_only(&children).is_err() {
            return 1;
        }
        while !running.is_empty() {
            wait([], &running);
            running.retain_mut(Running::goes_on);
        }
        0
    }

    // Waits for something to do. False: the keeper is gone, or wants the end.
    fn attend(&self, lifeline: &OwnedFd, running: &mut Vec<Running>) -> bool {
        let room = running.len() < AT_ONCE;
        let listener = room.then(|| self.listener.as_fd());
        let told = wait([lifeline.as_fd()].into_iter().chain(listener), running);
        running.retain_mut(Running::goes_on);
        !told
    }

    fn take_all(&self, running: &mut Vec<Running>) {
        while running.len() < AT_ONCE {
            match self.listener.accept() {
                Ok((connection, _)) => running.extend(take(connection, self.root)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors, most likely: those who wait are served when others have ended.
                    journal::log(&format!("a crash could not be accepted: {error}"));
                    std::thread::sleep(PAUSE);
                    return;
                }
            }
        }
    }

    // Nobody will listen on this socket any more: crashes go through the pipe from now on.
    fn give_up(&self, running: &mut Vec<Running>) {
        if let Err(error) = self.installation.fall_back() {
            journal::log(&format!("crashes are lost from now on: {error}"));
        }
        // Who had read the old pattern is still on the way.
        let until = Instant::now() + PAUSE;
        while Instant::now() < until || running.len() >= AT_ONCE {
            self.take_all(running);
            wait((running.len() < AT_ONCE).then(|| self.listener.as_fd()), running);
            running.retain_mut(Running::goes_on);
        }
        // It may be gone already; the next one to listen removes it as well.
        let _ = std::fs::remove_file(self.installation.socket());
    }
}

// A crash that is being handled.
struct Running {
    process: Child,
    crash: Crash,
    id: ReportId,
    // What is known of the program, until somebody has died of its crash.
    program: Option<Program>,
    deadline: Instant,
}

impl Running {
    fn goes_on(&mut self) -> bool {
        if let Some(how) = self.process.failed() {
            journal::log(&format!("process {}: its supervisor {how}", self.crash.pid));
            return how.starts_with("died") && self.is_buried(&how);
        }
        if self.process.ended().is_some() {
            return false;
        }
        if Instant::now() >= self.deadline {
            self.process.kill();
        }
        true
    }

    // Whether somebody now writes the report that the supervisor could not write. Only once.
    fn is_buried(&mut self, how: &str) -> bool {
        let Some(program) = self.program.take() else { return false };
        let buried = Child::spawn(None, || witness::bury(&self.crash, self.id, program, how));
        buried.is_ok_and(|process| {
            self.process = process;
            true
        })
    }
}

// Starts a supervisor for whoever has crashed at the other end.
fn take(connection: UnixStream, root: &Path) -> Option<Running> {
    // Whoever connects without a crash, to look whether somebody answers, sees the connection close.
    let crash = connection::crash(&connection, root).ok()?;
    let program = Some(witness::program_of(&crash));
    let id = foretrace_store::random_id().ok()?;
    let process = Child::spawn(None, || supervise(&crash, id, connection));
    // Ours is the supervisor's by now.
    drop(crash.pidfd.map(super::child::inherited));
    match process {
        Ok(process) => Some(Running { process, crash, id, program, deadline: Instant::now() + LONGEST }),
        Err(error) => {
            journal::log(&format!("no report of process {}: {error}", crash.pid));
            None
        }
    }
}

fn supervise(crash: &Crash, id: ReportId, mut connection: UnixStream) -> i32 {
    let keep: Vec<RawFd> = crash.pidfd.into_iter().chain([connection.as_raw_fd()]).collect();
    if sandbox::keep_only(&keep).is_err() {
        return 1;
    }
    let mut problems = Vec::new();
    if let Err(error) = connection::request_core(&mut connection) {
        problems.push(Problem::new("core", error.to_string()));
    }
    if dup2_stdin(&connection).is_err() {
        return 1;
    }
    // The supervisor lets the process go by closing standard input, so nothing else may hold it.
    drop(connection);
    i32::from(!super::respond(crash, id, problems))
}

// Waits for the sources or a running crash's end, but not for long: deadlines are looked at. Whether it is the first.
fn wait<'a>(sources: impl IntoIterator<Item = BorrowedFd<'a>>, running: &'a [Running]) -> bool {
    const LOOK: u16 = 1000;
    let running = running.iter().map(|child| child.process.as_fd());
    let mut all: Vec<PollFd<'_>> =
        sources.into_iter().chain(running).map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
    // A failing poll leaves only the looks.
    let _ = poll(&mut all, LOOK);
    all.first().and_then(PollFd::any).unwrap_or(false)
}

// Whether the first of two descriptors is ready first.
fn first_of(one: BorrowedFd<'_>, other: BorrowedFd<'_>, limit: Option<Duration>) -> nix::Result<bool> {
    let limit =
        limit.map_or(PollTimeout::NONE, |limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
    let mut sources = [PollFd::new(one, PollFlags::POLLIN), PollFd::new(other, PollFlags::POLLIN)];
    loop {
        match poll(&mut sources, limit) {
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(sources[0].any().unwrap_or(false)),
        }
    }
}

// The socket that the service manager opened for us.
fn passed_listener() -> anyhow::Result<Option<UnixListener>> {
    const FIRST: RawFd = 3;
    let set = |name: &str| std::env::var(name).ok();
    if set("LISTEN_PID") != Some(std::process::id().to_string()) {
        return Ok(None);
    }
    match set("LISTEN_FDS").as_deref() {
        None | Some("" | "0") => return Ok(None),
        Some("1") => {}
        Some(more) => bail!("one socket was expected, and the service manager passed {more}"),
    }
    let passed = super::child::inherited(FIRST).context("the service manager passed no socket")?;
    let listens = getsockopt(&passed, sockopt::AcceptConn).unwrap_or(false)
        && getsockopt(&passed, sockopt::SockType) == Ok(SockType::Stream);
    if !listens {
        bail!("the service manager passed something that is no listening stream socket");
    }
    Ok(Some(UnixListener::from(passed)))
}

// A socket of our own, and the lock that says so.
fn own_listener(places: &Places, path: &Path) -> anyhow::Result<(UnixListener, File)> {
    let runtime = places.runtime();
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&runtime)
        .and_then(|()| std::fs::set_permissions(&runtime, Permissions::from_mode(0o755)))
        .with_context(|| runtime.display().to_string())?;
    let lock_path = runtime.join("serve.lock");
    let lock = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&lock_path)
        .with_context(|| lock_path.display().to_string())?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another `foretrace-coredump serve` answers already"),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| lock_path.display().to_string());
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| path.display().to_string());
        }
        _ => {}
    }
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Nobody but root may connect: the umask has closed it to others.
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?).with_context(|| path.display().to_string())?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok((UnixListener::from(listener), lock))
}
