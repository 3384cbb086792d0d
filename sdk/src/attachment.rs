//! What a program wants to have beside its report: pieces of its memory, and files.
//!
//! Only names, addresses and paths are noted here, in the ring's header; nothing is read until a report is made, and
//! then by whoever makes it.

use core::fmt;
use core::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use foretrace_ring::layout::*;
use foretrace_ring::reader::{AttachmentClass, is_name};

use crate::entry::{Entry, Refused};
use crate::host;
use crate::ring::{self, Ring};

/// Has a value's memory added to every report that is made while the guard lives, as `attachments/CLASS/NAME`: the bytes
/// that the value itself has at the moment of the report, not what it points to.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use foretrace::{AttachmentClass, attach_memory};
///
/// static STATE: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
/// attach_memory("state", &STATE, AttachmentClass::Trail).keep();
/// STATE[0].store(7, Ordering::Relaxed);
/// ```
///
/// The class says with what else the attachment leaves the machine; nobody takes names out of what is no text. A name
/// has up to 64 letters, digits and `._+-`; the same name again takes the first one's place. There is room for 8
/// attachments, of which a report holds up to 8 MiB each. Memory that a core would not hold is not read.
///
/// # Errors
/// None: what finds no room or has no proper name is counted in the ring, and the report says so; so does it where memory
/// could not be read.
///
/// # Signal safety
/// May be called from a signal handler.
pub fn attach_memory<'a, T: ?Sized>(name: &str, value: &'a T, class: AttachmentClass) -> Attachment<'a> {
    let address = core::ptr::from_ref(value).cast::<u8>();
    attach_address(name, address, size_of_val(value), class)
}

/// [`attach_memory`] by address and size in bytes. Nothing is read here, so the address may be any; what is there when a
/// report is made goes into it.
///
/// # Errors
/// As [`attach_memory`].
///
/// # Signal safety
/// May be called from a signal handler.
pub fn attach_address<'a>(
    name: &str,
    address: *const u8,
    bytes: usize,
    class: AttachmentClass,
) -> Attachment<'a> {
    attach(name, &[], ATTACHMENT_MEMORY, address as u64, bytes as u64, class)
}

/// Has a file added to every report that is made while the guard lives, as `attachments/CLASS/NAME`: its last `most`
/// bytes at the moment of the report. Otherwise as [`attach_memory`].
///
/// ```
/// use std::path::Path;
///
/// use foretrace::{AttachmentClass, attach_file};
///
/// attach_file("app.log", Path::new("/var/log/app.log"), 64 << 10, AttachmentClass::Logs).keep();
/// ```
///
/// The path has up to 320 bytes; one that is not absolute counts from the directory that is current now. The file is
/// opened with the rights that the process has when the report is made, and only if it is a regular one on a file system
/// that cannot block.
///
/// # Errors
/// As [`attach_memory`]; a path that is too long finds no room.
///
/// # Signal safety
/// May be called from a signal handler.
pub fn attach_file(name: &str, path: &Path, most: u64, class: AttachmentClass) -> Attachment<'static> {
    let mut absolute = [0; ATTACHMENT_PATH];
    let path = host::absolute(path.as_os_str().as_bytes(), &mut absolute).unwrap_or(&[]);
    attach(name, path, ATTACHMENT_FILE, 0, most, class)
}

/// Something attached. When this is dropped it is so no longer.
#[must_use = "what is attached is detached when this is dropped: keep it in a variable, or call `keep`"]
pub struct Attachment<'a> {
    /// Its entry, and the lock that this had then.
    place: Option<(u32, u64)>,
    _of: PhantomData<&'a ()>,
}

impl Attachment<'_> {
    /// Leaves it attached for good. A reference in it has to be to something that stays.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub fn keep(self)
    where
        Self: 'static,
    {
        core::mem::forget(self);
    }

    /// Whether there was room for it, and its name and path could be.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub fn is_attached(&self) -> bool {
        self.place.is_some()
    }
}

impl fmt::Debug for Attachment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("is_attached", &self.is_attached()).finish()
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if let (Some((index, lock)), true) = (self.place, ring::is_live())
            && let Some(ring) = ring::live()
        {
            remove(Entry::attachment(ring, index), |_, seen| seen == lock);
        }
    }
}

/// Takes an attachment away by its name.
pub(crate) fn detach(name: &str) {
    let Some(ring) = ring::is_live().then(ring::live).flatten() else { return };
    for index in 0..ATTACHMENT_COUNT {
        remove(Entry::attachment(ring, index), |entry, lock| has_name(entry, lock, name));
    }
}

fn remove(entry: Entry, is_ours: impl Fn(Entry, u64) -> bool) {
    // Of another one by now, or being written by whoever this interrupted: either way nothing can be done.
    let _ = entry.write(is_ours, &[(ATTACHMENT_HEAD, ATTACHMENT_NONE)], ATTACHMENT_TEXT, core::iter::empty());
}

fn attach<'a>(
    name: &str,
    path: &[u8],
    kind: u64,
    address: u64,
    most: u64,
    class: AttachmentClass,
) -> Attachment<'a> {
    let Some(ring) = ring::live() else { return Attachment { place: None, _of: PhantomData } };
    let class = match class {
        AttachmentClass::Trail => 1,
        AttachmentClass::Logs => 2,
        AttachmentClass::Memory => 3,
    };
    let head = kind | class << 8 | (name.len() as u64) << 16 | (path.len() as u64) << 32;
    let words = [(ATTACHMENT_HEAD, head), (ATTACHMENT_ADDRESS, address), (ATTACHMENT_MOST, most)];
    let possible = is_name(name.as_bytes()) && (kind != ATTACHMENT_FILE || !path.is_empty());
    let place = possible.then(|| write(ring, name, path, &words)).flatten();
    if place.is_none() {
        ring.count(AT_REFUSED_ATTACHMENTS);
    }
    Attachment { place, _of: PhantomData }
}

/// Writes over the entry with this name, or else into a free one.
fn write(ring: Ring, name: &str, path: &[u8], words: &[(u64, u64)]) -> Option<(u32, u64)> {
    type IsOurs<'a> = &'a dyn Fn(Entry, u64) -> bool;
    let same: IsOurs<'_> = &|entry, lock| has_name(entry, lock, name);
    let free: IsOurs<'_> = &|entry, lock| lock == 0 || is_at_rest(lock) && kind(entry) == ATTACHMENT_NONE;
    for is_ours in [same, free] {
        for index in 0..ATTACHMENT_COUNT {
            let text = name.bytes().chain(path.iter().copied());
            match Entry::attachment(ring, index).write(is_ours, words, ATTACHMENT_TEXT, text) {
                Ok(lock) => return Some((index, lock)),
                Err(Refused::NotOurs | Refused::Busy) => {}
            }
        }
    }
    None
}

/// One that is being written is somebody else's: what it will be called is not known yet.
fn is_at_rest(lock: u64) -> bool {
    lock > 0 && lock.is_multiple_of(2)
}

fn has_name(entry: Entry, lock: u64, name: &str) -> bool {
    is_at_rest(lock)
        && kind(entry) != ATTACHMENT_NONE
        && usize::from((entry.word(ATTACHMENT_HEAD) >> 16) as u16) == name.len()
        && entry.has_text(ATTACHMENT_TEXT, name.as_bytes())
}

fn kind(entry: Entry) -> u64 {
    entry.word(ATTACHMENT_HEAD) & 0xff
}
