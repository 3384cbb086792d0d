//! What needs no process any more: backtraces and the bundle; and, when that is published, all that takes time: debug information,
//! package, logs, and the bundle that has everything.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use foretrace_report::schema::{Kind, Program, Report, Signal, System, signal_name};
use foretrace_report::signature::{Cause, signature};
use serde_json::json;

use super::collect::Held;
use super::threads::Threads;
use super::{KERNEL_LOG_SECONDS, Worker, os_release, with_source};
use crate::assemble::Extent;
use crate::backtrace;
use crate::container;
use crate::core::CoreHead;
use crate::handler::channel::{Progress, Question, Stage, Told};
use crate::handler::{last_words, state};
use crate::memory::Nothing;
use crate::module::Modules;
use crate::stack;
use crate::symbol::Detail;

// What the first bundle says of itself; the second does not.
const UNFINISHED: &str = "the handler ended, or found no room, before it had looked up inlined calls, files and lines, \
                          the package and logs";

// A broker that has not answered by then answers nothing any more.
const SUM_PATIENCE: Duration = Duration::from_millis(1000);

impl Worker<'_> {
    pub(super) fn finish(mut self, mut held: Held) -> i32 {
        let asked = self.ask_for_sum(&mut held);
        self.analyse(&mut held);
        let threads = Threads::of(&held, Detail::Functions);
        self.collected.problems.extend(threads.problems());
        self.collected.signature = self.signature(&held, &threads);
        if asked {
            self.collected.minidump_sha256 = self.sum();
        }
        self.at(Stage::Assembly);
        self.collected.problem("names", UNFINISHED);
        self.collected.unfinished = self.task.revision.is_some();
        let extent = match self.publish(&threads) {
            Ok(Some(extent)) => extent,
            Ok(None) => return 0,
            Err(why) => return self.task.fail(&why),
        };
        let Some(revision) = self.task.revision.take() else { return 0 };
        self.at(Stage::Names);
        self.collected.problems.pop();
        self.collected.unfinished = false;
        let asked = self.ask_for_logs();
        self.package(&mut held);
        let threads = Threads::of(&held, Detail::Lines);
        self.collected.signature = self.signature(&held, &threads);
        self.logs(asked);
        // One with less than the first would be none the better for its names.
        match container::write(&self.collected, &threads, &revision, &extent) {
            Ok(report) => self.done(report).map_or_else(|why| self.task.fail(&why), |()| 0),
            Err(error) => self.task.fail(&with_source(&error)),
        }
    }

    // Writes the first bundle until it is published, with less each time that there is no room for it; says how much it is. What
    // takes time would take it from the processors that publish it. None: nobody waits for a second one.
    fn publish(&self, threads: &Threads<'_>) -> Result<Option<Extent>, String> {
        let mut extent = Extent::Whole;
        loop {
            let bundle = &self.task.bundle;
            let written = container::write_what_fits(&self.collected, threads, bundle, &mut extent);
            self.done(written.map_err(|error| with_source(&error))?)?;
            extent = match self.told() {
                Some(Told::Published) => return Ok(Some(extent)),
                Some(Told::Smaller(error)) => {
                    let why = io::Error::from_raw_os_error(error).to_string();
                    extent.less(&why).ok_or(why)?
                }
                _ => return Ok(None),
            }
        }
    }

    // What the process is needed for has been done; it may still stand.
    fn analyse(&mut self, held: &mut Held) {
        self.at(Stage::Analysis);
        let crash = self.task.crash;
        let known =
            held.head.as_ref().and_then(|head| head.signal).filter(|known| known.number == crash.signal);
        self.collected.signal = Some(Signal {
            number: crash.signal,
            name: signal_name(crash.signal),
            code: known.and_then(|known| known.code),
            address: known.and_then(|known| known.address).map(|address| format!("{address:#x}")),
        });
        self.last_words(held);
        self.walk(held);
        self.system();
    }

    fn last_words(&mut self, held: &Held) {
        let Some(crashed) = held.head.as_ref().and_then(CoreHead::crashed) else { return };
        let snapshots = self.collected.trails.iter().map(|(_, snapshot)| snapshot);
        let thread = u32::try_from(held.numbers.inner(crashed.tid)).unwrap_or_default();
        if let Some(message) = last_words::of_panic(self.task.crash, thread, snapshots) {
            self.collected.kind = Kind::Panic;
            self.collected.message = Some(message);
        }
    }

    // The last use of the stacks, which are the largest part of what is held.
    fn walk(&mut self, held: &mut Held) {
        let stacks = std::mem::take(&mut held.stacks);
        let Some(head) = &held.head else { return };
        let crashed = head.crashed().map(|thread| thread.tid);
        held.overflowed = crashed.is_some_and(|tid| stack::overflowed(&stacks, tid, &held.maps));
        if !self.task.effort.analysis {
            held.modules = None;
        }
        let modules = held.modules.get_or_insert_with(|| Modules::new(&[], &Nothing, &mut |_| None).0);
        held.walks = backtrace::walks(head, modules, &stacks, &Nothing);
    }

    fn signature(&self, held: &Held, threads: &Threads<'_>) -> String {
        let cause = Cause {
            kind: self.collected.kind,
            signal: self.collected.signal.as_ref(),
            stack_overflow: self.task.crash.signal == libc::SIGSEGV && held.overflowed,
        };
        let crashed = threads.iter().find(|thread| thread.crashed);
        signature(&cause, crashed.map(|thread| thread.frames).as_deref().unwrap_or_default())
    }

    fn system(&mut self) {
        let [_, release, machine] = &self.task.kernel;
        let text = os_release();
        let name = text.as_deref().and_then(|text| state::os_release_value(text, "PRETTY_NAME"));
        self.collected.system =
            System { os: name.unwrap_or_default(), kernel: release.clone(), arch: machine.clone() };
        self.collected
            .parts
            .push(("system/kernel".into(), format!("{}\n", self.task.kernel[0]).into_bytes()));
        if let Some(text) = text {
            self.collected.parts.push(("system/os-release".into(), text));
        }
    }

    // The broker, which has nothing else to do now, works out the sum of a large minidump; whether it was asked.
    fn ask_for_sum(&self, held: &mut Held) -> bool {
        let (Some(file), Some(broker)) = (held.large_minidump.take(), &self.task.broker) else {
            return false;
        };
        broker.send(&Question::Digest, Some(file.as_fd())).is_ok()
    }

    // None: it is worked out here.
    fn sum(&mut self) -> Option<String> {
        const DIGITS: usize = 64;
        let (digits, _) = self.answer_by("the minidump's sum", Instant::now() + SUM_PATIENCE)?.ok()?;
        let digits = String::from_utf8(digits).ok()?;
        (digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
    }

    // The broker reads the logs while names are looked up; its answers are waiting afterwards.
    fn ask_for_logs(&self) -> Vec<(&'static str, Question)> {
        let Some(broker) = &self.task.broker else { return Vec::new() };
        let wanted = [
            ("journal", Question::Journal(self.journal_unit()), self.task.journal),
            ("kmsg", Question::KernelLog, self.task.kernel_log),
        ];
        wanted
            .into_iter()
            .filter(|(_, question, there)| *there && broker.send(question, None).is_ok())
            .map(|(name, question, _)| (name, question))
            .collect()
    }

    fn logs(&mut self, asked: Vec<(&'static str, Question)>) {
        for (name, question) in asked {
            let content = match (self.task.answer(), question) {
                (Ok((content, _)), Question::KernelLog) => {
                    Ok(state::recent_lines(&content, seconds_since_boot(), KERNEL_LOG_SECONDS))
                }
                (Ok((content, _)), _) => Ok(content),
                (Err(error), _) => Err(error),
            };
            match content {
                Ok(content) if content.is_empty() => {}
                Ok(content) => self.collected.parts.push((format!("logs/{name}"), content)),
                Err(error) => self.collected.problem("logs", format!("{name} could not be read: {error}")),
            }
        }
    }

    fn done(&self, report: Report<&Threads<'_>>) -> Result<(), String> {
        if let Program { exe: Some(exe), package: Some(package), .. } = &report.program {
            let json = json!({ exe: { "name": package.name, "version": package.version } });
            self.tell(&Progress::Package(format!("{}\n{}\n{json}", package.name, package.version)), None);
        }
        let done = Progress::Done(report.kind, report.signature);
        self.task.supervisor.send(&done, None).map_err(|error| error.to_string())
    }
}

fn seconds_since_boot() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0.0, |now| now.tv_sec() as f64)
}
