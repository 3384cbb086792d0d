//! The slow path of a C call site: a place for its event when the inlined code found none.
#![allow(unsafe_code)]

use core::ffi::c_char;
use core::ptr;

use foretrace::foreign::{self, Place};
use foretrace_ring::layout::{EVENT_HEADER, ONE_EVENT, PACKET_COMMIT};

use crate::site::Site;

/// `FT_MAX_BYTES`.
const MAX_BYTES: usize = 4096;

/// `struct foretrace_slowly`.
#[repr(C)]
pub struct Slowly {
    size: u64,
    place: [u64; 6],
}

// What the inlined code has as literals.
const _: () = {
    let [frame, epoch, commit, base, limit] = foreign::THREAD_LAYOUT;
    assert!(frame == 0 && epoch == 8 && commit == 16 && base == 24 && limit == 32);
    assert!(foreign::IDLE == 1 && EVENT_HEADER == 8 && ONE_EVENT == 1 << 32 && PACKET_COMMIT == 48);
    assert!(size_of::<Slowly>() == 7 * 8);
    assert!(size_of::<Place>() <= size_of::<[u64; 6]>() && align_of::<Place>() <= align_of::<u64>());
};

/// `foretrace_place`: finds a place and answers where its payload goes, or NULL. `frame` is the call site's stack
/// pointer.
///
/// # Safety
/// `slowly` may be written, `size` counts a header, and `site` is one that `foretrace.h` made.
pub unsafe extern "C" fn place(slowly: *mut Slowly, site: *const Site, size: u64, frame: u64) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { placed(slowly, site, size, frame, None) }
}

/// `foretrace_place_at`: as [`place`], for an event whose time is given.
///
/// # Safety
/// As of [`place`].
pub unsafe extern "C" fn place_at(
    slowly: *mut Slowly,
    site: *const Site,
    size: u64,
    frame: u64,
    time: u64,
) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { placed(slowly, site, size, frame, Some(time)) }
}

/// # Safety
/// As of [`place`].
unsafe fn placed(
    slowly: *mut Slowly,
    site: *const Site,
    size: u64,
    frame: u64,
    given: Option<u64>,
) -> *mut u8 {
    // SAFETY: the caller's promise; what others may change is atomic.
    let site = unsafe { &*site };
    let Some(id) = site.number() else { return ptr::null_mut() };
    let Some(place) = usize::try_from(size).ok().and_then(|size| foreign::place(size, frame, given)) else {
        if foreign::is_off() {
            site.switch_off();
        }
        return ptr::null_mut();
    };
    let at = place.at();
    let header = ((place.time() << 16) | u64::from(id)).to_le_bytes();
    // SAFETY: the place has room for `size` bytes, which are never fewer than a header's.
    unsafe { at.cast::<[u8; 8]>().write_unaligned(header) };
    // SAFETY: the caller's promise: nobody else knows of it.
    let slowly = unsafe { &mut *slowly };
    slowly.size = size;
    // SAFETY: large enough and aligned, as asserted above.
    unsafe { slowly.place.as_mut_ptr().cast::<Place>().write(place) };
    at.wrapping_add(header.len())
}

/// `foretrace_commit`: ends what [`place`] began.
///
/// # Safety
/// [`place`] answered a place with this `slowly`, which was not yet committed.
pub unsafe extern "C" fn commit(slowly: *const Slowly) {
    // SAFETY: the caller's promise.
    let slowly = unsafe { &*slowly };
    // SAFETY: `place` put one there, and it is taken only once.
    let place = unsafe { slowly.place.as_ptr().cast::<Place>().read() };
    place.commit(slowly.size as usize);
}

/// `foretrace_cut`: cuts a field of more than `FT_MAX_BYTES` bytes: how many to keep, so that no character of a text is split. Counted.
///
/// # Safety
/// `text` is NULL (for bytes that are no text) or has more than `FT_MAX_BYTES` bytes.
pub unsafe extern "C" fn cut(text: *const c_char) -> u16 {
    foreign::count_cut();
    let mut end = MAX_BYTES;
    if !text.is_null() {
        // SAFETY: the caller's promise: the text goes on behind the cut.
        let bytes = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), MAX_BYTES + 1) };
        while end > MAX_BYTES - 3 && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
    }
    end as u16
}
