//! What leaves of a minidump: a new one with the same layout, into which only what is understood is copied.
//!
//! Owns the walk through the format. Structures are copied to where they were, so that every offset stays right; texts
//! go through the rules and are written anew behind everything else; memory and registers go through
//! [`super::memory`]. A stream that is not known is not copied, nor is anything that no stream names. The
//! input is hostile: every offset is checked, and the work is bounded by its length.

use foretrace_report::bundle::MINIDUMP;
use foretrace_report::schema::Problem;

use super::Redaction;
use super::memory::{Addresses, Machine};

const HEADER: usize = 32;
const ENTRY: usize = 12;
const MAGIC: &[u8; 4] = b"MDMP";

const THREAD_LIST: u32 = 3;
const MODULE_LIST: u32 = 4;
const MEMORY_LIST: u32 = 5;
const EXCEPTION: u32 = 6;
const SYSTEM_INFO: u32 = 7;
const HANDLE_DATA: u32 = 12;
const MEMORY_INFO_LIST: u32 = 16;
const THREAD_NAMES: u32 = 24;
const CRASHPAD_INFO: u32 = 0x4350_0001;
const LINUX_CPU_INFO: u32 = 0x4767_0003;
const LINUX_STATUS: u32 = 0x4767_0004;
const LINUX_RELEASE: u32 = 0x4767_0005;
const LINUX_COMMAND_LINE: u32 = 0x4767_0006;
const LINUX_ENVIRONMENT: u32 = 0x4767_0007;
const LINUX_AUXV: u32 = 0x4767_0008;
const LINUX_MAPS: u32 = 0x4767_0009;
const LINUX_LIBRARIES: u32 = 0x4767_000a;
const LIMITS: u32 = 0x4d7a_0003;
const SOFT_ERRORS: u32 = 0x4d7a_0004;
/// Foretrace's own: which part of the bundle is the trail.
const TRAIL: u32 = 0x4654_0001;

const SYSTEM_BYTES: usize = 56;
const THREAD_BYTES: usize = 48;
const THREAD_NAME_BYTES: usize = 12;
const MODULE_BYTES: usize = 108;
const MEMORY_BYTES: usize = 16;
const MEMORY_INFO_BYTES: usize = 48;
const HANDLE_HEADER_BYTES: usize = 16;
const HANDLE_BYTES: usize = 32;
const EXCEPTION_BYTES: usize = 168;
const LIBRARIES_BYTES: usize = 36;
const LIBRARY_BYTES: usize = 20;
const CRASHPAD_BYTES: usize = 52;

/// The protections of code: executable, and not writable.
const CODE: [u32; 2] = [0x10, 0x20];
/// The protection of what nobody may touch: reservations, which can be as large as a language's whole heap.
const NO_ACCESS: u32 = 0x01;

/// A place in the file.
type Range = std::ops::Range<usize>;
/// Why something could not be understood.
type Why = &'static str;

const CUT: Why = "it names a place outside itself";
const TOO_MUCH: Why = "it names the same places again and again";

