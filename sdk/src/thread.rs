//! The recorder's state of one thread: a few words in initial-exec thread-local storage (see `thread.c`).
//!
//! Owns how the words are found and what they mean. `record` and `writer` change them; nobody else looks.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;

/// Nesting levels: a thread, a signal handler that interrupts its recording, and one that interrupts that.
pub(crate) const LEVELS: usize = 3;

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
    /// Stack pointer of the innermost recording in progress; 0 is none.
    pub frame: Cell<u64>,
    /// The time at which this thread last took the slow path.
    pub epoch: Cell<u64>,
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

#[cfg(not(target_arch = "x86_64"))]
unsafe extern "C" {
    fn foretrace_tls_address() -> *const Thread;
}

unsafe extern "C" {
    fn foretrace_thread_watch();
}

/// The calling thread's state. The reference must not outlive or leave the thread.
#[inline(always)]
pub(crate) fn current<'a>() -> &'a Thread {
    let thread: *const Thread;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the ABI of thread-local storage: the linker replaces the first operand by the variable's distance from
    // the thread pointer, which lies at fs:0. Nothing is written.
    unsafe {
        core::arch::asm!(
            "mov {thread}, qword ptr [rip + foretrace_tls@GOTTPOFF]",
            "add {thread}, qword ptr fs:[0]",
            thread = out(reg) thread,
            options(pure, nomem, nostack),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: the C function has no preconditions.
        thread = unsafe { foretrace_tls_address() };
    }
    // SAFETY: thread.c defines the variable with this layout; it is zeroed, lives as long as the thread, and only this
    // thread (and its signal handlers, through cells) uses it.
    unsafe { &*thread }
}

/// The stack pointer, or an address near it: what tells an interrupted recording from an abandoned one.
#[inline(always)]
pub(crate) fn stack_pointer() -> u64 {
    let pointer: u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies a register.
    unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let near = 0_u8;
        pointer = ptr::addr_of!(near) as u64;
    }
    pointer
}

/// Asks that `foretrace_thread_ends` be called when the calling thread ends.
pub(crate) fn watch() {
    // SAFETY: sets a thread-specific value of a key that the same C file created.
    unsafe { foretrace_thread_watch() };
}
