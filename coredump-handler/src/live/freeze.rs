//! Stopping a live process for a moment: all its threads by ptrace, their registers read, and let go again undisturbed.
//!
//! Threads are seized and interrupted, never sent a signal; a signal that arrives at that very moment is handed on when
//! the thread is let go. Only the tracing thread may read registers, and the kernel lets everything go when that thread
//! ends: so it lives exactly as long as the stop, and no bug here can leave a process stopped.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foretrace_report::schema::Problem;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

use crate::core::{EM_386, EM_AARCH64, EM_X86_64, Registers, ThreadState};
use crate::process::{Part, Process, thread_names};
use crate::successor;

/// How long the first thread may take to stop: until then nothing stands still, and the machine may be busy.
const FIRST: Duration = Duration::from_millis(500);
/// How long the others wait, standing still, for one more to stop.
const NEXT: Duration = Duration::from_millis(90);
/// The whole stop takes no longer than this.
const ALL: Duration = Duration::from_secs(1);
/// A stopped process is let go after this, whatever its holder is doing.
const HELD: Duration = Duration::from_secs(2);
/// New threads may appear while others are being stopped; after so many looks the rest is left out.
const ROUNDS: usize = 8;

/// Why a process was not stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreezeError {
    /// It has ended.
    #[error("the process has ended")]
    Gone,
    /// The system does not let this user stop it.
    #[error(
        "this user may not look into the process ({0}): it belongs to another user, is being debugged, or /proc/sys/kernel/yama/ptrace_scope forbids it"
    )]
    Refused(Errno),
    /// It is crashing: to interrupt it now would cut its core short.
    #[error("the process is crashing and cannot be stopped")]
    Crashing,
    /// None of its threads stopped in time.
    #[error("none of its threads stopped within {} ms", FIRST.as_millis())]
    Busy,
    /// The system refused something else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A process that stands still until this is dropped, or for two seconds.
