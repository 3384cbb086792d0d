//! libforetrace: the recorder for C and C++.
//!
//! Owns the functions behind `include/foretrace.h` and the agreement between that header and the recorder; each
//! function is documented there, for those who call it. The fast path is inlined from the header; here is what it
//! falls back to. Pointers are believed to point to what the header says, and what they point to is not believed to be
//! sensible.
#![allow(unsafe_code)]

mod place;
mod site;
mod text;

use core::ffi::c_int;

use foretrace::foreign;

/// As `foretrace.h` has it.
#[unsafe(no_mangle)]
pub extern "C" fn ft_start() -> c_int {
    answer(foretrace::start())
}

/// As `foretrace.h` has it.
#[unsafe(no_mangle)]
pub extern "C" fn ft_enabled() -> bool {
    foreign::is_live()
}

/// 0, or -1 for what could not be done.
fn answer(done: bool) -> c_int {
    if done { 0 } else { -1 }
}
