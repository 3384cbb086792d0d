//! `foretrace send`: asks about what has no answer, then sends what was agreed to, one report after the
//! other.
//!
//! Owns the order of steps for a report: answer, policy, cap, receipt, a note that an attempt begins, the
//! attempt, a note of how it ended. A process killed at any step leaves the report here, and either no
//! attempt or one that counts as doubtful. Questions are asked before the uploader's lock is taken: a person
//! thinking does not stop anybody else.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use foretrace_report::receipt::{Answer, CHUNK, Delivery, DeliveryState, How, Receipt};
use foretrace_report::text::escape;
use foretrace_report::{ClassSet, Preset, Report, ReportId};
use foretrace_store::{
    DELIVERY, OUTGOING, ReportDir, Standing, StandingAnswer, StandingAnswers, UploaderLock,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::sys::termios::{FlushArg, tcflush};
use serde::Serialize;

use crate::arguments;
use crate::context::Context;
use crate::output::{self, NoMatch};
use crate::prompt::{self, Choice, Offer, Patient, Question};
use crate::receipt::Verified;
use crate::transport::{Patience, Transport};
use crate::{consent, delivery, moment, outgoing, policy, receipt, sentence};

/// How long a question waits for its answer.
const THINKING_TIME: Duration = Duration::from_secs(15 * 60);

/// What became of a report in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
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
struct Line {
    id: ReportId,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Line {
    fn new(id: ReportId, state: State) -> Line {
        Line { id, state, remote_id: None, next: None, why: None }
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

    fn sentence(&self) -> String {
        let id = self.id.short();
        let why = self.why.as_deref().map(|why| format!(": {}", escape(why))).unwrap_or_default();
        let next =
            self.next.as_deref().map(|next| format!("; next attempt {}", escape(next))).unwrap_or_default();
        let remote = escape(self.remote_id.as_deref().unwrap_or("an unnamed report"));
        match self.state {
            State::Sent => format!("{id} sent as {remote}"),
            State::AlreadySent => format!("{id} was sent before, as {remote}"),
            State::Pending => format!("{id} not sent{why}{next}"),
            State::MaybeSent => format!("{id} may have been sent{why}{next}"),
            State::NotDue => format!("{id} waits{why}{next} (foretrace send --now {id} does not wait)"),
            State::Refused => format!("{id} refused by the server{why}"),
            State::AlreadyRefused => format!("{id} was refused by the server before{why}"),
            State::Unanswered => format!("{id} has no answer yet{why}"),
            State::Declined => format!("{id} stays here{why}"),
            State::Blocked => format!("{id} not sent{why}"),
        }
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
            writeln!(out, "{}", line.sentence())?;
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
            return Err(NoMatch(
                "another foretrace of yours is sending just now: try again when it has finished".into(),
            )
            .into());
        };
        let mut transport = Transport::new(Patience::default()).context("cannot prepare a connection")?;
        for report in agreed {
            let line = deliver(context, &report, arguments.now, &mut transport)
                .unwrap_or_else(|error| Line::because(report.id(), State::Blocked, format!("{error:#}")));
            say(line)?;
        }
    }
    if silent && !context.json {
        writeln!(out, "Nothing to send.")?;
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
        Some(consent) => consent.answer,
    };
    Ok(match answer {
        Answer::Granted(_) => None,
        Answer::Denied => Some(Line::because(id, State::Declined, "sending it was declined")),
        Answer::Revoked => {
            Some(Line::because(id, State::Declined, "the agreement to send it was taken back"))
        }
    })
}

fn unanswered(context: &Context, report: &ReportDir) -> Result<Option<Line>> {
    let id = report.id();
    if report.is_foreign() {
        let why = format!("it belongs to the user with ID {}, who alone may answer", report.uid());
        return Ok(Some(Line::because(id, State::Blocked, why)));
    }
    let content = report.report()?;
    let (answers, warnings) = StandingAnswers::load(&context.places);
    warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    let policy = policy::of(&context.settings, &answers, &content.program.name);
    match policy.standing {
        Standing::Never => Ok(Some(Line::because(id, State::Declined, policy.by))),
        Standing::Always => {
            consent::grant(context, report, policy.classes, How::Policy(policy.by))?;
            Ok(None)
        }
        Standing::Ask if !context.json && io::stdin().is_terminal() && io::stdout().is_terminal() => {
            ask(context, report, &content)
        }
        Standing::Ask => {
            let why = format!("foretrace consent {} --grant trail would send the usual", id.short());
            Ok(Some(Line::because(id, State::Unanswered, why)))
        }
    }
}

fn ask(context: &Context, report: &ReportDir, content: &Report) -> Result<Option<Line>> {
    let id = report.id();
    let destination = consent::destination(&context.settings)?;
    let question = Question {
        program: sentence::program(content),
        name: content.program.name.clone(),
        when: moment::local(&content.time, &TimeZone::system()),
        happened: sentence::happened(content),
        destination: destination.url.clone(),
        offers: offers(context, report)?,
        not_carried: Preset(context.settings.consent.max)
            .classes()
            .iter()
            .filter(|class| !receipt::carried(destination.protocol).contains(*class))
            .collect(),
    };
    let mut preview = |classes: ClassSet| match drafted(context, report, classes) {
        Ok((outgoing, receipt)) => outgoing::describe(&outgoing, &receipt),
        Err(error) => format!("It cannot be shown: {}", escape(&format!("{error:#}"))),
    };
    let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // What was typed before the question was there is no answer to it. A terminal that cannot do it has
    // nothing to lose.
    let _ = tcflush(&terminal, FlushArg::TCIFLUSH);
    let mut input = BufReader::new(Patient::new(terminal, THINKING_TIME));
    let choice = prompt::ask(&mut input, &mut io::stdout().lock(), &question, &mut preview)?;
    match choice {
        Choice::Send(classes) => {
            consent::grant(context, report, classes, How::Prompt)?;
            Ok(None)
        }
        Choice::No => {
            consent::deny(report, How::Prompt)?;
            Ok(Some(Line::because(id, State::Declined, "as you said")))
        }
        Choice::Never => {
            consent::deny(report, How::Prompt)?;
            let never = StandingAnswer { answer: Standing::Never, max: None };
            consent::set_standing(context, &content.program.name, never)?;
            let why = format!(
                "nothing of {0} will be sent; to be asked again: foretrace consent --program {0} --set ask",
                content.program.name
            );
            Ok(Some(Line::because(id, State::Declined, why)))
        }
        Choice::Later => Ok(Some(Line::because(id, State::Unanswered, "you will be asked again"))),
    }
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

fn drafted(
    context: &Context,
    report: &ReportDir,
    classes: ClassSet,
) -> Result<(crate::redact::Outgoing, Receipt)> {
    let destination = consent::destination(&context.settings)?;
    let outgoing = outgoing::prepare(report, &context.settings, classes)?;
    let receipt = receipt::issue(report.id(), &destination, classes, &outgoing.bytes)?;
    Ok((outgoing, receipt))
}

/// Sends one report whose answer is a yes. Everything is read again under the lock: the answer may have been
/// taken back.
fn deliver(context: &Context, report: &ReportDir, now: bool, transport: &mut Transport) -> Result<Line> {
    let id = report.id();
    let before = consent::delivery(report)?;
    if let Some(line) = before.as_ref().and_then(|before| settled(id, before, now)) {
        return Ok(line);
    }
    let verified = match verified(context, report) {
        Ok(verified) => verified,
        Err(error) => return Ok(Line::because(id, State::Blocked, format!("{error:#}"))),
    };
    let begun = delivery::begun(before.as_ref(), Timestamp::now(), jitter()?);
    write(report, &begun)?;
    let progress = progress(id, verified.length());
    let outcome = transport.post(verified, progress);
    let verdict = delivery::judge(&outcome, Timestamp::now());
    let ended = delivery::ended(&begun, &verdict, Timestamp::now(), jitter()?);
    write(report, &ended).context("the attempt is over, but how it ended could not be written down")?;
    Ok(Line {
        id,
        state: match ended.state {
            DeliveryState::Sent => State::Sent,
            DeliveryState::Pending => State::Pending,
            DeliveryState::MaybeSent => State::MaybeSent,
            DeliveryState::Refused => State::Refused,
        },
        remote_id: ended.remote_id,
        next: ended.next,
        why: ended.why,
    })
}

/// What is to be said of a report that is not tried in this run.
fn settled(id: ReportId, before: &Delivery, now: bool) -> Option<Line> {
    let line = |state| Line {
        id,
        state,
        remote_id: before.remote_id.clone(),
        next: before.next.clone(),
        why: before.why.clone(),
    };
    match before.state {
        DeliveryState::Sent => Some(line(State::AlreadySent)),
        DeliveryState::Refused => Some(line(State::AlreadyRefused)),
        DeliveryState::Pending | DeliveryState::MaybeSent if now => None,
        DeliveryState::Pending | DeliveryState::MaybeSent => {
            delivery::remaining(before, Timestamp::now()).map(|_| line(State::NotDue))
        }
    }
}

/// The bytes that were agreed to, checked in the memory from which they are then sent.
fn verified(context: &Context, report: &ReportDir) -> Result<Verified> {
    policy::forbidden(&context.settings)?;
    let destination = consent::destination(&context.settings)?;
    let consent = consent::read(report)?.context("nobody has agreed to send it")?;
    if let Answer::Granted(receipt) = &consent.answer {
        // The limit may have become narrower since the answer was given.
        outgoing::allowed(receipt.classes, &context.settings)?;
    }
    let outgoing = report.read(OUTGOING)?.context(
        "outgoing.zip, the bytes that were agreed to, is gone: answer again with `foretrace consent`",
    )?;
    Ok(Verified::check(&consent, report.id(), &outgoing, &destination)?)
}

fn write(report: &ReportDir, delivery: &Delivery) -> Result<()> {
    Ok(report.write_atomically(DELIVERY, &serde_json::to_vec_pretty(delivery)?)?)
}

fn jitter() -> Result<u64> {
    Ok(foretrace_store::random_id()?.bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Shows how far a large body has come, where somebody watches.
fn progress(id: ReportId, length: u64) -> impl FnMut(u64) + Send + Sync + Unpin + 'static {
    let shown = length > CHUNK as u64 && io::stderr().is_terminal();
    let mut last = None;
    move |handed| {
        let percent = handed.saturating_mul(100) / length.max(1);
        if shown && last.replace(percent) != Some(percent) {
            let end = if handed == length { "\n" } else { "" };
            // A progress bar that cannot be shown is no reason to stop.
            let _ =
                write!(io::stderr(), "\r  {} {percent:3} % of {}{end}", id.short(), sentence::size(length));
        }
    }
}
