//! The validating reader: from a ring's memory to whole packets, counts and problems.
//!
//! Works on a ring that threads are writing at this moment, on a dead process's, and on bytes from a core file; over
//! [`Memory`], so that nothing here maps, opens or trusts anything. Never changes the ring, never returns a torn
//! event, and knows how many events are missing. Everything in a ring is hostile until checked: offsets, sizes, counts.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::layout::*;
use crate::metadata::{self, Clock, ClockSource};
use crate::trail::Privacy;

mod attachments;
mod packets;
mod stream;

pub use attachments::{Attached, Attachment, AttachmentClass, is_name};

/// Read access to a ring: a shared mapping, a copy, or the memory in a core file.
pub trait Memory {
    /// The size in bytes.
    fn size(&self) -> u64;
    /// The little-endian word at `offset` (a multiple of 8), loaded with acquire ordering. `None` beyond the end.
    fn load(&self, offset: u64) -> Option<u64>;
    /// Copies bytes out. What is loaded or copied afterwards is not older than the copy. False, with `into` in any state, beyond
    /// the end.
    fn copy(&self, offset: u64, into: &mut [u8]) -> bool;
}

impl Memory for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.get(start..start.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let Ok(start) = usize::try_from(offset) else { return false };
        let Some(bytes) = start.checked_add(into.len()).and_then(|end| self.get(start..end)) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }
}

/// Why memory is no ring that this reader believes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// It does not start with a ring's magic: no ring, or one that was never finished.
    Magic,
    /// A ring of another version.
    Version(u32),
    /// The ring says it is larger than the memory is.
    Truncated {
        /// What the header says.
        stated: u64,
        /// What is there.
        present: u64,
    },
    /// A part lies outside the ring or has an impossible size; its name.
    Layout(&'static str),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Magic => f.write_str("this is no foretrace ring"),
            RingError::Version(version) => {
                write!(f, "the ring has version {version}, this reader knows version {ABI}")
            }
            RingError::Truncated { stated, present } => {
                write!(f, "the ring says it has {stated} bytes, {present} are there")
            }
            RingError::Layout(part) => write!(f, "the ring's {part} cannot be where its header says"),
        }
    }
}

impl core::error::Error for RingError {}

/// What a ring says of the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process ID, in its own PID namespace.
    pub pid: u32,
    /// Its start time: field 22 of `/proc/PID/stat`, clock ticks since boot. 0 where it could not be had.
    pub start_time: u64,
}

/// Everything that one reading of a ring gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Who made the ring.
    pub owner: Owner,
    /// The CTF 1.8 metadata (TSDL text), event types included.
    pub metadata: String,
    /// CTF stream files: a name such as `slot-3.ctf`, and whole packets in order.
    pub streams: Vec<(String, Vec<u8>)>,
    /// What the program noted about itself.
    pub annotations: Vec<Annotation>,
    /// What it wants to have beside its report.
    pub attachments: Vec<Attachment>,
    /// Events the application recorded.
    pub recorded: u64,
    /// Of these, events that newer ones replaced (or that were being replaced during the reading).
    pub overwritten: u64,
    /// Events that could not be recorded.
    pub discarded: u64,
    /// What one reading of the clock took when the ring was made, in picoseconds: most of what an event costs. 0: unknown.
    pub clock_cost: u64,
    /// What was wrong with the ring: one sentence each.
    pub problems: Vec<String>,
}

/// A note that a program keeps about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The key.
    pub key: String,
    /// The newest value.
    pub value: String,
    /// Whose business the value is.
    pub privacy: Privacy,
}

/// Reads a ring.
///
/// # Errors
/// Memory that is no ring of a known version, or whose parts cannot be where its header says. What is wrong further in
/// is one of the snapshot's problems.
pub fn read<M: Memory + ?Sized>(memory: &M) -> Result<Snapshot, RingError> {
    read_into(memory, Vec::new())
}

