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
    CONSENT, DELIVERY, OUTGOING, ReportDir, SEALED_OUTGOING, StandingAnswer, StandingAnswers,
};
use jiff::Timestamp;

use crate::arguments;
use crate::context::Context;
use crate::delivery::to_the_second;
use crate::output::{self, WrongUse};
use crate::words::Words;
use crate::{delivery, outgoing, policy, protocol, receipt, transport};

/// `foretrace consent`.
///
/// # Errors
/// No such report, an answer that may not be given, a store that cannot be written.
pub fn run(context: &Context, arguments: &arguments::Consent) -> Result<ExitCode> {
    let words = &context.words;
    let grants = arguments.grant.grant.is_some() || arguments.grant.only.is_some();
    if let (Some(program), Some(answer)) = (&arguments.program, arguments.set) {
        let standing = StandingAnswer { answer, max: arguments.max };
        set_standing(context, program, standing)?;
        let answer = words.say(&format!("standing-{}", answer.name()));
        return said(
            context,
            &words.tell("consent-program", &[("program", &escape(program)), ("answer", &answer)]),
        );
    }
    let Some(id) = &arguments.id else {
        if grants || arguments.deny || arguments.revoke {
            return Err(WrongUse(words.say("consent-which")).into());
        }
        return show(context);
    };
    let report = context.find(id)?;
    let short = report.id().short();
    if arguments.deny {
        deny(context, &report, How::Command)?;
        said(context, &words.tell("consent-denied", &[("id", &short)]))
    } else if arguments.revoke {
        said(context, &revoke(context, &report)?)
    } else if grants {
        let classes = outgoing::chosen(&arguments.grant, &context.settings, ClassSet::EMPTY, words)?;
        let receipt = grant(context, &report, classes, How::Command)?;
        let (server, classes) = (escape(&receipt.destination.url), receipt.classes.to_string());
        let facts = [("id", short.as_str()), ("server", &server), ("classes", &classes)];
        said(context, &words.tell("consent-granted", &facts))
    } else {
        Err(WrongUse(words.tell("consent-what", &[("id", &short)])).into())
    }
}

/// Where the settings send reports.
///
/// # Errors
/// No address, or one that nothing may be sent to.
pub fn destination(context: &Context) -> Result<Destination> {
    let settings = &context.settings;
    let Some(url) = settings.upload.url.clone() else {
        bail!(context.words.say("consent-no-server"));
    };
    transport::check_address(&url)?;
    protocol::check_url(settings.upload.protocol, &url).map_err(anyhow::Error::msg)?;
    let recipient = outgoing::addressee(settings, &context.words)?.map(ToString::to_string);
    Ok(Destination { url, protocol: settings.upload.protocol, recipient })
}

/// Agrees to send `classes` of a report, and writes the receipt for exactly those bytes.
///
/// # Errors
/// An administrator's no, no server, a report that was sent already, a store that cannot be read or written.
pub fn grant(context: &Context, report: &ReportDir, classes: ClassSet, how: How) -> Result<Receipt> {
    own(report)?;
    let words = &context.words;
    policy::forbidden(&context.settings, words)?;
    let classes = outgoing::allowed(classes, &context.settings, words)?;
    let destination = destination(context)?;
    if let Some(Delivery { state: DeliveryState::Sent, sent, .. }) = delivery(report)? {
        let (id, when) = (report.id().short(), sent_when(words, sent.as_deref()));
        bail!(words.tell("consent-sent-before", &[("id", &id), ("when", &when)]));
    }
    let outgoing = outgoing::prepare(report, &context.settings, classes, words)?;
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
    let (words, short) = (&context.words, report.id().short());
    if read(report)?.is_none() {
        bail!(words.tell("consent-nothing", &[("id", &short)]));
    }
    write(context, report, Answer::Revoked, None, How::Command)?;
    withdraw(report)?;
    Ok(match delivery(report)? {
        Some(Delivery { state: DeliveryState::Sent, sent, remote_id, .. }) => {
            let when = sent_when(words, sent.as_deref());
            let remote = remote_id.as_deref().map_or_else(|| words.say("send-unnamed"), escape);
            let facts = [("id", short.as_str()), ("when", &when), ("remote", &remote)];
            words.tell("consent-revoked-sent", &facts)
        }
        Some(Delivery { doubtful, .. }) if doubtful > 0 => {
            words.tell("consent-revoked-doubtful", &[("id", &short)])
        }
        _ => words.tell("consent-revoked", &[("id", &short)]),
    })
}

fn sent_when(words: &Words, sent: Option<&str>) -> String {
    sent.map_or_else(
        || words.say("consent-earlier"),
        |when| words.tell("consent-on", &[("when", &escape(when))]),
    )
}

