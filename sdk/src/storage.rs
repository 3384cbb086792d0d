//! Where the recorder's state of a thread is: initial-exec thread-local storage, which `thread.c` defines because stable
//! Rust cannot choose the model.
//!
//! Owns how it is found, and how its end is noticed. Never looks into it.
#![allow(unsafe_code)]

use core::cell::Cell;
#[cfg(target_arch = "x86_64")]
use core::mem::offset_of;
#[cfg(not(target_arch = "x86_64"))]
use core::ptr;

#[cfg(target_arch = "x86_64")]
use crate::thread::Level;
use crate::thread::Thread;

#[cfg(not(target_arch = "x86_64"))]
unsafe extern "C" {
    fn foretrace_tls_address() -> *const Thread;
}

unsafe extern "C" {
    fn foretrace_thread_watch();
}

/// The calling thread's state. The reference must not outlive or leave the thread. Asked again for each event: a coroutine
/// may go on in another thread.
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
            options(readonly, nostack),
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

/// The commit word and the packet of the thread's outermost level, and the processor is told to find the place of the next
/// event behind them: it reads its clock only when all loads before that are done, but waits for no prefetch.
#[inline(always)]
pub(crate) fn next_place(thread: &Thread) -> (u64, *mut u8) {
    #[cfg(target_arch = "x86_64")]
    {
        let _ = thread;
        let (commit, base): (u64, *mut u8);
        // SAFETY: as in `current`; reads two fields of the thread's state. A prefetch neither faults nor changes anything.
        unsafe {
            core::arch::asm!(
                "mov {base}, qword ptr [rip + foretrace_tls@GOTTPOFF]",
                "mov {commit}, qword ptr fs:[{base} + {at_commit}]",
                "mov {base}, qword ptr fs:[{base} + {at_base}]",
                "mov {place:e}, {commit:e}",
                "shr {place:e}, 3",
                "prefetcht0 byte ptr [{base} + {place}]",
                base = out(reg) base,
                commit = out(reg) commit,
                place = out(reg) _,
                at_commit = const offset_of!(Thread, levels) + offset_of!(Level, commit),
                at_base = const offset_of!(Thread, levels) + offset_of!(Level, base),
                options(readonly, nostack),
            );
        }
        (commit, base)
    }
    #[cfg(not(target_arch = "x86_64"))]
    (thread.levels[0].commit.get(), thread.levels[0].base.get())
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

/// Stores the stack pointer (or an address near it), without a register in between.
#[inline(always)]
pub(crate) fn note_stack_pointer(into: &Cell<u64>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: stores a register into the cell.
    unsafe {
        core::arch::asm!(
            "mov qword ptr [{into}], rsp",
            into = in(reg) into.as_ptr(),
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    into.set(stack_pointer());
}

/// Asks that `foretrace_thread_ends` be called when the calling thread ends.
pub(crate) fn watch() {
    // SAFETY: sets a thread-specific value of a key that the same C file created.
    unsafe { foretrace_thread_watch() };
}
