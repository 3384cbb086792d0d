//! Call sites as the header lays them out, and their registration.
//!
//! A site is registered when it is first reached, and in no other place: a program that never gets there pays nothing
//! for it. Threads that get there together may declare the type twice; they agree on the first number.
#![allow(unsafe_code)]

use core::ffi::c_char;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, Ordering};

use foretrace::foreign;
use foretrace_ring::metadata::{EventDecl, FieldDecl, FieldKind};
use foretrace_ring::trail::{Level, Privacy};

use crate::text;

/// `FORETRACE_ABI`: what inlined code of this version expects.
const ABI: u8 = 1;
/// Fields that the header's macros can spell.
const MAX_FIELDS: usize = 16;

/// `struct foretrace_site`.
#[repr(C)]
pub struct Site {
    live: AtomicPtr<u64>,
    id: AtomicU16,
    off: AtomicU8,
    abi: u8,
    level: u8,
    count: u8,
    line: u32,
    file: *const c_char,
    provider: *const c_char,
    name: *const c_char,
    fields: *const Field,
}

/// `struct foretrace_field`.
#[repr(C)]
pub struct Field {
    name: *const c_char,
    kind: u8,
    privacy: u8,
}

const _: () = assert!(offset_of!(Site, fields) == 48 && size_of::<Field>() == 16);

/// Gives a site its number, and the process its ring. Whether to record.
///
/// # Safety
/// `site` is one that `foretrace.h` made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foretrace_register(site: *const Site) -> bool {
    // SAFETY: the caller's promise; what others may change is atomic.
    let site = unsafe { &*site };
    if site.abi != ABI {
        site.off.store(1, Ordering::Relaxed);
        return false;
    }
    if !foretrace::start() {
        site.off.store(u8::from(foreign::is_off()), Ordering::Relaxed);
        return false;
    }
    if !site.live.load(Ordering::Acquire).is_null() {
        return true;
    }
    // SAFETY: as above: the header's macros point to literals and to arrays of so many fields.
    let Some(id) = (unsafe { declare(site) }) else {
        site.off.store(1, Ordering::Relaxed);
        return false;
    };
    let _ = site.id.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed);
    site.live.store(foreign::live_word().cast_mut(), Ordering::Release);
    true
}

/// # Safety
/// Text pointers end with a NUL or are NULL, and `fields` points to `count` fields.
unsafe fn declare(site: &Site) -> Option<u16> {
    let none = FieldDecl { name: "", kind: FieldKind::U8, privacy: Privacy::Public };
    let mut fields = [none; MAX_FIELDS];
    let count = if site.fields.is_null() { 0 } else { MAX_FIELDS.min(site.count.into()) };
    for (at, to) in fields[..count].iter_mut().enumerate() {
        let from = site.fields.wrapping_add(at);
        // SAFETY: the caller's promise: one of `count` fields.
        let from = unsafe { &*from };
        // SAFETY: the caller's promise.
        let name = unsafe { text::of(from.name) };
        let privacy = match from.privacy {
            0 => Privacy::Public,
            1 => Privacy::Personal,
            _ => Privacy::Secret,
        };
        *to = FieldDecl { name, kind: FieldKind::from_number(from.kind)?, privacy };
    }
    foreign::declare(&EventDecl {
        id: 0,
        // SAFETY: the caller's promise.
        provider: unsafe { text::of(site.provider) },
        // SAFETY: the caller's promise.
        name: unsafe { text::of(site.name) },
        level: Level::from_number(site.level).unwrap_or(Level::Info),
        // SAFETY: the caller's promise.
        file: unsafe { text::of(site.file) },
        line: site.line,
        fields: &fields[..count],
    })
}
