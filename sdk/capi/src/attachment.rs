//! Attachments from C: as `foretrace.h` has them.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_void};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use foretrace::{AttachmentClass, foreign};

use crate::{answer, text};

/// `ft_attach_memory`.
///
/// # Safety
/// The name is NULL or ends with a NUL.
pub unsafe extern "C" fn attach_memory(
    name: *const c_char,
    memory: *const c_void,
    bytes: usize,
    class: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { text::of(name) };
    answer(foreign::attach_address(name, memory.cast(), bytes, class_of(class)))
}

/// `ft_attach_file`.
///
/// # Safety
/// Both texts are NULL or end with a NUL.
pub unsafe extern "C" fn attach_file(
    name: *const c_char,
    path: *const c_char,
    most: usize,
    class: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { text::of(name) };
    let path = if path.is_null() {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(path) }.to_bytes()
    };
    let path = Path::new(OsStr::from_bytes(path));
    answer(foreign::attach_file(name, path, most as u64, class_of(class)))
}

/// `ft_detach`.
///
/// # Safety
/// The name is NULL or ends with a NUL.
pub unsafe extern "C" fn detach(name: *const c_char) {
    // SAFETY: the caller's promise.
    foreign::detach(unsafe { text::of(name) });
}

/// What is no class of ours needs the most consent.
fn class_of(class: c_int) -> AttachmentClass {
    match class {
        1 => AttachmentClass::Trail,
        2 => AttachmentClass::Logs,
        _ => AttachmentClass::Memory,
    }
}