pub struct Frozen {
    /// All threads that stopped, in the order of their IDs.
    pub threads: Vec<ThreadState>,
    /// What could not be stopped or read.
    pub problems: Vec<Problem>,
    since: Instant,
    // Dropping the sender lets the process go.
    hold: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl Frozen {
    /// Stops all threads of `process` and reads their registers.
    ///
    /// # Errors
    /// It has ended, may not be looked into, or does not stop.
    pub fn new(process: &Process) -> Result<Frozen, FreezeError> {
        let since = Instant::now();
        let (hold, released) = channel::<()>();
        let (answer, answered) = channel();
        let mut tasks = Tasks::of(process)?;
        let tracer = std::thread::Builder::new().name("tracer".into()).spawn(move || {
            let mut tracer =
                Tracer { stopped: BTreeMap::new(), problems: Vec::new(), since, deadline: since + FIRST };
            let outcome = tracer.stop(&mut tasks);
            let outcome = outcome.map(|()| (tracer.registers(), std::mem::take(&mut tracer.problems)));
            let failed = outcome.is_err();
            if answer.send(outcome).is_ok() && !failed {
                // Ends with an error when the holder drops its end, which is the signal to go on.
                let _ = released.recv_timeout(HELD);
            }
            tracer.release();
        })?;
        match answered.recv() {
            Ok(Ok((threads, problems))) => {
                Ok(Frozen { threads, problems, since, hold: Some(hold), tracer: Some(tracer) })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(FreezeError::Io(io::Error::other("the tracing thread ended early"))),
        }
    }

    /// Lets the process go on and says how long it stood still.
    pub fn thaw(mut self) -> Duration {
        self.release();
        self.since.elapsed()
    }

    fn release(&mut self) {
        self.hold.take();
        if let Some(tracer) = self.tracer.take() {
            // A tracer that panicked has let go of everything by ending.
            let _ = tracer.join();
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.release();
    }
}

// The thread IDs of a process, as they are now. Holds its own view of the directory, for the tracing thread.
struct Tasks {
    process: Process,
}

impl Tasks {
    fn of(process: &Process) -> Result<Tasks, FreezeError> {
        let process = Process::open(process.pid()).map_err(gone)?;
        Ok(Tasks { process })
    }

    fn list(&mut self) -> Result<Vec<i32>, FreezeError> {
        let listing = self.process.read(Part::Threads).map_err(gone)?;
        Ok(thread_names(&listing).into_iter().map(|(tid, _)| tid).collect())
    }

    fn has_ended(&self) -> bool {
        let Ok(status) = self.process.read(Part::Status) else { return true };
        let mut lines = status.split(|byte| *byte == b'\n');
        lines.any(|line| line.starts_with(b"State:\tZ") || line.starts_with(b"State:\tX"))
    }
}

fn gone(error: io::Error) -> FreezeError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => FreezeError::Gone,
        _ => FreezeError::Io(error),
    }
}

struct Tracer {
    // Thread ID and the signal to hand on.
    stopped: BTreeMap<i32, i32>,
    problems: Vec<Problem>,
    since: Instant,
    deadline: Instant,
}

impl Tracer {
    fn stop(&mut self, tasks: &mut Tasks) -> Result<(), FreezeError> {
        let mut known = Vec::new();
        let mut refused = None;
        let mut late = 0;
        for _ in 0..ROUNDS {
            let fresh: Vec<i32> = tasks.list()?.into_iter().filter(|tid| !known.contains(tid)).collect();
            if fresh.is_empty() {
                break;
            }
            known.extend(&fresh);
            if successor::is_dumping(&tasks.process) {
                return Err(FreezeError::Crashing);
            }
            let mut seized = Vec::with_capacity(fresh.len());
            for tid in fresh {
                let thread = Pid::from_raw(tid);
                match ptrace::seize(thread, Options::empty()).and_then(|()| ptrace::interrupt(thread)) {
                    Ok(()) => seized.push(tid),
                    // It has ended since it was listed.
                    Err(Errno::ESRCH) => {}
                    Err(error) => refused = Some(error),
                }
            }
            late += seized.into_iter().filter(|tid| !self.wait(*tid)).count();
        }
        if late > 0 {
            self.problems.push(Problem::new(
                "threads",
                format!("{late} threads did not stop in time and are left out"),
            ));
        }
        match (self.stopped.is_empty(), refused) {
            (false, _) => Ok(()),
            // What only waits to be reaped cannot be traced either.
            (true, Some(_)) if tasks.has_ended() => Err(FreezeError::Gone),
            (true, Some(error)) => Err(FreezeError::Refused(error)),
            (true, None) if late > 0 => Err(FreezeError::Busy),
            (true, None) => Err(FreezeError::Gone),
        }
    }

