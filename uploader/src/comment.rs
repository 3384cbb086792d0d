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
use crate::{consent, outgoing, policy, receipt};

/// The longest comment, in bytes.
pub const LIMIT: usize = COMMENT_LIMIT;

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
/// No such report, a comment that is too long, or a server that takes none.
pub fn run(context: &Context, arguments: &Comment) -> Result<ExitCode> {
    let report = context.find(&arguments.id)?;
    let short = report.id().short();
    consent::own(&report)?;
    if arguments.text.is_none() && !arguments.remove {
        return show(context, &report);
    }
    if consent::delivery(&report)?.is_some_and(|delivery| delivery.state == DeliveryState::Sent) {
        return match arguments.text.as_deref() {
            Some(text) => add(context, &report, text),
            None => bail!(
                "{short} was already sent: what its server has cannot be taken back, only erased with the report"
            ),
        };
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

/// Sends a comment after its report.
fn add(context: &Context, report: &ReportDir, text: &str) -> Result<ExitCode> {
    let (short, text) = (report.id().short(), text.trim());
    if text.is_empty() || text.len() > LIMIT {
        return Err(WrongUse(format!(
            "a comment has between 1 and {LIMIT} bytes; this one has {}",
            text.len()
        ))
        .into());
    }
    policy::forbidden(&context.settings)?;
    let sent = consent::sent_receipt(report).with_context(|| {
        format!("{short} was already sent, and no receipt says where: a comment has nowhere to go")
    })?;
    let server = escape(&sent.destination.url);
    let Some(agreed) = receipt::issue_comment(&sent, text) else {
        bail!("{short} was already sent, and {server} takes no later comment: write to whoever runs it");
    };
    let token =
        outgoing::erasure_token(report)?.context("the salt from which the report's token is made is gone")?;
    report.write_atomically(LATE_COMMENT, &serde_json::to_vec_pretty(&agreed)?)?;
    let request = receipt::comment(&agreed, text, &token).context("the receipt is for other words")?;
    let mut transport =
        Transport::for_one(&context.settings.upload).context("cannot prepare a connection")?;
    let why = match transport.exchange(request, |_| {}) {
        Outcome::Answered(answer) => match answer.status {
            200..=299 => {
                write(report, Some(text))?;
                return consent::said(
                    context,
                    &format!("The comment on {short} was sent to {server}, as you wrote it."),
                );
            }
            404 | 410 => format!("{server} has no such report any more"),
            429 => format!("{server} takes no more comments just now (status 429)"),
            status => format!("{server} answers {status}"),
        },
        Outcome::Unreached { why } | Outcome::Broken { why, .. } => why,
    };
    bail!("the comment was not sent, and is not kept: {why}")
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
