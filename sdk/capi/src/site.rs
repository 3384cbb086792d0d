//! Call sites as the header lays them out, and their registration.
//!
//! A site is registered when it is first reached, and in no other place: a program that never gets there pays nothing
//! for it. Threads that get there together may declare the type twice; they agree on the first number.
#![allow(unsafe_code)]

use core::ffi::c_char;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};

use foretrace::foreign;
use foretrace_ring::metadata::{EventDecl, FieldDecl, FieldKind};
use foretrace_ring::trail::{Level, Privacy};

use crate::text;

/// `FORETRACE_ABI`: what inlined code of this version expects.
const ABI: u8 = 1;
/// `FORETRACE_NEW`.
const NEW: u32 = 0x1_0000;
/// Fields that the header's macros can spell.
const MAX_FIELDS: usize = 16;

/// `struct foretrace_site`.
#[repr(C)]
pub struct Site {
    word: AtomicU32,
    abi: u8,
    level: u8,
    count: u8,
    phase: u8,
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

const _: () = assert!(offset_of!(Site, fields) == 40 && size_of::<Field>() == 16);

/// `foretrace_register`: gives a site its number, and the process its ring. Whether to record.
///
/// # Safety
/// `site` is one that `foretrace.h` made.
pub unsafe extern "C" fn register(site: *const Site) -> bool {
    // SAFETY: the caller's promise; what others may change is atomic.
    let site = unsafe { &*site };
    let level = Level::from_number(site.level).unwrap_or(Level::Info);
    // SAFETY: the caller's promise.
    if site.abi != ABI || !foreign::is_wanted(unsafe { text::of(site.provider) }, level) {
        site.switch_off();
        return false;
    }
    if !foretrace::start() {
        if foreign::is_off() {
            site.switch_off();
        }
        return false;
    }
    // SAFETY: as above: the header's macros point to literals and to arrays of so many fields.
    let id = unsafe { declare(site, level) }.map_or(0, u32::from);
    // Whoever came first has decided.
    let _ = site.word.compare_exchange(NEW, id, Ordering::Relaxed, Ordering::Relaxed);
    site.number().is_some()
}

impl Site {
    /// The event type's number. `None`: the site is off.
    pub fn number(&self) -> Option<u16> {
        u16::try_from(self.word.load(Ordering::Relaxed)).ok().filter(|id| *id != 0)
    }

    /// Nothing will ever be recorded here.
    pub fn switch_off(&self) {
        self.word.store(0, Ordering::Relaxed);
    }
}

/// # Safety
/// Text pointers end with a NUL or are NULL, and `fields` points to `count` fields.
unsafe fn declare(site: &Site, level: Level) -> Option<u16> {
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
    let declaration = EventDecl {
        id: 0,
        // SAFETY: the caller's promise.
        provider: unsafe { text::of(site.provider) },
        // SAFETY: the caller's promise.
        name: unsafe { text::of(site.name) },
        level,
        // SAFETY: the caller's promise.
        file: unsafe { text::of(site.file) },
        line: site.line,
        fields: &fields[..count],
    };
    foreign::declare(&declaration, site.phase)
}
