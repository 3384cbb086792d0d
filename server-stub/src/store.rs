//! Where reports are kept: files by content, rows that point at them, and one server at a time.
//!
//! Owns the order that makes an answer a promise: the file is on disk, then the row is, then the sender hears yes.
//! The two halves, [`Blobs`] and [`Reports`], know nothing of each other, so that each can be replaced for more
//! than one machine.

mod blobs;
mod comments;
mod marks;
mod reports;
mod rows;
mod uploads;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

pub use blobs::{Blob, Blobs, Draft};
pub use comments::Commented;
pub use marks::{Erased, Mark};
pub use reports::{Reports, day_of};
pub use rows::{Facet, Order, ProblemRow, Record};
pub use uploads::{Announced, Claim, KEPT, Uploads};

/// Why something could not be stored or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or directory.
    #[error("the directory of reports: {0}")]
    Files(#[from] io::Error),
    /// The database.
    #[error("the database of reports: {0}")]
    Database(#[from] rusqlite::Error),
    /// Somebody else's lock.
    #[error("another foretrace-server is using it; stop that one, or give another --data")]
    InUse,
    /// A report that was erased.
    #[error("the report was erased by whoever sent it")]
    Erased,
    /// A database of a later version.
    #[error("its database was written by a newer foretrace-server (version {0})")]
    Newer(i64),
}

/// The reports of one server.
pub struct Store {
    /// Files by content.
    pub blobs: Blobs,
    /// Rows.
    pub reports: Reports,
    /// Uploads that are not complete yet.
    pub uploads: Uploads,
    // A file must not be taken away between being kept and being pointed at.
    placing: RwLock<()>,
    // Held until the process ends: two servers would empty each other's unfinished files.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory`, making it where it is not there.
    ///
    /// # Errors
    /// A directory that cannot be used, or that another server uses.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let blobs = Blobs::open(directory.join("blobs"))?;
        let reports = Reports::open(directory.join("reports.sqlite"))?;
        let uploads = Uploads::open(directory.join("uploads"))?;
        File::open(directory)?.sync_all()?;
        Ok(Store { blobs, reports, uploads, placing: RwLock::new(()), _lock: lock })
    }

    /// Keeps a report's files and then its row. A report that is already there stays as it is.
    ///
    /// # Errors
    /// Files or a row that could not be written; then the report must not be acknowledged.
    pub fn keep(
        &self,
        mut record: Record,
        bundle: Option<Draft>,
        minidump: Option<Draft>,
    ) -> Result<(), StoreError> {
        let _placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        if self.reports.is_erased(&record.id)? {
            return Err(StoreError::Erased);
        }
        // Asked before the files, so that a report sent twice leaves no second file behind.
        if self.reports.report(&record.id)?.is_some() {
            return Ok(());
        }
        record.bundle = bundle.map(|draft| self.blobs.keep(draft)).transpose()?;
        record.minidump = minidump.map(|draft| self.blobs.keep(draft)).transpose()?;
        Ok(self.reports.insert(&record)?)
    }

    /// Erases a report for whoever has its token: its row first, then the files that nobody else has.
    ///
    /// # Errors
    /// A database or a directory that cannot be changed.
    pub fn erase(&self, id: &str, token: &str) -> Result<Erased, StoreError> {
        let _placing = self.placing.write().unwrap_or_else(PoisonError::into_inner);
        let erased = self.reports.erase(id, token)?;
        if let Erased::Now(loose) = &erased {
            loose.iter().try_for_each(|blob| self.blobs.remove(blob))?;
        }
        Ok(erased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse)));
        drop(first);
        Store::open(folder.path()).unwrap();
    }
}
