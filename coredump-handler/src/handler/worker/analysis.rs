//! What takes time and needs no process any more: backtraces, names, package, logs, and the bundle.

use std::fs::File;
use std::io::{self, Write};

use foretrace_report::schema::{Kind, Signal, System, Thread, signal_name};
use foretrace_report::signature::{Cause, signature};

use super::collect::Held;
use super::{KERNEL_LOG_SECONDS, Worker, os_release, with_source};
use crate::assemble::assemble;
use crate::backtrace;
use crate::core::CoreHead;
use crate::handler::channel::{Progress, Question, Stage};
use crate::handler::{last_words, state};
use crate::memory::Nothing;
use crate::module::Modules;
use crate::stack;

impl Worker<'_> {
    // From here on the process is gone.
    fn analyse(&mut self, held: &mut Held) {
        self.at(Stage::Analysis);
        let asked = self.ask_for_logs();
        let crash = self.task.crash;
        let known =
            held.head.as_ref().and_then(|head| head.signal).filter(|known| known.number == crash.signal);
        self.collected.signal = Some(Signal {
            number: crash.signal,
            name: signal_name(crash.signal),
            code: known.map(|known| known.code),
            address: known.and_then(|known| known.address).map(|address| format!("{address:#x}")),
        });
        self.last_words(held);
        self.threads(held);
        self.system();
        self.package(held);
        self.logs(asked);
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

    fn threads(&mut self, held: &Held) {
        let Some(head) = held.head.as_ref().filter(|head| !head.threads.is_empty()) else {
            // Without the core's notes nobody knows who crashed.
            let thread =
                |(tid, name): &(i32, String)| Thread { tid: *tid, name: name.clone(), ..Thread::default() };
            self.collected.threads = held.names.iter().map(thread).collect();
            held.numbers.note(&mut self.collected.threads);
            self.collected.signature = self.signature(held);
            return;
        };
        let modules = held.modules.as_ref().filter(|_| self.task.effort.analysis);
        let (none, _) = Modules::new(&[], &Nothing, &mut |_| None);
        let modules = modules.unwrap_or(&none);
        let (threads, problems) =
            backtrace::threads(head, &held.names, modules, &held.stacks, &Nothing, true);
        self.collected.problems.extend(problems);
        self.collected.threads = threads;
        held.numbers.note(&mut self.collected.threads);
        self.collected.signature = self.signature(held);
    }

    fn signature(&self, held: &Held) -> String {
        let crashed = held.head.as_ref().and_then(CoreHead::crashed);
        let overflowed =
            crashed.is_some_and(|thread| stack::overflowed(&held.stacks, thread.tid, &held.maps));
        let cause = Cause {
            kind: self.collected.kind,
            signal: self.collected.signal.as_ref(),
            stack_overflow: self.task.crash.signal == libc::SIGSEGV && overflowed,
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

    // The broker reads the logs while backtraces are worked out; its answers are waiting afterwards.
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

    pub(super) fn finish(mut self, held: &mut Held, bundle: File) -> i32 {
        self.analyse(held);
        self.at(Stage::Assembly);
        let collected = self.collected;
        let written = assemble(collected, io::BufWriter::with_capacity(1 << 18, bundle))
            .map_err(|error| with_source(&error))
            .and_then(|(mut sink, report)| sink.flush().map(|()| report).map_err(|error| error.to_string()));
        match written {
            Ok(report) => {
                let done = Progress::Done(report.kind, report.signature);
                i32::from(self.task.supervisor.send(&done, None).is_err())
            }
            Err(why) => self.task.fail(&why),
        }
    }
}

fn seconds_since_boot() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0.0, |now| now.tv_sec() as f64)
}
