//! `foretrace send`: asks about what has no answer, then sends what was agreed to.
//!
//! Owns who is asked and what is said about each report. Sending itself is [`crew`]'s, one report's steps are
//! [`attempt`]'s. Questions are asked before the uploader's lock is taken: a person thinking does not stop anybody
//! else.

mod attempt;
mod crew;
mod progress;

pub use crew::obstacle;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use foretrace_report::ReportId;
use foretrace_report::receipt::{Answer, How};
use foretrace_report::text::escape;
use foretrace_store::{ReportDir, Standing, UploaderLock};
use serde::Serialize;

use crate::asking::{self, Taken};
use crate::context::Context;
use crate::output::{self, NoMatch};
use crate::words::Words;
use crate::{arguments, consent};

/// What became of a report in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The server has it now.
    Sent,
    /// The server had it before.
    AlreadySent,
    /// Will be tried again.
    Pending,
    /// Will be tried again, and may have arrived.
    MaybeSent,
    /// Its next attempt is not due.
    NotDue,
    /// The server does not want it.
    Refused,
    /// The server did not want it before.
    AlreadyRefused,
    /// Nobody has answered.
    Unanswered,
    /// The answer is no, or a policy says never.
    Declined,
    /// It may not leave as it is.
    Blocked,
}

/// One line of what `send` says.
#[derive(Debug, Serialize)]
pub struct Line {
    id: ReportId,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_in: Option<String>,
}

impl Line {
    fn new(id: ReportId, state: State) -> Line {
        Line { id, state, remote_id: None, next: None, why: None, fixed_in: None }
    }

    fn because(id: ReportId, state: State, why: impl Into<String>) -> Line {
        Line { why: Some(why.into()), ..Line::new(id, state) }
    }

    /// Whether whoever asked for `send` should look at it. What was named is expected to arrive; a run over
    /// all reports only reports what went wrong in it.
    fn is_trouble(&self, named: bool) -> bool {
        match self.state {
            State::Sent | State::AlreadySent => false,
            State::Pending | State::MaybeSent | State::Refused | State::Blocked => true,
            State::NotDue | State::AlreadyRefused | State::Unanswered | State::Declined => named,
        }
    }

    fn sentence(&self, words: &Words) -> String {
        let id = self.id.short();
        let why = self.why.as_deref().map(|why| format!(": {}", escape(why))).unwrap_or_default();
        let next = self.next.as_deref().map(|next| words.tell("send-next", &[("when", &escape(next))]));
        let next = next.unwrap_or_default();
        let remote = self.remote_id.as_deref().map_or_else(|| words.say("send-unnamed"), escape);
        let key = match self.state {
            State::Sent => "send-sent",
            State::AlreadySent => "send-already-sent",
            State::Pending | State::Blocked => "send-not-sent",
            State::MaybeSent => "send-maybe-sent",
            State::NotDue => "send-waits",
            State::Refused => "send-refused",
            State::AlreadyRefused => "send-already-refused",
            State::Unanswered => "send-unanswered",
            State::Declined => "send-stays",
        };
        let said = words.tell(key, &[("id", &id), ("why", &why), ("next", &next), ("remote", &remote)]);
        let news = self.fixed_in.as_deref().map(escape);
        let news = news.map(|version| words.tell("send-fixed", &[("version", &version)]));
        said + &news.unwrap_or_default()
    }
}

/// `foretrace send`.
///
/// # Errors
/// No such report, or another process that is sending.
pub fn run(context: &Context, arguments: &arguments::Send) -> Result<ExitCode> {
    let named = !arguments.ids.is_empty();
    let reports = choose(context, arguments)?;
    let mut out = output::standard();
    let (mut trouble, mut silent) = (false, true);
    let mut say = |line: Line| -> io::Result<()> {
        trouble |= line.is_trouble(named);
        if context.json {
            output::json_line(&mut out, &line)?;
        } else if named || !matches!(line.state, State::AlreadySent | State::AlreadyRefused | State::Declined)
        {
            silent = false;
            writeln!(out, "{}", line.sentence(&context.words))?;
        }
        out.flush()
    };
    let mut agreed = Vec::new();
    for report in reports {
        match answered(context, &report) {
            Ok(None) => agreed.push(report),
            Ok(Some(line)) => say(line)?,
            Err(error) => say(Line::because(report.id(), State::Blocked, format!("{error:#}")))?,
        }
    }
    if !agreed.is_empty() {
        let Some(_lock) = UploaderLock::take(&context.places)? else {
            return Err(NoMatch(context.words.say("send-busy")).into());
        };
        crew::send(context, agreed, arguments.now, &mut say)?;
    }
    if silent && !context.json {
        writeln!(out, "{}", context.words.say("send-nothing"))?;
        out.flush()?;
    }
    Ok(if trouble { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The reports that are meant, oldest first, so that the first crash is the first to arrive.
fn choose(context: &Context, arguments: &arguments::Send) -> Result<Vec<ReportDir>> {
    if !arguments.ids.is_empty() {
        return arguments.ids.iter().map(|id| context.find(id)).collect();
    }
    let listing = context.store().reports();
    listing.problems.iter().for_each(|problem| output::complain(&problem.to_string()));
    Ok(listing.reports.into_iter().rev().filter(|report| !report.is_foreign()).collect())
}

/// Sees to it that a report has an answer. `None` where it may be sent; else what is to be said of it.
fn answered(context: &Context, report: &ReportDir) -> Result<Option<Line>> {
    let id = report.id();
    let answer = match consent::read(report)? {
        None => return unanswered(context, report),
        Some(consent) if consent::lapse(context, report, &consent)? => return unanswered(context, report),
        Some(consent) => consent.answer,
    };
    Ok(match answer {
        Answer::Granted(_) => None,
        Answer::Denied => Some(Line::because(id, State::Declined, context.words.say("send-declined"))),
        Answer::Revoked => Some(Line::because(id, State::Declined, context.words.say("send-revoked"))),
    })
}

fn unanswered(context: &Context, report: &ReportDir) -> Result<Option<Line>> {
    let id = report.id();
    if report.is_foreign() {
        let why = context.words.tell("send-foreign", &[("uid", &report.uid().to_string())]);
        return Ok(Some(Line::because(id, State::Blocked, why)));
    }
    let content = report.report()?;
    let policy = asking::policy(context, &content.program.name);
    let taken = match policy.standing {
        Standing::Never => Taken::Stays(policy.by),
        Standing::Always => {
            consent::grant(context, report, policy.classes, How::Policy(policy.by))?;
            Taken::Granted
        }
        Standing::Ask if !context.json && io::stdin().is_terminal() && io::stdout().is_terminal() => {
            match asking::at_terminal(context, report, &content)? {
                Some(taken) => taken,
                None => {
                    let why = context.words.say("send-asked-elsewhere");
                    return Ok(Some(Line::because(id, State::Unanswered, why)));
                }
            }
        }
        Standing::Ask => {
            let why = context.words.tell("send-how-to-answer", &[("id", &id.short())]);
            return Ok(Some(Line::because(id, State::Unanswered, why)));
        }
    };
    Ok(match taken {
        Taken::Granted => None,
        Taken::Stays(why) => Some(Line::because(id, State::Declined, why)),
        Taken::Open => Some(Line::because(id, State::Unanswered, context.words.say("send-asked-again"))),
    })
}
