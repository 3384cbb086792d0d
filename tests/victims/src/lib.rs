//! What the Rust victims share: ways to die and the ledger that outlives them.
//!
//! Victims do on purpose what nobody should; nothing here is an example to follow.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// A way to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// A store through a null pointer.
    Null,
    /// `abort(3)`.
    Abort,
    /// Endless recursion, met by a handler on an alternate stack that re-raises.
    StackOverflow,
    /// A null store inside a signal handler.
    InHandler,
}

impl Death {
    /// Parses the argument that names it.
    pub fn from_argument(word: &str) -> Option<Death> {
        match word {
            "null" => Some(Death::Null),
            "abort" => Some(Death::Abort),
            "stack-overflow" => Some(Death::StackOverflow),
            "in-handler" => Some(Death::InHandler),
            _ => None,
        }
    }

    /// Dies.
    #[inline(never)]
    pub fn die(self) -> ! {
        match self {
            Death::Null => crash_by_null_store(),
            // SAFETY: abort takes nothing and does not return.
            Death::Abort => unsafe { libc::abort() },
            Death::StackOverflow => {
                black_box(recurse_for_ever(0));
            }
            Death::InHandler => {
                handle(libc::SIGUSR1, crash_in_handler as *const () as usize, 0);
                // SAFETY: raises a signal whose handler was just installed.
                unsafe { libc::raise(libc::SIGUSR1) };
            }
        }
        unreachable!("the process is dead by now")
    }
}

/// Stores through a null pointer.
#[inline(never)]
pub fn crash_by_null_store() -> ! {
    // SAFETY: none; this victim exists to fault here.
    unsafe { black_box(std::ptr::null_mut::<u32>()).write_volatile(1) };
    unreachable!("address 0 is mapped")
}

extern "C" fn crash_in_handler(_signal: i32) {
    crash_by_null_store();
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the way to die")]
fn recurse_for_ever(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse_for_ever(depth + 1) + black_box(frame)[5]
}

extern "C" fn reraise(signal: i32) {
    // SAFETY: async-signal-safe, and it takes plain numbers.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: as above.
    unsafe { libc::raise(signal) };
}

/// Gives the calling thread an alternate stack and a SIGSEGV handler on it that re-raises.
pub fn survive_on_alternate_stack() {
    let memory = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: the memory is leaked, so it outlives the thread.
    unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    handle(libc::SIGSEGV, reraise as *const () as usize, libc::SA_ONSTACK);
}

fn handle(signal: i32, handler: usize, flags: i32) {
    // SAFETY: an all-zero sigaction is a valid value of that plain struct.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the action is initialised and its handler is an extern "C" function of one argument.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// One thread's entry in the ledger file.
pub struct Account {
    words: *const AtomicU64,
}

impl Account {
    /// Opens entry `index` of the ledger at `path` for the calling thread.
    pub fn open(path: &str, index: usize) -> Account {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the ledger exists");
        let length = file.metadata().expect("the ledger has a size").len() as usize;
        assert!(length >= (index + 1) * 32, "the ledger is too small for thread {index}");
        // SAFETY: a fresh shared mapping of a file that nobody truncates while victims run.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        let account = Account { words: base.wrapping_add(index * 32).cast() };
        account.word(0).store(index as u64, Ordering::Relaxed);
        // SAFETY: gettid takes nothing and cannot fail.
        let tid = unsafe { libc::gettid() };
        account.word(1).store(tid as u64, Ordering::Relaxed);
        account
    }

    /// Notes that `count` events were recorded.
    pub fn note(&self, count: u64) {
        self.word(2).store(count, Ordering::Release);
    }

    fn word(&self, n: usize) -> &AtomicU64 {
        // SAFETY: the mapping is never unmapped and holds four words at this entry.
        let word = unsafe { self.words.add(n) };
        // SAFETY: as above; every access to the ledger is atomic.
        unsafe { &*word }
    }
}

/// The check that each numbered event carries, so that a torn one shows.
pub fn check(thread: u64, number: u64) -> u64 {
    (number ^ thread.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The time of CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux and the structure is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
