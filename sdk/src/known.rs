//! A table of event types whose fields, or whose call sites, are known only when they happen.
//!
//! Owns the numbers that they got. The table never shrinks, and nobody waits for it: two threads that meet a new type
//! together may both declare it, and one declaration stays unused. Adding an entry allocates.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What tells types apart.
pub(crate) type Key = [u64; 2];

/// The table, with room for `N` types.
pub(crate) struct Known<const N: usize>([AtomicPtr<Entry>; N]);

struct Entry {
    key: Key,
    /// `None`: it was refused.
    id: Option<u16>,
}

impl<const N: usize> Known<N> {
    /// A table without types.
    pub const fn new() -> Known<N> {
        Known([const { AtomicPtr::new(ptr::null_mut()) }; N])
    }

    /// The number of a type; what `declare` answers where it is new. The outer `None`: the table is full.
    pub fn number(&self, key: Key, declare: impl FnOnce() -> Option<u16>) -> Option<Option<u16>> {
        let hash = (key[0] ^ key[1].rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let places = (0..N).map(|step| &self.0[(hash as usize + step) % N]);
        let (mut declare, mut mine) = (Some(declare), None);
        for place in places {
            let mut seen = entry(place.load(Ordering::Acquire));
            if seen.is_none() {
                let new = mine.or_else(|| declare.take().map(|declare| Entry { key, id: declare() }))?;
                let new = Box::into_raw(Box::new(new));
                let stored =
                    place.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
                mine = None;
                seen = entry(stored.err().unwrap_or(new));
                if stored.is_err() {
                    #[allow(unsafe_code)]
                    // SAFETY: the box of three lines above, which nobody else has seen.
                    let unused = unsafe { Box::from_raw(new) };
                    mine = Some(*unused);
                }
            }
            if let Some(seen) = seen.filter(|seen| seen.key == key) {
                return Some(seen.id);
            }
        }
        None
    }
}

#[allow(unsafe_code)]
fn entry<'a>(entry: *mut Entry) -> Option<&'a Entry> {
    // SAFETY: null, or a box that was given away to the table for good, complete before it was published.
    unsafe { entry.as_ref() }
}
