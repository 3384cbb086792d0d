//! This process's ring, read as another process would read it.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use foretrace_ring::trail::{Event, Value};
use foretrace_ring::{Memory, Snapshot, Trail, reader};

/// A ring behind a descriptor.
pub struct Live(File);

impl Live {
    /// The ring of a process that lends its descriptor.
    pub fn of(descriptor: RawFd) -> Live {
        // SAFETY: no preconditions; the copy is this file's alone.
        let copy = unsafe { libc::dup(descriptor) };
        assert!(copy >= 0, "the descriptor is gone");
        // SAFETY: just made.
        Live(unsafe { File::from_raw_fd(copy) })
    }
}

impl Memory for Live {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |data| data.len())
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, offset).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        self.0.read_exact_at(into, offset).is_ok()
    }
}

/// What this process's ring holds now.
pub fn snapshot() -> Snapshot {
    reader::read(&Live::of(foretrace::descriptor().expect("there is a ring"))).expect("it is a ring")
}

/// The events of a snapshot.
pub fn trail(snapshot: &Snapshot) -> Trail {
    let streams: Vec<(&str, &[u8])> =
        snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    Trail::decode(&snapshot.metadata, &streams)
}

/// The calling thread's ID.
pub fn thread_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() as u32 }
}

/// An event's field as a number.
pub fn number(event: &Event, field: usize) -> u64 {
    match event.values.get(field) {
        Some(Value::Unsigned(number)) => *number,
        other => panic!("field {field} is {other:?}"),
    }
}
