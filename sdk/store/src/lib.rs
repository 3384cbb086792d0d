//! Where reports lie and under which rules: directories, ownership, locks, quotas, settings.
//!
//! Used by root's handler, by `foretrace-capture` and by a person's command, so that all of them keep the same rules.
//! It knows a report as a directory with a few files in it; what the files say belongs to `foretrace-report`.
//!
//! Two rules hold everywhere: every path is walked by held descriptors, never by name twice; and root never follows a
//! name inside a directory that it has handed to a user.

pub mod answers;
mod as_user;
pub mod cores;
mod directory;
mod error;
pub mod incoming;
mod ini;
pub mod lock;
pub mod lost;
pub mod places;
pub mod quantity;
pub mod report_dir;
pub mod sealing;
pub mod settings;
pub mod shelf;
pub mod slots;
pub mod tally;
pub mod vacuum;

pub use answers::{Standing, StandingAnswer, StandingAnswers};
pub use cores::{CORE, CoreSeat, SEALED_CORE};
pub use directory::Durable;
pub use error::{FindError, StoreError};
pub use incoming::{Incoming, Owner, Published, Revision, StoreKind};
pub use lock::UploaderLock;
pub use places::Places;
pub use report_dir::{
    BUNDLE, COMMENT, CONSENT, DELIVERY, ERASURE, LATE_COMMENT, NAMES, OUTGOING, ReportDir, SALT, SEALED,
    SEALED_OUTGOING, SYMBOLS,
};
pub use sealing::{Asker, Key, Keyring, LockError, Passphrase, Recipient};
pub use settings::{Settings, Warning};
pub use shelf::{Listing, Store, is_published};
pub use tally::{Admission, Candidate, Counted, CrashKey, admit, settle};
pub use vacuum::{Vacuumed, enforce, vacuum};

use foretrace_report::ReportId;

/// Wakes whoever asks a user about their reports, where their session has somebody for that. What goes wrong with it is worth
/// no word: everybody who asks also looks by themselves.
pub fn knock(places: &Places, owner: Owner) {
    if owner.uid != 0 {
        let _ = as_user::knock(&places.agent_socket(owner.uid), owner);
    }
}

/// Draws a new report's name from the kernel.
///
/// # Errors
/// The kernel's random device cannot be read.
pub fn random_id() -> Result<ReportId, StoreError> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut device| device.read_exact(&mut bytes))
        .map_err(|source| StoreError::io("/dev/urandom", source))?;
    Ok(ReportId::from_random(bytes))
}
