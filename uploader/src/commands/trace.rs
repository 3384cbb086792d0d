//! `trace`: a report's trail as text, as JSON lines, or as a CTF directory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use foretrace_report::Report;
use foretrace_store::StoreError;
use foretrace_store::report_dir::Bundle;
use jiff::tz::TimeZone;

use crate::arguments::{Trace, TraceFormat};
use crate::context::Context;
use crate::moment;
use crate::output::{self, NoMatch, Paint, WrongUse};
use crate::timeline::Timeline;
use crate::words::Words;

/// Shows or exports a trail.
///
/// # Errors
/// Wrong arguments, no such report, no trail in it, or a file that cannot be written.
pub fn run(context: &Context, arguments: &Trace) -> Result<ExitCode> {
    let words = &context.words;
    let format = match (arguments.format, context.json) {
        (None, false) => TraceFormat::Text,
        (None | Some(TraceFormat::Json), _) => TraceFormat::Json,
        (Some(format), false) => format,
        (Some(_), true) => {
            return Err(WrongUse(words.say("trace-formats")).into());
        }
    };
    let last = arguments.last.as_deref().map(|text| moment::span(text, words)).transpose()?;
    let ctf_to = match (format, &arguments.output) {
        (TraceFormat::Ctf, None) => {
            return Err(WrongUse(words.say("trace-ctf-where")).into());
        }
        (TraceFormat::Ctf, Some(_)) if last.is_some() => {
            return Err(WrongUse(words.say("trace-ctf-last")).into());
        }
        (TraceFormat::Ctf, Some(directory)) => Some(directory),
        _ => None,
    };
    let report_dir = context.find(&arguments.id)?;
    let mut bundle = report_dir.bundle()?;
    let report = bundle.report().map_err(StoreError::from)?;
    let has_trail =
        bundle.names().iter().any(|name| foretrace_report::trail::source_and_file(name).is_some());
    if !has_trail {
        return Err(NoMatch(without_trail(&report, words)).into());
    }
    if let Some(directory) = ctf_to {
        export(&mut bundle, directory, words)?;
        return Ok(ExitCode::SUCCESS);
    }
    let timeline = Timeline::read(&mut bundle, &report);
    let skipped = last.map_or(0, |span| timeline.before_last(span));
    match &arguments.output {
        Some(path) => {
            let failed = || output::unwritable(path, words);
            let file = File::create(path).with_context(failed)?;
            print(&timeline, skipped, format, Paint::plain(), &mut BufWriter::new(file))
                .with_context(failed)?;
        }
        None => print(&timeline, skipped, format, Paint::standard(), &mut output::standard())?,
    }
    for problem in &timeline.problems {
        output::complain(problem);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(
    timeline: &Timeline,
    skipped: usize,
    format: TraceFormat,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    let zone = TimeZone::system();
    let mut previous = None;
    for entry in timeline.entries().skip(skipped) {
        match format {
            TraceFormat::Json => output::json_line(out, &entry.json())?,
            _ => writeln!(out, "{}", entry.text(previous, &zone, paint))?,
        }
        previous = Some(entry.time());
    }
    out.flush()
}

/// Writes each ring's CTF files as they were recorded into a folder of their own.
fn export(bundle: &mut Bundle, directory: &Path, words: &Words) -> Result<()> {
    let unmade = |folder: &Path| words.tell("cannot-make", &[("file", &folder.display().to_string())]);
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
            if !empty {
                let shown = directory.display().to_string();
                return Err(WrongUse(words.tell("trace-not-empty", &[("directory", &shown)])).into());
            }
        }
        other => other.with_context(|| unmade(directory))?,
    }
    // The bundle's reader has checked every name: no part of one can leave the directory.
    for name in bundle.names() {
        let Some((source, file)) = foretrace_report::trail::source_and_file(&name) else { continue };
        let folder = directory.join(source);
        fs::create_dir_all(&folder).with_context(|| unmade(&folder))?;
        let content = bundle.part(&name).map_err(StoreError::from)?;
        let file = folder.join(file);
        fs::write(&file, content).with_context(|| output::unwritable(&file, words))?;
    }
    Ok(())
}

fn without_trail(report: &Report, words: &Words) -> String {
    let why =
        report.problems.iter().find(|problem| problem.part == "trail").map(|problem| problem.what.as_str());
    match why {
        Some(why) => words.tell("trace-none-because", &[("why", why)]),
        None => words.say("trace-none"),
    }
}
