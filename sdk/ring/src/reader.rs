//! The validating reader: from a ring's memory to whole packets, counts and problems.
//!
//! Never changes the ring, never returns a torn event, and knows how many events are missing.

use alloc::string::String;
use alloc::vec::Vec;

use crate::trail::Privacy;

/// Read access to a ring: a shared mapping, a copy, or the memory in a core file.
pub trait Memory {
    /// The size in bytes.
    fn size(&self) -> u64;
    /// The little-endian word at `offset` (a multiple of 8), loaded with acquire ordering. `None` beyond the end.
    fn load(&self, offset: u64) -> Option<u64>;
    /// Copies bytes out. False, with `into` in any state, beyond the end.
    fn copy(&self, offset: u64, into: &mut [u8]) -> bool;
}

/// Why memory is no ring that this reader believes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// Placeholder.
    Magic,
}

/// What a ring says of the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process ID, in its own PID namespace.
    pub pid: u32,
    /// Its start time: field 22 of `/proc/PID/stat`, clock ticks since boot.
    pub start_time: u64,
}

/// Everything that one reading of a ring gave.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Who made the ring.
    pub owner: Owner,
    /// The CTF 1.8 metadata (TSDL text), event types included.
    pub metadata: String,
    /// CTF stream files: a name such as `slot-3.ctf`, and whole packets in order.
    pub streams: Vec<(String, Vec<u8>)>,
    /// What the program noted about itself.
    pub annotations: Vec<Annotation>,
    /// Events the application recorded.
    pub recorded: u64,
    /// Of these, events that newer ones replaced (or that were being replaced during the reading).
    pub overwritten: u64,
    /// Events that could not be recorded.
    pub discarded: u64,
    /// What was wrong with the ring: one sentence each.
    pub problems: Vec<String>,
}

/// A note that a program keeps about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The key.
    pub key: String,
    /// The newest value.
    pub value: String,
    /// Whose business the value is.
    pub privacy: Privacy,
}

/// Reads a ring.
///
/// # Errors
/// Memory that is no ring of a known version.
pub fn read(_memory: &impl Memory) -> Result<Snapshot, RingError> {
    Err(RingError::Magic)
}
