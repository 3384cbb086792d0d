//! A disk that loses power while crashes, answers and deliveries are under way: whatever was only in memory is gone, what
//! a file system had been made to keep is there at the next start.
//!
//! What must hold after the next start: each report that a handler was done with is there and whole, each answer
//! whose command had ended stands, nothing half is visible, a no is never sent, and each yes arrives exactly once at a
//! server that knows its reports.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::run;
use crate::disk::Disk;
use crate::evidence::Evidence;
use crate::server::Server;
use crate::world::Installed;

/// How long a report may take, and a server's answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Given in turn.
const ANSWERS: [&str; 2] = ["--deny", "--grant=memory"];

/// What the cuts met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Reports that were there before a cut.
    pub reports: usize,
    /// Answers that were given before a cut.
    pub answers: usize,
    /// Reports that the server had confirmed before a cut.
    pub confirmed: usize,
    /// Crashes whose handler met the cut.
    pub interrupted: usize,
    /// Reports that arrived in the end.
    pub arrived: u64,
}

/// A world whose store lies on a disk of its own.
pub struct Powered {
    // Dropped before the world that it lies in.
    disk: Disk,
    server: Server,
    world: Installed,
    victim: PathBuf,
    /// What was promised: the report, and its answer once one was given.
    promised: HashMap<String, Option<&'static str>>,
    met: Met,
}

/// What the threads of one period have seen to its end.
#[derive(Default)]
struct Seen {
    reports: Vec<String>,
    answers: Vec<(String, &'static str)>,
    interrupted: usize,
}

impl Powered {
    /// The disk, a handler that keeps everything on it, and a server that keeps its own elsewhere.
    ///
    /// # Errors
    /// Not root, no loop device, or no ext4.
    pub fn start(victim: PathBuf) -> Result<Powered> {
        let world = Installed::new()?;
        let disk = Disk::new(world.work("disk"), world.root())?;
        let server = Server::start(&world.program("foretrace-server"), "127.0.0.1:0", &world.work("server"))?;
        world.configure(&format!(
            "[Upload]\nUrl={}/reports\n[Storage]\nRepeats=infinity\nMaxUse=infinity\nKeepFree=0\n",
            server.address
        ))?;
        nix::unistd::sync();
        Ok(Powered { disk, server, world, victim, promised: HashMap::new(), met: Met::default() })
    }

    /// Crashes, answers and sends, until the power goes after `span`; then looks at what is left.
    ///
    /// # Errors
    /// What was promised and is not there, or what is there and is not whole.
    pub fn cut_after(&mut self, span: Duration) -> Result<()> {
        let (over, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
        let live = || !over.load(Ordering::Relaxed);
        thread::scope(|scope| {
            let crashing = scope.spawn(|| self.crash_while(&live, &seen));
            let answering = scope.spawn(|| self.answer_while(&live, &seen));
            let sending = scope.spawn(|| self.send_while(&live));
            thread::sleep(span);
            over.store(true, Ordering::Relaxed);
            let ended = self.disk.cut();
            for thread in [crashing, answering, sending] {
                thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            }
            ended
        })?;
        let seen = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.met.reports += seen.reports.len();
        self.met.answers += seen.answers.len();
        self.met.interrupted += seen.interrupted;
        self.promised.extend(seen.reports.into_iter().map(|id| (id, None)));
        self.promised.extend(seen.answers.into_iter().map(|(id, answer)| (id, Some(answer))));
        self.disk.come_back()?;
        self.check()
    }

    /// Sends what is left to be sent, and holds what the server has against what was agreed to.
    ///
    /// # Errors
    /// A yes that does not arrive, arrives twice, or a no that does.
    pub fn settle(mut self) -> Result<Met> {
        let began = Instant::now();
        let agreed = loop {
            let sent = run(self.world.foretrace().args(["send", "--all", "--now"]))?;
            let rows = self.world.list()?;
            let of = |word: &str| rows.iter().filter(|row| row["delivery"] == word).count();
            if of("pending") + of("maybe-sent") == 0 {
                break of("sent");
            }
            ensure!(began.elapsed() < PATIENCE, "{} are pending: {sent}", of("pending"));
        };
        self.check()?;
        self.met.arrived = self.server.stored_reports()?;
        ensure!(self.met.arrived == agreed as u64, "{} arrived of {agreed} that were sent", self.met.arrived);
        Ok(self.met)
    }

    // What was promised is there, and all that is there is whole.
    fn check(&mut self) -> Result<()> {
        let listed = run(self.world.foretrace().args(["list", "--json"]))?;
        ensure!(listed.errors().is_empty(), "{listed}");
        let rows = self.world.list()?;
        let row = |id: &str| rows.iter().find(|row| row["id"] == id);
        for (id, answer) in &self.promised {
            let row = row(id).with_context(|| format!("{id} was there before the power went"))?;
            let consent = match answer {
                None => continue,
                Some("--deny") => "denied",
                Some(_) => "granted",
            };
            ensure!(row["consent"] == consent, "answered {consent}, and after the power went {row}");
        }
        for row in &rows {
            let id = row["id"].as_str().context("a row without an ID")?;
            Evidence::open(&self.world, id).with_context(|| format!("{id} is not whole"))?;
            ensure!(row["consent"] != "damaged" && row["delivery"] != "damaged", "{row}");
            ensure!(row["consent"] == "granted" || row["delivery"] == "none", "sent without a yes: {row}");
        }
        let confirmed = rows.iter().filter(|row| row["delivery"] == "sent").count();
        let stored = self.server.stored_reports()?;
        ensure!(stored >= confirmed as u64, "{stored} are stored, {confirmed} were sent");
        self.met.confirmed = confirmed;
        Ok(())
    }

    fn crash_while(&self, live: &impl Fn() -> bool, seen: &Mutex<Seen>) -> Result<()> {
        let mut known: HashSet<String> = self.world.ids()?;
        while live() {
            run(Command::new(&self.victim).stdin(Stdio::null()))?;
            match self.next_report(&known, live)? {
                Some(id) => {
                    known.insert(id.clone());
                    lock(seen).reports.push(id);
                }
                // It may have been there before the disk went, or not.
                None => lock(seen).interrupted += 1,
            }
        }
        Ok(())
    }

    // The report whose handler was done with it while the power was on.
    fn next_report(&self, known: &HashSet<String>, live: &impl Fn() -> bool) -> Result<Option<String>> {
        let began = Instant::now();
        loop {
            let there = self.world.ids();
            let next = there.as_ref().ok().and_then(|ids| ids.difference(known).next());
            let finished = next.filter(|id| self.world.is_finished(id)).cloned();
            match live() {
                false => return Ok(None),
                true if finished.is_some() => return Ok(finished),
                true => there.map(drop)?,
            }
            ensure!(began.elapsed() < PATIENCE, "a crash without a report");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn answer_while(&self, live: &impl Fn() -> bool, seen: &Mutex<Seen>) -> Result<()> {
        let mut answered = 0;
        while live() {
            let next = lock(seen).reports.get(answered).cloned();
            let Some(id) = next else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            let answer = ANSWERS[answered % ANSWERS.len()];
            let done = run(self.world.foretrace().args(["consent", &id, answer]))?;
            match done.status.success() {
                true => lock(seen).answers.push((id, answer)),
                false if live() => bail!("{done}"),
                false => {}
            }
            answered += 1;
        }
        Ok(())
    }

    fn send_while(&self, live: &impl Fn() -> bool) -> Result<()> {
        while live() {
            run(self.world.foretrace().args(["send", "--all", "--now"]))?;
        }
        Ok(())
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
