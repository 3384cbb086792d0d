//! The worker: everything that parses. It has no rights, and everything it knows came as bytes and descriptors.
//!
//! Order is all: the ring first, because a killed process leaves nothing else; then the core's head, mapped files and
//! stacks; then the state in `/proc`; then the process is let go; then backtraces and the bundle, which is published; and
//! only then what takes time: inlined calls, files and lines, the package, logs, and a second bundle with them in the place of
//! the first. What cannot be had is a problem in the report.

mod analysis;
mod collect;
mod surroundings;
mod threads;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem, Program};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::arguments::Crash;
use super::channel::{Answer, Channel, Progress, Question, Stage, Told};
use super::locker::LockerReader;
use super::sandbox;
use crate::assemble::Collected;
use crate::process::Part;

/// What a worker tries. The one after a failure tries less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Rings.
    pub ring: bool,
    /// The core's head.
    pub head: bool,
    /// Mapped files.
    pub images: bool,
    /// Memory, and what of `/proc` is read from it.
    pub memory: bool,
    /// Backtraces and names.
    pub analysis: bool,
}

impl Effort {
    /// Everything.
    pub const FULL: Effort = Effort { ring: true, head: true, images: true, memory: true, analysis: true };

    /// What is left to try after a worker ended at `stage`. Memory is never tried again: it may block, and most of what
    /// can be wrong is in it.
    pub fn after(self, stage: Stage) -> Effort {
        let less = Effort { memory: false, ..self };
        match stage {
            Stage::Start | Stage::Assembly => Effort { analysis: false, images: false, ..less },
            Stage::Ring => Effort { ring: false, ..less },
            Stage::Head => Effort { head: false, ..less },
            // The first suspect is the memory that the images are compared with.
            Stage::Images => Effort { images: self.memory, ..less },
            Stage::Memory | Stage::State => less,
            Stage::Analysis | Stage::Names => Effort { analysis: false, images: false, ..less },
        }
    }
}

/// The number of the kept minidump; rings have theirs from 0 on.
pub const KEPT_MINIDUMP: u32 = 100;

/// How long all of the process's state may take.
const STATE_PATIENCE: Duration = Duration::from_millis(1000);

/// The kernel's lines that concern a crash are not older.
const KERNEL_LOG_SECONDS: f64 = 120.0;

/// What a worker is given.
pub struct Task<'a> {
    /// The kernel's arguments.
    pub crash: &'a Crash,
    /// The report's name.
    pub id: ReportId,
    /// What to try.
    pub effort: Effort,
    /// Who opens things; none where the process is gone.
    pub broker: Option<Channel>,
    /// Whom to tell.
    pub supervisor: Channel,
    /// What was read of the process already.
    pub locker: LockerReader,
    /// Where the core's head will be.
    pub head: &'a File,
    /// Where the bundle goes: a file in memory, which the supervisor copies.
    pub bundle: File,
    /// Where the bundle goes that has everything, if there can be one.
    pub revision: Option<File>,
    /// What an earlier worker wanted to have kept.
    pub kept: Vec<(u32, File)>,
    /// What is known to be wrong already.
    pub problems: Vec<Problem>,
    /// Further environment variables that are kept.
    pub environment: Vec<String>,
    /// Whether there is a journal to ask for.
    pub journal: bool,
    /// Whether the owner may see the kernel's log.
    pub kernel_log: bool,
    /// Whom to run as: user and group.
    pub user: (u32, u32),
    /// The kernel as `uname -srvm` prints it, its release, its machine.
    pub kernel: [String; 3],
}

