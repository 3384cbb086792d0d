//! libforetrace: the recorder for C and C++.
//!
//! Owns the functions behind `include/foretrace.h` and the agreement between that header and the recorder; each
//! function is documented there, for those who call it. The fast path is inlined from the header; here is what it
//! falls back to. Pointers are believed to point to what the header says, and what they point to is not believed to be
//! sensible.
#![allow(unsafe_code)]

mod attachment;
mod exports;
mod place;
mod site;
mod text;
mod time;

use core::ffi::{c_char, c_int};

use foretrace::foreign;
use foretrace_ring::trail::Privacy;

/// `ft_start`, as `foretrace.h` has it.
extern "C" fn start() -> c_int {
    answer(foretrace::start())
}

/// `ft_start_with`, as `foretrace.h` has it.
extern "C" fn start_with(pool: u64) -> c_int {
    answer(foretrace::start_with(pool))
}

/// `ft_own_ring`, as `foretrace.h` has it.
extern "C" fn own_ring(bytes: u64) -> c_int {
    answer(foretrace::own_ring(bytes))
}

/// `ft_enabled`, as `foretrace.h` has it.
extern "C" fn enabled() -> bool {
    foreign::is_live()
}

/// `ft_annotate`, as `foretrace.h` has it.
///
/// # Safety
/// Both texts are NULL or end with a NUL.
unsafe extern "C" fn annotate(key: *const c_char, value: *const c_char, privacy: c_int) {
    let privacy = match privacy {
        0 => Privacy::Public,
        1 => Privacy::Personal,
        _ => Privacy::Secret,
    };
    // SAFETY: the caller's promise.
    let key = unsafe { text::of(key) };
    // SAFETY: the caller's promise.
    foretrace::annotate(key, unsafe { text::of(value) }, privacy);
}

/// What `ft_report_error` expands to.
///
/// # Safety
/// Both texts are NULL or end with a NUL.
unsafe extern "C" fn report_error(message: *const c_char, file: *const c_char, line: u32) -> c_int {
    // SAFETY: the caller's promise.
    let message = unsafe { text::of(message) };
    // SAFETY: the caller's promise.
    answer(foreign::report_error(message, unsafe { text::of(file) }, line))
}

/// `foretrace_next_span`, as `foretrace.h` has it.
extern "C" fn next_span() -> u64 {
    foreign::next_span()
}

/// 0, or -1 for what could not be done.
fn answer(done: bool) -> c_int {
    if done { 0 } else { -1 }
}
