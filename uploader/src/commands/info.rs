//! `info`: everything that a report says, in plain words.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use foretrace_report::bundle::REPORT;
use foretrace_report::schema::{Frame, Privacy, Thread, Trust};
use foretrace_report::text::{escape, escape_json};
use foretrace_report::{Class, Report, ReportId};
use foretrace_store::{ReportDir, StoreError};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::arguments::Info;
use crate::context::Context;
use crate::output::{self, Paint};
use crate::state::{Document, State};
use crate::symbols::{self, Names};
use crate::timeline::Timeline;
use crate::words::Words;
use crate::{moment, sentence, whole_core};

mod surroundings;

/// Events shown; the rest is `trace`'s.
const EVENTS: usize = 20;
/// Frames shown of the crashed thread, and of each other.
const FRAMES: (usize, usize) = (64, 12);
/// Characters shown of a function's name: templates and closures make longer ones than anybody reads.
const FUNCTION: usize = 120;
/// Groups of other threads with the same frames shown.
const GROUPS: usize = 16;

/// Explains a report.
///
/// # Errors
/// No such report, or one that cannot be read.
pub fn run(context: &Context, arguments: &Info) -> Result<ExitCode> {
    let report_dir = context.find(&arguments.id)?;
    let mut bundle = report_dir.bundle()?;
    let mut out = output::standard();
    if context.json {
        // Checked to be a report, printed whole: fields that this version does not know stay in it.
        let json = bundle.part(REPORT).map_err(StoreError::from)?;
        serde_json::from_slice::<Report>(&json)?;
        writeln!(out, "{}", escape_json(&String::from_utf8_lossy(&json)))?;
    } else {
        let mut report = bundle.report().map_err(StoreError::from)?;
        let names = Names::read(&report_dir).unwrap_or_else(|error| {
            output::complain(&format!("{error:#}"));
            Names::default()
        });
        let named = names.apply(&mut report);
        let timeline = Timeline::read(&mut bundle, &report);
        let page = Page {
            id: report_dir.id(),
            report: &report,
            named,
            paint: Paint::standard(),
            zone: TimeZone::system(),
            words: &context.words,
        };
        page.write(&report_dir, &timeline, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

struct Page<'a> {
    // The directory's: what the report says of itself is only its word.
    id: ReportId,
    report: &'a Report,
    // How many frames have got their names since it was made.
    named: usize,
    paint: Paint,
    zone: TimeZone,
    words: &'a Words,
}

impl Page<'_> {
    fn write(&self, report_dir: &ReportDir, timeline: &Timeline, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}\n", self.paint.bold(sentence::happened(self.report, self.words)))?;
        self.facts(report_dir, out)?;
        self.threads(out)?;
        self.annotations(out)?;
        self.events(timeline, out)?;
        self.parts(report_dir, out)?;
        self.problems(timeline, out)
    }

    fn facts(&self, report_dir: &ReportDir, out: &mut impl Write) -> io::Result<()> {
        let report = self.report;
        let mut fact = |name: &str, value: String| {
            if value.is_empty() { Ok(()) } else { writeln!(out, "{:<10} {value}", format!("{name}:")) }
        };
        let when = moment::local(&report.time, &self.zone);
        let ago =
            moment::ago(&report.time, Timestamp::now()).map(|ago| format!(" ({ago})")).unwrap_or_default();
        fact("Report", report_dir.id().to_string())?;
        fact("When", format!("{when}{ago}"))?;
        if let Ok(Some(counted)) = report_dir.counted() {
            let last = moment::local(&counted.last, &self.zone);
            fact("Repeated", format!("{} more times in the same way, the last {last}", counted.count))?;
        }
        fact("Program", format!("{}, process {}", sentence::program(report), report.program.pid))?;
        fact("File", report.program.exe.as_deref().map(escape).unwrap_or_default())?;
        if let Some(signal) = &report.signal {
            let code = signal.code.map(|code| format!(", code {code}")).unwrap_or_default();
            let address =
                signal.address.as_deref().map(|a| format!(", at {}", escape(a))).unwrap_or_default();
            fact("Signal", format!("{} ({}{code}){address}", escape(&signal.name), signal.number))?;
        }
        let system = [&report.system.os, &report.system.kernel, &report.system.arch];
        let system: Vec<String> =
            system.into_iter().filter(|part| !part.is_empty()).map(|part| escape(part)).collect();
        fact("System", system.join(", "))?;
        if let Some(around) = &report.surroundings {
            for (name, value) in surroundings::facts(around) {
                fact(name, value)?;
            }
        }
        fact("Signature", escape(&report.signature))?;
        fact(
            "User",
            if report_dir.is_foreign() { format!("ID {}", report_dir.uid()) } else { String::new() },
        )?;
        fact("Kept in", escape(&report_dir.path().display().to_string()))?;
        fact("Answer", self.answer(report_dir))
    }

    fn answer(&self, report_dir: &ReportDir) -> String {
        let (state, id) = (State::of(report_dir), self.id.short());
        let answer = match (&state.consent, state.consent_word()) {
            (Document::Damaged(why), _) => escape(why),
            (_, "none") if report_dir.is_foreign() => {
                "none yet; only its user can answer whether to send it".to_owned()
            }
            (_, "none") => {
                format!("none yet; foretrace preview {id} shows what would be sent, foretrace send {id} asks")
            }
            (Document::Present(consent), word) => {
                format!("{word} by {} on {}", escape(&consent.who), moment::local(&consent.when, &self.zone))
            }
            (_, word) => word.to_owned(),
        };
        match &state.delivery {
            Document::Absent => answer,
            Document::Damaged(why) => format!("{answer}; {}", escape(why)),
            Document::Present(delivery) => {
                let why =
                    delivery.why.as_deref().map(|why| format!(" ({})", escape(why))).unwrap_or_default();
                let id =
                    delivery.remote_id.as_deref().map(|id| format!(" as {}", escape(id))).unwrap_or_default();
                format!("{answer}; {}{id}{why}", state.delivery_word())
            }
        }
    }

    fn threads(&self, out: &mut impl Write) -> io::Result<()> {
        let (crashed, others): (Vec<_>, Vec<_>) =
            self.report.threads.iter().partition(|thread| thread.crashed);
        for thread in crashed {
            self.heading(&format!("Where: thread {}", thread_name(thread)), out)?;
            self.frames(&thread.frames, FRAMES.0, out)?;
        }
        // Hundreds of workers that wait in the same place are one thing to read.
        let mut groups: Vec<Vec<&Thread>> = Vec::new();
        for thread in others {
            match groups.iter_mut().find(|group| same_place(group[0], thread)) {
                Some(group) => group.push(thread),
                None => groups.push(vec![thread]),
            }
        }
        for group in groups.iter().take(GROUPS) {
            let heading = match group.as_slice() {
                [one] => format!("Thread {}", thread_name(one)),
                many => format!("{} threads in the same place: {}", many.len(), names(many)),
            };
            self.heading(&heading, out)?;
            self.frames(&group[0].frames, FRAMES.1, out)?;
        }
        self.about_names(out)?;
        let unsaid: usize = groups.iter().skip(GROUPS).map(Vec::len).sum();
        if unsaid > 0 {
            writeln!(out, "\n{unsaid} more threads: foretrace info {} --json", self.id.short())?;
        }
        Ok(())
    }

    fn about_names(&self, out: &mut impl Write) -> io::Result<()> {
        if self.named > 0 {
            writeln!(out, "\n{}", self.words.count("info-named-later", self.named))?;
        }
        match symbols::lacking(self.report).iter().map(|lack| lack.frames).sum() {
            0 => Ok(()),
            _ => writeln!(out, "\n{}", self.words.tell("info-nameless", &[("id", &self.id.short())])),
        }
    }

    fn frames(&self, frames: &[Frame], limit: usize, out: &mut impl Write) -> io::Result<()> {
        for (number, frame) in frames.iter().take(limit).enumerate() {
            writeln!(out, "  #{number:<3} {}", self.frame(frame))?;
        }
        match frames.len() {
            0 => writeln!(out, "  no frames could be read"),
            all if all > limit => writeln!(out, "  and {} more frames", all - limit),
            _ => Ok(()),
        }
    }

    fn frame(&self, frame: &Frame) -> String {
        let function = match (&frame.function, frame.trust) {
            (Some(function), _) => self.paint.bold(sentence::shortened(&escape(function), FUNCTION)),
            (None, Trust::Signal) => "(signal handler called)".to_owned(),
            (None, _) => escape(&frame.ip),
        };
        let place = match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!(" at {}:{line}", source(file)),
            (Some(file), None) => format!(" at {}", source(file)),
            (None, _) => {
                let module = frame.module.as_deref().and_then(|path| path.rsplit('/').next());
                let offset =
                    frame.offset.as_deref().map(|offset| format!("+{}", escape(offset))).unwrap_or_default();
                module.map(|module| format!(" in {}{offset}", escape(module))).unwrap_or_default()
            }
        };
        let inline = if frame.inline { " (inlined)" } else { "" };
        let guess = if frame.trust == Trust::Scan { " (a guess)" } else { "" };
        format!("{function}{place}{}", self.paint.dim(format!("{inline}{guess}")))
    }

    fn annotations(&self, out: &mut impl Write) -> io::Result<()> {
        if self.report.annotations.is_empty() {
            return Ok(());
        }
        self.heading("What the program noted about itself", out)?;
        for note in &self.report.annotations {
            let privacy =
                if note.privacy == Privacy::Personal { self.paint.dim(" (personal)") } else { String::new() };
            writeln!(out, "  {} = {}{privacy}", escape(&note.key), escape(&note.value))?;
        }
        Ok(())
    }

    fn events(&self, timeline: &Timeline, out: &mut impl Write) -> io::Result<()> {
        let losses = self.report.losses;
        if timeline.len() == 0 && losses.recorded == 0 && losses.discarded == 0 {
            return writeln!(out, "\nThe program recorded no events.");
        }
        let skipped = timeline.len().saturating_sub(EVENTS);
        let heading = match timeline.len() {
            0 => "What led to it: no event could be read".to_owned(),
            all => format!("What led to it: the last {} of {all} events", all - skipped),
        };
        self.heading(&heading, out)?;
        let mut previous = None;
        for entry in timeline.entries().skip(skipped) {
            writeln!(out, "  {}", entry.text(previous, &self.zone, self.paint))?;
            previous = Some(entry.time());
        }
        writeln!(
            out,
            "  {} recorded, {} of them overwritten by newer ones, {} could not be recorded",
            losses.recorded, losses.overwritten, losses.discarded
        )?;
        if let Some(cost) = self.report.recorder.filter(|cost| cost.events > 0) {
            let time = match cost.nanoseconds {
                0 => String::new(),
                time => format!(", about {:.1} ms of processor time in all", time as f64 / 1e6),
            };
            writeln!(out, "  recording them took {}{time}", sentence::size(cost.bytes))?;
        }
        if skipped > 0 {
            writeln!(out, "  all of them: foretrace trace {}", self.id.short())?;
        }
        Ok(())
    }

    fn parts(&self, report_dir: &ReportDir, out: &mut impl Write) -> io::Result<()> {
        self.heading("Parts", out)?;
        let mut row = |class: Class, bytes: u64, name: &str| {
            writeln!(out, "  {:<8} {:>9}  {}", class.name(), sentence::size(bytes), escape(name))
        };
        for part in &self.report.parts {
            row(part.class, part.bytes, &part.name)?;
        }
        // Beside the bundle, and never sent with it.
        match report_dir.core_file().ok().flatten().and_then(|core| core.metadata().ok()) {
            Some(core) => row(Class::Core, core.len(), whole_core::PART),
            None => Ok(()),
        }
    }

    fn problems(&self, timeline: &Timeline, out: &mut impl Write) -> io::Result<()> {
        let recorded =
            self.report.problems.iter().map(|problem| format!("{}: {}", problem.part, problem.what));
        let problems: Vec<String> = recorded.chain(timeline.problems.iter().cloned()).collect();
        if problems.is_empty() {
            return Ok(());
        }
        self.heading("What could not be had", out)?;
        problems.iter().try_for_each(|problem| writeln!(out, "  {}", escape(problem)))
    }

    fn heading(&self, text: &str, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint.bold(text))
    }
}

/// A source file; of those of Rust's own libraries without the compiler's commit.
fn source(file: &str) -> String {
    match file.strip_prefix("/rustc/").and_then(|rest| rest.split_once('/')) {
        Some((_, path)) => format!("rust/{}", escape(path)),
        None => escape(file),
    }
}

fn thread_name(thread: &Thread) -> String {
    let inside = thread.inner_tid.map(|tid| format!(" ({tid} inside)")).unwrap_or_default();
    match thread.name.as_str() {
        "" => format!("{}{inside}", thread.tid),
        name => format!("{}{inside} {}", thread.tid, escape(name)),
    }
}

fn names(threads: &[&Thread]) -> String {
    let mut names: Vec<String> = threads.iter().take(6).map(|thread| thread_name(thread)).collect();
    if threads.len() > 6 {
        names.push("…".into());
    }
    names.join(", ")
}

fn same_place(one: &Thread, other: &Thread) -> bool {
    one.frames.len() == other.frames.len()
        && one.frames.iter().zip(&other.frames).all(|(a, b)| a.ip == b.ip && a.function == b.function)
}
