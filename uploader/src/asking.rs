//! From a report without an answer to an answer: the question about it, and what an answer changes.
//!
//! The terminal and the desktop ask the same question here, and their answers are taken in the same way. What is said
//! is [`crate::prompt`]'s and the catalogue's; what an answer does to the report's directory is [`crate::consent`]'s.

use std::fs::{File, TryLockError};
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;
use foretrace_report::receipt::{How, Receipt};
use foretrace_report::text::escape;
use foretrace_report::{ClassSet, Preset, Report};
use foretrace_store::{ReportDir, Standing, StandingAnswer, StandingAnswers};
use jiff::tz::TimeZone;
use nix::sys::termios::{FlushArg, tcflush};

use crate::context::Context;
use crate::output;
use crate::policy::{self, Policy};
use crate::prompt::{self, Choice, Desk, Offer, Patient, Question};
use crate::redact::Outgoing;
use crate::{comment, consent, moment, outgoing, sentence};

/// How long a question waits for its answer.
pub const THINKING_TIME: Duration = Duration::from_secs(15 * 60);

/// What an answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It may be sent.
    Granted,
    /// It stays here; why.
    Stays(String),
    /// It will be asked again.
    Open,
}

/// What happens with a program's reports without a question.
pub fn policy(context: &Context, program: &str) -> Policy {
    let (answers, warnings) = StandingAnswers::load(&context.places);
    warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    policy::of(&context.settings, &answers, program)
}

/// This user's reports that wait for their answer, oldest first: no policy answers for them, and there is a server.
/// What cannot be read is not among them.
pub fn waiting(context: &Context) -> Vec<(ReportDir, Report)> {
    if consent::destination(context).is_err() || policy::forbidden(&context.settings, &context.words).is_err()
    {
        return Vec::new();
    }
    let (answers, _) = StandingAnswers::load(&context.places);
    let open = |report: ReportDir| {
        let unanswered = consent::own(&report).is_ok() && consent::read(&report).ok()?.is_none();
        let content = report.report().ok().filter(|_| unanswered)?;
        let policy = policy::of(&context.settings, &answers, &content.program.name);
        (policy.standing == Standing::Ask).then_some((report, content))
    };
    context.store().reports().reports.into_iter().rev().filter_map(open).collect()
}

/// The right to ask about a report: one process at a time has it, so that nobody is asked twice at once. It ends with
/// the process, however that ends.
#[derive(Debug)]
pub struct Turn {
    _bundle: File,
}

