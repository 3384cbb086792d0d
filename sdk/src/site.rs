//! Call sites: where an event is recorded, and the number it has in this process's ring.
//!
//! A site declares its event type in the ring's schema area the first time it is reached. Two threads that reach it at
//! the same instant may both declare it, and one declaration stays unused; nobody waits for the other.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use foretrace_ring::layout::*;
use foretrace_ring::metadata::{self, EventDecl, FieldDecl, FieldKind, MAX_FIELDS};
use foretrace_ring::trail::{Level, Privacy};

use crate::ring::{self, Ring};
use crate::span::{self, Phase};
use crate::switches;

/// What the source says of an event type.
#[derive(Debug)]
pub struct Declaration {
    /// Who records it.
    pub provider: &'static str,
    /// Its name.
    pub name: &'static str,
    /// How important it is.
    pub level: Level,
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// What happens there.
    pub phase: Phase,
    /// Names of the fields, and whose business they are.
    pub fields: &'static [(&'static str, Privacy)],
}

/// A call site: 0 is off, `UNKNOWN` not yet reached, else the event type's number (from bit 48 on, so that one
/// instruction puts it behind the time) and the signature of its fields (the lower half).
#[derive(Debug)]
pub struct Site {
    word: AtomicU64,
    /// A generic function has one site, but its instances may have fields of other types.
    others: [AtomicU64; 3],
    declaration: Declaration,
}

/// Where the number is in a site's word.
pub(crate) const NUMBER: u32 = 48;
/// More fields than this need more stack.
const FEW: usize = 8;
/// No signature is 0, so that no number and signature make this word.
const UNKNOWN: u64 = 1 << 32;

impl Site {
    /// A site that was not yet reached.
    pub const fn new(declaration: Declaration) -> Site {
        Site { word: AtomicU64::new(UNKNOWN), others: [const { AtomicU64::new(UNKNOWN) }; 3], declaration }
    }

