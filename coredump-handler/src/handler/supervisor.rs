//! The supervisor: root, one thread, and never busy with another process's memory.
//!
//! It holds the core's pipe and the time. It takes the core's head off the pipe, watches a worker, lets the crashed
//! process go, and publishes what the worker wrote. When worker or broker die or hang it leaves them behind and tries
//! again with less; when that fails too, it writes what the kernel's arguments and the locker give.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem};
use foretrace_report::text::escape;
use foretrace_store::{
    CoreSeat, CrashKey, Incoming, Owner, Places, Published, Revision, Settings, StoreError, StoreKind,
};
use nix::poll::{PollFd, PollFlags, poll};

use super::arguments::Crash;
use super::attempt::{Attempt, Killed, patience};
use super::broker::Broker;
use super::channel::{Channel, Progress, Stage, Told};
use super::child::{self, Child};
use super::draft::{Draft, verify};
use super::head::{Collector, State};
use super::hold::{self, Grip};
use super::identity::{Identity, identify, recognise};
use super::locker::Locker;
use super::share::{Share, slots_of_a_user};
use super::whole::{Held, Plan, Seat};
use super::worker::{Effort, Task};
use super::{group, least, logs, privileges, share, storm};
use crate::assemble::Extent;
use crate::container;
use crate::journal;
use crate::owner::{Credentials, owner};
use crate::process::{Part, Process};

/// A crash that has become a report.
#[derive(Debug)]
pub struct Handled {
    /// What was published.
    pub published: Published,
    /// What it is called in the journal.
    pub kind: Kind,
    /// Its group.
    pub signature: String,
}

/// Makes the report `id` of a crash, unless it is one of many, which is counted, or one that nobody wishes to have: `None`.
/// Standard input is the kernel's pipe or socket; `problems` are known already.
///
/// # Errors
/// No report could be placed at all: the store cannot be written.
pub fn handle(crash: &Crash, id: ReportId, mut problems: Vec<Problem>) -> anyhow::Result<Option<Handled>> {
    let begun = Instant::now();
    guard()?;
    let places = Places::system(&crash.root);
    let (settings, warnings) = Settings::load(&places);
    let warned = |file: &Path, text: &str| Problem::new("settings", format!("{}: {text}", file.display()));
    problems.extend(warnings.iter().map(|warning| warned(&warning.file, &warning.text)));
    let identity = identify(crash, &mut problems);
    let patience = Patience::from(begun, settings.capture.timeout);
    let mut head =
        Collector::new(child::standard_input()?).context("standard input is not the kernel's pipe")?;
    let process = match identity {
        Identity::Certain(process) => Some(process),
        Identity::Gone => None,
        Identity::ByNumber(process) => {
            head.wait(patience.attempt(begun, SHARES[0]).head);
            let (process, problem) = recognise(process, crash, head.file());
            problems.push(problem);
            process
        }
    };
    let credentials = process.as_ref().and_then(|process| process.read(Part::Auxv).ok());
    let credentials = credentials.as_deref().and_then(Credentials::from_auxv);
    let plan = Plan::of(crash, &places, &settings, process.as_ref(), credentials);
    problems.extend(privileges::reduce_supervisor(plan.starts_another()));
    let mut supervisor = Supervisor {
        crash,
        places,
        patience,
        id,
        plan,
        seat: None,
        standing: None,
        owner: owner(crash.uid, crash.gid, crash.dumpable, credentials),
        head,
        locker: Locker::new()?,
        process,
        group: group::open(),
        kept: Vec::new(),
        package: None,
        problems,
        settings,
        share: Share::default(),
    };
    let handled = if supervisor.plan.ignore {
        Ok(None)
    } else if supervisor.share.take_slot(&supervisor.places, crash.uid) {
        supervisor.report()
    } else {
        supervisor.turn_away()
    };
    supervisor.release();
    share::add_up_lost(&supervisor.places);
    if let Ok(Some(handled)) = &handled {
        supervisor.announce(handled);
        foretrace_store::knock(&supervisor.places, handled.published.owner);
        supervisor.make_room(handled.published.bytes, Duration::from_secs(5));
    }
    supervisor.hand_on();
    handled
}

