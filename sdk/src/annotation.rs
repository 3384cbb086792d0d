//! Notes that a program keeps about itself: 64 keys with their newest values, in the ring.

use foretrace_ring::layout::*;
use foretrace_ring::trail::Privacy;

use crate::entry::{Entry, Refused};
use crate::field;
use crate::ring::{self, Ring};

/// Bytes that a key may have.
const MAX_KEY: usize = 128;

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
    let privacy = match privacy {
        Privacy::Public => 0,
        Privacy::Personal => 1,
        Privacy::Secret => 2,
    };
    let head = key.len() as u64 | (kept.len() as u64) << 16 | privacy << 32;
    // An entry that gets its first key at this moment is somebody else's; should it be the same key, there are two
    // entries for it, and a reader takes the second. A key never changes once it is there.
    let is_ours = |entry: Entry, lock: u64| lock == 0 || lock > 1 && has_key(entry, key);
    let written = (0..ANNOTATION_COUNT).find_map(|index| {
        let text = key.bytes().chain(kept.bytes());
        let entry = Entry::annotation(ring, index);
        match entry.write(is_ours, &[(ANNOTATION_HEAD, head)], ANNOTATION_TEXT, text) {
            Ok(_) => Some(true),
            Err(Refused::Busy) => Some(false),
            Err(Refused::NotOurs) => None,
        }
    });
    written == Some(true)
}

fn has_key(entry: Entry, key: &str) -> bool {
    usize::from(entry.word(ANNOTATION_HEAD) as u16) == key.len()
        && entry.has_text(ANNOTATION_TEXT, key.as_bytes())
}