impl Redaction<'_> {
    /// What may leave of a minidump, and what could not be understood in it.
    ///
    /// # Errors
    /// Why nothing of it may leave.
    pub(super) fn minidump(&mut self, content: &[u8]) -> Result<(Vec<u8>, Vec<Problem>), String> {
        let mut walk = Walk::new(content)?;
        let mut problems = Vec::new();
        for index in 0..walk.streams.len() {
            if let Err(why) = self.stream_of(&mut walk, index) {
                let kind = walk.streams[index].kind;
                walk.drop_stream(index);
                problems.push(Problem::new(MINIDUMP, format!("Its stream {kind:#x} was left out: {why}.")));
            }
        }
        Ok((walk.out, problems))
    }

    fn stream_of(&mut self, walk: &mut Walk<'_>, index: usize) -> Result<(), Why> {
        let Stream { kind, place, .. } = walk.streams[index].clone();
        match kind {
            SYSTEM_INFO => {
                let info = walk.keep(place.start, SYSTEM_BYTES)?;
                self.wide_text(walk, info.start + 24)
            }
            THREAD_LIST => self.threads(walk, place),
            THREAD_NAMES => {
                for name in walk.list(place, THREAD_NAME_BYTES)? {
                    self.wide_text(walk, name + 4)?;
                }
                Ok(())
            }
            EXCEPTION => {
                let record = walk.keep(place.start, EXCEPTION_BYTES)?;
                walk.out[record.start + 32..record.start + 160].fill(0);
                self.registers(walk, record.start + 160)
            }
            MEMORY_LIST => {
                for block in walk.list(place, MEMORY_BYTES)? {
                    self.memory(walk, block)?;
                }
                Ok(())
            }
            MEMORY_INFO_LIST => {
                walk.mappings(&place)?;
                walk.keep(place.start, place.len()).map(drop)
            }
            HANDLE_DATA => self.handles(walk, &place),
            MODULE_LIST => {
                for module in walk.list(place, MODULE_BYTES)? {
                    self.wide_text(walk, module + 20)?;
                    // A build-id; longer ones do not exist.
                    let (length, at) = (walk.u32(module + 76)?, walk.u32(module + 80)?);
                    walk.keep(at as usize, length.min(512) as usize)?;
                    walk.out[module + 84..module + 92].fill(0);
                }
                Ok(())
            }
            LINUX_LIBRARIES => {
                walk.keep(place.start, place.len())?;
                let (at, count) = (walk.u32(place.start + 4)? as usize, walk.u32(place.start + 8)? as usize);
                if place.len() < LIBRARIES_BYTES {
                    return Err(CUT);
                }
                let length = count.checked_mul(LIBRARY_BYTES).ok_or(CUT)?;
                walk.keep(at, length)?;
                for library in 0..count {
                    self.wide_text(walk, at + library * LIBRARY_BYTES + 8)?;
                }
                Ok(())
            }
            LINUX_AUXV => walk.keep(place.start, place.len()).map(drop),
            LINUX_CPU_INFO | LINUX_STATUS | LINUX_RELEASE | LINUX_MAPS | LIMITS | SOFT_ERRORS => {
                let text = walk.read(place)?.to_vec();
                let hidden = self.hide(text);
                walk.move_stream(index, &hidden)
            }
            TRAIL => {
                let note = walk.read(place.clone())?;
                let plain =
                    |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-".contains(byte);
                if !note.starts_with(b"trace/") || !note.iter().all(plain) {
                    return Err("it names no trail");
                }
                walk.keep(place.start, place.len()).map(drop)
            }
            LINUX_COMMAND_LINE => {
                let name = self.own_name(walk.read(place)?.to_vec());
                let hidden = self.hide(name);
                walk.move_stream(index, &hidden)
            }
            LINUX_ENVIRONMENT => {
                let allowed = self.environment(walk.read(place)?);
                let hidden = self.hide(allowed);
                walk.move_stream(index, &hidden)
            }
            CRASHPAD_INFO => self.annotations(walk, place),
            0 => Ok(()),
            _ => Err("it is of a kind that is not known here"),
        }
    }

    fn threads(&mut self, walk: &mut Walk<'_>, place: Range) -> Result<(), Why> {
        for thread in walk.list(place, THREAD_BYTES)? {
            self.registers(walk, thread + 40)?;
            self.memory(walk, thread + 24)?;
        }
        Ok(())
    }

    /// The numbers, kinds and names of open descriptors.
    fn handles(&mut self, walk: &mut Walk<'_>, place: &Range) -> Result<(), Why> {
        let sizes = (walk.u32(place.start)? as usize, walk.u32(place.start + 4)? as usize);
        if sizes != (HANDLE_HEADER_BYTES, HANDLE_BYTES) {
            return Err("its entries are of a size that is not known here");
        }
        let count = walk.u32(place.start + 8)? as usize;
        let length = count.checked_mul(HANDLE_BYTES).and_then(|bytes| bytes.checked_add(HANDLE_HEADER_BYTES));
        let length = length.filter(|length| *length <= place.len()).ok_or(CUT)?;
        walk.keep(place.start, length)?;
        for handle in (0..count).map(|index| place.start + HANDLE_HEADER_BYTES + index * HANDLE_BYTES) {
            self.wide_text(walk, handle + 8)?;
            self.wide_text(walk, handle + 12)?;
            walk.out[handle + 16..handle + HANDLE_BYTES].fill(0);
        }
        Ok(())
    }

    /// The registers that the location at `at` names.
    fn registers(&mut self, walk: &mut Walk<'_>, at: usize) -> Result<(), Why> {
        let (length, start) = (walk.u32(at)? as usize, walk.u32(at + 4)? as usize);
        // The exception names the crashed thread's registers again.
        if walk.seen.insert((u64::MAX, start, length)) {
            let place = walk.keep(start, length)?;
            walk.addresses.keep_registers(&mut walk.out[place], &mut self.removed);
        }
        Ok(())
    }

    /// The memory that the descriptor at `at` names.
    fn memory(&mut self, walk: &mut Walk<'_>, at: usize) -> Result<(), Why> {
        let start = walk.u64(at)?;
        let (length, from) = (walk.u32(at + 8)? as usize, walk.u32(at + 12)? as usize);
        if walk.seen.insert((start, from, length)) {
            let place = walk.keep(from, length)?;
            if !walk.is_code(start, length) {
                walk.addresses.keep_words(&mut walk.out[place], start, &mut self.removed);
            }
        }
        Ok(())
    }

    /// The UTF-16 text whose place stands at `at`: written anew.
    fn wide_text(&mut self, walk: &mut Walk<'_>, at: usize) -> Result<(), Why> {
        let from = walk.u32(at)? as usize;
        if from == 0 {
            return Ok(());
        }
        let length = walk.u32(from)? as usize;
        let bytes = walk.read(from + 4..(from + 4).checked_add(length).ok_or(CUT)?)?;
        let units: Vec<u16> =
            bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let mut text = String::from_utf16_lossy(&units);
        self.rules.text.hide_in(&mut text, self.salt, &mut self.removed);
        let wide: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        walk.append_text(at, wide.len() - 2, &wide)
    }

    /// Crashpad's annotations: pairs of UTF-8 texts.
    fn annotations(&mut self, walk: &mut Walk<'_>, place: Range) -> Result<(), Why> {
        let info = walk.keep(place.start, CRASHPAD_BYTES)?;
        walk.out[info.start + 44..info.end].fill(0);
        let (length, at) = (walk.u32(info.start + 36)? as usize, walk.u32(info.start + 40)? as usize);
        if length == 0 {
            return Ok(());
        }
        for pair in walk.list(at..at.checked_add(length).ok_or(CUT)?, 8)? {
            for text_at in [pair, pair + 4] {
                let from = walk.u32(text_at)? as usize;
                let length = walk.u32(from)? as usize;
                let text = walk.read(from + 4..(from + 4).checked_add(length).ok_or(CUT)?)?.to_vec();
                let mut text = self.hide(text);
                let length = text.len();
                text.push(0);
                walk.append_text(text_at, length, &text)?;
            }
        }
        Ok(())
    }
}

