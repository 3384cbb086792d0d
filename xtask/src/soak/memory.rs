//! Another process's ring: read through its descriptor or through a mapping, and once without believing in reuse.
//!
//! The naive reader is the control of the torn-read proof: it leaves out the one check that the real reader's promise
//! rests on, and so has to find torn events; where it finds none, the proof proves nothing.
#![allow(unsafe_code)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use anyhow::{Context, Result};
use foretrace_ring::Memory;
use foretrace_ring::layout::*;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A ring behind a descriptor, as the crash handler reads it.
pub struct Held(pub File);

impl Memory for Held {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |data| data.len())
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, offset).ok()?;
        fence(Ordering::Acquire);
        Some(u64::from_le_bytes(bytes))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let done = self.0.read_exact_at(into, offset).is_ok();
        fence(Ordering::Acquire);
        done
    }
}

/// A file that is shared with another process, mapped.
pub struct Mapped {
    base: NonNull<u64>,
    words: usize,
}

impl Mapped {
    /// Maps all of a file.
    pub fn read_only(file: &File) -> Result<Mapped> {
        Mapped::of(file, ProtFlags::PROT_READ)
    }

    /// Maps all of a file, to be written too.
    pub fn writable(file: &File) -> Result<Mapped> {
        Mapped::of(file, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    fn of(file: &File, protection: ProtFlags) -> Result<Mapped> {
        let size = file.metadata()?.len() as usize;
        let length = NonZeroUsize::new(size).context("an empty file cannot be mapped")?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Mapped { base: base.cast(), words: size / 8 })
    }

    /// Word number `index`, which the caller knows to be there.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words);
        // SAFETY: inside the mapping, which lives as long as `self`; aligned; only used atomically.
        unsafe { &*self.base.as_ptr().wrapping_add(index).cast::<AtomicU64>() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping; references into it borrow `self`.
        let _ = unsafe { munmap(self.base.cast(), self.words * 8) };
    }
}

impl Memory for Mapped {
    fn size(&self) -> u64 {
        self.words as u64 * 8
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let inside = offset.is_multiple_of(8) && offset / 8 < self.words as u64;
        inside.then(|| self.word(offset as usize / 8).load(Ordering::Acquire))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.size()) {
            return false;
        }
        let start = offset as usize;
        let mut rest = into;
        let mut index = start / 8;
        let mut skip = start % 8;
        while !rest.is_empty() {
            let bytes = self.word(index).load(Ordering::Relaxed).to_le_bytes();
            let (now, later) = rest.split_at_mut(rest.len().min(8 - skip));
            now.copy_from_slice(&bytes[skip..skip + now.len()]);
            (rest, index, skip) = (later, index + 1, 0);
        }
        fence(Ordering::Acquire);
        true
    }
}

/// Every packet of a ring, without asking whether it was reused while it was copied.
pub fn copy_naively(ring: &impl Memory) -> Vec<Vec<u8>> {
    let word = |at: u64| ring.load(at).unwrap_or(0);
    let (descriptors, pool) = (word(AT_DESCRIPTORS), word(AT_POOL));
    let cells = word(AT_CELL_COUNT) & 0xffff_ffff;
    let mut packets = Vec::new();
    for cell in 0..cells {
        let descriptor = word(descriptors + cell * 8);
        if !matches!(descriptor & STATE, OPEN | PINNED | CLOSED) {
            continue;
        }
        let at = pool + cell * u64::from(CELL_SIZE);
        let room = if descriptor & WHOLE != 0 { BLOCK_SIZE } else { CELL_SIZE };
        let commit = word(at + PACKET_COMMIT);
        let length = u64::from(commit as u32) / 8;
        if (PACKET_HEADER..=u64::from(room)).contains(&length) {
            let mut bytes = vec![0; length as usize];
            if ring.copy(at, &mut bytes) {
                bytes[PACKET_COMMIT as usize..PACKET_COMMIT as usize + 8]
                    .copy_from_slice(&commit.to_le_bytes());
                packets.push(bytes);
            }
        }
    }
    packets
}
