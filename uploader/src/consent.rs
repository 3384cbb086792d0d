//! Answers: who agreed to what, for one report or for a program from now on.
//!
//! Owns what an answer does to a report's directory and who may give one. A yes writes `outgoing.zip` first
//! and then the receipt for it; a no and a revocation remove `outgoing.zip`. Silence is never an answer:
//! nothing here has a default that sends. It sends nothing itself.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use foretrace_report::receipt::{self as schema, Answer, Delivery, DeliveryState, Destination, How, Receipt};
use foretrace_report::text::escape;
use foretrace_report::{ClassSet, Report};
use foretrace_store::{
    CONSENT, DELIVERY, OUTGOING, ReportDir, SEALED_OUTGOING, Settings, StandingAnswer, StandingAnswers,
};
use jiff::Timestamp;

use crate::arguments;
use crate::context::Context;
use crate::delivery::to_the_second;
use crate::output::{self, WrongUse};
use crate::{outgoing, policy, protocol, receipt, transport};

/// `foretrace consent`.
///
/// # Errors
/// No such report, an answer that may not be given, a store that cannot be written.
pub fn run(context: &Context, arguments: &arguments::Consent) -> Result<ExitCode> {
    let grants = arguments.grant.grant.is_some() || arguments.grant.only.is_some();
    if let (Some(program), Some(answer)) = (&arguments.program, arguments.set) {
        let standing = StandingAnswer { answer, max: arguments.max };
        set_standing(context, program, standing)?;
        return said(context, &format!("For {} from now on: {}.", escape(program), answer.name()));
    }
    let Some(id) = &arguments.id else {
        if grants || arguments.deny || arguments.revoke {
            return Err(WrongUse("which report? Name its ID; `foretrace list` shows them".into()).into());
        }
        return show(context);
    };
    let report = context.find(id)?;
    let short = report.id().short();
    if arguments.deny {
        deny(context, &report, How::Command)?;
        said(context, &format!("{short} will not be sent."))
    } else if arguments.revoke {
        said(context, &revoke(context, &report)?)
    } else if grants {
        let classes = outgoing::chosen(&arguments.grant, &context.settings, ClassSet::EMPTY)?;
        let receipt = grant(context, &report, classes, How::Command)?;
        said(
            context,
            &format!(
                "{short} may be sent to {} with {}. Send it with: foretrace send {short}",
                escape(&receipt.destination.url),
                receipt.classes
            ),
        )
    } else {
        Err(WrongUse(format!(
            "what is the answer for {short}? Use --grant NAME, --only CLASSES, --deny or --revoke"
        ))
        .into())
    }
}

/// Where the settings send reports.
///
/// # Errors
/// No address, or one that nothing may be sent to.
pub fn destination(settings: &Settings) -> Result<Destination> {
    let Some(url) = settings.upload.url.clone() else {
        bail!("no server is set: name one in /etc/foretrace.conf, [Upload] Url=https://…");
    };
    transport::check_address(&url)?;
    protocol::check_url(settings.upload.protocol, &url).map_err(anyhow::Error::msg)?;
    let recipient = outgoing::addressee(settings)?.map(ToString::to_string);
    Ok(Destination { url, protocol: settings.upload.protocol, recipient })
}

/// Agrees to send `classes` of a report, and writes the receipt for exactly those bytes.
///
/// # Errors
/// An administrator's no, no server, a report that was sent already, a store that cannot be read or written.
pub fn grant(context: &Context, report: &ReportDir, classes: ClassSet, how: How) -> Result<Receipt> {
    own(report)?;
    policy::forbidden(&context.settings)?;
    let classes = outgoing::allowed(classes, &context.settings)?;
    let destination = destination(&context.settings)?;
    if let Some(Delivery { state: DeliveryState::Sent, sent, .. }) = delivery(report)? {
        bail!(
            "{} was already sent on {}",
            report.id().short(),
            escape(sent.as_deref().unwrap_or("an earlier day"))
        );
    }
    let outgoing = outgoing::prepare(report, &context.settings, classes)?;
    let packed = outgoing::pack(report, &destination, classes, &outgoing)?;
    // A question would tell the server in plain what only the recipient is to know.
    let question = match context.settings.upload.ask && destination.recipient.is_none() {
        true => receipt::issue_question(report.id(), &destination, &outgoing.bytes)?,
        false => None,
    };
    // While the bytes change, no receipt may stand beside them; a crash between the writes leaves a report
    // without an answer.
    report.remove_file(CONSENT)?;
    withdraw(report)?;
    report.write_atomically(packed.name, &packed.bytes)?;
    if delivery(report)?.is_some_and(|delivery| delivery.state == DeliveryState::Refused) {
        report.remove_file(DELIVERY)?;
    }
    write(context, report, Answer::Granted(packed.receipt.clone()), question, how)?;
    Ok(packed.receipt)
}

