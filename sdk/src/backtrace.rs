//! Where a panic came from: the calling thread's return addresses, for whoever has the program's files to name.
//!
//! Owns one walk. Names nothing and allocates nothing. A thread that caught its panic has left all these frames by the
//! time that anybody else could look.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};

use foretrace_ring::layout::REPORT_FRAMES;

/// What a step of the walk answers: go on, and no more.
const GO_ON: c_int = 0;
const ENOUGH: c_int = 4;

/// Return addresses, innermost first, eight bytes each.
pub(crate) struct Backtrace {
    bytes: [u8; REPORT_FRAMES * 8],
    length: usize,
}

unsafe extern "C-unwind" {
    // What the panic itself is unwound with: the standard library brings it along.
    fn _Unwind_Backtrace(
        step: extern "C-unwind" fn(*mut c_void, *mut c_void) -> c_int,
        into: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut c_void, before: *mut c_int) -> usize;
}

impl Backtrace {
    /// The calling thread's. Not for signal handlers: the walk may look for its tables under the linker's lock.
    pub fn here() -> Backtrace {
        let mut backtrace = Backtrace::none();
        // SAFETY: `step` takes what it is given here, which outlives the call.
        unsafe { _Unwind_Backtrace(step, (&raw mut backtrace).cast()) };
        backtrace
    }

    /// None: the thread can still be asked.
    pub fn none() -> Backtrace {
        Backtrace { bytes: [0; REPORT_FRAMES * 8], length: 0 }
    }

    /// The addresses as they are recorded.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Notes one frame.
extern "C-unwind" fn step(context: *mut c_void, into: *mut c_void) -> c_int {
    // SAFETY: `here`'s own backtrace, which it does not touch meanwhile.
    let backtrace = unsafe { &mut *into.cast::<Backtrace>() };
    let mut before = 0;
    // SAFETY: the context that the walk is at, and a variable of ours.
    let address = unsafe { _Unwind_GetIPInfo(context, &mut before) } as u64;
    // A return address lies behind its call. Where a signal came the instruction itself is named, and noted alike.
    let behind = address + u64::from(before != 0);
    let end = backtrace.length + 8;
    match backtrace.bytes.get_mut(backtrace.length..end) {
        Some(place) if address != 0 => {
            place.copy_from_slice(&behind.to_le_bytes());
            backtrace.length = end;
            GO_ON
        }
        _ => ENOUGH,
    }
}