/// An entry of the directory.
#[derive(Clone)]
struct Stream {
    kind: u32,
    place: Range,
    /// Where the entry itself stands.
    entry: usize,
}

/// A minidump being read, and the one that is made of it.
struct Walk<'a> {
    content: &'a [u8],
    out: Vec<u8>,
    streams: Vec<Stream>,
    addresses: Addresses,
    /// Ranges of code, which is the same on every machine.
    code: Vec<(u64, u64)>,
    /// Registers and blocks of memory that are done: they are named more than once.
    seen: std::collections::BTreeSet<(u64, usize, usize)>,
    /// How many more bytes may be copied: what overlaps is copied more than once, which only a forged file needs.
    left: usize,
}

impl<'a> Walk<'a> {
    fn new(content: &'a [u8]) -> Result<Walk<'a>, String> {
        if content.get(..4) != Some(MAGIC) || content.len() < HEADER {
            return Err("it does not begin as one".into());
        }
        let mut walk = Walk {
            content,
            out: vec![0; content.len()],
            streams: Vec::new(),
            addresses: Addresses::default(),
            code: Vec::new(),
            seen: Default::default(),
            left: content.len().saturating_mul(4).saturating_add(1 << 20),
        };
        walk.read_directory().map_err(str::to_owned)?;
        walk.read_addresses().map_err(str::to_owned)?;
        Ok(walk)
    }

    fn read_directory(&mut self) -> Result<(), Why> {
        self.keep(0, HEADER)?;
        let (count, at) = (self.u32(8)? as usize, self.u32(12)? as usize);
        self.keep(at, count.checked_mul(ENTRY).ok_or(CUT)?)?;
        for index in 0..count {
            let entry = at + index * ENTRY;
            let (kind, length, start) = (self.u32(entry)?, self.u32(entry + 4)?, self.u32(entry + 8)?);
            let place = start as usize..(start as usize).checked_add(length as usize).ok_or(CUT)?;
            self.streams.push(Stream { kind, place, entry });
        }
        Ok(())
    }

    /// What was mapped, from the streams that say so: needed before any memory is looked at.
    fn read_addresses(&mut self) -> Result<(), Why> {
        let place =
            |kind| self.streams.iter().find(|stream| stream.kind == kind).map(|stream| stream.place.clone());
        let machine = match place(SYSTEM_INFO).map(|info| self.u16(info.start)).transpose()? {
            Some(9) => Some(Machine::Amd64),
            Some(0x8003) => Some(Machine::Arm64),
            _ => None,
        };
        let mapped: Vec<(u64, u64, u32)> =
            place(MEMORY_INFO_LIST).map(|info| self.mappings(&info)).transpose()?.unwrap_or_default();
        let mut modules = Vec::new();
        for module in
            place(MODULE_LIST).map(|list| self.entries(list, MODULE_BYTES)).transpose()?.unwrap_or_default()
        {
            let base = self.u64(module)?;
            modules.push((base, base.saturating_add(u64::from(self.u32(module + 8)?))));
        }
        let of_a_module =
            |start: u64, end: u64| modules.iter().any(|(from, to)| *from <= start && end <= *to);
        self.code = mapped
            .iter()
            .filter(|(start, end, protection)| CODE.contains(protection) && of_a_module(*start, *end))
            .map(|(start, end, _)| (*start, *end))
            .collect();
        let touched = mapped.iter().filter(|(_, _, protection)| *protection != NO_ACCESS);
        let ranges = touched.map(|(start, end, _)| (*start, *end)).chain(modules).collect();
        self.addresses = Addresses::new(ranges, machine);
        Ok(())
    }

    /// Start, end and protection of every mapping.
    fn mappings(&self, place: &Range) -> Result<Vec<(u64, u64, u32)>, Why> {
        let (header, entry) = (self.u32(place.start)? as usize, self.u32(place.start + 4)? as usize);
        // Its count is four or eight bytes wide, by the header's size; no list needs more than four.
        let count = self.u32(place.start + 8)? as usize;
        let fits = count
            .checked_mul(entry)
            .and_then(|bytes| bytes.checked_add(header))
            .is_some_and(|end| end <= place.len());
        if entry != MEMORY_INFO_BYTES || !fits {
            return Err(CUT);
        }
        (0..count)
            .map(|index| {
                let at = place.start + header + index * entry;
                let start = self.u64(at)?;
                Ok((start, start.saturating_add(self.u64(at + 24)?), self.u32(at + 36)?))
            })
            .collect()
    }

    fn is_code(&self, start: u64, length: usize) -> bool {
        let end = start.saturating_add(length as u64);
        self.code.iter().any(|(from, to)| *from <= start && end <= *to)
    }

    /// Where the entries of a list begin; padding may stand between its count and them.
    fn entries(&self, place: Range, bytes: usize) -> Result<Vec<usize>, Why> {
        let count = self.u32(place.start)? as usize;
        let length = count.checked_mul(bytes).ok_or(CUT)?;
        let ahead = match place.len().checked_sub(length).ok_or(CUT)? {
            8 => 8,
            4.. => 4,
            _ => return Err(CUT),
        };
        let first = place.start + ahead;
        self.content.get(first..first + length).ok_or(CUT)?;
        Ok((0..count).map(|index| first + index * bytes).collect())
    }

    /// The same, copied.
    fn list(&mut self, place: Range, bytes: usize) -> Result<Vec<usize>, Why> {
        let entries = self.entries(place.clone(), bytes)?;
        let end = entries.last().map_or(place.start + 4, |last| last + bytes);
        self.keep(place.start, end - place.start)?;
        Ok(entries)
    }

    /// Copies a place.
    fn keep(&mut self, start: usize, length: usize) -> Result<Range, Why> {
        let place = start..start.checked_add(length).ok_or(CUT)?;
        let bytes = self.content.get(place.clone()).ok_or(CUT)?;
        self.left = self.left.checked_sub(length).ok_or(TOO_MUCH)?;
        self.out[place.clone()].copy_from_slice(bytes);
        Ok(place)
    }

    fn read(&mut self, place: Range) -> Result<&'a [u8], Why> {
        self.left = self.left.checked_sub(place.len()).ok_or(TOO_MUCH)?;
        self.content.get(place).ok_or(CUT)
    }