/// Declines to send a report.
///
/// # Errors
/// Another user's report, or a store that cannot be written.
pub fn deny(context: &Context, report: &ReportDir, how: How) -> Result<()> {
    own(report)?;
    write(context, report, Answer::Denied, None, how)?;
    withdraw(report)
}

/// Removes what was to leave, plain or encrypted.
fn withdraw(report: &ReportDir) -> Result<()> {
    report.remove_file(OUTGOING)?;
    Ok(report.remove_file(SEALED_OUTGOING)?)
}

/// Takes an answer back; returns what that comes to, as sentences.
fn revoke(context: &Context, report: &ReportDir) -> Result<String> {
    own(report)?;
    let short = report.id().short();
    if read(report)?.is_none() {
        bail!("{short} has no answer that could be taken back");
    }
    write(context, report, Answer::Revoked, None, How::Command)?;
    withdraw(report)?;
    Ok(match delivery(report)? {
        Some(Delivery { state: DeliveryState::Sent, sent, remote_id, .. }) => format!(
            "The answer for {short} is taken back, but the report was sent on {} as {}: the server still has it.",
            escape(sent.as_deref().unwrap_or("an earlier day")),
            escape(remote_id.as_deref().unwrap_or("an unnamed report")),
        ),
        Some(Delivery { doubtful, .. }) if doubtful > 0 => {
            format!("{short} will not be tried again, but an earlier try may have reached the server.")
        }
        _ => format!("The answer for {short} is taken back; nothing was sent."),
    })
}

/// Takes back what a rule answered that is no longer in force, or whose time is over, unless the report is with the server already: the
/// question is open again.
///
/// # Errors
/// A store that cannot be read or written.
pub fn lapse(context: &Context, report: &ReportDir, consent: &schema::Consent) -> Result<bool> {
    let settled = [DeliveryState::Sent, DeliveryState::Refused];
    if delivery(report)?.is_some_and(|delivery| settled.contains(&delivery.state)) {
        return Ok(false);
    }
    let (answers, _) = StandingAnswers::load(&context.places);
    let by_rule = matches!(consent.how, How::Policy(_));
    let over = consent.expires.as_deref().is_some_and(|end| receipt::is_over(end, Timestamp::now()));
    let program = report.report()?.program.name;
    if !(by_rule && over) && policy::stands(&context.settings, &answers, &program, consent).is_ok() {
        return Ok(false);
    }
    report.remove_file(CONSENT)?;
    withdraw(report)?;
    Ok(true)
}

/// A report's answer, where it has one.
///
/// # Errors
/// `consent.json` cannot be read or understood.
pub fn read(report: &ReportDir) -> Result<Option<schema::Consent>> {
    parse(report, CONSENT)
}

/// What was agreed to when a report was sent. A yes that was taken back since leaves no receipt, and one for another report
/// is none.
pub fn sent_receipt(report: &ReportDir) -> Option<Receipt> {
    match read(report).ok()??.answer {
        Answer::Granted(receipt) if receipt.report == report.id() => Some(receipt),
        _ => None,
    }
}

/// What became of sending a report, where it was tried.
///
/// # Errors
/// `delivery.json` cannot be read or understood.
pub fn delivery(report: &ReportDir) -> Result<Option<Delivery>> {
    parse(report, DELIVERY)
}

fn parse<T: serde::de::DeserializeOwned>(report: &ReportDir, name: &str) -> Result<Option<T>> {
    let Some(json) = report.read(name)? else { return Ok(None) };
    serde_json::from_slice(&json).map(Some).with_context(|| {
        format!("{} is damaged: remove it to be asked again", report.path().join(name).display())
    })
}

/// Sets what happens with a program's reports from now on.
///
/// # Errors
/// Settings that lock standing answers, a limit beyond the administrator's, a state directory that cannot be
/// written.
pub fn set_standing(context: &Context, program: &str, standing: StandingAnswer) -> Result<()> {
    if context.settings.consent.lock {
        bail!("the administrator of this machine answers for all programs ([Consent] Lock=yes)");
    }
    if let Some(max) = standing.max.filter(|max| *max > context.settings.consent.max) {
        return Err(WrongUse(format!(
            "the administrator of this machine lets nobody send more than '{}' ([Consent] Max=), '{max}' is more",
            context.settings.consent.max
        ))
        .into());
    }
    let (mut answers, warnings) = StandingAnswers::load(&context.places);
    if let Some(warning) = warnings.first() {
        bail!("{warning}; move it away first, so that no answer in it is lost");
    }
    answers.set(program, standing);
    Ok(answers.save(&context.places)?)
}

