//! The ledger that a victim's threads keep outside the ring: a shared file that survives the crash.
//!
//! Owns its layout, which the victims share: an array of 32-byte entries, one a thread, each `{u64 thread index,
//! u64 kernel thread ID, u64 events recorded, u64 0}`. A thread writes its count after each event returned.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Bytes of one entry.
pub const ENTRY: usize = 32;

/// One thread's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which thread of the victim, from 0.
    pub index: u64,
    /// Its kernel thread ID.
    pub tid: u32,
    /// How many events it had recorded: the last one is numbered `recorded - 1`.
    pub recorded: u64,
}

/// Makes an empty ledger for `threads` threads.
///
/// # Errors
/// A file that cannot be written.
pub fn create(path: &Path, threads: usize) -> Result<()> {
    fs::write(path, vec![0; threads * ENTRY])
        .with_context(|| format!("cannot create the ledger {}", path.display()))
}

/// Reads the accounts of all threads that began.
///
/// # Errors
/// A missing ledger, or one of another shape.
pub fn read(path: &Path) -> Result<Vec<Account>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read the ledger {}", path.display()))?;
    ensure!(bytes.len().is_multiple_of(ENTRY), "the ledger has {} bytes", bytes.len());
    let word = |entry: &[u8], n: usize| {
        u64::from_le_bytes(entry[n * 8..n * 8 + 8].try_into().expect("an entry holds four words"))
    };
    Ok(bytes
        .chunks_exact(ENTRY)
        .map(|entry| Account { index: word(entry, 0), tid: word(entry, 1) as u32, recorded: word(entry, 2) })
        .filter(|account| account.tid != 0)
        .collect())
}
