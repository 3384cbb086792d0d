//! How the program ends and prints: exit codes, sentences for errors, colour, JSON lines.
//!
//! The one place that picks an exit code: 0 done, 1 nothing matched or it failed, 2 wrong use.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use foretrace_report::text::{escape, escape_json};

use crate::words::{Language, Words};

/// Nothing matched: exit code 1, and a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoMatch(pub String);

/// Options or arguments that make no sense: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUse(pub String);

/// The exit code for what a command came to; an error is printed here and nowhere else.
pub fn exit_code(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match outcome {
        Ok(code) => return code,
        Err(error) => error,
    };
    let system: Vec<io::ErrorKind> =
        error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    // `foretrace list | head` is no failure of ours.
    if system.contains(&io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let mut text = sentence(&error);
    if system.iter().any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
        text = Words::new(Language::from_environment()).tell("make-room", &[("why", &text)]);
    }
    complain(&text);
    if error.downcast_ref::<WrongUse>().is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// An error and its causes, each said once: some of them quote their cause already.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        before if before.ends_with(&cause) => said,
        before => format!("{before}: {cause}"),
    })
}

/// Says something on the standard error; it may hold text from elsewhere.
pub fn complain(text: &str) {
    // Nobody is left to be told when the standard error is gone.
    let _ = writeln!(io::stderr(), "foretrace: {}", escape(text));
}

/// What is said of a file that cannot be written.
pub fn unwritable(path: &Path, words: &Words) -> String {
    words.tell("cannot-write", &[("file", &path.display().to_string())])
}

/// Writes a value as one line of JSON; it may hold text from elsewhere.
///
/// # Errors
/// A write that failed.
pub fn json_line(out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    writeln!(out, "{}", escape_json(&serde_json::to_string(value)?))
}

/// The standard output, buffered.
pub fn standard() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Colours where they are wanted: on a terminal, unless NO_COLOR is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// For the standard output.
    pub fn standard() -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint(io::stdout().is_terminal() && !refused)
    }

    /// For a file.
    pub fn plain() -> Paint {
        Paint(false)
    }

    /// Emphasis: headings, the thing that matters in a line.
    pub fn bold(self, text: impl Display) -> String {
        self.wrap("1", text)
    }

    /// What can be skipped.
    pub fn dim(self, text: impl Display) -> String {
        self.wrap("2", text)
    }

    /// Errors.
    pub fn red(self, text: impl Display) -> String {
        self.wrap("31", text)
    }

    /// Warnings.
    pub fn yellow(self, text: impl Display) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        let text = text.to_string();
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the file: {source}")]
    struct Quoting {
        source: io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let error =
            Err::<(), _>(Quoting { source: io::Error::other("no luck") }).context("it failed").unwrap_err();
        assert_eq!(sentence(&error), "it failed: the file: no luck");
    }
}