impl Turn {
    /// Takes it; `None` while somebody else asks, or where the report has been answered meanwhile.
    ///
    /// # Errors
    /// A report that cannot be opened.
    pub fn take(report: &ReportDir) -> Result<Option<Turn>> {
        let bundle = report.bundle_file()?;
        match bundle.try_lock() {
            Ok(()) if consent::read(report)?.is_none() => Ok(Some(Turn { _bundle: bundle })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

/// The question about a report.
///
/// # Errors
/// No server, or a report of which nothing can be made.
pub fn question(context: &Context, report: &ReportDir, content: &Report) -> Result<Question> {
    let destination = consent::destination(context)?;
    let carried = foretrace_report::wire::carried(destination.protocol);
    let allowed = Preset(context.settings.consent.max).classes();
    Ok(Question {
        program: sentence::program(content),
        name: content.program.name.clone(),
        when: moment::local(&content.time, &TimeZone::system()),
        happened: sentence::happened(content, &context.words),
        destination: destination.url,
        offers: offers(context, report)?,
        not_carried: allowed.iter().filter(|class| !carried.contains(*class)).collect(),
        fixed_in: mended(context, content),
        comment: comment::read(report)?,
        remembered: !context.settings.consent.lock,
    })
}

/// Drops what was typed before a question was there: it is no answer to it.
pub fn forget_keys(terminal: &File) {
    // A terminal that cannot do it has nothing to lose.
    let _ = tcflush(terminal, FlushArg::TCIFLUSH);
}

/// Asks at the terminal, and takes the answer; `None` while somebody is asked elsewhere.
///
/// # Errors
/// As [`question`] and [`take`], or a terminal that cannot be used.
pub fn at_terminal(context: &Context, report: &ReportDir, content: &Report) -> Result<Option<Taken>> {
    let Some(_turn) = Turn::take(report)? else { return Ok(None) };
    let question = question(context, report, content)?;
    let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    forget_keys(&terminal);
    let mut input = BufReader::new(Patient::new(terminal, THINKING_TIME));
    let mut desk = Terminal { context, report };
    let choice = prompt::ask(&mut input, &mut io::stdout().lock(), &question, &context.words, &mut desk)?;
    take(context, report, &content.program.name, choice, How::Prompt).map(Some)
}

/// Takes an answer; `how` says where it was given.
///
/// # Errors
/// An answer that may not be given, or a store that cannot be written.
pub fn take(context: &Context, report: &ReportDir, program: &str, choice: Choice, how: How) -> Result<Taken> {
    match choice {
        Choice::Send(classes) => {
            consent::grant(context, report, classes, how)?;
            Ok(Taken::Granted)
        }
        Choice::Always(classes) => {
            consent::grant(context, report, classes, how)?;
            let always = StandingAnswer { answer: Standing::Always, max: widest_within(classes) };
            consent::set_standing(context, program, always)?;
            Ok(Taken::Granted)
        }
        Choice::No => {
            consent::deny(context, report, how)?;
            Ok(Taken::Stays(context.words.say("send-as-said")))
        }
        Choice::Never => {
            consent::deny(context, report, how)?;
            let never = StandingAnswer { answer: Standing::Never, max: None };
            consent::set_standing(context, program, never)?;
            Ok(Taken::Stays(context.words.tell("send-never", &[("program", program)])))
        }
        Choice::Later => Ok(Taken::Open),
    }
}

/// The widest preset that holds no more than `classes`: what is sent from now on is never more than was said once.
fn widest_within(classes: ClassSet) -> Option<foretrace_report::Class> {
    Preset::ALL.into_iter().rfind(|preset| preset.classes().is_subset(classes)).map(|preset| preset.0)
}

/// Every preset that may be granted, with what would leave.
fn offers(context: &Context, report: &ReportDir) -> Result<Vec<Offer>> {
    let widest = outgoing::widest(&context.settings);
    let mut narrower = String::new();
    let mut offers = Vec::new();
    for preset in Preset::ALL.into_iter().filter(|preset| preset.classes().is_subset(widest)) {
        let (_, receipt) = drafted(context, report, preset.classes())?;
        let more = receipt.outgoing_sha256 != narrower;
        offers.push(Offer { preset, bytes: receipt.body.iter().map(|part| part.bytes).sum(), more });
        narrower = receipt.outgoing_sha256;
    }
    Ok(offers)
}

fn drafted(context: &Context, report: &ReportDir, classes: ClassSet) -> Result<(Outgoing, Receipt)> {
    let destination = consent::destination(context)?;
    let outgoing = outgoing::prepare(report, &context.settings, classes, &context.words)?;
    let receipt = outgoing::pack(report, &destination, classes, &outgoing)?.receipt;
    Ok((outgoing, receipt))
}

/// The version in which the same problem is mended, where the server said so of an earlier report. Nobody is asked
/// for it now: nothing leaves before an answer.
pub fn mended(context: &Context, content: &Report) -> Option<String> {
    let same = |other: &ReportDir| {
        other.report().is_ok_and(|other| {
            other.signature == content.signature && other.program.name == content.program.name
        })
    };
    let reports = context.store().reports().reports.into_iter().filter(|report| !report.is_foreign());
    let said = |report: ReportDir| {
        let version = consent::delivery(&report).ok()??.known?.fixed_in?;
        same(&report).then_some(version)
    };
    if content.signature.is_empty() { None } else { reports.filter_map(said).next() }
}

/// What is done while the question stands at a terminal.
struct Terminal<'a> {
    context: &'a Context,
    report: &'a ReportDir,
}

impl Desk for Terminal<'_> {
    fn preview(&mut self, classes: ClassSet) -> String {
        match drafted(self.context, self.report, classes) {
            Ok((outgoing, receipt)) => outgoing::describe(&outgoing, &receipt, &self.context.words),
            Err(error) => {
                let why = escape(&format!("{error:#}"));
                self.context.words.tell("preview-failed", &[("why", &why)])
            }
        }
    }

    fn comment(&mut self, text: Option<&str>) -> io::Result<()> {
        comment::write(self.report, text, &self.context.words).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_never_more_than_what_was_said_once() {
        let widest = |set: &str| widest_within(set.parse().unwrap()).unwrap().name();
        assert_eq!(widest("summary,stack,trail"), "trail");
        assert_eq!(widest("summary,trail"), "summary");
        assert_eq!(widest("summary,stack,memory"), "stack");
    }
}