/// Takes back what a rule answered that is no longer in force, or whose time is over, unless the report is with the server already: the
/// question is open again.
///
/// # Errors
/// A store that cannot be read or written.
pub fn lapse(context: &Context, report: &ReportDir, consent: &schema::Consent) -> Result<bool> {
    // What a person answered for the report itself stands; whether it is over is found out when it is to leave.
    if !matches!(consent.how, How::Policy(_)) {
        return Ok(false);
    }
    let settled = [DeliveryState::Sent, DeliveryState::Refused];
    if delivery(report)?.is_some_and(|delivery| settled.contains(&delivery.state)) {
        return Ok(false);
    }
    let (answers, _) = StandingAnswers::load(&context.places);
    let over = consent.expires.as_deref().is_some_and(|end| receipt::is_over(end, Timestamp::now()));
    let program = report.report()?.program.name;
    if !over && policy::stands(&context.settings, &answers, &program, consent, &context.words).is_ok() {
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
    parse(report, CONSENT, |json| serde_json::from_slice(json))
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
    parse(report, DELIVERY, delivery::read)
}

fn parse<T>(
    report: &ReportDir,
    name: &str,
    parse: impl FnOnce(&[u8]) -> serde_json::Result<T>,
) -> Result<Option<T>> {
    let Some(json) = report.read(name)? else { return Ok(None) };
    parse(&json).map(Some).with_context(|| {
        format!("{} is damaged: remove it to be asked again", report.path().join(name).display())
    })
}

/// Sets what happens with a program's reports from now on.
///
/// # Errors
/// Settings that lock standing answers, a limit beyond the administrator's, a state directory that cannot be
/// written.
pub fn set_standing(context: &Context, program: &str, standing: StandingAnswer) -> Result<()> {
    let words = &context.words;
    if context.settings.consent.lock {
        bail!(words.say("consent-locked"));
    }
    if let Some(max) = standing.max.filter(|max| *max > context.settings.consent.max) {
        let (most, asked) = (context.settings.consent.max.to_string(), max.to_string());
        return Err(WrongUse(words.tell("consent-beyond", &[("most", &most), ("asked", &asked)])).into());
    }
    let (mut answers, warnings) = StandingAnswers::load(&context.places);
    if let Some(warning) = warnings.first() {
        bail!(words.tell("consent-warning", &[("warning", &warning.to_string())]));
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
    let (settings, words) = (&context.settings.consent, &context.words);
    let (answers, warnings) = StandingAnswers::load(&context.places);
    warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    if context.json {
        output::json_line(
            &mut out,
            &serde_json::json!({"default": settings.default, "max": settings.max, "lock": settings.lock}),
        )?;
    } else {
        let lock = if settings.lock { words.say("consent-nobody-else") } else { String::new() };
        let answer = words.say(&format!("standing-{}", settings.default.name()));
        let classes = outgoing::widest(&context.settings).to_string();
        let facts = [("answer", answer.as_str()), ("classes", &classes), ("lock", &lock)];
        writeln!(out, "{}", words.tell("consent-administrator", &facts))?;
    }
    for (program, standing) in answers.iter() {
        if context.json {
            output::json_line(
                &mut out,
                &serde_json::json!({"program": program, "set": standing.answer, "max": standing.max, "in_force": !settings.lock}),
            )?;
        } else {
            let idle = if settings.lock { words.say("consent-idle") } else { String::new() };
            let most = standing.max.map(|max| words.tell("consent-most", &[("most", &max.to_string())]));
            let answer = words.say(&format!("standing-{}", standing.answer.name()));
            let (program, most) = (escape(program), most.unwrap_or_default());
            let facts =
                [("program", program.as_str()), ("answer", &answer), ("most", &most), ("idle", &idle)];
            writeln!(out, "{}", words.tell("consent-standing", &facts))?;
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
    let words = &context.words;
    let how = words
        .tell(&format!("consent-{how}"), &[("rule", &rule.map_or_else(String::new, |rule| escape(rule)))]);
    let (id, program, answered) =
        (answer.report.short(), escape(program), words.say(&format!("state-{word}")));
    let (who, when) = (escape(&answer.who), escape(&answer.when));
    let mut facts = vec![
        ("id", id.as_str()),
        ("program", &program),
        ("answer", &answered),
        ("how", &how),
        ("who", &who),
        ("when", &when),
    ];
    let granted = receipt.map(|receipt| (receipt.classes.to_string(), escape(&receipt.destination.url)));
    let key = match &granted {
        Some((classes, server)) => {
            facts.extend([("classes", classes.as_str()), ("server", server)]);
            "consent-line-granted"
        }
        None => "consent-line",
    };
    Ok(writeln!(out, "{}", words.tell(key, &facts))?)
}
