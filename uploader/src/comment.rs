//! What a person writes about a report: kept beside it, and part of what leaves from the next answer on.
//!
//! Owns the file and `foretrace comment`. The words leave as they were written, with no rule applied to them: whoever
//! wrote them saw them. It sends nothing itself.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use foretrace_report::receipt::{Answer, DeliveryState, How};
use foretrace_report::text::escape;
use foretrace_store::{COMMENT, ReportDir};

use crate::arguments::Comment;
use crate::context::Context;
use crate::output::{self, WrongUse};
use crate::{consent, outgoing};

/// The longest comment, in bytes.
pub const LIMIT: usize = 2000;

/// The comment on a report, where there is one.
///
/// # Errors
/// It cannot be read or is no text.
pub fn read(report: &ReportDir) -> Result<Option<String>> {
    let Some(text) = report.read(COMMENT)? else { return Ok(None) };
    let damaged = || format!("{} is no text: remove it", report.path().join(COMMENT).display());
    Ok(Some(String::from_utf8(text).with_context(damaged)?).filter(|text| !text.is_empty()))
}

/// Keeps a comment on a report; none takes it back.
///
/// # Errors
/// One that is too long, or a report that is not this user's.
pub fn write(report: &ReportDir, text: Option<&str>) -> Result<()> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) if text.len() > LIMIT => {
            Err(WrongUse(format!("a comment has at most {LIMIT} bytes; this one has {}", text.len())).into())
        }
        Some(text) => Ok(report.write_atomically(COMMENT, text.as_bytes())?),
        None => Ok(report.remove_file(COMMENT)?),
    }
}

/// `foretrace comment`.
///
/// # Errors
/// No such report, one that was sent already, a comment that is too long.
pub fn run(context: &Context, arguments: &Comment) -> Result<ExitCode> {
    let report = context.find(&arguments.id)?;
    let short = report.id().short();
    consent::own(&report)?;
    if arguments.text.is_none() && !arguments.remove {
        return show(context, &report);
    }
    if consent::delivery(&report)?.is_some_and(|delivery| delivery.state == DeliveryState::Sent) {
        bail!("{short} was already sent: its server takes no further comment on it");
    }
    let before = read(&report)?;
    write(&report, arguments.text.as_deref())?;
    let mut said = match &arguments.text {
        Some(_) => format!("The comment will leave with {short}, as you wrote it."),
        None => format!("{short} has no comment now."),
    };
    // A yes was one for other bytes; whoever gave it adds to it here.
    if let Some(Answer::Granted(receipt)) = consent::read(&report)?.map(|consent| consent.answer) {
        let agreed = outgoing::allowed(receipt.classes, &context.settings)
            .and_then(|classes| consent::grant(context, &report, classes, How::Command));
        if let Err(error) = agreed {
            write(&report, before.as_deref())?;
            return Err(error.context("the comment was not kept"));
        }
        said += " Your earlier yes covers it.";
    }
    consent::said(context, &said)
}

fn show(context: &Context, report: &ReportDir) -> Result<ExitCode> {
    let comment = read(report)?;
    let mut out = output::standard();
    match (&comment, context.json) {
        (_, true) => {
            output::json_line(&mut out, &serde_json::json!({"id": report.id(), "comment": comment}))?;
        }
        (Some(comment), false) => writeln!(out, "{}", escape(comment))?,
        (None, false) => {
            writeln!(out, "No comment yet; to add one: foretrace comment {} TEXT", report.id().short())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
