//! One report's way out: answer, cap, receipt, the question before it, a note that an attempt begins, the attempt, a
//! note of how it ended.
//!
//! A process killed at any step leaves the report here, and either no attempt or one that counts as doubtful.
//! Everything is read again under the uploader's lock: the answer may have been taken back.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result};
use foretrace_report::ReportId;
use foretrace_report::receipt::{Answer, Consent, Delivery, DeliveryState, How, Known, Phase, Protocol};
use foretrace_store::{DELIVERY, Durable, OUTGOING, ReportDir, SEALED_OUTGOING, StandingAnswers};
use jiff::Timestamp;

use super::crew::Round;
use super::{Line, State};
use crate::context::Context;
use crate::delivery::Verdict;
use crate::receipt::Agreed;
use crate::{consent, delivery, outgoing, policy, protocol, receipt};

/// Sends one report whose answer is a yes.
///
/// # Errors
/// A report directory that cannot be read or written.
pub fn deliver(context: &Context, report: &ReportDir, round: &Round) -> Result<Line> {
    let id = report.id();
    let before = consent::delivery(report)?;
    if let Some(line) = before.as_ref().and_then(|before| settled(id, before, round.now)) {
        return Ok(line);
    }
    if let Some(why) = round.obstacle {
        // Nothing is written down: it is due as soon as the network is another.
        return Ok(Line::because(id, State::NotDue, why));
    }
    if let Some(line) = put_off(report, before.as_ref(), round)? {
        return Ok(line);
    }
    let found = answer(context, report).and_then(|consent| {
        let agreed = agreed(context, report, Phase::Report, &consent)?;
        Ok((consent, agreed))
    });
    let (consent, agreed) = match found {
        Ok(found) => found,
        Err(error) => return Ok(Line::because(id, State::Blocked, format!("{error:#}"))),
    };
    let known = before.as_ref().and_then(|before| before.known.clone());
    let known = match known {
        None => asked(context, report, &consent, round)?,
        known => known,
    };
    let mut begun = delivery::begun(before.as_ref(), Timestamp::now(), jitter()?);
    begun.known.clone_from(&known);
    let agreed = match known.map(|known| narrowed(context, report, &consent, &known)).transpose()?.flatten() {
        None => agreed,
        Some(Narrowed::Nothing) => {
            let why = delivery::ENOUGH.to_owned();
            let ended = delivery::ended(&begun, &Verdict::Refused { why }, Timestamp::now(), 0);
            let ended = Delivery { attempts: ended.attempts - 1, ..ended };
            write(report, &ended, round.durable)?;
            return Ok(line(id, State::Refused, &ended));
        }
        Some(Narrowed::To(agreed)) => *agreed,
    };
    let mut transport = round.transport();
    // The server may have asked for a pause, or the answer been taken back, while others were on their way.
    if let Some(line) = put_off(report, before.as_ref(), round)? {
        return Ok(line);
    }
    if let Err(torn) = agreed.stands() {
        return Ok(Line::because(id, State::Blocked, torn.to_string()));
    }
    write(report, &begun, durability(&begun, agreed.protocol(), round))?;
    // An upload that can be gone on with is noted as soon as the server has named it.
    let noted = RefCell::new(begun);
    let mut note = |upload: &foretrace_report::receipt::Upload| {
        let mut noted = noted.borrow_mut();
        noted.upload = Some(upload.clone());
        // Without the note a later run begins anew, which loses time and no report.
        let _ = write(report, &noted, Durable::Later);
    };
    let meter = round.progress.meter(id, agreed.length());
    let going_on = before.as_ref().and_then(|before| before.upload.as_ref());
    let judged = protocol::deliver(&agreed, &mut transport, going_on, &mut note, move |handed| {
        meter.show(handed);
    });
    round.learn(&judged, Timestamp::now());
    drop(transport);
    let ended = delivery::ended(&noted.into_inner(), &judged.verdict, Timestamp::now(), jitter()?);
    write(report, &ended, round.durable)
        .context("the attempt is over, but how it ended could not be written down")?;
    let state = match ended.state {
        DeliveryState::Sent => State::Sent,
        DeliveryState::Pending => State::Pending,
        DeliveryState::MaybeSent => State::MaybeSent,
        DeliveryState::Refused => State::Refused,
    };
    Ok(line(id, state, &ended))
}

/// That an attempt was made has to outlast a power cut, unless the server keeps a second one once. What the note says may be
/// lost in one, but not how many attempts before were doubtful.
fn durability(begun: &Delivery, protocol: Protocol, round: &Round) -> Durable {
    match round.durable {
        Durable::Later if protocol.keeps_once() => Durable::Later,
        _ if begun.doubtful > 1 => Durable::Content,
        _ => Durable::Name,
    }
}

