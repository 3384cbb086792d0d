//! `forget`: erases reports from this machine, and their copies where they were sent to.
//!
//! A copy is asked for first, because only this machine has the token that erases it: a report whose server cannot be
//! reached just now stays, so that it can be tried again.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use foretrace_report::receipt::DeliveryState;
use foretrace_report::text::escape;
use foretrace_store::{ERASURE, ReportDir, UploaderLock};
use serde_json::json;

use crate::arguments::Forget;
use crate::context::Context;
use crate::delivery::Outcome;
use crate::state::{Document, State};
use crate::transport::Transport;
use crate::words::Words;
use crate::{consent, outgoing, output, receipt};

/// What is known of the copy at a server.
enum Copy {
    /// It never left.
    None,
    /// It is erased there.
    Erased(String),
    /// It cannot be erased from here; a sentence.
    Beyond(String),
    /// It could be, but not now; a sentence.
    Later(String),
}

impl Copy {
    fn name(&self) -> &'static str {
        match self {
            Copy::None => "none",
            Copy::Erased(_) => "erased",
            Copy::Beyond(_) => "not-reached",
            Copy::Later(_) => "later",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Copy::Beyond(why) | Copy::Later(why) => Some(why),
            Copy::None | Copy::Erased(_) => None,
        }
    }
}

/// Erases the named reports. All are found before the first one goes.
///
/// # Errors
/// No such report, one that is being sent, or one that cannot be erased.
pub fn run(context: &Context, arguments: &Forget) -> Result<ExitCode> {
    let store = context.store();
    let found = arguments.ids.iter().map(|id| context.find_in(&store, id)).collect::<Result<Vec<_>>>()?;
    let _lock = UploaderLock::take(&context.places)?.with_context(|| context.words.say("send-busy"))?;
    let mut out = output::standard();
    let mut code = ExitCode::SUCCESS;
    for report in found {
        let id = report.id();
        let left = was_sent(&report);
        let copy = match (left, arguments.here) {
            (false, _) => Copy::None,
            (true, true) => Copy::Beyond(context.words.say("forget-here")),
            (true, false) => erase_copy(context, &report)?,
        };
        let erased = !matches!(copy, Copy::Later(_));
        if erased {
            let failed = || context.words.tell("forget-cannot", &[("id", &id.to_string())]);
            report.remove().with_context(failed)?;
        } else {
            code = ExitCode::FAILURE;
        }
        if context.json {
            let said = json!({
                "id": id.to_string(), "erased": erased, "sent_before": left,
                "copy": copy.name(), "why": copy.why(),
            });
            output::json_line(&mut out, &said)?;
        } else {
            writeln!(out, "{}", sentence(&id.to_string(), &copy, &context.words))?;
        }
        out.flush()?;
    }
    Ok(code)
}

fn sentence(id: &str, copy: &Copy, words: &Words) -> String {
    let erased = || words.tell("forget-erased", &[("id", id)]);
    match copy {
        Copy::None => erased(),
        Copy::Erased(server) => words.tell("forget-erased-there", &[("id", id), ("server", &escape(server))]),
        Copy::Beyond(why) => format!("{}\n{}", erased(), words.tell("forget-beyond", &[("why", why)])),
        Copy::Later(why) => format!(
            "{}\n{}",
            words.tell("forget-later", &[("id", id), ("why", why)]),
            words.tell("forget-how", &[("id", id)])
        ),
    }
}

fn was_sent(report: &ReportDir) -> bool {
    match State::of(report).delivery {
        Document::Present(delivery) => {
            matches!(delivery.state, DeliveryState::Sent | DeliveryState::MaybeSent) || delivery.doubtful > 0
        }
        _ => false,
    }
}

/// Asks the server that has the report to erase it.
fn erase_copy(context: &Context, report: &ReportDir) -> Result<Copy> {
    let words = &context.words;
    let Some(sent) = consent::sent_receipt(report) else {
        return Ok(Copy::Beyond(words.say("forget-no-receipt")));
    };
    let server = sent.destination.url.clone();
    let Some(agreed) = receipt::issue_erasure(&sent) else {
        let protocol = sent.destination.protocol.name();
        let facts = [("protocol", protocol), ("server", &escape(&server))];
        return Ok(Copy::Beyond(words.tell("forget-no-erasure", &facts)));
    };
    let Some(token) = outgoing::erasure_token(report)? else {
        return Ok(Copy::Beyond(words.say("forget-no-token")));
    };
    report.write_atomically(ERASURE, &serde_json::to_vec_pretty(&agreed)?)?;
    let Some(request) = receipt::erase(&agreed, &token) else {
        return Ok(Copy::Beyond(words.say("forget-other-receipt")));
    };
    let answers = |status: u16| words.tell("server-answers", &[("status", &status.to_string())]);
    let mut transport =
        Transport::for_one(&context.settings.upload).with_context(|| words.say("no-connection"))?;
    Ok(match transport.exchange(request, |_| {}) {
        Outcome::Answered(answer) => match answer.status {
            200 | 202 | 204 | 410 => Copy::Erased(server),
            408 | 425 | 429 | 500.. => Copy::Later(answers(answer.status)),
            status => Copy::Beyond(answers(status)),
        },
        Outcome::Unreached { why } | Outcome::Broken { why, .. } => Copy::Later(why),
    })
}
