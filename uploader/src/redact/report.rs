//! What leaves of `report.json`.

use foretrace_report::schema::{Losses, Privacy, Problem};
use foretrace_report::{Class, Report};

use super::{Redaction, Rule};

impl Redaction<'_> {
    /// Strips what was not granted and hides names in what was. Package, operating system and architecture
    /// come from the distribution, and functions and the signature from its binaries: words in them that look
    /// like a user's name are none.
    pub(super) fn report(&mut self, mut report: Report) -> Report {
        self.strip_stack(&mut report);
        self.strip_trail(&mut report);
        self.strip_surroundings(&mut report);
        self.strip_problems(&mut report);
        report.parts.clear();

        self.hide_text(&mut report.program.name);
        report.program.exe.iter_mut().for_each(|exe| self.hide_text(exe));
        self.hide_text(&mut report.system.kernel);
        self.hide_homes(&mut report.signature);
        for thread in &mut report.threads {
            self.hide_text(&mut thread.name);
            for frame in &mut thread.frames {
                frame.module.iter_mut().for_each(|module| self.hide_text(module));
                frame.file.iter_mut().for_each(|file| self.hide_text(file));
                frame.function.iter_mut().for_each(|function| self.hide_homes(function));
            }
        }
        report.message.iter_mut().for_each(|message| self.hide_text(message));
        for annotation in &mut report.annotations {
            self.hide_text(&mut annotation.key);
            match annotation.privacy {
                Privacy::Public => self.hide_text(&mut annotation.value),
                Privacy::Personal => {
                    annotation.value = self.salt.text(&annotation.value);
                    self.removed.count(Rule::Personal, 1);
                }
                Privacy::Secret => {
                    self.removed.count(Rule::Secret, u64::from(!annotation.value.is_empty()));
                    annotation.value.clear();
                }
            }
        }
        if let Some(surroundings) = &mut report.surroundings {
            surroundings.texts_mut().for_each(|text| self.hide_text(text));
        }
        for problem in &mut report.problems {
            self.hide_text(&mut problem.part);
            self.hide_text(&mut problem.what);
        }
        report
    }

    fn strip_stack(&mut self, report: &mut Report) {
        if self.granted.contains(Class::Stack) {
            return;
        }
        if !report.threads.is_empty() {
            self.withhold("the backtraces", Class::Stack, json_size(&report.threads));
        }
        report.threads.clear();
        // An address tells where things lay in memory; it is of use only beside the frames.
        report.signal.iter_mut().for_each(|signal| signal.address = None);
    }

    fn strip_trail(&mut self, report: &mut Report) {
        if self.granted.contains(Class::Trail) {
            return;
        }
        if let Some(message) = report.message.take() {
            self.withhold("the program's message", Class::Trail, message.len() as u64);
        }
        if !report.annotations.is_empty() {
            self.withhold("the program's annotations", Class::Trail, json_size(&report.annotations));
        }
        report.annotations.clear();
        report.losses = Losses::default();
        report.recorder = None;
    }

    // The names of services and containers are the machine's own, like the rest of the process's state.
    fn strip_surroundings(&mut self, report: &mut Report) {
        if self.granted.contains(Class::Memory) {
            return;
        }
        if let Some(surroundings) = report.surroundings.take() {
            self.withhold("what surrounded the program", Class::Memory, json_size(&surroundings));
        }
    }

    /// A problem may quote what it is about, so it needs the same class.
    fn strip_problems(&mut self, report: &mut Report) {
        let granted = self.granted;
        let (kept, stay): (Vec<Problem>, Vec<Problem>) = std::mem::take(&mut report.problems)
            .into_iter()
            .partition(|problem| class_of_problem(&problem.part).is_none_or(|class| granted.contains(class)));
        for problem in stay {
            if let Some(class) = class_of_problem(&problem.part) {
                self.withhold("a problem", class, problem.what.len() as u64);
            }
        }
        report.problems = kept;
    }

    fn hide_text(&mut self, text: &mut String) {
        self.rules.text.hide_in(text, self.salt, &mut self.removed);
    }

    fn hide_homes(&mut self, text: &mut String) {
        self.rules.text.hide_homes_in(text, &mut self.removed);
    }
}

fn class_of_problem(part: &str) -> Option<Class> {
    let topic = part.split(['/', ':']).next().unwrap_or_default();
    match topic {
        "trail" | "trace" | "attachments" | "ring" | "annotations" | "message" | "events" => {
            Some(Class::Trail)
        }
        "threads" | "stack" | "stacks" | "unwind" | "symbols" | "modules" => Some(Class::Stack),
        "logs" | "journal" | "kmsg" => Some(Class::Logs),
        "memory" | "minidump" | "minidump.dmp" | "process" | "environment" | "maps" | "surroundings" => {
            Some(Class::Memory)
        }
        "core" => Some(Class::Core),
        _ => None,
    }
}

fn json_size(value: &impl serde::Serialize) -> u64 {
    serde_json::to_vec(value).map_or(0, |json| json.len() as u64)
}
