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
use crate::{asking, moment, sentence, whole_core};

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
            fixed_in: asking::mended(context, &report),
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
    // The version in which the problem is mended, where a server said so.
    fixed_in: Option<String>,
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
        let words = self.words;
        let mut fact = |name: &str, value: String| match value.is_empty() {
            true => Ok(()),
            false => writeln!(out, "{:<10} {value}", words.say(name) + ":"),
        };
        let when = moment::local(&report.time, &self.zone);
        let ago = moment::ago(&report.time, Timestamp::now(), words)
            .map(|ago| format!(" ({ago})"))
            .unwrap_or_default();
        fact("info-report", report_dir.id().to_string())?;
        fact("info-when", format!("{when}{ago}"))?;
        if let Ok(Some(counted)) = report_dir.counted() {
            let last = moment::local(&counted.last, &self.zone);
            let count = usize::try_from(counted.count).unwrap_or(usize::MAX);
            fact("info-repeated", words.amount("info-more-times", count, &[("last", &last)]))?;
        }
        let (program, pid) = (sentence::program(report), report.program.pid.to_string());
        fact("info-program", words.tell("info-process", &[("program", &program), ("pid", &pid)]))?;
        fact("info-file", report.program.exe.as_deref().map(escape).unwrap_or_default())?;
        if let Some(signal) = &report.signal {
            let code = signal.code.map(|code| code.to_string());
            let code = code.map(|code| words.tell("info-code", &[("code", &code)])).unwrap_or_default();
            let address = signal.address.as_deref().map(escape);
            let address = address.map(|at| words.tell("info-at", &[("address", &at)])).unwrap_or_default();
            fact("info-signal", format!("{} ({}{code}){address}", escape(&signal.name), signal.number))?;
        }
        let system = [&report.system.os, &report.system.kernel, &report.system.arch];
        let system: Vec<String> =
            system.into_iter().filter(|part| !part.is_empty()).map(|part| escape(part)).collect();
        fact("info-system", system.join(", "))?;
        if let Some(around) = &report.surroundings {
            for (name, value) in surroundings::facts(around, words) {
                fact(name, value)?;
            }
        }
        fact("info-signature", escape(&report.signature))?;
        let fixed = self.fixed_in.as_deref().map(escape);
        let fixed = fixed.map(|version| words.tell("info-fixed-in", &[("version", &version)]));
        fact("info-fixed", fixed.unwrap_or_default())?;
        fact(
            "info-user",
            if report_dir.is_foreign() { format!("ID {}", report_dir.uid()) } else { String::new() },
        )?;
        fact("info-kept-in", escape(&report_dir.path().display().to_string()))?;
        fact("info-answer", self.answer(report_dir))
    }

    fn answer(&self, report_dir: &ReportDir) -> String {
        let (state, id, words) = (State::of(report_dir), self.id.short(), self.words);
        let shown = |word: &str| words.say(&format!("state-{word}"));
        let answer = match (&state.consent, state.consent_word()) {
            (Document::Damaged(why), _) => escape(why),
            (_, "none") if report_dir.is_foreign() => words.say("info-no-answer-foreign"),
            (_, "none") => words.tell("info-no-answer", &[("id", &id)]),
            (Document::Present(consent), word) => {
                let (who, when) = (escape(&consent.who), moment::local(&consent.when, &self.zone));
                words.tell("info-answered", &[("answer", &shown(word)), ("who", &who), ("when", &when)])
            }
            (_, word) => shown(word),
        };
        match &state.delivery {
            Document::Absent => answer,
            Document::Damaged(why) => format!("{answer}; {}", escape(why)),
            Document::Present(delivery) => {
                let why =
                    delivery.why.as_deref().map(|why| format!(" ({})", escape(why))).unwrap_or_default();
                let name = delivery.remote_id.as_deref().map(escape);
                let name = name.map(|name| words.tell("info-as", &[("name", &name)])).unwrap_or_default();
                format!("{answer}; {}{name}{why}", shown(state.delivery_word()))
            }
        }
    }

    fn threads(&self, out: &mut impl Write) -> io::Result<()> {
        let (crashed, others): (Vec<_>, Vec<_>) =
            self.report.threads.iter().partition(|thread| thread.crashed);
        for thread in crashed {
            let heading = self.words.tell("info-where", &[("thread", &self.thread_name(thread))]);
            self.heading(&heading, out)?;
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
                [one] => self.words.tell("info-thread", &[("thread", &self.thread_name(one))]),
                many => {
                    self.words.amount("info-threads", many.len(), &[("threads", &self.thread_names(many))])
                }
            };
            self.heading(&heading, out)?;
            self.frames(&group[0].frames, FRAMES.1, out)?;
        }
        self.about_names(out)?;
        let unsaid: usize = groups.iter().skip(GROUPS).map(Vec::len).sum();
        if unsaid > 0 {
            let id = self.id.short();
            writeln!(out, "\n{}", self.words.amount("info-more-threads", unsaid, &[("id", &id)]))?;
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
            0 => writeln!(out, "  {}", self.words.say("info-no-frames")),
            all if all > limit => writeln!(out, "  {}", self.words.count("info-more-frames", all - limit)),
            _ => Ok(()),
        }
    }

    fn frame(&self, frame: &Frame) -> String {
        let function = match (&frame.function, frame.trust) {
            (Some(function), _) => self.paint.bold(sentence::shortened(&escape(function), FUNCTION)),
            (None, Trust::Signal) => self.words.say("frame-handler"),
            (None, _) => escape(&frame.ip),
        };
        let at = |place: String| self.words.tell("frame-at", &[("place", &place)]);
        let place = match (&frame.file, frame.line) {
            (Some(file), Some(line)) => at(format!("{}:{line}", source(file))),
            (Some(file), None) => at(source(file)),
            (None, _) => {
                let module = frame.module.as_deref().and_then(|path| path.rsplit('/').next());
                let offset =
                    frame.offset.as_deref().map(|offset| format!("+{}", escape(offset))).unwrap_or_default();
                let module = module.map(|module| format!("{}{offset}", escape(module)));
                module.map(|place| self.words.tell("frame-in", &[("place", &place)])).unwrap_or_default()
            }
        };
        let when = |is: bool, key: &str| if is { self.words.say(key) } else { String::new() };
        let inline = when(frame.inline, "frame-inlined");
        let guess = when(frame.trust == Trust::Scan, "frame-guess");
        format!("{function}{place}{}", self.paint.dim(format!("{inline}{guess}")))
    }

    fn annotations(&self, out: &mut impl Write) -> io::Result<()> {
        if self.report.annotations.is_empty() {
            return Ok(());
        }
        self.heading(&self.words.say("info-noted"), out)?;
        for note in &self.report.annotations {
            let privacy = match note.privacy {
                Privacy::Personal => self.paint.dim(self.words.say("info-personal")),
                _ => String::new(),
            };
            writeln!(out, "  {} = {}{privacy}", escape(&note.key), escape(&note.value))?;
        }
        Ok(())
    }

    fn events(&self, timeline: &Timeline, out: &mut impl Write) -> io::Result<()> {
        let losses = self.report.losses;
        if timeline.len() == 0 && losses.recorded == 0 && losses.discarded == 0 {
            return writeln!(out, "\n{}", self.words.say("info-no-events"));
        }
        let skipped = timeline.len().saturating_sub(EVENTS);
        let heading = match timeline.len() {
            0 => self.words.say("info-events-unread"),
            all => {
                let (shown, all) = ((all - skipped).to_string(), all.to_string());
                self.words.tell("info-events", &[("shown", &shown), ("all", &all)])
            }
        };
        self.heading(&heading, out)?;
        let mut previous = None;
        for entry in timeline.entries().skip(skipped) {
            writeln!(out, "  {}", entry.text(previous, &self.zone, self.paint))?;
            previous = Some(entry.time());
        }
        let counts = [losses.recorded, losses.overwritten, losses.discarded].map(|count| count.to_string());
        let counts =
            [("recorded", counts[0].as_str()), ("overwritten", &counts[1]), ("discarded", &counts[2])];
        writeln!(out, "  {}", self.words.tell("info-losses", &counts))?;
        if let Some(cost) = self.report.recorder.filter(|cost| cost.events > 0) {
            let time = match cost.nanoseconds {
                0 => String::new(),
                time => {
                    let time = format!("{:.1}", time as f64 / 1e6);
                    self.words.tell("info-cost-time", &[("time", &time)])
                }
            };
            let cost = [("bytes", sentence::size(cost.bytes)), ("time", time)];
            let cost = cost.each_ref().map(|(name, text)| (*name, text.as_str()));
            writeln!(out, "  {}", self.words.tell("info-cost", &cost))?;
        }
        if skipped > 0 {
            let id = self.id.short();
            writeln!(out, "  {}", self.words.tell("info-all-events", &[("id", &id)]))?;
        }
        Ok(())
    }

    fn parts(&self, report_dir: &ReportDir, out: &mut impl Write) -> io::Result<()> {
        self.heading(&self.words.say("info-parts"), out)?;
        let mut row = |class: Class, bytes: u64, name: &str| {
            writeln!(out, "  {:<8} {:>9}  {}", class.name(), sentence::size(bytes), escape(name))
        };
        for part in &self.report.parts {
            row(part.class, part.bytes, &part.name)?;
        }
        // Beside the bundle, and never sent with it.
        match report_dir.core_bytes() {
            Some(bytes) => row(Class::Core, bytes, whole_core::PART),
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
        self.heading(&self.words.say("info-problems"), out)?;
        problems.iter().try_for_each(|problem| writeln!(out, "  {}", escape(problem)))
    }

    fn thread_name(&self, thread: &Thread) -> String {
        let inside = thread.inner_tid.map(|tid| self.words.tell("info-inside", &[("tid", &tid.to_string())]));
        let inside = inside.unwrap_or_default();
        match thread.name.as_str() {
            "" => format!("{}{inside}", thread.tid),
            name => format!("{}{inside} {}", thread.tid, escape(name)),
        }
    }

    fn thread_names(&self, threads: &[&Thread]) -> String {
        const SHOWN: usize = 6;
        let mut names: Vec<String> =
            threads.iter().take(SHOWN).map(|thread| self.thread_name(thread)).collect();
        if threads.len() > SHOWN {
            names.push("…".into());
        }
        names.join(", ")
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

fn same_place(one: &Thread, other: &Thread) -> bool {
    one.frames.len() == other.frames.len()
        && one.frames.iter().zip(&other.frames).all(|(a, b)| a.ip == b.ip && a.function == b.function)
}