/// Reads a ring that is read again and again: the former snapshot's memory becomes the new one's. Most of the cost of a
/// large snapshot is that of fresh memory.
///
/// # Errors
/// As [`read`].
pub fn read_again<M: Memory + ?Sized>(memory: &M, former: Snapshot) -> Result<Snapshot, RingError> {
    read_into(memory, former.streams)
}

fn read_into<M: Memory + ?Sized>(memory: &M, spare: Vec<(String, Vec<u8>)>) -> Result<Snapshot, RingError> {
    let head = Head::read(memory)?;
    let mut problems = Vec::new();
    let spare = spare.into_iter().map(|(_, bytes)| bytes).collect();
    let packets = packets::collect(memory, &head, spare, &mut problems);
    let counts = packets.count(memory, &head);
    let streams = packets.into_streams(&mut problems);
    let annotations = annotations(memory, &head, &mut problems);
    let attachments = attachments::read(memory, &mut problems);
    let metadata = metadata(memory, &head, &mut problems);
    for (at, what) in [
        (AT_CUT, "fields were too long and were cut"),
        (AT_REFUSED_TYPES, "event types were refused: there is no room for more"),
        (AT_REFUSED_ATTACHMENTS, "attachments were refused: too many, or with a name or path that cannot be"),
        (AT_REFUSED_ANNOTATIONS, "annotations were refused: too many, too long, or two at once"),
        (
            AT_REFUSED_REPORTS,
            "reports were not started: too many in a minute, or foretrace-capture could not be run",
        ),
    ] {
        match memory.load(at) {
            None | Some(0) => {}
            Some(count) => problems.push(format!("{count} {what}")),
        }
    }
    Ok(Snapshot {
        owner: head.owner,
        metadata,
        streams,
        annotations,
        attachments,
        recorded: counts.recorded,
        overwritten: counts.recorded.saturating_sub(counts.kept),
        discarded: counts.discarded,
        // A clock that takes longer than this is none.
        clock_cost: memory.load(AT_CLOCK_COST).filter(|cost| *cost <= MAX_CLOCK_COST).unwrap_or(0),
        problems,
    })
}

/// A ring's header, checked: every part lies inside the memory.
struct Head {
    uuid: [u8; 16],
    owner: Owner,
    source: ClockSource,
    annotations: Table,
    schema: Table,
    slots: Table,
    descriptors: Table,
    /// Where the pool is, in cells.
    pool: Table,
}

/// A part of a ring: `count` items from `at` on.
#[derive(Clone, Copy)]
struct Table {
    at: u64,
    count: u64,
    each: u64,
}

impl Table {
    /// Where item `index` is; the caller knows that there is one.
    fn item(&self, index: u64) -> u64 {
        self.at + index * self.each
    }
}

fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