impl Task<'_> {
    /// Does the work, from giving up all rights to the finished bundle. Returns the process's exit code.
    pub fn work(mut self) -> i32 {
        let supervisor = Arc::new(self.supervisor.as_fd().try_clone_to_owned().map(Channel::from));
        let teller = Arc::clone(&supervisor);
        std::panic::set_hook(Box::new(move |panic| {
            if let Ok(supervisor) = teller.as_ref() {
                let _ = supervisor.send(&Progress::Failed(panic.to_string()), None);
            }
        }));
        if let Ok(supervisor) = supervisor.as_ref()
            && let Err(error) = sandbox::keep_only(&self.descriptors(supervisor))
        {
            return self.fail(&format!("its descriptors could not be closed: {error}"));
        }
        match sandbox::enter(self.user.0, self.user.1) {
            Ok(problems) => self.problems.extend(problems),
            Err(error) => return self.fail(&format!("it could not give up root's rights: {error}")),
        }
        let program = Program { name: String::new(), exe: None, pid: self.crash.pid, package: None };
        let mut collected = Collected::new(self.id, Kind::Crash, super::moment(self.crash), program);
        collected.problems = std::mem::take(&mut self.problems);
        let mut worker = Worker { task: self, collected };
        match worker.collect() {
            Some(held) => worker.finish(held),
            None => 0,
        }
    }

    fn fail(&self, why: &str) -> i32 {
        let _ = self.supervisor.send(&Progress::Failed(why.to_owned()), None);
        1
    }

    fn descriptors(&self, teller: &Channel) -> Vec<RawFd> {
        let mut keep = vec![
            teller.as_fd().as_raw_fd(),
            self.supervisor.as_fd().as_raw_fd(),
            self.locker.as_fd().as_raw_fd(),
            self.head.as_raw_fd(),
            self.bundle.as_raw_fd(),
        ];
        keep.extend(self.broker.as_ref().map(|broker| broker.as_fd().as_raw_fd()));
        keep.extend(self.revision.as_ref().map(|revision| revision.as_raw_fd()));
        keep.extend(self.kept.iter().map(|(_, file)| file.as_raw_fd()));
        keep
    }
}

struct Worker<'a> {
    task: Task<'a>,
    collected: Collected,
}

impl Worker<'_> {
    fn at(&self, stage: Stage) {
        self.tell(&Progress::At(stage), None);
    }

    // A supervisor that is gone takes nobody's report; the next write will end this process.
    fn tell(&self, progress: &Progress, file: Option<&File>) {
        let _ = self.task.supervisor.send(progress, file.map(AsFd::as_fd));
    }

    // What the supervisor says next. None: it is gone.
    fn told(&self) -> Option<Told> {
        loop {
            match self.task.supervisor.receive::<Told>() {
                // Not asked for, where the head is not to be read.
                Ok(Some((Told::Head(..), _))) => {}
                Ok(Some((told, _))) => return Some(told),
                _ => return None,
            }
        }
    }

    // A part of the process, or a problem.
    fn part(&mut self, part: Part) -> Option<Vec<u8>> {
        let asked = self.ask_for(part);
        self.had(asked)
    }

    // Has the broker read a part while other things are done; nothing else may be asked of it until that was had.
    fn ask_for(&self, part: Part) -> Asked {
        match self.task.known(part) {
            Some(known) => Asked::Known(known),
            None => Asked::Sent(part, self.task.begin(&Question::Part(part))),
        }
    }

    fn had(&mut self, asked: Asked) -> Option<Vec<u8>> {
        let (part, sent) = match asked {
            Asked::Known(known) => return Some(known),
            Asked::Sent(part, sent) => (part, sent),
        };
        match sent.and_then(|()| self.task.answer()) {
            Ok((content, _)) => Some(content),
            Err(Refusal::NoProcess) => None,
            Err(error) => {
                self.collected.problem("process", format!("{} could not be read: {error}", part.describe()));
                None
            }
        }
    }

    // A part that must be there by `until`. Otherwise the broker is given up: what it would have answered later is a
    // problem, and what has been collected stays.
    fn part_by(&mut self, part: Part, until: Instant) -> Option<Vec<u8>> {
        if let Some(known) = self.task.known(part) {
            return Some(known);
        }
        let answered = self.answered_by(&Question::Part(part), part.describe(), until)?;
        match answered {
            Ok((content, _)) => Some(content),
            Err(error) => {
                self.collected.problem("process", format!("{} could not be read: {error}", part.describe()));
                None
            }
        }
    }

    // None: there is no broker, or now no longer.
    fn answered_by(&mut self, question: &Question, what: &str, until: Instant) -> Option<Answered> {
        match self.task.begin(question) {
            Ok(()) => self.answer_by(what, until),
            Err(Refusal::NoProcess) => None,
            Err(refused) => Some(Err(refused)),
        }
    }

    // The answer to what was asked last; None as above.
    fn answer_by(&mut self, what: &str, until: Instant) -> Option<Answered> {
        let broker = self.task.broker.as_ref()?;
        let left = until.saturating_duration_since(Instant::now());
        let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let late = poll(&mut [PollFd::new(broker.as_fd(), PollFlags::POLLIN)], patience);
        if late.is_ok_and(|ready| ready == 0) {
            let why = format!("{what} took too long to read; what would have come after it was left out");
            self.collected.problem("process", why);
            self.task.broker = None;
            return None;
        }
        Some(self.task.answer())
    }

    fn opened(&self, question: Question) -> Result<File, Refusal> {
        self.task.ask(question)?.1.map(File::from).ok_or(Refusal::System(libc::EBADF))
    }
}

