//! A mapped ring as words: where each is, and that an impossible offset harms nobody.
//!
//! Owns the arithmetic from offsets to memory. Never makes, maps or unmaps anything.
#![allow(unsafe_code)]

use foretrace_ring::layout::*;

use crate::atomic::{AtomicU64, Ordering};

/// This process's ring.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    /// Where it is mapped.
    pub base: *mut u8,
    /// Where everything lies in it.
    pub geometry: Geometry,
}

impl Ring {
    /// The word at `offset`. The ring is writable by its whole process, so an offset may come out of damaged memory:
    /// one that cannot be is answered by a word without meaning.
    pub fn word(self, offset: u64) -> &'static AtomicU64 {
        let inside = offset.is_multiple_of(8) && offset <= self.geometry.size - 8;
        let at = self.base.wrapping_add(if inside { offset } else { AT_SCRATCH } as usize);
        // SAFETY: inside the mapping, which whoever made this value mapped and nobody unmaps; aligned; only used
        // atomically.
        unsafe { &*at.cast::<AtomicU64>() }
    }

    /// The address of `offset`, which the caller knows to be inside.
    pub fn address(self, offset: u64) -> *mut u8 {
        self.base.wrapping_add(offset as usize)
    }

    /// The descriptor of a cell.
    pub fn descriptor(self, cell: u32) -> &'static AtomicU64 {
        self.word(self.geometry.descriptors + u64::from(cell) * 8)
    }

    /// Where a cell is.
    pub fn cell(self, cell: u32) -> u64 {
        self.geometry.pool + u64::from(cell) * u64::from(CELL_SIZE)
    }

    /// Adds one to a counter in the header.
    pub fn count(self, at: u64) {
        self.word(at).fetch_add(1, Ordering::Relaxed);
    }
}