impl Head {
    fn read<M: Memory + ?Sized>(memory: &M) -> Result<Head, RingError> {
        if memory.load(AT_MAGIC) != Some(MAGIC) {
            return Err(RingError::Magic);
        }
        let mut bytes = [0; HEADER_SIZE as usize];
        if !memory.copy(0, &mut bytes) {
            return Err(RingError::Truncated { stated: HEADER_SIZE, present: memory.size() });
        }
        let word = |at: u64| bytes[..].load(at).unwrap_or(0);
        let (version, header_size) = halves(word(AT_ABI));
        if version != ABI {
            return Err(RingError::Version(version));
        }
        if u64::from(header_size) != HEADER_SIZE {
            return Err(RingError::Layout("header"));
        }
        let size = word(AT_SIZE);
        if size > memory.size() {
            return Err(RingError::Truncated { stated: size, present: memory.size() });
        }
        let table = |name, at: u64, count: u32, each: u32, expected: u32, most: u32| {
            let end = (u64::from(count) * u64::from(each)).checked_add(at);
            let inside = end.is_some_and(|end| end <= size) && at >= HEADER_SIZE && at.is_multiple_of(8);
            if inside && each == expected && count <= most {
                Ok(Table { at, count: u64::from(count), each: u64::from(each) })
            } else {
                Err(RingError::Layout(name))
            }
        };
        let sized = |name, at, counts, expected, most| {
            let (count, each) = halves(word(counts));
            table(name, word(at), count, each, expected, most)
        };
        let (cells, _) = halves(word(AT_CELL_COUNT));
        let (pid, source) = halves(word(AT_OWNER));
        let most_cells = (MAX_POOL / u64::from(CELL_SIZE)) as u32;
        if !cells.is_multiple_of(BLOCK_CELLS) || halves(word(AT_BLOCK)).0 != BLOCK_CELLS {
            return Err(RingError::Layout("pool"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[AT_UUID as usize..AT_UUID as usize + 16]);
        Ok(Head {
            uuid,
            owner: Owner { pid, start_time: word(AT_OWNER_START) },
            source: if source == CLOCK_TSC { ClockSource::Tsc } else { ClockSource::Monotonic },
            annotations: sized(
                "annotations",
                AT_ANNOTATIONS,
                AT_ANNOTATION_COUNT,
                ANNOTATION_SIZE,
                ANNOTATION_COUNT,
            )?,
            schema: sized("schema area", AT_SCHEMA, AT_SCHEMA_COUNT, SCHEMA_SIZE, SCHEMA_COUNT)?,
            slots: sized("writer slots", AT_SLOTS, AT_SLOT_COUNT, SLOT_SIZE, SLOT_COUNT)?,
            descriptors: table("descriptors", word(AT_DESCRIPTORS), cells, 8, 8, most_cells)?,
            pool: sized("pool", AT_POOL, AT_CELL_COUNT, CELL_SIZE, most_cells)?,
        })
    }
}

/// A clock that ticks more often is none, and its arithmetic could not be done.
const MAX_FREQUENCY: u64 = 1 << 40;
/// Picoseconds: 100 µs.
const MAX_CLOCK_COST: u64 = 100_000_000;
/// How often the reader looks again at something that changes under its eyes.
const TRIES: u32 = 64;

fn annotations<M: Memory + ?Sized>(memory: &M, head: &Head, problems: &mut Vec<String>) -> Vec<Annotation> {
    let mut found: Vec<Annotation> = Vec::new();
    for index in 0..head.annotations.count {
        match annotation(memory, head.annotations.item(index)) {
            Ok(None) => {}
            // Two threads that set a new key at the same instant may have taken an entry each.
            Ok(Some(note)) => match found.iter_mut().find(|other| other.key == note.key) {
                Some(other) => *other = note,
                None => found.push(note),
            },
            Err(why) => problems.push(format!("annotation {index} {why}")),
        }
    }
    found
}

fn annotation<M: Memory + ?Sized>(memory: &M, at: u64) -> Result<Option<Annotation>, &'static str> {
    let mut bytes = [0; ANNOTATION_SIZE as usize];
    if !locked(memory, at, &mut bytes)? {
        return Ok(None);
    }
    let sizes = bytes[..].load(ANNOTATION_HEAD).unwrap_or(0);
    let (key, value) = (usize::from(sizes as u16), usize::from((sizes >> 16) as u16));
    let text = &bytes[ANNOTATION_TEXT as usize..];
    let (Some(key), Some(value)) = (text.get(..key), text.get(key..key + value)) else {
        return Err("has an impossible length");
    };
    Ok(Some(Annotation {
        key: String::from_utf8_lossy(key).into_owned(),
        value: String::from_utf8_lossy(value).into_owned(),
        privacy: match (sizes >> 32) as u8 {
            0 => Privacy::Public,
            2 => Privacy::Secret,
            _ => Privacy::Personal,
        },
    }))
}

/// Copies an entry that has a sequence lock in its first word. False: it was never used.
fn locked<M: Memory + ?Sized>(memory: &M, at: u64, into: &mut [u8]) -> Result<bool, &'static str> {
    for _ in 0..TRIES {
        let lock = memory.load(at).unwrap_or(0);
        if lock == 0 {
            return Ok(false);
        }
        if lock.is_multiple_of(2) && memory.copy(at, into) && memory.load(at) == Some(lock) {
            return Ok(true);
        }
    }
    Err("was being written")
}

