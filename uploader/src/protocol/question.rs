//! The question that goes before a report: what the server knows about its signature.
//!
//! A server that does not know the question wants the report; one that cannot be reached is found out by the report
//! itself. Nothing but a clear answer changes anything.

use foretrace_report::receipt::Known;
use foretrace_report::wire::question::Reply;

use crate::delivery::Outcome;
use crate::receipt::Agreed;
use crate::transport::Transport;

/// Asks; `None` where there was no answer to it.
pub fn ask(agreed: &Agreed, transport: &mut Transport) -> Option<Known> {
    let url = format!("{}/question", agreed.url().trim_end_matches('/'));
    match transport.exchange(agreed.post(url, &[]), |_| {}) {
        Outcome::Answered(answer) if answer.status == 200 => {
            let reply: Reply = serde_json::from_slice(&answer.body).ok()?;
            let known = reply.known();
            // What is kept is shown later: a version is short.
            Some(Known {
                fixed_in: known.fixed_in.map(|version| version.chars().take(64).collect()),
                ..known
            })
        }
        _ => None,
    }
}