/// Whether a report is this user's, who alone answers for it.
///
/// # Errors
/// It is not.
pub fn own(report: &ReportDir) -> Result<()> {
    if report.is_foreign() || report.uid() != nix::unistd::geteuid().as_raw() {
        return Err(foretrace_store::StoreError::Foreign(report.uid()).into());
    }
    Ok(())
}

fn write(
    context: &Context,
    report: &ReportDir,
    answer: Answer,
    question: Option<Receipt>,
    how: How,
) -> Result<()> {
    let asked = matches!(how, How::Prompt | How::Notification);
    let language = if asked { context.words.language().code() } else { "" };
    let now = Timestamp::now();
    let expires = match answer {
        Answer::Granted(_) => jiff::SignedDuration::try_from(context.settings.consent.expires).ok(),
        Answer::Denied | Answer::Revoked => None,
    };
    let consent = schema::Consent {
        report: report.id(),
        answer,
        who: who(),
        how,
        when: to_the_second(now),
        expires: expires.and_then(|time| now.checked_add(time).ok()).map(to_the_second),
        wording: schema::WORDING,
        language: language.to_owned(),
        question,
    };
    Ok(report.write_atomically(CONSENT, &serde_json::to_vec_pretty(&consent)?)?)
}

/// Who answers: this user's name, or the number where there is none.
pub fn who() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// Says that something is done, to a person or a program.
///
/// # Errors
/// Output that cannot be written.
pub fn said(context: &Context, sentence: &str) -> Result<ExitCode> {
    let mut out = output::standard();
    if context.json {
        output::json_line(&mut out, &serde_json::json!({ "done": sentence }))?;
    } else {
        writeln!(out, "{sentence}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Bare `foretrace consent`: who decided what.
fn show(context: &Context) -> Result<ExitCode> {
    let mut out = output::standard();
    let settings = &context.settings.consent;
    let (answers, warnings) = StandingAnswers::load(&context.places);
    warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    if context.json {
        output::json_line(
            &mut out,
            &serde_json::json!({"default": settings.default, "max": settings.max, "lock": settings.lock}),
        )?;
    } else {
        let lock = if settings.lock { "; nobody else decides" } else { "" };
        writeln!(
            out,
            "Administrator: {}, at most {}{lock}.",
            settings.default.name(),
            outgoing::widest(&context.settings)
        )?;
    }
    for (program, standing) in answers.iter() {
        let idle = if settings.lock { " (not in force: locked by the administrator)" } else { "" };
        let max = standing.max.map(|max| format!(", at most {max}")).unwrap_or_default();
        if context.json {
            output::json_line(
                &mut out,
                &serde_json::json!({"program": program, "set": standing.answer, "max": standing.max, "in_force": !settings.lock}),
            )?;
        } else {
            writeln!(out, "{}: {}{max}{idle}.", escape(program), standing.answer.name())?;
        }
    }
    for report in context.store().reports().reports {
        let answer = match read(&report) {
            Ok(answer) => answer,
            Err(error) => {
                output::complain(&format!("{}: {error:#}", report.id().short()));
                continue;
            }
        };
        if let Some(answer) = answer {
            let program = report.report().map(|report: Report| report.program.name).unwrap_or_default();
            show_answer(context, &mut out, &program, &answer)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show_answer(
    context: &Context,
    out: &mut dyn Write,
    program: &str,
    answer: &schema::Consent,
) -> Result<()> {
    let (word, receipt) = match &answer.answer {
        Answer::Granted(receipt) => ("granted", Some(receipt)),
        Answer::Denied => ("denied", None),
        Answer::Revoked => ("revoked", None),
    };
    let (how, rule) = match &answer.how {
        How::Prompt => ("prompt", None),
        How::Notification => ("notification", None),
        How::Command => ("command", None),
        How::Policy(rule) => ("policy", Some(rule)),
    };
    if context.json {
        output::json_line(
            out,
            &serde_json::json!({
                "id": answer.report, "program": program, "answer": word, "classes": receipt.map(|receipt| receipt.classes),
                "destination": receipt.map(|receipt| &receipt.destination), "who": answer.who, "how": how, "rule": rule,
                "when": answer.when,
            }),
        )?;
        return Ok(());
    }
    let what =
        receipt.map(|receipt| format!(" {} for {}", receipt.classes, escape(&receipt.destination.url)));
    let rule = rule.map(|rule| format!(" ({})", escape(rule))).unwrap_or_default();
    Ok(writeln!(
        out,
        "{} {}: {word}{} by {} through a {how}{rule}, {}",
        answer.report.short(),
        escape(program),
        what.unwrap_or_default(),
        escape(&answer.who),
        escape(&answer.when)
    )?)
}
