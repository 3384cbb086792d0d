//! `dump`: a report's container, or one part of it, as bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use foretrace_report::bundle::BundleError;
use foretrace_report::text::escape;
use foretrace_store::StoreError;

use crate::arguments::Dump;
use crate::context::Context;
use crate::output::{self, NoMatch, WrongUse};
use crate::whole_core;
use crate::words::Words;

/// Takes a report or a part out of the store.
///
/// # Errors
/// No such report or part, bytes for a terminal, or a file that cannot be written.
pub fn run(context: &Context, arguments: &Dump) -> Result<ExitCode> {
    let words = &context.words;
    let report_dir = context.find(&arguments.id)?;
    let to = arguments.output.as_deref();
    match &arguments.part {
        None => {
            refuse_terminal(to, true, words)?;
            // Opened as a container first, so that a damaged one is told and not passed on as whole.
            report_dir.bundle()?;
            copy(&mut report_dir.content()?, to, words)?;
        }
        Some(name) if name == whole_core::PART => {
            let core = report_dir.core()?.ok_or_else(|| NoMatch(words.say("dump-no-core")))?;
            refuse_terminal(to, true, words)?;
            match to {
                Some(path) => create(path)
                    .and_then(|file| whole_core::unpack_to_file(core, &file))
                    .with_context(|| output::unwritable(path, words))?,
                None => whole_core::unpack(core, &mut output::standard())?,
            };
        }
        Some(name) => {
            let mut bundle = report_dir.bundle()?;
            let content = bundle.part(name).map_err(|error| match error {
                BundleError::Missing(_) => {
                    let (part, parts) = (escape(name), bundle.names().join(", "));
                    let sentence = words.tell("dump-no-part", &[("part", &part), ("parts", &parts)]);
                    anyhow::Error::from(NoMatch(sentence))
                }
                other => StoreError::from(other).into(),
            })?;
            refuse_terminal(to, std::str::from_utf8(&content).is_err() || content.contains(&0), words)?;
            if to.is_none() && io::stdout().is_terminal() {
                let text = String::from_utf8_lossy(&content);
                let mut out = output::standard();
                text.lines().try_for_each(|line| writeln!(out, "{}", escape(line)))?;
                out.flush()?;
            } else {
                copy(&mut content.as_slice(), to, words)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_terminal(to: Option<&Path>, binary: bool, words: &Words) -> Result<(), WrongUse> {
    if to.is_none() && binary && io::stdout().is_terminal() {
        return Err(WrongUse(words.say("dump-not-for-a-terminal")));
    }
    Ok(())
}

fn copy(from: &mut impl io::Read, to: Option<&Path>, words: &Words) -> Result<()> {
    let Some(path) = to else {
        let mut out = output::standard();
        io::copy(from, &mut out)?;
        return Ok(out.flush()?);
    };
    let written = create(path).and_then(|mut file| io::copy(from, &mut file));
    written.with_context(|| output::unwritable(path, words)).map(drop)
}

/// A report may hold what only its owner should read: so is the file.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
