//! Starts `foretrace-capture` so that the application hardly notices: no copy of its memory, no zombie, no wait.
//!
//! A child that shares our memory starts a grandchild that does too, and ends; the grandchild executes the program
//! with the ring as descriptor 3 and belongs to init. We wait for the two steps, not for the program. Between clone
//! and exec nothing runs but system calls: every signal is blocked, and the handlers are the child's own to reset.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};

use crate::host;
use crate::report::Kind;

/// Where distributions put the program.
const PROGRAM: &CStr = c"/usr/libexec/foretrace-capture";
/// The descriptor under which the program finds the ring.
const RING: c_int = 3;
/// Bytes of each child's stack.
const STACK: usize = 32 << 10;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// What the children need to know, and what they answer; all three share this memory.
struct Orders {
    program: *const c_char,
    arguments: [*const c_char; 11],
    environment: *const *const c_char,
    ring: c_int,
    stack: *mut c_void,
    /// The grandchild, once there is one.
    process: AtomicI32,
    /// Why the grandchild could not execute the program.
    failure: AtomicI32,
}

/// Starts the program on the calling thread's behalf. False: it could not be started.
pub(crate) fn capture(kind: Kind, ring: i32) -> bool {
    let (process, thread) = (Number::of(host::process_id()), Number::of(host::thread_id()));
    let Some(stacks) = host::map_private(2 * STACK) else { return false };
    let named = host::variable(c"FORETRACE_CAPTURE");
    let program = named.unwrap_or(PROGRAM);
    let arguments = [
        c"foretrace-capture",
        c"report",
        c"--kind",
        kind.name(),
        c"--pid",
        process.text(),
        c"--tid",
        thread.text(),
        c"--ring-fd",
        c"3",
    ];
    let mut pointers = [ptr::null(); 11];
    for (pointer, argument) in pointers.iter_mut().zip(arguments) {
        *pointer = argument.as_ptr();
    }
    let orders = Orders {
        program: program.as_ptr(),
        arguments: pointers,
        environment: environment(),
        ring,
        stack: stacks.wrapping_add(STACK).cast(),
        process: AtomicI32::new(0),
        failure: AtomicI32::new(0),
    };
    let blocked = block_signals();
    let child = clone(start_grandchild, stacks.wrapping_add(2 * STACK).cast(), &orders);
    if child > 0 {
        wait_for(child);
    }
    unblock_signals(&blocked);
    host::unmap(stacks, 2 * STACK as u64);
    let grandchild = orders.process.load(Ordering::Relaxed);
    if grandchild > 0 {
        allow_tracing(grandchild);
    }
    grandchild > 0 && orders.failure.load(Ordering::Relaxed) == 0
}

/// The application's environment; nothing of it where the program must not be told what to do.
fn environment() -> *const *const c_char {
    static NOTHING: Nothing = Nothing([ptr::null(); 1]);
    if host::is_privileged() {
        return NOTHING.0.as_ptr();
    }
    // SAFETY: reads the C library's pointer; `host::variable` says what is assumed of programs that change it.
    unsafe { environ }
}

/// An environment without variables.
struct Nothing([*const c_char; 1]);

// SAFETY: a null pointer points nowhere, from every thread.
unsafe impl Sync for Nothing {}

/// Starts a child that shares our memory, and suspends us until it has ended or executed something.
fn clone(entry: extern "C" fn(*mut c_void) -> c_int, stack: *mut c_void, orders: &Orders) -> c_int {
    // No signal at its end: the application's handlers and waits must not meet a child that it does not know.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let orders = ptr::from_ref(orders).cast_mut().cast();
    // SAFETY: the stack is a mapping of its own that outlives the child, as do the orders: we are suspended until the
    // child has ended or executed a program.
    unsafe { libc::clone(entry, stack, flags, orders) }
}

fn wait_for(child: c_int) {
    loop {
        // SAFETY: waits for our own child; no status is wanted.
        let answer = unsafe { libc::waitpid(child, ptr::null_mut(), libc::__WALL) };
        if answer >= 0 || errno() != libc::EINTR {
            return;
        }
    }
}

/// The last system call's error; in the children that of our thread, which is suspended.
fn errno() -> c_int {
    // SAFETY: no preconditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the thread's own variable.
    unsafe { *place }
}

/// In the child: starts the grandchild and ends, so that the grandchild is nobody's zombie.
extern "C" fn start_grandchild(orders: *mut c_void) -> c_int {
    // SAFETY: `capture`'s orders; it is suspended and keeps them.
    let orders = unsafe { &*orders.cast::<Orders>() };
    let process = clone(execute, orders.stack, orders);
    orders.process.store(process, Ordering::Relaxed);
    0
}

/// In the grandchild: becomes the program.
extern "C" fn execute(orders: *mut c_void) -> c_int {
    // SAFETY: as above.
    let orders = unsafe { &*orders.cast::<Orders>() };
    reset_signals();
    // The ring first: it may be one of the descriptors that are about to be replaced.
    move_to(orders.ring, RING);
    // SAFETY: a terminated path.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    for standard in (0..RING).filter(|_| null >= 0) {
        move_to(null, standard);
    }
    // SAFETY: the descriptor table is the grandchild's own.
    unsafe { libc::syscall(libc::SYS_close_range, RING + 1, c_int::MAX, 0) };
    // SAFETY: no preconditions: a terminal's Ctrl-C is not meant for the report.
    unsafe { libc::setsid() };
    // SAFETY: terminated strings in terminated arrays.
    unsafe { libc::execve(orders.program, orders.arguments.as_ptr(), orders.environment) };
    orders.failure.store(errno(), Ordering::Relaxed);
    127
}

fn move_to(from: c_int, to: c_int) {
    if from == to {
        // SAFETY: a descriptor of this process; takes "close on exec" away.
        unsafe { libc::fcntl(from, libc::F_SETFD, 0) };
    } else {
        // SAFETY: descriptors of this process.
        unsafe { libc::dup2(from, to) };
    }
}

/// The signals that were blocked before.
type Signals = libc::sigset_t;

fn block_signals() -> Signals {
    // SAFETY: all zeroes are a valid set.
    let mut all: Signals = unsafe { core::mem::zeroed() };
    // SAFETY: writes the set it is given.
    unsafe { libc::sigfillset(&mut all) };
    let mut before = all;
    // SAFETY: valid sets.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) };
    before
}

fn unblock_signals(before: &Signals) {
    // SAFETY: a valid set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
}

/// Every signal does what it does by default, and none is blocked.
fn reset_signals() {
    // SAFETY: all zeroes are SIG_DFL without flags.
    let default: libc::sigaction = unsafe { core::mem::zeroed() };
    for signal in 1..=64 {
        // SAFETY: the table of handlers is this process's own. Signals that cannot be set say so.
        unsafe { libc::sigaction(signal, &default, ptr::null_mut()) };
    }
    // SAFETY: all zeroes are the empty set.
    let none: Signals = unsafe { core::mem::zeroed() };
    unblock_signals(&none);
}

/// Lets the program read our memory where only ancestors may (Yama).
fn allow_tracing(process: c_int) {
    // SAFETY: takes a number.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, process) };
}

/// A decimal number as a terminated string.
struct Number([u8; 12]);

impl Number {
    fn of(number: u32) -> Number {
        let mut text = Number([0; 12]);
        // Ten digits fit.
        let _ = write!(text, "{number}");
        text
    }

    fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"0")
    }
}

impl Write for Number {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = self.0.iter().position(|byte| *byte == 0).unwrap_or(0);
        self.0.get_mut(start..start + text.len()).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        Ok(())
    }
}