/// Leaves a report alone where the server asked for that, or cannot be reached.
fn put_off(report: &ReportDir, before: Option<&Delivery>, round: &Round) -> Result<Option<Line>> {
    let Some((why, wait)) = round.held(Timestamp::now()) else { return Ok(None) };
    let delivery = delivery::put_off(before, &why, Timestamp::now(), wait);
    write(report, &delivery, round.durable)?;
    Ok(Some(line(report.id(), State::NotDue, &delivery)))
}

/// What is to be said of a report that is not tried in this run.
fn settled(id: ReportId, before: &Delivery, now: bool) -> Option<Line> {
    match before.state {
        DeliveryState::Sent => Some(line(id, State::AlreadySent, before)),
        DeliveryState::Refused => Some(line(id, State::AlreadyRefused, before)),
        DeliveryState::Pending | DeliveryState::MaybeSent if now => None,
        DeliveryState::Pending | DeliveryState::MaybeSent => {
            delivery::remaining(before, Timestamp::now()).map(|_| line(id, State::NotDue, before))
        }
    }
}

fn line(id: ReportId, state: State, delivery: &Delivery) -> Line {
    Line {
        id,
        state,
        remote_id: delivery.remote_id.clone(),
        next: delivery.next.clone(),
        why: delivery.why.clone(),
        fixed_in: delivery.known.as_ref().and_then(|known| known.fixed_in.clone()),
    }
}

/// The bytes that were agreed to, checked in the file from which they are then sent.
fn agreed(context: &Context, report: &ReportDir, phase: Phase, consent: &Consent) -> Result<Agreed> {
    policy::forbidden(&context.settings, &context.words)?;
    let destination = consent::destination(context)?;
    if matches!(consent.how, How::Policy(_)) {
        let (answers, _) = StandingAnswers::load(&context.places);
        let program = report.report()?.program.name;
        policy::stands(&context.settings, &answers, &program, consent, &context.words)?;
    }
    let mut name = OUTGOING;
    if let Answer::Granted(receipt) = &consent.answer {
        // The limit may have become narrower since the answer was given.
        outgoing::allowed(receipt.classes, &context.settings, &context.words)?;
        if receipt.sealed.is_some() {
            name = SEALED_OUTGOING;
        }
    }
    let outgoing = report.open(name)?.with_context(|| context.words.tell("send-gone", &[("file", name)]))?;
    Ok(receipt::check(consent, phase, report.id(), outgoing, &destination, Timestamp::now())?)
}

fn answer(context: &Context, report: &ReportDir) -> Result<Consent> {
    consent::read(report)?.with_context(|| context.words.say("send-no-yes"))
}

/// What the server knows about the signature, where it may be asked and answers. One answer is good for all
/// reports of a round that ask the same.
fn asked(context: &Context, report: &ReportDir, consent: &Consent, round: &Round) -> Result<Option<Known>> {
    let Some(question) = consent.question.as_ref().filter(|_| context.settings.upload.ask) else {
        return Ok(None);
    };
    let Some(part) = question.body.first() else { return Ok(None) };
    if let Some(known) = round.known(&part.sha256) {
        return Ok(known);
    }
    // What may not be asked is not asked; whether the report may leave is found out by itself.
    let Ok(agreed) = agreed(context, report, Phase::Question, consent) else { return Ok(None) };
    let known = protocol::question::ask(&agreed, &mut round.transport());
    round.remember(&part.sha256, known.clone());
    Ok(known)
}

/// What is left to be sent when the server wants less than was granted.
enum Narrowed {
    Nothing,
    To(Box<Agreed>),
}

fn narrowed(
    context: &Context,
    report: &ReportDir,
    consent: &Consent,
    known: &Known,
) -> Result<Option<Narrowed>> {
    let Answer::Granted(receipt) = &consent.answer else { return Ok(None) };
    if receipt.classes.is_subset(known.wants) {
        return Ok(None);
    }
    let wanted = receipt.classes.intersection(known.wants);
    if !wanted.contains(foretrace_report::Class::Summary) {
        return Ok(Some(Narrowed::Nothing));
    }
    // Less than was agreed to, to the same server: the same answer covers it.
    consent::grant(context, report, wanted, consent.how.clone())?;
    let narrower = answer(context, report)?;
    Ok(Some(Narrowed::To(Box::new(agreed(context, report, Phase::Report, &narrower)?))))
}

fn write(report: &ReportDir, delivery: &Delivery, durable: Durable) -> Result<()> {
    Ok(report.replace(DELIVERY, &serde_json::to_vec_pretty(delivery)?, durable)?)
}

fn jitter() -> Result<u64> {
    Ok(foretrace_store::random_id()?.bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The pause that a server which cannot be reached is given in this run.
pub const UNREACHABLE: Duration = Duration::from_secs(60);
