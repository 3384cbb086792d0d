//! Notes that a program keeps about itself: 64 keys with their newest values, in the ring.
//!
//! Each entry has a sequence lock that a reader in another process understands. A writer that finds an entry being
//! written looks again a few times and then gives up, counted: it may have interrupted that very writer.

use foretrace_ring::layout::*;
use foretrace_ring::trail::Privacy;

use crate::atomic::{Ordering, fence};
use crate::field;
use crate::ring::{self, Ring};

/// Bytes that a key may have.
const MAX_KEY: usize = 128;
/// How often an entry that another thread is writing is looked at again.
const PATIENCE: u32 = 1000;

/// Notes a value under a key, or changes it: which document is open, which page was shown, which mode is on.
///
/// At most 64 keys of up to 128 bytes; key and value together have up to 496 bytes, and a longer value is cut. A secret
/// value is not recorded, only its key.
///
/// # Errors
/// None: an annotation that finds no room is counted in the ring, and the report says so.
///
/// # Signal safety
/// May be called from a signal handler.
pub fn annotate(key: &str, value: &str, privacy: Privacy) {
    let Some(ring) = ring::live() else { return };
    if key.len() > MAX_KEY || !write(ring, key, value, privacy) {
        ring.count(AT_REFUSED_ANNOTATIONS);
    }
}

fn write(ring: Ring, key: &str, value: &str, privacy: Privacy) -> bool {
    let value = if privacy == Privacy::Secret { "" } else { value };
    let kept = &value[..field::cut(value, ANNOTATION_CAPACITY as usize - key.len())];
    if kept.len() < value.len() {
        ring.count(AT_CUT);
    }
    (0..ANNOTATION_COUNT)
        .map(|index| Entry::of(ring, index))
        .find_map(|entry| entry.offer(key, kept, privacy))
        == Some(true)
}

/// An entry of the annotation area.
#[derive(Clone, Copy)]
struct Entry {
    ring: Ring,
    at: u64,
}

impl Entry {
    fn of(ring: Ring, index: u32) -> Entry {
        Entry { ring, at: ring.geometry.annotations + u64::from(index * ANNOTATION_SIZE) }
    }

    /// Writes the note here if this is its entry or a free one. `None`: it is another key's. `Some(false)`: it is ours,
    /// but somebody kept writing it.
    fn offer(self, key: &str, value: &str, privacy: Privacy) -> Option<bool> {
        let lock = self.ring.word(self.at + ANNOTATION_LOCK);
        for _ in 0..PATIENCE {
            let seen = lock.load(Ordering::Acquire);
            // An entry that gets its first key at this moment is somebody else's; should it be the same key, there are
            // two entries for it, and a reader takes the second.
            if seen == 1 || seen > 1 && !self.has_key(key) {
                return None;
            }
            let writing = seen + 1;
            if seen % 2 == 1
                || lock.compare_exchange(seen, writing, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                core::hint::spin_loop();
                continue;
            }
            // Whoever sees a word of the new value sees that it is being written.
            fence(Ordering::Release);
            let privacy = match privacy {
                Privacy::Public => 0,
                Privacy::Personal => 1,
                Privacy::Secret => 2,
            };
            let head = key.len() as u64 | (value.len() as u64) << 16 | privacy << 32;
            self.ring.word(self.at + ANNOTATION_HEAD).store(head, Ordering::Relaxed);
            let mut bytes = key.bytes().chain(value.bytes()).peekable();
            for at in (self.at + ANNOTATION_TEXT..self.at + u64::from(ANNOTATION_SIZE)).step_by(8) {
                if bytes.peek().is_none() {
                    break;
                }
                self.ring.word(at).store(next_word(&mut bytes), Ordering::Relaxed);
            }
            lock.store(writing + 1, Ordering::Release);
            return Some(true);
        }
        Some(false)
    }

    /// Whether the entry is that key's. A key never changes once it is there.
    fn has_key(self, key: &str) -> bool {
        let head = self.ring.word(self.at + ANNOTATION_HEAD).load(Ordering::Relaxed);
        if usize::from(head as u16) != key.len() {
            return false;
        }
        key.as_bytes().chunks(8).zip((self.at + ANNOTATION_TEXT..).step_by(8)).all(|(part, at)| {
            let word = self.ring.word(at).load(Ordering::Relaxed).to_le_bytes();
            word.starts_with(part)
        })
    }
}

/// Up to eight bytes as they lie in memory.
fn next_word(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let mut word = [0; 8];
    for (place, byte) in word.iter_mut().zip(bytes) {
        *place = byte;
    }
    u64::from_le_bytes(word)
}
