//! What can go wrong with a store, as sentences that a person can act on.

use std::io;
use std::path::PathBuf;

use foretrace_report::ReportId;
use foretrace_report::bundle::BundleError;
use foretrace_report::text::escape;

/// Why something in a store could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused.
    #[error("{}: {source}", escape(.what))]
    Io {
        /// The path or thing concerned.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Something that is not what this program would have put there; it was left alone.
    #[error("{} is not what foretrace put there ({why}); it was left alone", escape(.what))]
    Untrusted {
        /// The path concerned.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The report's container is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file that should hold a key.
    #[error("the key in {} is not used: {why}", escape(&.path.display().to_string()))]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A report that is encrypted, and cannot be opened here.
    #[error("the report is encrypted, and cannot be opened: {0}")]
    Sealed(String),
    /// Another user's report: only its owner may change or answer it.
    #[error("this report belongs to the user with ID {0}: only that user may change or answer it")]
    Foreign(u32),
    /// A file name that no report directory has.
    #[error("a report directory has no file named '{}'", escape(.0))]
    Name(String),
    /// A file is larger than anything foretrace writes under that name.
    #[error("{} is larger than {limit} bytes and was not read", escape(.what))]
    TooLarge {
        /// The path concerned.
        what: String,
        /// The limit.
        limit: u64,
    },
}

impl StoreError {
    /// A system error about `what`.
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> StoreError {
        StoreError::Io { what: what.into(), source: source.into() }
    }

    /// Whether it says that something is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Why no single report was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No report's ID starts so.
    #[error("no report's ID starts with '{}'; `foretrace list` shows what there is", escape(.0))]
    None(String),
    /// More than one ID starts so.
    #[error("'{}' fits {} reports ({}); give more digits", escape(.0), .1.len(), shown(.1))]
    Ambiguous(String, Vec<ReportId>),
    /// What was given can be no ID.
    #[error("'{}' is no report ID: an ID is 32 hex digits, or the first few of them", escape(.0))]
    NotAnId(String),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn shown(ids: &[ReportId]) -> String {
    let mut list: Vec<String> = ids.iter().take(4).map(ReportId::to_string).collect();
    if ids.len() > 4 {
        list.push("…".into());
    }
    list.join(", ")
}
