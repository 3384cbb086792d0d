//! What several dialects say of a report's frames and causes, in the words that each of them wants.

use std::fmt::Write;

use crate::Report;
use crate::schema::{Frame, Kind, Thread};

/// A number written as a hex string.
pub fn number(hex: &str) -> Option<u64> {
    u64::from_str_radix(hex.strip_prefix("0x")?, 16).ok()
}

/// The thread that a report is about.
pub fn crashed(report: &Report) -> Option<&Thread> {
    report.threads.iter().find(|thread| thread.crashed).or(report.threads.first())
}

/// What went wrong, as the type of an exception: the signal's name, or the kind.
pub fn exception_type(report: &Report) -> &str {
    report.signal.as_ref().map_or(report.kind.name(), |signal| &signal.name)
}

/// What went wrong, as an exception's words: the program's own, where they were granted, else the signature.
pub fn exception_words(report: &Report) -> &str {
    report.message.as_deref().unwrap_or(&report.signature)
}

/// The package, else the program itself.
pub fn product(report: &Report) -> (&str, Option<&str>) {
    match &report.program.package {
        Some(package) => (&package.name, Some(&package.version)),
        None => (&report.program.name, None),
    }
}

/// Whether it ended the program.
pub fn is_fatal(kind: Kind) -> bool {
    matches!(kind, Kind::Crash | Kind::Panic | Kind::Killed)
}

/// A backtrace as text, innermost first, as debuggers print it.
pub fn text(frames: &[Frame]) -> String {
    let mut text = String::new();
    for (number, frame) in frames.iter().enumerate() {
        let function = frame.function.as_deref().unwrap_or("??");
        // Writing to a string does not fail.
        let _ = write!(text, "#{number:<3} {} in {function}", frame.ip);
        let _ = match (&frame.file, frame.line, &frame.module) {
            (Some(file), Some(line), _) => writeln!(text, " at {file}:{line}"),
            (Some(file), None, _) => writeln!(text, " at {file}"),
            (None, _, Some(module)) => {
                writeln!(text, " from {module}+{}", frame.offset.as_deref().unwrap_or("?"))
            }
            _ => writeln!(text),
        };
    }
    text
}
