//! The recorder's steps one by one, for call sites that another language's compiler made (`sdk/capi`).
//!
//! Owns nothing: it shows what `foretrace.h` must agree with, and opens the slow path. Not for applications.
#![allow(unsafe_code)]

use core::mem::offset_of;
use std::path::Path;

use foretrace_ring::layout::{AT_CUT, AT_DISCARDED};
use foretrace_ring::metadata::EventDecl;
use foretrace_ring::reader::AttachmentClass;
use foretrace_ring::trail::Level;

use crate::given::Time;
use crate::span::{self, Name, Phase};
use crate::thread::{self, Thread};
use crate::writer::{self, MAX_EVENT};
use crate::{attachment, clock, given, report, ring, site, switches};

/// Where a thread's state has its frame, its epoch, and its first level's commit word, base and limit.
pub const THREAD_LAYOUT: [usize; 5] = [
    offset_of!(Thread, frame),
    offset_of!(Thread, epoch),
    offset_of!(Thread, levels) + offset_of!(thread::Level, commit),
    offset_of!(Thread, levels) + offset_of!(thread::Level, base),
    offset_of!(Thread, levels) + offset_of!(thread::Level, limit),
];

/// The frame of a thread that records nothing now and may take the fast path, and the mark of a process with a ring.
pub const IDLE: u64 = thread::IDLE;

/// Whether events are recorded at this moment.
pub fn is_live() -> bool {
    ring::is_live()
}

/// Whether recording is off for good.
pub fn is_off() -> bool {
    ring::is_off()
}

/// Whether events of this provider and level are recorded.
pub fn is_wanted(provider: &str, level: Level) -> bool {
    switches::pass(provider, level)
}

/// Declares an event type; its number is chosen here. `phase`: 0 an event, 1 a span's beginning, 2 its end. `None`: no
/// ring, or (counted) no room.
pub fn declare(event: &EventDecl<'_>, phase: u8) -> Option<u16> {
    let phase = [Phase::Event, Phase::Begins, Phase::Ends].into_iter().nth(phase.into())?;
    let mut name = Name::new();
    site::declare(ring::live()?, &EventDecl { name: name.of(event.name, phase), ..*event })
}

/// The number of the calling thread's next span.
pub fn next_span() -> u64 {
    span::next()
}

/// [`report_error`](fn@crate::report_error) from a place that another compiler knows.
pub fn report_error(message: &str, file: &str, line: u32) -> bool {
    report::report_error_at(message, file, line)
}

/// [`attach_address`](crate::attach_address), until [`detach`]. False: there is no room, or no such name.
pub fn attach_address(name: &str, address: *const u8, bytes: usize, class: AttachmentClass) -> bool {
    let attachment = attachment::attach_address(name, address, bytes, class);
    let attached = attachment.is_attached();
    attachment.keep();
    attached
}

/// [`attach_file`](crate::attach_file), until [`detach`]. False: there is no room, or no such name or path.
pub fn attach_file(name: &str, path: &Path, most: u64, class: AttachmentClass) -> bool {
    let attachment = attachment::attach_file(name, path, most, class);
    let attached = attachment.is_attached();
    attachment.keep();
    attached
}

/// Takes an attachment away.
pub fn detach(name: &str) {
    attachment::detach(name);
}

/// Counts a field that was cut.
pub fn count_cut() {
    if let Some(ring) = ring::live() {
        ring.count(AT_CUT);
    }
}

/// A place for one event.
pub struct Place(writer::Place);

/// Finds a place for an event of `size` bytes, header included. `here` is the call site's stack pointer. `None`:
/// recording is off, or the event was discarded and counted. `given`: its time, unless that is too early or too late.
pub fn place(size: usize, here: u64, given: Option<u64>) -> Option<Place> {
    let ring = ring::live()?;
    if size > MAX_EVENT {
        ring.count(AT_DISCARDED);
        return None;
    }
    let mut place = writer::place(ring, size, here)?;
    if let Some(time) = given {
        place.time = given::in_order(place.level(), time, place.time);
    }
    Some(Place(place))
}

/// [`Time::now`](crate::Time::now) in ticks.
pub fn now() -> u64 {
    Time::now().ticks()
}

/// [`Time::from_monotonic`](crate::Time::from_monotonic) in ticks.
pub fn time_from_monotonic(nanoseconds: u64) -> u64 {
    Time::from_monotonic(nanoseconds).ticks()
}

/// What the kernel's coarse clock says.
pub fn tick() -> u64 {
    clock::coarse()
}

/// The time that an event of the calling thread's first nesting level may have, which records and has a packet, if
/// `time` is what the caller gives.
pub fn in_order(time: u64) -> u64 {
    given::in_order(&thread::current().levels[0], time, clock::ticks())
}

impl Place {
    /// Where the event begins, with its header.
    pub fn at(&self) -> *mut u8 {
        self.0.at
    }

    /// Its time.
    pub fn time(&self) -> u64 {
        self.0.time
    }

    /// Makes the event, now written, part of its packet.
    pub fn commit(self, size: usize) {
        self.0.commit(size, true);
    }
}
