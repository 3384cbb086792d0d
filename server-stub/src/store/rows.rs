//! What the database holds about reports and problems, as values. Knows no SQL.

use super::blobs::Blob;
use crate::submission::ENCRYPTED;

/// A report as it is stored: what lists show, and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The report's id, 32 hex digits.
    pub id: String,
    /// When it came in: milliseconds since 1970 (UTC).
    pub received: i64,
    /// When it happened, as the report says it; empty where it says nothing.
    pub happened: String,
    /// What happened: `crash`, `error`, …
    pub kind: String,
    /// The program's name.
    pub program: String,
    /// The version of its package; empty where unknown.
    pub version: String,
    /// The operating system; empty where unknown.
    pub system: String,
    /// The signal's name; empty where there was none.
    pub signal: String,
    /// The signature that groups it.
    pub signature: String,
    /// The signature's key, as in the address of the problem's page.
    pub problem: String,
    /// `outgoing.zip` as it came in.
    pub bundle: Option<Blob>,
    /// The minidump that came beside the bundle.
    pub minidump: Option<Blob>,
    /// The submission's annotations, a JSON object of strings.
    pub annotations: String,
    /// What was wrong with the submission: a JSON array of sentences.
    pub notes: String,
    /// The dialect that it came in; empty where an older server took it.
    pub dialect: String,
    /// sha256 of the token that erases it, in hex; written once and not read back.
    pub erasure: Option<String>,
}

impl Record {
    /// Whether its bundle is encrypted to somebody else.
    pub fn is_encrypted(&self) -> bool {
        self.kind == ENCRYPTED
    }
}

/// A group of reports with the same signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemRow {
    /// The key in the address of its page.
    pub key: String,
    /// The signature.
    pub signature: String,
    /// How many reports.
    pub count: u64,
    /// When the first came in: milliseconds since 1970 (UTC).
    pub first: i64,
    /// When the last came in.
    pub last: i64,
    /// The id of the last.
    pub newest: String,
}

/// A report in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// Its id.
    pub id: String,
    /// When it came in: milliseconds since 1970 (UTC).
    pub received: i64,
    /// What happened.
    pub kind: String,
    /// The program.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The operating system.
    pub system: String,
    /// The signal.
    pub signal: String,
}

/// What a problem's reports are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// The program's name.
    Program,
    /// The program's version.
    Version,
    /// The operating system.
    System,
    /// The day on which they came in, as in `2026-01-31` (UTC).
    Day,
}

impl Facet {
    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Facet::Program => "program",
            Facet::Version => "version",
            Facet::System => "system",
            Facet::Day => "day",
        }
    }
}

/// The order of a list of problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The last seen first.
    #[default]
    Last,
    /// The most frequent first.
    Count,
}
