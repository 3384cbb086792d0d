//! `forget`: erases reports from this machine.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use foretrace_report::receipt::DeliveryState;
use foretrace_store::UploaderLock;
use serde_json::json;

use crate::arguments::Forget;
use crate::context::Context;
use crate::output;
use crate::state::{Document, State};

/// Erases the named reports. All are found before the first one goes.
///
/// # Errors
/// No such report, one that is being sent, or one that cannot be erased.
pub fn run(context: &Context, arguments: &Forget) -> Result<ExitCode> {
    let store = context.store();
    let found = arguments.ids.iter().map(|id| context.find_in(&store, id)).collect::<Result<Vec<_>>>()?;
    let _lock = UploaderLock::take(&context.places)?
        .context("another foretrace is sending reports just now: try again when it has finished")?;
    let mut out = output::standard();
    for report in found {
        let id = report.id();
        let left = match State::of(&report).delivery {
            Document::Present(delivery) => {
                matches!(delivery.state, DeliveryState::Sent | DeliveryState::MaybeSent)
                    || delivery.doubtful > 0
            }
            _ => false,
        };
        report.remove().with_context(|| format!("report {id} cannot be erased"))?;
        use std::io::Write as _;
        if context.json {
            output::json_line(
                &mut out,
                &json!({ "id": id.to_string(), "erased": true, "sent_before": left }),
            )?;
        } else {
            writeln!(out, "{id} is erased from this machine.")?;
            if left {
                writeln!(out, "It was sent before: the server's copy is not reached from here.")?;
            }
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}
