//! Text from C: at most so long, and valid.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};

/// The text up to its NUL and up to its first byte that is no UTF-8. Empty for NULL.
///
/// # Safety
/// `text` is NULL or ends with a NUL, and does not change for as long as the answer is used.
pub unsafe fn of<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