    /// What the fast path needs to know; 0 means that the site is off.
    #[inline(always)]
    pub fn word(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// The number of the event type with these fields.
    pub(crate) fn number(
        &self,
        ring: Ring,
        signature: u32,
        kinds: &dyn Fn(&mut [FieldKind; MAX_FIELDS]),
    ) -> Option<u16> {
        for word in core::iter::once(&self.word).chain(&self.others) {
            let mut seen = word.load(Ordering::Relaxed);
            if seen == UNKNOWN {
                let mut all = [FieldKind::U8; MAX_FIELDS];
                kinds(&mut all);
                let mine = self.declare(ring, signature, &all).unwrap_or(0);
                let stored = word.compare_exchange(UNKNOWN, mine, Ordering::Release, Ordering::Acquire);
                seen = stored.err().unwrap_or(mine);
            }
            if seen == 0 {
                return None;
            }
            if signature_of(seen) == signature {
                return Some((seen >> NUMBER) as u16);
            }
        }
        ring.count(AT_DISCARDED);
        None
    }

    /// Whether its events are wanted; asked before there is a ring, of a site that was not yet reached.
    pub(crate) fn is_wanted(&self) -> bool {
        let wanted =
            self.word() != UNKNOWN || switches::pass(self.declaration.provider, self.declaration.level);
        if !wanted {
            self.word.store(0, Ordering::Relaxed);
        }
        wanted
    }

    /// Switches the site off for good.
    pub(crate) fn switch_off(&self) {
        if ring::is_off() {
            self.word.store(0, Ordering::Relaxed);
        }
    }

    fn declare(&self, ring: Ring, signature: u32, kinds: &[FieldKind; MAX_FIELDS]) -> Option<u64> {
        // Few events have many fields, and the stack may be a signal handler's.
        if self.declaration.fields.len() <= FEW {
            self.declare_with::<FEW>(ring, signature, kinds)
        } else {
            self.declare_with::<MAX_FIELDS>(ring, signature, kinds)
        }
    }

    #[inline(never)]
    fn declare_with<const MOST: usize>(
        &self,
        ring: Ring,
        signature: u32,
        kinds: &[FieldKind; MAX_FIELDS],
    ) -> Option<u64> {
        let source = &self.declaration;
        let mut fields = [FieldDecl { name: "", kind: FieldKind::U8, privacy: Privacy::Public }; MOST];
        let mut count = 0;
        for ((field, (name, privacy)), kind) in fields.iter_mut().zip(source.fields).zip(kinds) {
            *field = FieldDecl { name, kind: *kind, privacy: *privacy };
            count += 1;
        }
        let mut name = span::Name::new();
        let id = declare(
            ring,
            &EventDecl {
                id: 0,
                provider: source.provider,
                name: name.of(source.name, source.phase),
                level: source.level,
                file: source.file,
                line: source.line,
                fields: &fields[..count],
            },
        )?;
        Some(u64::from(id) << NUMBER | u64::from(signature))
    }
}

/// The signature in a site's word.
#[inline(always)]
pub(crate) fn signature_of(word: u64) -> u32 {
    word as u32
}

/// Writes a declaration into the schema area under a new number. `None`, and counted: there are no more numbers, or
/// there is no more room.
#[inline(never)]
pub(crate) fn declare(ring: Ring, event: &EventDecl<'_>) -> Option<u16> {
    let found = number(ring).and_then(|id| publish(ring, &EventDecl { id, ..*event }).map(|()| id));
    if found.is_none() {
        ring.count(AT_REFUSED_TYPES);
    }
    found
}

fn number(ring: Ring) -> Option<u16> {
    let next = |id: u64| (id < u64::from(FIRST_OWN_ID)).then_some(id + 1);
    ring.word(AT_NEXT_ID).fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().map(|id| id as u16)
}

fn publish(ring: Ring, event: &EventDecl<'_>) -> Option<()> {
    let mut length = Length(SCHEMA_TEXT);
    metadata::event_declaration(&mut length, event).ok()?;
    let slots = length.0.div_ceil(u64::from(SCHEMA_SIZE));
    if slots > u64::from(SCHEMA_SLOTS_EACH) {
        return None;
    }
    let room = |taken: u64| (taken + slots <= u64::from(SCHEMA_COUNT)).then_some(taken + slots);
    let taken = ring.word(AT_SCHEMA_TAKEN);
    let first = taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).ok()?;
    let at = ring.geometry.schema + first * u64::from(SCHEMA_SIZE);
    let size = slots * u64::from(SCHEMA_SIZE) * 8;
    let sizes = |content: u64| (content * 8) | size << 32;
    let uuid = ring.word(AT_UUID).load(Ordering::Relaxed);
    let uuid_end = ring.word(AT_UUID + 8).load(Ordering::Relaxed);
    ring.word(at).store(u64::from(SCHEMA_MAGIC) | uuid << 32, Ordering::Relaxed);
    ring.word(at + 8).store(uuid >> 32 | uuid_end << 32, Ordering::Relaxed);
    ring.word(at + 16).store(uuid_end >> 32, Ordering::Relaxed);
    // An empty packet first: whoever dies in the next line leaves something that a reader can step over.
    ring.word(at + SCHEMA_SIZES).store(sizes(SCHEMA_TEXT), Ordering::Release);
    // Compression, encryption and checksum: none. Version 1.8.
    let mut text = Text { ring, at: at + 32, word: 1 << 24 | 8 << 32, held: 5 };
    metadata::event_declaration(&mut text, event).ok()?;
    text.flush();
    ring.word(at + SCHEMA_SIZES).store(sizes(length.0), Ordering::Release);
    Some(())
}

/// Counts the bytes of a text.
struct Length(u64);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len() as u64;
        Ok(())
    }
}

/// Writes a text into the ring, word by word: readers look at it while it grows.
struct Text {
    ring: Ring,
    at: u64,
    word: u64,
    held: u32,
}

impl Text {
    fn flush(&mut self) {
        self.ring.word(self.at).store(self.word, Ordering::Relaxed);
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.word |= u64::from(byte) << (self.held * 8);
            self.held += 1;
            if self.held == 8 {
                self.flush();
                (self.at, self.word, self.held) = (self.at + 8, 0, 0);
            }
        }
        Ok(())
    }
}

const _: () = assert!(SCHEMA_TEXT == 37 && SCHEMA_SIZES == 24);
