//! `vacuum`: removes what the settings no longer allow.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use foretrace_store::vacuum::Reason;
use serde_json::json;

use crate::context::Context;
use crate::{output, sentence};

/// Removes what is too old or too much.
///
/// # Errors
/// Output that cannot be written; what cannot be removed is told and makes the exit code 1.
pub fn run(context: &Context) -> Result<ExitCode> {
    let done = foretrace_store::vacuum(&context.places, &context.settings);
    let mut out = output::standard();
    for gone in &done.removed {
        let why = match gone.why {
            Reason::Age => "older than MaxAge= allows",
            Reason::Use => "more than MaxUse= allows",
            Reason::Free => "less free than KeepFree= wants",
        };
        if context.json {
            let row = json!({ "id": gone.id.to_string(), "uid": gone.uid, "bytes": gone.bytes, "why": why });
            output::json_line(&mut out, &row)?;
        } else {
            writeln!(out, "{} removed, {}: {why}", gone.id, sentence::size(gone.bytes))?;
        }
    }
    if !context.json {
        let (removed, kept) = (done.removed.len(), done.kept);
        writeln!(out, "{removed} removed, {kept} kept ({})", sentence::size(done.kept_bytes))?;
    }
    out.flush()?;
    done.problems.iter().for_each(|problem| output::complain(&problem.to_string()));
    Ok(if done.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