struct Supervisor<'a> {
    crash: &'a Crash,
    places: Places,
    patience: Patience,
    id: ReportId,
    owner: Owner,
    head: Collector,
    locker: Locker,
    process: Option<Process>,
    group: Option<File>,
    kept: Vec<(u32, File)>,
    // What the journal is told of the program's package, in the worker's words.
    package: Option<String>,
    problems: Vec<Problem>,
    settings: Settings,
    share: Share,
    plan: Plan,
    // Where the core goes, once the report is published.
    seat: Option<Seat>,
    // Until when the process, of which nothing more is needed, stands still for its report.
    standing: Option<Instant>,
}

// How much of the time that is left each attempt may take, in percent.
const SHARES: [u32; 3] = [70, 60, 100];

/// How long room is made for a report that does not fit.
const ROOM: Duration = Duration::from_millis(500);
/// How often a worker is asked for a smaller one.
const SMALLER: u32 = 2;

// When what is given up on. The whole ends in time however often something hangs.
#[derive(Clone, Copy, Debug)]
struct Patience {
    // When everything but the least report must be done.
    end: Instant,
}

// The times of one attempt.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    // A core that has not come by then is not waited for.
    head: Instant,
    // The worker must have let the process go.
    collected: Instant,
    // It must be done.
    finished: Instant,
}

impl Patience {
    const LONGEST: Duration = Duration::from_millis(9000);
    const SHORTEST: Duration = Duration::from_millis(1000);

    fn from(begun: Instant, timeout: Duration) -> Patience {
        // The rest is for the report that takes nobody's help.
        Patience { end: begun + timeout.clamp(Self::SHORTEST, Self::LONGEST) * 94 / 100 }
    }

    // `share` of the time that is left, in percent.
    fn attempt(self, now: Instant, share: u32) -> Deadlines {
        let all = self.end.saturating_duration_since(now) * share / 100;
        Deadlines { head: now + all * 45 / 100, collected: now + all * 60 / 100, finished: now + all }
    }
}

