//! Entries of the ring that change as a whole, such as annotations: each has a sequence lock that a reader in another
//! process understands.
//!
//! Owns the lock. A writer that finds an entry being written looks again a few times and then gives up: it may have
//! interrupted that very writer.

use foretrace_ring::layout::*;

use crate::atomic::{Ordering, fence};
use crate::ring::Ring;

/// How often an entry that another thread is writing is looked at again.
const PATIENCE: u32 = 1000;

/// An entry; its first word is the lock: 0 never used, odd while it is being written.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    ring: Ring,
    at: u64,
    size: u64,
}

/// Why an entry was not written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not the caller's.
    NotOurs,
    /// Somebody kept writing it.
    Busy,
}

impl Entry {
    /// An annotation.
    pub fn annotation(ring: Ring, index: u32) -> Entry {
        let at = ring.geometry.annotations + u64::from(index * ANNOTATION_SIZE);
        Entry { ring, at, size: ANNOTATION_SIZE.into() }
    }

    /// An attachment.
    pub fn attachment(ring: Ring, index: u32) -> Entry {
        Entry { ring, at: AT_ATTACHMENTS + u64::from(index * ATTACHMENT_SIZE), size: ATTACHMENT_SIZE.into() }
    }

    /// One of its words.
    pub fn word(self, offset: u64) -> u64 {
        self.ring.word(self.at + offset).load(Ordering::Relaxed)
    }

    /// Whether this text begins at `offset`.
    pub fn has_text(self, offset: u64, text: &[u8]) -> bool {
        text.chunks(8)
            .zip((offset..).step_by(8))
            .all(|(part, at)| self.word(at).to_le_bytes().starts_with(part))
    }

    /// Writes words and, from `offset` on, text, if the entry is the caller's: `is_ours` is asked with the lock. Answers
    /// the lock that it has now.
    pub fn write(
        self,
        is_ours: impl Fn(Entry, u64) -> bool,
        words: &[(u64, u64)],
        offset: u64,
        text: impl Iterator<Item = u8>,
    ) -> Result<u64, Refused> {
        let lock = self.ring.word(self.at);
        let held = self.acquire(is_ours)?;
        // Whoever sees a word of the new content sees that it is being written.
        fence(Ordering::Release);
        for (offset, word) in words {
            self.ring.word(self.at + offset).store(*word, Ordering::Relaxed);
        }
        let mut text = text.peekable();
        for at in (self.at + offset..self.at + self.size).step_by(8) {
            if text.peek().is_none() {
                break;
            }
            self.ring.word(at).store(next_word(&mut text), Ordering::Relaxed);
        }
        lock.store(held + 1, Ordering::Release);
        Ok(held + 1)
    }

    /// Takes the lock.
    fn acquire(self, is_ours: impl Fn(Entry, u64) -> bool) -> Result<u64, Refused> {
        let lock = self.ring.word(self.at);
        for _ in 0..PATIENCE {
            let seen = lock.load(Ordering::Acquire);
            if !is_ours(self, seen) {
                return Err(Refused::NotOurs);
            }
            let writing = seen + 1;
            if seen.is_multiple_of(2)
                && lock.compare_exchange(seen, writing, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                return Ok(writing);
            }
            core::hint::spin_loop();
        }
        Err(Refused::Busy)
    }

    /// Takes over a parent's entry, unless somebody is writing it there: whoever that is, is not here to finish it.
    fn inherit(self, parent: Ring) {
        for _ in 0..PATIENCE {
            let seen = parent.word(self.at).load(Ordering::Acquire);
            if seen.is_multiple_of(2) {
                for at in (self.at + 8..self.at + self.size).step_by(8) {
                    self.ring.word(at).store(parent.word(at).load(Ordering::Acquire), Ordering::Relaxed);
                }
                if parent.word(self.at).load(Ordering::Relaxed) == seen {
                    self.ring.word(self.at).store(seen, Ordering::Relaxed);
                    return;
                }
            }
            core::hint::spin_loop();
        }
    }
}

/// Takes over all entries of a parent's ring.
pub(crate) fn inherit(ring: Ring, parent: Ring) {
    let annotations = (0..ANNOTATION_COUNT).map(|index| Entry::annotation(ring, index));
    let attachments = (0..ATTACHMENT_COUNT).map(|index| Entry::attachment(ring, index));
    annotations.chain(attachments).for_each(|entry| entry.inherit(parent));
}

/// Up to eight bytes as they lie in memory.
fn next_word(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let mut word = [0; 8];
    for (place, byte) in word.iter_mut().zip(bytes) {
        *place = byte;
    }
    u64::from_le_bytes(word)
}

const _: () = assert!(ANNOTATION_LOCK == 0 && ATTACHMENT_LOCK == 0);
const _: () = assert!(ANNOTATION_SIZE.is_multiple_of(8) && ATTACHMENT_SIZE.is_multiple_of(8));
