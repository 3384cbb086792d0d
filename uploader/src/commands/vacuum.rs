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
    let words = &context.words;
    let mut out = output::standard();
    for gone in &done.removed {
        let why = words.say(match gone.why {
            Reason::Age => "vacuum-age",
            Reason::Use => "vacuum-use",
            Reason::Free => "vacuum-free",
        });
        if context.json {
            let row = json!({ "id": gone.id.to_string(), "uid": gone.uid, "bytes": gone.bytes, "why": why });
            output::json_line(&mut out, &row)?;
        } else {
            let (id, size) = (gone.id.to_string(), sentence::size(gone.bytes));
            let facts = [("id", id.as_str()), ("size", &size), ("why", &why)];
            writeln!(out, "{}", words.tell("vacuum-removed", &facts))?;
        }
    }
    if !context.json {
        let (removed, kept) = (done.removed.len().to_string(), done.kept.to_string());
        let size = sentence::size(done.kept_bytes);
        let facts = [("removed", removed.as_str()), ("kept", &kept), ("size", &size)];
        writeln!(out, "{}", words.tell("vacuum-done", &facts))?;
    }
    out.flush()?;
    done.problems.iter().for_each(|problem| output::complain(&problem.to_string()));
    Ok(if done.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
