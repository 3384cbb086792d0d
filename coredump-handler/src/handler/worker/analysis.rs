//! What needs no process any more: backtraces and the bundle; and, when that is published, all that takes time: debug information,
//! package, logs, and the bundle that has everything.

use std::fs::File;
use std::io::{self, Write};

use foretrace_report::schema::{Kind, Problem, Program, Signal, System, Thread, signal_name};
use foretrace_report::signature::{Cause, signature};
use serde_json::json;

use super::collect::Held;
use super::{KERNEL_LOG_SECONDS, Worker, os_release, with_source};
use crate::assemble::assemble;
use crate::backtrace;
use crate::core::CoreHead;
use crate::handler::channel::{Progress, Question, Stage, Told};
use crate::handler::{last_words, state};
use crate::memory::Nothing;
use crate::module::Modules;
use crate::stack;
use crate::symbol::Detail;

// What the first bundle says of itself; the second does not.
const UNFINISHED: &str =
    "the handler ended before it had looked up inlined calls, files and lines, the package and logs";

impl Worker<'_> {
    pub(super) fn finish(mut self, mut held: Held) -> i32 {
        self.analyse(&mut held);
        self.at(Stage::Assembly);
        self.collected.problem("names", UNFINISHED);
        self.collected.unfinished = self.task.revision.is_some();
        let written = self.task.bundle.try_clone().map_err(|error| error.to_string());
        if let Err(why) = written.and_then(|bundle| self.write(bundle)) {
            return self.task.fail(&why);
        }
        // What takes time would take it from the processors that publish the first bundle.
        let Some(revision) = self.task.revision.take().filter(|_| self.is_told(Told::Published)) else {
            return 0;
        };
        self.at(Stage::Names);
        self.collected.problems.pop();
        self.collected.unfinished = false;
        let asked = self.ask_for_logs();
        self.name(&held, Detail::Lines);
        self.package(&mut held);
        self.logs(asked);
        match self.write(revision) {
            Ok(()) => 0,
            Err(why) => self.task.fail(&why),
        }
    }

    // From here on the process is gone.
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
        let problems = self.name(held, Detail::Functions);
        self.collected.problems.extend(problems);
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

    // Returns what is wrong with the backtraces.
    fn name(&mut self, held: &Held, detail: Detail) -> Vec<Problem> {
        let head = held.head.as_ref().filter(|head| !head.threads.is_empty());
        let (threads, problems) = match (head, &held.modules) {
            (Some(head), Some(modules)) => {
                backtrace::threads(head, &held.names, modules, &held.walks, true, detail)
            }
            // Without the core's notes nobody knows who crashed.
            _ => {
                let thread = |(tid, name): &(i32, String)| Thread {
                    tid: *tid,
                    name: name.clone(),
                    ..Thread::default()
                };
                (held.names.iter().map(thread).collect(), Vec::new())
            }
        };
        self.collected.threads = threads;
        held.numbers.note(&mut self.collected.threads);
        self.collected.signature = self.signature(held);
        problems
    }

    fn signature(&self, held: &Held) -> String {
        let cause = Cause {
            kind: self.collected.kind,
            signal: self.collected.signal.as_ref(),
            stack_overflow: self.task.crash.signal == libc::SIGSEGV && held.overflowed,
        };
        let crashed = self.collected.threads.iter().find(|thread| thread.crashed);
        signature(&cause, crashed.map(|thread| thread.frames.as_slice()).unwrap_or_default())
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

    fn write(&mut self, bundle: File) -> Result<(), String> {
        let sink = io::BufWriter::with_capacity(1 << 18, bundle);
        let (mut sink, report) = assemble(&mut self.collected, sink).map_err(|error| with_source(&error))?;
        sink.flush().map_err(|error| error.to_string())?;
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
