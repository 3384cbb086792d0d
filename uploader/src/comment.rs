//! What a person writes about a report: kept beside it, and part of what leaves from the next answer on.
//!
//! Owns the file and `foretrace comment`. The words leave as they were written, with no rule applied to them: whoever
//! wrote them saw them. Before a report is sent they wait for its answer; afterwards they are a transmission of their own,
//! and writing them is the yes to it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use foretrace_report::receipt::{Answer, DeliveryState, How};
use foretrace_report::text::escape;
use foretrace_report::wire::foretrace::COMMENT_LIMIT;
use foretrace_store::{COMMENT, LATE_COMMENT, ReportDir};

use crate::arguments::Comment;
use crate::context::Context;
use crate::delivery::Outcome;
use crate::output::{self, WrongUse};
use crate::transport::Transport;
use crate::words::Words;
use crate::{consent, outgoing, policy, receipt};

/// The longest comment, in bytes.
pub const LIMIT: usize = COMMENT_LIMIT;

/// The comment on a report, where there is one.
///
/// # Errors
/// It cannot be read or is no text.
pub fn read(report: &ReportDir) -> Result<Option<String>> {
    let Some(text) = report.read(COMMENT)? else { return Ok(None) };
    let text = String::from_utf8(text)
        .with_context(|| format!("{} is no text: remove it", report.path().join(COMMENT).display()))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Keeps a comment on a report; none takes it back.
///
/// # Errors
/// One that is too long, or a report that is not this user's.
pub fn write(report: &ReportDir, text: Option<&str>, words: &Words) -> Result<()> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) if text.len() > LIMIT => {
            Err(WrongUse(wrong_length("comment-too-long", text, words)).into())
        }
        Some(text) => Ok(report.write_atomically(COMMENT, text.as_bytes())?),
        None => Ok(report.remove_file(COMMENT)?),
    }
}

fn wrong_length(key: &str, text: &str, words: &Words) -> String {
    words.tell(key, &[("limit", &LIMIT.to_string()), ("bytes", &text.len().to_string())])
}

/// `foretrace comment`.
///
/// # Errors
/// No such report, a comment that is too long, or a server that takes none.
pub fn run(context: &Context, arguments: &Comment) -> Result<ExitCode> {
    let report = context.find(&arguments.id)?;
    let (words, short) = (&context.words, report.id().short());
    consent::own(&report)?;
    if arguments.text.is_none() && !arguments.remove {
        return show(context, &report);
    }
    if consent::delivery(&report)?.is_some_and(|delivery| delivery.state == DeliveryState::Sent) {
        return match arguments.text.as_deref() {
            Some(text) => add(context, &report, text),
            None => bail!(words.tell("comment-cannot-be-taken-back", &[("id", &short)])),
        };
    }
    let before = read(&report)?;
    write(&report, arguments.text.as_deref(), words)?;
    let key = if arguments.text.is_some() { "comment-kept" } else { "comment-removed" };
    let mut said = words.tell(key, &[("id", &short)]);
    // A yes was one for other bytes; whoever gave it adds to it here.
    if let Some(Answer::Granted(receipt)) = consent::read(&report)?.map(|consent| consent.answer) {
        let agreed = outgoing::allowed(receipt.classes, &context.settings, words)
            .and_then(|classes| consent::grant(context, &report, classes, How::Command));
        if let Err(error) = agreed {
            write(&report, before.as_deref(), words)?;
            return Err(error.context(words.say("comment-not-kept")));
        }
        said = format!("{said} {}", words.say("comment-covered"));
    }
    consent::said(context, &said)
}

/// Sends a comment after its report.
fn add(context: &Context, report: &ReportDir, text: &str) -> Result<ExitCode> {
    let (words, short, text) = (&context.words, report.id().short(), text.trim());
    if text.is_empty() || text.len() > LIMIT {
        return Err(WrongUse(wrong_length("comment-wrong-length", text, words)).into());
    }
    policy::forbidden(&context.settings, words)?;
    let sent =
        consent::sent_receipt(report).with_context(|| words.tell("comment-nowhere", &[("id", &short)]))?;
    let server = escape(&sent.destination.url);
    let Some(agreed) = receipt::issue_comment(&sent, text) else {
        bail!(words.tell("comment-not-taken", &[("id", &short), ("server", &server)]));
    };
    let token = outgoing::erasure_token(report)?.with_context(|| words.say("forget-no-token"))?;
    report.write_atomically(LATE_COMMENT, &serde_json::to_vec_pretty(&agreed)?)?;
    let request =
        receipt::comment(&agreed, text, &token).with_context(|| words.say("comment-other-words"))?;
    let mut transport =
        Transport::for_one(&context.settings.upload).with_context(|| words.say("no-connection"))?;
    let why = match transport.exchange(request, |_| {}) {
        Outcome::Answered(answer) => match answer.status {
            200..=299 => {
                write(report, Some(text), words)?;
                let facts = [("id", short.as_str()), ("server", &server)];
                return consent::said(context, &words.tell("comment-sent", &facts));
            }
            404 | 410 => words.tell("comment-no-report", &[("server", &server)]),
            429 => words.tell("comment-too-many", &[("server", &server)]),
            status => words.tell("comment-answers", &[("server", &server), ("status", &status.to_string())]),
        },
        Outcome::Unreached { why } | Outcome::Broken { why, .. } => why,
    };
    bail!(words.tell("comment-not-sent", &[("why", &why)]))
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
            writeln!(out, "{}", context.words.tell("comment-none", &[("id", &report.id().short())]))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
