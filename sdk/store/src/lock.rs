//! The uploader's lock: one sender at a time for each user. It says nothing about who may read.

use std::fs::{File, TryLockError};

use nix::unistd::geteuid;

use crate::directory::Directory;
use crate::{Places, StoreError};

const NAME: &str = "uploader.lock";

/// Held while one process of a user prepares or sends reports; released when dropped, or when the process dies.
#[derive(Debug)]
pub struct UploaderLock {
    _file: File,
}

impl UploaderLock {
    /// Takes the lock; `None` where another process holds it.
    ///
    /// # Errors
    /// The lock's file cannot be made.
    pub fn take(places: &Places) -> Result<Option<UploaderLock>, StoreError> {
        let directory = match places.user_runtime() {
            _ if geteuid().is_root() => Directory::create(&places.runtime(), 0o755)?,
            Some(runtime) => Directory::create(&runtime.join("foretrace"), 0o700)?,
            None => Directory::create(&places.user_state(), 0o700)?,
        };
        let file = directory.lock_file(NAME)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(UploaderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(directory.error(NAME, error)),
        }
    }
}