const _: () = assert!(ANNOTATION_LOCK == 0 && ATTACHMENT_LOCK == 0);

fn metadata<M: Memory + ?Sized>(memory: &M, head: &Head, problems: &mut Vec<String>) -> String {
    let mut text = String::new();
    let clock = clock(memory, head, problems);
    metadata::preamble(&mut text, &head.uuid, &clock).expect("writing to a String does not fail");
    let taken = memory.load(AT_SCHEMA_TAKEN).unwrap_or(0).min(head.schema.count);
    let mut index = 0;
    while index < taken {
        let (bytes, slots) = declaration(memory, head, index, taken - index);
        text.push_str(&String::from_utf8_lossy(&bytes));
        index += slots;
    }
    text
}

/// The text of the declaration in schema slot `index`, if it was finished, and how many slots it takes.
fn declaration<M: Memory + ?Sized>(memory: &M, head: &Head, index: u64, left: u64) -> (Vec<u8>, u64) {
    let at = head.schema.item(index);
    let (content, size) = halves(memory.load(at + SCHEMA_SIZES).unwrap_or(0));
    let (content, size) = (u64::from(content) / 8, u64::from(size) / 8);
    let slots = size / head.schema.each;
    let is_packet = memory.load(at).is_some_and(|word| word as u32 == SCHEMA_MAGIC);
    let fits = size.is_multiple_of(head.schema.each)
        && (1..=left.min(u64::from(SCHEMA_SLOTS_EACH))).contains(&slots);
    if !is_packet || !fits || !(SCHEMA_TEXT..=size).contains(&content) {
        return (Vec::new(), 1);
    }
    let mut bytes = vec![0; (content - SCHEMA_TEXT) as usize];
    if !memory.copy(at + SCHEMA_TEXT, &mut bytes) {
        bytes.clear();
    }
    (bytes, slots)
}

fn clock<M: Memory + ?Sized>(memory: &M, head: &Head, problems: &mut Vec<String>) -> Clock {
    match memory.load(AT_CLOCK_JUMPS) {
        None | Some(0) => {}
        Some(jumps) => problems.push(format!(
            "the clock jumped {jumps} times (a suspend or a migration): times before the last jump are shifted"
        )),
    }
    let unknown = Clock { source: head.source, frequency: 1_000_000_000, offset_seconds: 0, offset_ticks: 0 };
    for _ in 0..TRIES {
        let published = memory.load(AT_CLOCK_PUBLISHED).unwrap_or(0);
        let Some(newest) = published.checked_sub(1) else { break };
        let mut bytes = [0; CLOCK_PAIR_SIZE as usize];
        if !memory.copy(AT_CLOCK + newest % CLOCK_PAIRS * CLOCK_PAIR_SIZE, &mut bytes) {
            break;
        }
        // The writer fills the oldest pair and then publishes: this one was whole if fewer than all others came since.
        let now = memory.load(AT_CLOCK_PUBLISHED).unwrap_or(0);
        if now.wrapping_sub(published) >= CLOCK_PAIRS - 1 {
            continue;
        }
        let word = |at: u64| bytes[..].load(at).unwrap_or(0);
        let (ticks, real, frequency) = (word(0), word(16), word(24));
        if !(1..=MAX_FREQUENCY).contains(&frequency) {
            break;
        }
        let per_second = i128::from(frequency);
        let offset = i128::from(real) * per_second / 1_000_000_000 - i128::from(ticks);
        return Clock {
            source: head.source,
            frequency,
            offset_seconds: i64::try_from(offset.div_euclid(per_second)).unwrap_or(0),
            offset_ticks: offset.rem_euclid(per_second) as u64,
        };
    }
    problems.push(String::from("the ring has no clock: times are not those of the day"));
    unknown
}
