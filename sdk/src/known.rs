//! A table of event types whose fields, or whose call sites, are known only when they happen.
//!
//! Owns the numbers that they got. The table never shrinks, and nobody waits for it: two threads that meet a new type
//! together may both declare it, and one declaration stays unused. Adding an entry allocates.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What tells types apart.
pub(crate) type Key = [u64; 2];

/// The table, with room for `N` types.
pub(crate) struct Known<const N: usize> {
    types: [AtomicPtr<Entry>; N],
    /// What was last looked for, by the first half of its key alone.
    newest: [AtomicPtr<Entry>; N],
}

/// A type.
pub(crate) struct Entry {
    pub key: Key,
    /// `None`: it was refused.
    pub id: Option<u16>,
}

impl<const N: usize> Known<N> {
    /// A table without types.
    pub const fn new() -> Known<N> {
        let none = [const { AtomicPtr::new(ptr::null_mut()) }; N];
        Known { types: none, newest: [const { AtomicPtr::new(ptr::null_mut()) }; N] }
    }

    /// What [`number`](Known::number) last found for a key of which this is the first half, or for another key.
    #[inline(always)]
    pub fn newest(&self, half: u64) -> Option<&Entry> {
        entry(self.newest[home([half, 0]) % N].load(Ordering::Acquire))
    }

    /// A type that is there. `None`: it is new, or stands so far from its place that [`number`](Known::number) has to
    /// look for it.
    #[inline(always)]
    pub fn known(&self, key: Key) -> Option<&Entry> {
        entry(self.types[home(key) % N].load(Ordering::Acquire)).filter(|seen| seen.key == key)
    }

    /// The number of a type; what `declare` answers where it is new. The outer `None`: the table is full.
    pub fn number(&self, key: Key, declare: impl FnOnce() -> Option<u16>) -> Option<Option<u16>> {
        let first = home(key);
        let places = (0..N).map(|step| &self.types[(first + step) % N]);
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
                let (newest, seen_at) = (&self.newest[home([key[0], 0]) % N], ptr::from_ref(seen).cast_mut());
                if newest.load(Ordering::Relaxed) != seen_at {
                    newest.store(seen_at, Ordering::Release);
                }
                return Some(seen.id);
            }
        }
        None
    }
}

/// Where a type's entry is, if others are not there already.
#[inline(always)]
fn home(key: Key) -> usize {
    ((key[0] ^ key[1].rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

#[inline(always)]
#[allow(unsafe_code)]
fn entry<'a>(entry: *mut Entry) -> Option<&'a Entry> {
    // SAFETY: null, or a box that was given away to the table for good, complete before it was published.
    unsafe { entry.as_ref() }
}