    // False if it has neither stopped nor ended by then.
    fn wait(&mut self, tid: i32) -> bool {
        let mut pause = Duration::from_micros(20);
        loop {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the kernel to write an int to; the call touches nothing else.
            let waited = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
            if waited == tid {
                if libc::WIFSTOPPED(status) {
                    self.stopped.insert(tid, pending_signal(status));
                    self.deadline = (Instant::now() + NEXT).min(self.since + ALL);
                }
                return true;
            }
            if waited < 0 && Errno::last() != Errno::EINTR {
                return true;
            }
            if Instant::now() >= self.deadline {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    fn registers(&mut self) -> Vec<ThreadState> {
        let mut threads = Vec::with_capacity(self.stopped.len());
        for (&tid, &signal) in &self.stopped {
            let thread = Pid::from_raw(tid);
            match state_of(thread, tid, signal) {
                Ok(state) => threads.push(state),
                Err(error) => self.problems.push(Problem::new(
                    "threads",
                    format!("the registers of thread {tid} could not be read: {error}"),
                )),
            }
        }
        threads
    }

    fn release(&mut self) {
        for (tid, signal) in std::mem::take(&mut self.stopped) {
            // SAFETY: PTRACE_DETACH takes its last arguments as numbers and touches no memory. A thread that was killed
            // in the meantime gives ESRCH, which is as good.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, 0usize, signal as usize) };
        }
    }
}

// A stop for our interruption has an event in its upper half; any other is a signal on its way to the thread.
fn pending_signal(status: i32) -> i32 {
    if status >> 16 == libc::PTRACE_EVENT_STOP { 0 } else { libc::WSTOPSIG(status) }
}

fn state_of(thread: Pid, tid: i32, signal: i32) -> io::Result<ThreadState> {
    let general = register_set(thread, libc::NT_PRSTATUS)?;
    let machine = machine_of(general.len());
    let registers = machine.and_then(|machine| Registers::parse(machine, &general));
    let registers =
        registers.ok_or_else(|| io::Error::other("they are those of a machine that is not read"))?;
    // The processor's own form of it, which a 32-bit thread has under a name of its own.
    let floating = match registers {
        Registers::X86_64(_) => Some(libc::NT_PRFPREG),
        Registers::X86(_) => Some(NT_PRXFPREG),
        Registers::Aarch64(_) => None,
    };
    let fpregs = floating.and_then(|kind| register_set(thread, kind).ok());
    Ok(ThreadState { tid, signal, registers, fpregs: fpregs.filter(|state| state.len() == FXSAVE_BYTES) })
}

const NT_PRXFPREG: libc::c_int = 0x46e6_2b7f;
const FXSAVE_BYTES: usize = 512;

// A 64-bit kernel gives a 32-bit program's thread the registers that it has.
fn machine_of(bytes: usize) -> Option<u16> {
    match (std::env::consts::ARCH, bytes) {
        ("x86_64", 216) => Some(EM_X86_64),
        ("x86_64", 68) => Some(EM_386),
        ("aarch64", 272) => Some(EM_AARCH64),
        _ => None,
    }
}

fn register_set(thread: Pid, kind: libc::c_int) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; 1024];
    let mut place = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel writes at most as much as the place says, which outlives the call, and notes how much.
    let answer =
        unsafe { libc::ptrace(libc::PTRACE_GETREGSET, thread.as_raw(), kind as usize, &raw mut place) };
    Errno::result(answer)?;
    bytes.truncate(place.iov_len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn child(program: &str, arguments: &[&str]) -> (Child, Process) {
        let child = Command::new(program).args(arguments).spawn().unwrap();
        let process = Process::open(child.id() as i32).unwrap();
        (child, process)
    }

    fn state(process: &Process) -> char {
        let stat = process.read(Part::Stat).unwrap();
        let end = stat.iter().rposition(|byte| *byte == b')').unwrap();
        char::from(stat[end + 2])
    }

    #[test]
    fn a_process_stands_still_and_then_goes_on() {
        let (mut child, process) = child("sleep", &["60"]);
        let frozen = Frozen::new(&process).unwrap();
        assert_eq!(frozen.threads.len(), 1);
        assert_eq!(frozen.threads[0].tid, process.pid());
        assert_eq!(state(&process), 't');
        frozen.thaw();
        assert_ne!(state(&process), 't');
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_stopped_process_stays_stopped() {
        let (mut child, process) = child("sleep", &["60"]);
        let pid = Pid::from_raw(process.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        while state(&process) != 'T' {
            std::thread::yield_now();
        }
        Frozen::new(&process).unwrap().thaw();
        // Let go, it runs for a moment in the kernel until it stops again.
        let until = Instant::now() + Duration::from_secs(2);
        while state(&process) != 'T' && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(state(&process), 'T');
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(state(&process), 'T');
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let (mut child, process) = child("true", &[]);
        child.wait().unwrap();
        assert!(matches!(Frozen::new(&process), Err(FreezeError::Gone)));
    }

    #[test]
    fn signals_that_arrive_during_the_stop_are_all_delivered() {
        const COUNT: usize = 300;
        // Not a shell's: bash loses what a trap prints now and then.
        let script = "
import os, signal, time
count = 0
def handle(*_):
    global count
    count += 1
    os.write(1, b'%d\\n' % count)
signal.signal(signal.SIGUSR1, handle)
signal.signal(signal.SIGRTMIN + 3, handle)
os.write(1, b'ready\\n')
while True:
    time.sleep(0.01)
";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::open(child.id() as i32).unwrap();
        let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let pid = process.pid();
        for sent in 1..=COUNT {
            let signal = if sent % 2 == 0 { libc::SIGUSR1 } else { libc::SIGRTMIN() + 3 };
            let sender = std::thread::spawn(move || {
                // SAFETY: kill takes two numbers and touches no memory.
                unsafe { libc::kill(pid, signal) }
            });
            Frozen::new(&process).unwrap().thaw();
            sender.join().unwrap();
            // One at a time: equal signals that are pending together are one.
            assert_eq!(lines.next().unwrap().unwrap(), sent.to_string());
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
