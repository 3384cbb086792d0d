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

/// Shows or exports a trail.
///
/// # Errors
/// Wrong arguments, no such report, no trail in it, or a file that cannot be written.
pub fn run(context: &Context, arguments: &Trace) -> Result<ExitCode> {
    let format = match (arguments.format, context.json) {
        (None, false) => TraceFormat::Text,
        (None | Some(TraceFormat::Json), _) => TraceFormat::Json,
        (Some(format), false) => format,
        (Some(_), true) => {
            return Err(WrongUse("--json and another --format exclude each other".into()).into());
        }
    };
    let last = arguments.last.as_deref().map(moment::span).transpose()?;
    let ctf_to = match (format, &arguments.output) {
        (TraceFormat::Ctf, None) => {
            return Err(WrongUse("--format ctf makes a directory: name a new one with -o DIR".into()).into());
        }
        (TraceFormat::Ctf, Some(_)) if last.is_some() => {
            let sentence = "--last works with text and json; babeltrace2 cuts a CTF trail with --begin";
            return Err(WrongUse(sentence.into()).into());
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
        return Err(NoMatch(without_trail(&report)).into());
    }
    if let Some(directory) = ctf_to {
        export(&mut bundle, directory)?;
        return Ok(ExitCode::SUCCESS);
    }
    let timeline = Timeline::read(&mut bundle, &report);
    let skipped = last.map_or(0, |span| timeline.before_last(span));
    match &arguments.output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            print(&timeline, skipped, format, Paint::plain(), &mut BufWriter::new(file))
                .with_context(|| format!("cannot write {}", path.display()))?;
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
fn export(bundle: &mut Bundle, directory: &Path) -> Result<()> {
    let shown = directory.display();
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
            if !empty {
                return Err(WrongUse(format!(
                    "{shown} exists already and is no empty directory: name a new one"
                ))
                .into());
            }
        }
        other => other.with_context(|| format!("cannot make the directory {shown}"))?,
    }
    // The bundle's reader has checked every name: no part of one can leave the directory.
    for name in bundle.names() {
        let Some((source, file)) = foretrace_report::trail::source_and_file(&name) else { continue };
        let folder = directory.join(source);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let content = bundle.part(&name).map_err(StoreError::from)?;
        fs::write(folder.join(file), content)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
    }
    Ok(())
}

fn without_trail(report: &Report) -> String {
    let why =
        report.problems.iter().find(|problem| problem.part == "trail").map(|problem| problem.what.as_str());
    match why {
        Some(why) => format!("this report has no trail: {why}"),
        None => "this report has no trail: the program recorded no events (it must link foretrace to do so)"
            .into(),
    }
}