impl Supervisor<'_> {
    fn report(&mut self) -> anyhow::Result<Option<Handled>> {
        let mut effort = Effort::FULL;
        for share in SHARES {
            let deadlines = self.patience.attempt(Instant::now(), share);
            let failed = match self.attempt(effort, deadlines) {
                Ok(handled) => return Ok(handled),
                Err(failed) => failed,
            };
            if self.standing.is_some() {
                self.let_go();
            }
            effort = effort.after(failed.stage);
            let what = format!(
                "the part of the handler that reads crashed processes failed while {} ({:#}); \
                 it was tried again with less",
                failed.stage.describe(),
                failed.why
            );
            self.problems.push(Problem::new("handler", what));
        }
        self.release();
        self.least()
    }

    // One user's crashes hold no more of the kernel's slots than that user's share: this one is let go at once.
    fn turn_away(&mut self) -> anyhow::Result<Option<Handled>> {
        for part in [Part::Name, Part::Executable] {
            // The kernel's own words: reading them cannot block.
            if let Some(bytes) = self.process.as_ref().and_then(|process| process.read(part).ok()) {
                let _ = self.locker.add(part as u32, &bytes);
            }
        }
        self.plan = Plan::default();
        self.release();
        let what = format!(
            "{} other crashes of the same user were being handled at this moment, all that one user may have",
            slots_of_a_user()
        );
        self.problems.push(Problem::new("handler", what));
        self.least()
    }

    // None where the crash was only counted.
    fn attempt(&mut self, effort: Effort, deadlines: Deadlines) -> Result<Option<Handled>, Failed> {
        let at = |stage| move |why: anyhow::Error| Failed { stage, why };
        let (draft, mut attempt) = self.start(effort).map_err(at(Stage::Start))?;
        let done = self.attend(&mut attempt, deadlines);
        self.locker.catch_up();
        let Some(done) = done.map_err(at(attempt.stage))? else { return Ok(None) };
        let (mut handled, revision) =
            self.place(draft, &mut attempt, done, deadlines).map_err(at(Stage::Assembly))?;
        if let Some(revision) = revision
            && let Err(why) = self.revise(attempt, revision, &mut handled, deadlines)
        {
            // The report says itself what it lacks.
            journal::log(&format!("report {} was not finished: {}", self.id, escape(&format!("{why:#}"))));
        }
        Ok(Some(handled))
    }

    // Publishes what the worker wrote: where it does not fit, again when there is room, and then ever smaller.
    fn place(
        &mut self,
        mut draft: Draft,
        attempt: &mut Attempt,
        mut done: (Kind, String),
        deadlines: Deadlines,
    ) -> anyhow::Result<(Handled, Option<Revision>)> {
        let mut published = self.settle(&mut draft);
        if published.is_err() {
            self.make_room(0, ROOM);
            published = self.settle(&mut draft);
        }
        for _ in 0..SMALLER {
            let Err(why) = &published else { break };
            attempt.channel.send(&Told::Smaller(error_number(why)), None)?;
            done = self.attend(attempt, deadlines)?.context("it does without a report")?;
            published = self.settle(&mut draft);
        }
        let (published, (kind, signature)) = (published?, done);
        Ok((Handled { published, kind, signature }, draft.revision.take()))
    }

    // Publishes the draft as it is. The process goes on standing still for that if it still does.
    fn settle(&mut self, draft: &mut Draft) -> anyhow::Result<Published> {
        let (id, owner, keeps) = (self.id, self.owner, self.plan.keeps());
        let mut publish = || -> anyhow::Result<_> {
            draft.settle()?;
            publish(&mut draft.incoming, id, owner, keeps)
        };
        let published = match self.standing.take() {
            Some(until) => hold::let_go_after(self.grip(), until, publish),
            None => publish(),
        };
        Ok(self.published(published?))
    }

    // The report is there, and its readers wait a little for what the worker still looks up.
    fn revise(
        &mut self,
        mut attempt: Attempt,
        revision: Revision,
        handled: &mut Handled,
        deadlines: Deadlines,
    ) -> anyhow::Result<()> {
        attempt.channel.send(&Told::Published, None)?;
        let Some((kind, signature)) = self.attend(&mut attempt, deadlines)? else { return Ok(()) };
        attempt.end(deadlines.finished)?;
        verify(&revision.file()?)?;
        handled.published.bytes = revision.take(&handled.published)?;
        (handled.kind, handled.signature) = (kind, signature);
        Ok(())
    }

    fn start(&mut self, effort: Effort) -> anyhow::Result<(Draft, Attempt)> {
        let draft = self.begin(Draft::begin)?;
        let (channel, far) = Channel::pair()?;
        let kernel_log = self.owner.uid == 0 || !logs::is_restricted();
        let group = self.group.as_ref().map(AsFd::as_fd);
        let mut questions = None;
        let mut broker = None;
        if let Some(process) = &self.process {
            let (asked, asking) = Channel::pair()?;
            let serving = Broker {
                channel: asked,
                process,
                uid: self.crash.uid,
                user: privileges::unprivileged_user(),
                locker: &mut self.locker,
                memory: effort.memory,
                kernel_log,
            };
            broker = Some(Killed(Child::spawn(group, || serving.serve())?));
            questions = Some(asking);
        }
        let kept = match effort {
            Effort::FULL => Vec::new(),
            _ => self
                .kept
                .iter()
                .map(|(n, file)| Ok((*n, file.try_clone()?)))
                .collect::<std::io::Result<_>>()?,
        };
        let task = Task {
            crash: self.crash,
            id: self.id,
            effort,
            broker: questions,
            supervisor: far,
            locker: self.locker.reader()?,
            head: self.head.file(),
            bundle: draft.content.try_clone()?,
            revision: draft.revision.as_ref().map(Revision::file).transpose()?,
            kept,
            problems: self.problems.clone(),
            environment: self.settings.privacy.environment_allow.clone(),
            journal: logs::has_journal(),
            kernel_log,
            user: privileges::unprivileged_user(),
            kernel: kernel()?,
        };
        let worker = Child::spawn(group, || task.work())?;
        let needs_broker = effort == Effort::FULL;
        Ok((draft, Attempt { worker, channel, stage: Stage::Start, broker, needs_broker }))
    }

    // Serves the worker until it is done, dead or too late. None: nothing is wanted of it.
    fn attend(
        &mut self,
        attempt: &mut Attempt,
        deadlines: Deadlines,
    ) -> anyhow::Result<Option<(Kind, String)>> {
        let mut told = false;
        loop {
            self.head.advance();
            if !told && self.head.state() != State::Reading {
                let ready = Told::Head(self.head.length(), self.head.state() == State::Whole);
                // Should it be dead, its closed channel says so below.
                told = attempt.channel.send(&ready, None).is_ok();
            }
            let collecting = attempt.stage < Stage::Analysis;
            if let Some(how) = attempt.broker_failed().filter(|_| collecting) {
                bail!("its broker {how}");
            }
            let deadline = if collecting { deadlines.collected } else { deadlines.finished };
            let now = Instant::now();
            if now >= deadline {
                bail!("it did not come back in time");
            }
            if self.standing.is_some_and(|until| now >= until) {
                self.let_go();
            }
            if now >= deadlines.head {
                self.head.give_up();
            }
            let until = if told { deadline } else { deadlines.head.max(now) };
            let until = self.standing.map_or(until, |standing| until.min(standing));
            if self.wait(attempt, until)? {
                match attempt.channel.receive::<Progress>()? {
                    Some((Progress::At(stage), _)) => attempt.stage = stage,
                    Some((Progress::Keep(number), Some(file))) => self.keep(number, file),
                    Some((Progress::Package(lines), _)) => self.package = Some(lines),
                    Some((Progress::Keep(_), None)) => bail!("it sent nothing to keep"),
                    Some((Progress::Release(_), _)) if self.plan.wants_core() => self.head.give_up(),
                    Some((Progress::Release(threads), _)) => {
                        self.standing = Some(Instant::now() + hold::longest(threads));
                    }
                    Some((Progress::Same(key), _)) if self.is_wanted(key) => {
                        // Should it be dead, its closed channel says so.
                        let _ = attempt.channel.send(&Told::Go, None);
                    }
                    Some((Progress::Same(_), _)) => {
                        self.release();
                        let _ = attempt.channel.send(&Told::Stop, None);
                        return Ok(None);
                    }
                    Some((Progress::Done(kind, signature), _)) => return Ok(Some((kind, signature))),
                    Some((Progress::Failed(why), _)) => {
                        match attempt.broker_failing(Duration::from_millis(300)).filter(|_| collecting) {
                            Some(how) => bail!("its broker {how}"),
                            None => bail!("{}", escape(&why)),
                        }
                    }
                    None => bail!("it {}", attempt.ending(Duration::from_millis(500))),
                }
            }
        }
    }

    // Whether the worker has said something; otherwise the core's pipe may have more, or the time is over.
    fn wait(&self, attempt: &Attempt, until: Instant) -> anyhow::Result<bool> {
        let mut sources = vec![PollFd::new(attempt.channel.as_fd(), PollFlags::POLLIN)];
        sources.extend(self.head.input().map(|input| PollFd::new(input, PollFlags::POLLIN)));
        match poll(&mut sources, patience(until)) {
            Ok(_) => Ok(sources.first().and_then(|source| source.any()).unwrap_or(false)),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    // Whether a crash with this key becomes a report of its own; otherwise it has been counted.
    fn is_wanted(&mut self, key: CrashKey) -> bool {
        let time = super::moment(self.crash);
        let store = (&self.places, &self.settings.storage);
        self.share.is_wanted(key, (self.id, self.owner, &time), store, &mut self.problems)
    }

    fn keep(&mut self, number: u32, descriptor: OwnedFd) {
        const MOST: usize = 16;
        if self.kept.len() < MOST {
            self.kept.push((number, File::from(descriptor)));
        }
    }

    // Nothing more is needed for the report: lets the process go, unless somebody wants its whole core.
    fn release(&mut self) {
        if self.plan.wants_core() {
            self.head.give_up();
        } else {
            self.let_go();
        }
    }

    // Gives the whole core to those who want it.
    fn hand_on(&mut self) {
        let seat = self.seat.take();
        if let Some(rest) = self.head.rest().filter(|_| self.plan.wants_core()) {
            let held = Held {
                crash: self.crash,
                process: self.process.as_ref(),
                head: (self.head.file(), self.head.length()),
                rest,
                user: privileges::unprivileged_user(),
            };
            self.plan.carry_out(&held, &self.places, &self.settings, seat);
        }
        self.let_go();
    }

    // What remains to be done when a report is published.
    fn published(&mut self, (published, place): (Published, Option<CoreSeat>)) -> Published {
        // At once: its owner may erase it while it is still added to.
        self.share.settle(&self.places, self.id, self.owner);
        let (owner, sealed) = (published.owner, published.sealed.clone());
        self.seat = place.map(|place| Seat { place, owner, sealed });
        published
    }

    fn let_go(&mut self) {
        self.standing = None;
        drop(self.grip());
    }

    fn grip(&mut self) -> Grip {
        Grip { input: self.head.hand_over(), slot: self.share.hand_over() }
    }

    // The report that takes nobody's help.
    fn least(&mut self) -> anyhow::Result<Option<Handled>> {
        let reader = self.locker.reader()?;
        let program = least::program(self.crash, &reader, self.process.as_ref());
        let named = program.exe.as_deref().unwrap_or(&program.name).as_bytes();
        if !self.is_wanted(storm::key(named, &storm::Seen::nothing_but(self.crash.signal))) {
            return Ok(None);
        }
        let problems = std::mem::take(&mut self.problems);
        let collected = least::collect(self.crash, self.id, program, &reader, problems);
        let mut incoming = self.begin(|places| Incoming::begin(places, StoreKind::System))?;
        let (id, owner, keeps) = (self.id, self.owner, self.plan.keeps());
        let mut extent = Extent::Whole;
        let published = loop {
            let (threads, bundle) = (&collected.threads, incoming.bundle()?);
            let written = container::write_what_fits(&collected, threads, &bundle, &mut extent);
            match written.map_err(Into::into).and_then(|_| publish(&mut incoming, id, owner, keeps)) {
                Ok(published) => break self.published(published),
                Err(why) => extent = extent.less(&format!("{why:#}")).ok_or(why)?,
            }
        };
        Ok(Some(Handled { published, kind: Kind::Crash, signature: String::new() }))
    }

    // Begins something in the store; once more with more room there, if it cannot be.
    fn begin<T, E>(&self, begin: impl Fn(&Places) -> Result<T, E>) -> Result<T, E> {
        begin(&self.places).or_else(|_| {
            self.make_room(0, ROOM);
            begin(&self.places)
        })
    }

    // Existing followers of COREDUMP_* entries go on working.
    fn announce(&self, handled: &Handled) {
        let reader = self.locker.reader();
        let bytes = |part: Part| reader.as_ref().ok()?.find(part as u32);
        let text = |part: Part| Some(String::from_utf8_lossy(&bytes(part)?).trim_end().to_owned());
        journal::announce(
            &self.places,
            &journal::Entry {
                crash: self.crash,
                handled,
                name: text(Part::Name).unwrap_or_default(),
                exe: text(Part::Executable),
                cgroup: text(Part::Cgroup),
                package: self.package.as_deref(),
                descriptors: bytes(Part::Descriptors),
                parts: journal::PARTS.into_iter().filter_map(|(f, part)| Some((f, text(part)?))).collect(),
            },
        );
    }

    // What has become too much goes now: nobody waits any more.
    fn make_room(&self, added: u64, patience: Duration) {
        let storage = &self.settings.storage;
        match foretrace_store::enforce(&self.places, storage, StoreKind::System, added, patience) {
            Ok(done) => done.problems.iter().for_each(|problem| journal::log(&problem.to_string())),
            Err(error) => journal::log(&format!("the store's limits could not be kept: {error}")),
        }
    }
}

struct Failed {
    stage: Stage,
    why: anyhow::Error,
}

// Publishes a report, with a place for its core where it `keeps` that.
fn publish(
    incoming: &mut Incoming,
    id: ReportId,
    owner: Owner,
    keeps: bool,
) -> anyhow::Result<(Published, Option<CoreSeat>)> {
    let place = keeps.then(|| incoming.core_seat());
    let published = incoming.try_to_publish(id, owner)?;
    let unkept = |error: StoreError| journal::log(&format!("the core cannot be kept: {error}"));
    Ok((published, place.and_then(|place| place.map_err(unkept).ok())))
}

// The system's number for what went wrong.
fn error_number(why: &anyhow::Error) -> i32 {
    let number =
        |error: &(dyn std::error::Error + 'static)| error.downcast_ref::<std::io::Error>()?.raw_os_error();
    why.chain().find_map(number).unwrap_or(nix::libc::EIO)
}

/// The handler's own crash must not start another handler: with this limit the kernel stops at the first that it would
/// start, and what is not dumpable never connects to the coredump socket.
pub fn guard() -> anyhow::Result<()> {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 1, 1)?;
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    Ok(())
}

fn kernel() -> anyhow::Result<[String; 3]> {
    let names = nix::sys::utsname::uname()?;
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    let (release, machine) = (text(names.release()), text(names.machine()));
    let whole = format!("{} {release} {} {machine}", text(names.sysname()), text(names.version()));
    Ok([whole, release, machine])
}