    /// Writes a text with its length behind everything, and its new place to `at`.
    fn append_text(&mut self, at: usize, length: usize, text: &[u8]) -> Result<(), Why> {
        let place = self.append(&[&(length as u32).to_le_bytes(), text].concat())?;
        self.out[at..at + 4].copy_from_slice(&place.to_le_bytes());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u32, Why> {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        let place = u32::try_from(self.out.len()).map_err(|_| "it is too large")?;
        self.left = self.left.checked_sub(bytes.len()).ok_or(TOO_MUCH)?;
        self.out.extend_from_slice(bytes);
        Ok(place)
    }

    /// Gives a stream other content.
    fn move_stream(&mut self, index: usize, content: &[u8]) -> Result<(), Why> {
        let entry = self.streams[index].entry;
        let place = self.append(content)?;
        self.out[entry + 4..entry + 8].copy_from_slice(&(content.len() as u32).to_le_bytes());
        self.out[entry + 8..entry + 12].copy_from_slice(&place.to_le_bytes());
        Ok(())
    }

    /// Takes a stream out of the directory.
    fn drop_stream(&mut self, index: usize) {
        let Stream { entry, place, .. } = self.streams[index].clone();
        self.out[entry..entry + ENTRY].fill(0);
        let end = place.end.min(self.content.len());
        self.out[place.start.min(end)..end].fill(0);
    }

    fn u16(&self, at: usize) -> Result<u16, Why> {
        Ok(self.number(at, 2)? as u16)
    }

    fn u32(&self, at: usize) -> Result<u32, Why> {
        Ok(self.number(at, 4)? as u32)
    }

    fn u64(&self, at: usize) -> Result<u64, Why> {
        self.number(at, 8)
    }

    fn number(&self, at: usize, bytes: usize) -> Result<u64, Why> {
        let field = self.content.get(at..at.checked_add(bytes).ok_or(CUT)?).ok_or(CUT)?;
        Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
pub(super) mod tests;
