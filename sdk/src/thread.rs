//! The recorder's state of one thread: a few words in thread-local storage.
//!
//! Owns what the words mean; `storage` finds them. `record` and `writer` change them; nobody else looks.

use core::cell::Cell;
use core::ptr;

pub(crate) use crate::storage::{current, note_stack_pointer, stack_pointer, watch};

/// Nesting levels: a thread, a signal handler that interrupts its recording, and one that interrupts that.
pub(crate) const LEVELS: usize = 3;

/// The frame of a thread that is ready to record. No stack is there, and it is what `ring` has as the mark of a process
/// that has a ring: one comparison tells that no recording is in progress and that this is no forked child.
pub(crate) const IDLE: u64 = 1;

/// Where the next event of one nesting level goes. A zeroed level is full.
#[repr(C)]
pub(crate) struct Level {
    /// The packet's commit word, with the content size rounded up to where the next event begins.
    pub commit: Cell<u64>,
    /// The packet.
    pub base: Cell<*mut u8>,
    /// The packet's size in bytes; negative where only the slow path may write (no time stamp counter).
    pub limit: Cell<i64>,
}

/// The state of one thread.
#[repr(C)]
pub(crate) struct Thread {
    /// Stack pointer of the innermost recording in progress. None is in progress: [`IDLE`], or 0 in a thread that has
    /// not recorded yet.
    pub frame: Cell<u64>,
    /// Upper half of the time at which this thread last took the slow path.
    pub epoch: Cell<u32>,
    /// One open packet for each nesting level.
    pub levels: [Level; LEVELS],
    /// The innermost recording's nesting level.
    pub depth: Cell<u32>,
    /// Each level's writer slot + 1; 0 is none.
    pub slots: [Cell<u32>; LEVELS],
    /// The frames that the recordings at levels 1 and 2 interrupted.
    pub outer: [Cell<u64>; LEVELS - 1],
    /// Spans that the thread has begun.
    pub spans: Cell<u64>,
}

const _: () = assert!(size_of::<Thread>() <= 128);

impl Thread {
    /// Whether the time's upper half is another one than when this thread last took the slow path (some seconds have
    /// passed, or the clock went back); it is noted.
    pub fn enter_epoch(&self, time: u64) -> bool {
        let epoch = (time >> 32) as u32;
        self.epoch.replace(epoch) != epoch
    }

    /// Forgets every packet and slot: they are another process's, or nobody's.
    pub fn reset(&self) {
        for level in &self.levels {
            level.limit.set(0);
            level.commit.set(0);
            level.base.set(ptr::null_mut());
        }
        for slot in &self.slots {
            slot.set(0);
        }
        self.depth.set(0);
        self.epoch.set(0);
        self.frame.set(0);
    }
}