// A part of the process on its way.
enum Asked {
    // An earlier worker's broker left it.
    Known(Vec<u8>),
    Sent(Part, Result<(), Refusal>),
}

type Answered = Result<(Vec<u8>, Option<OwnedFd>), Refusal>;

// Why the broker gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the process is gone")]
    NoProcess,
    #[error("the connection to the broker broke")]
    Broken,
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    System(i32),
    #[error("it is no regular file")]
    NotRegular,
    #[error("it lies on a file system that may block")]
    MayBlock,
}

impl Task<'_> {
    fn ask(&self, question: Question) -> Answered {
        self.begin(&question)?;
        self.answer()
    }

    fn begin(&self, question: &Question) -> Result<(), Refusal> {
        let broker = self.broker.as_ref().ok_or(Refusal::NoProcess)?;
        broker.send(question, None).map_err(|_| Refusal::Broken)
    }

    fn answer(&self) -> Answered {
        let broker = self.broker.as_ref().ok_or(Refusal::NoProcess)?;
        let Ok(Some((answer, descriptor))) = broker.receive::<Answer>() else { return Err(Refusal::Broken) };
        match answer {
            Answer::Here(_, 0) => Ok((Vec::new(), descriptor)),
            Answer::Here(offset, length) => {
                let content = self.locker.content(offset, length).map_err(|_| Refusal::Broken)?;
                Ok((content, descriptor))
            }
            Answer::Refused(libc::ESRCH) => Err(Refusal::NoProcess),
            Answer::Refused(number) => Err(Refusal::System(number)),
            Answer::NotRegular => Err(Refusal::NotRegular),
            Answer::MayBlock => Err(Refusal::MayBlock),
        }
    }

    // What an earlier worker's broker left.
    fn known(&self, part: Part) -> Option<Vec<u8>> {
        if self.effort == Effort::FULL { None } else { self.locker.find(part as u32) }
    }
}

fn os_release() -> Option<Vec<u8>> {
    let open = |path| File::open(path).ok();
    whole(&open("/etc/os-release").or_else(|| open("/usr/lib/os-release"))?).ok()
}

fn whole(mut file: &File) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    const BOUND: u64 = 1 << 30;
    let mut content = Vec::new();
    file.rewind()?;
    file.take(BOUND).read_to_end(&mut content)?;
    Ok(content)
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_leaves_less_to_try_and_the_ring_is_given_up_last() {
        for stage in Stage::ALL {
            let next = Effort::FULL.after(stage);
            assert!(!next.memory, "{stage:?}");
            assert_eq!(next.ring, stage != Stage::Ring, "{stage:?}");
            assert_ne!(next, Effort::FULL);
        }
        let twice = Effort::FULL.after(Stage::Images).after(Stage::Images);
        assert!(!twice.images && twice.ring && twice.head);
    }
}
