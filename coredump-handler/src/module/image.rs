//! One ELF image: its headers, its sections, its notes. Owns what of a little-endian ELF file is used.
//!
//! Never opens a path and never decides whether an image belongs to a process (that is [`super`]). Every number in it
//! was chosen by whoever wrote the file: sizes are bounded before anything is allocated, sums never wrap.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use gimli::{BaseAddresses, EhFrameHdr};
use lzma_rust2::XzReader;
use object::read::{CompressedData, CompressionFormat};

use super::section::{Section, Source};
use crate::core::u32_at;
use crate::elf::{self, Class, Header, ProgramHeader};
use crate::memory::Memory;

const SECTION_LIMIT: u16 = 4096;
/// Linkers make a dozen program headers.
const SEGMENT_LIMIT: u16 = 1024;
const NOTES_LIMIT: u64 = 64 << 10;
/// Images that exist in memory alone are small: the vDSO has two pages, a JIT's hand-made library a few more.
const MEMORY_IMAGE_LIMIT: u64 = 16 << 20;
/// Compressed debug information beyond this is left alone.
const DECOMPRESSED_LIMIT: u64 = 512 << 20;

const PAGE: u64 = 4096;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
const SHT_DYNSYM: u32 = 11;
const SHF_COMPRESSED: u64 = 1 << 11;
const NT_GNU_BUILD_ID: u32 = 3;
// ELFCOMPRESS_
const ZLIB: u32 = 1;
const ZSTANDARD: u32 = 2;

/// A PT_LOAD segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub address: u64,
    pub memory_size: u64,
    pub offset: u64,
    pub file_size: u64,
    pub executable: bool,
}

/// What the program headers of an image say, wherever they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    pub class: Class,
    pub loads: Vec<Load>,
    // (address, file offset, size)
    notes: Vec<(u64, u64, u64)>,
    eh_frame_hdr: Option<(u64, u64)>,
}

impl Headers {
    /// Parses an ELF header and its program headers. `read` gives bytes at an offset of the file.
    pub(crate) fn parse(read: impl Fn(u64, usize) -> Vec<u8>) -> Option<Headers> {
        let header = Header::parse(&read(0, elf::HEADER_BYTES))?;
        let (class, table) = (header.class, header.segments);
        // What only carries debug information for others need not have any.
        let mut headers = Headers { class, loads: Vec::new(), notes: Vec::new(), eh_frame_hdr: None };
        if table.rows == 0 {
            return Some(headers);
        }
        if table.rows > SEGMENT_LIMIT {
            return None;
        }
        let size = ProgramHeader::bytes(class);
        let length = usize::from(table.rows) * size;
        let bytes = read(table.offset, length);
        if table.row_bytes != size || bytes.len() < length {
            return None;
        }
        for row in bytes.chunks_exact(size).filter_map(|row| ProgramHeader::parse(class, row)) {
            match row.kind {
                PT_LOAD => headers.loads.push(Load {
                    address: row.address,
                    memory_size: row.memory_size,
                    offset: row.offset,
                    file_size: row.file_size,
                    executable: row.flags & PF_X != 0,
                }),
                PT_NOTE => headers.notes.push((row.address, row.offset, row.file_size)),
                PT_GNU_EH_FRAME => headers.eh_frame_hdr = Some((row.address, row.memory_size)),
                _ => {}
            }
        }
        Some(headers)
    }

    /// Where the image starts: the page of its lowest segment.
    pub(crate) fn first_address(&self) -> u64 {
        self.loads.iter().map(|load| load.address & !(PAGE - 1)).min().unwrap_or(0)
    }

    /// The build-id in a process's memory, where the image lies `bias` bytes above its own addresses.
    pub(crate) fn build_id_in(&self, memory: &dyn Memory, bias: u64) -> Option<Vec<u8>> {
        self.notes.iter().find_map(|(address, _, size)| {
            let bytes = memory.read_vec(bias.wrapping_add(*address), (*size).min(NOTES_LIMIT) as usize);
            build_id_in_notes(&bytes)
        })
    }
}

// One row of the section table, with its name.
struct NamedSection {
    name: String,
    row: elf::SectionHeader,
}

/// An ELF image that can be read.
pub(crate) struct Image {
    source: Arc<Source>,
    pub headers: Headers,
    sections: Vec<NamedSection>,
}

impl Image {
    /// The image in a file; `None` where it is no ELF file that we read.
    pub(crate) fn from_file(file: File) -> Option<Image> {
        Image::from_source(Source::file(file))
    }

    /// The image in a file's bytes.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Image> {
        Image::from_source(Source::bytes(bytes))
    }

    /// The image as a process has it in memory: the vDSO, or a library whose file cannot be had. What is not readable
    /// there is zero; `None` where not even the unwind table is.
    pub(crate) fn from_memory(headers: &Headers, memory: &dyn Memory, bias: u64) -> Option<Image> {
        let (table, _) = headers.eh_frame_hdr?;
        memory.read_u64(bias.wrapping_add(table))?;
        let end_of = |load: &Load| load.offset.saturating_add(load.file_size);
        let last = headers.loads.iter().map(end_of).max()?;
        // The rest of the last page comes with it: of the vDSO that is its section table.
        let end = last.checked_next_multiple_of(4096).filter(|end| *end <= MEMORY_IMAGE_LIMIT)?;
        let mut bytes = vec![0; end as usize];
        for load in &headers.loads {
            let to = if end_of(load) == last { end } else { end_of(load) };
            // Both are at most `end`, which fits.
            let Some(into) = bytes.get_mut(load.offset as usize..to as usize) else { continue };
            memory.read(bias.wrapping_add(load.address), into);
        }
        Image::from_bytes(bytes)
    }

    fn from_source(source: Arc<Source>) -> Option<Image> {
        let headers = Headers::parse(|offset, length| source.read(offset, length))?;
        let sections = section_table(&source).unwrap_or_default();
        Some(Image { source, headers, sections })
    }

    /// Where its loaded parts are mapped in a process whose program headers lie at `headers`: start, end, offset.
    pub(crate) fn placed(&self, headers: u64) -> Option<Vec<(u64, u64, u64)>> {
        let table = Header::parse(&self.source.read(0, elf::HEADER_BYTES))?.segments.offset;
        let holds = |load: &&Load| load.offset <= table && table - load.offset < load.file_size;
        let first = self.headers.loads.iter().find(holds)?;
        let bias = headers.wrapping_sub(first.address.wrapping_add(table - first.offset));
        let within = |load: &Load| load.address % 4096;
        let place = |load: &Load| {
            let start = bias.wrapping_add(load.address - within(load));
            let size = load.file_size.checked_add(within(load))?.checked_next_multiple_of(4096)?;
            Some((start, start.checked_add(size)?, load.offset.checked_sub(within(load))?))
        };
        self.headers.loads.iter().map(place).collect()
    }

    /// How wide its words are.
    pub(crate) fn class(&self) -> Class {
        self.headers.class
    }

    /// Whether the file starts with `bytes`.
    pub(crate) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.source.read(0, bytes.len()) == bytes
    }

    /// Every build-id that the image's notes hold. (A separate debug file's program headers may point nowhere; its
    /// section headers do not.)
    pub(crate) fn build_ids(&self) -> Vec<Vec<u8>> {
        let segments = self.headers.notes.iter().map(|(_, offset, size)| (*offset, *size));
        let sections =
            self.sections.iter().filter(|s| s.row.kind == SHT_NOTE).map(|s| (s.row.offset, s.row.size));
        segments
            .chain(sections)
            .take(64)
            .filter_map(|(offset, size)| {
                build_id_in_notes(&self.source.read(offset, size.min(NOTES_LIMIT) as usize))
            })
            .collect()
    }

    /// The image inside it that distributions like Fedora put there: the symbol table of a stripped program.
    pub(crate) fn embedded(&self) -> Option<Image> {
        const COMPRESSED_LIMIT: usize = 16 << 20;
        const MEMORY_LIMIT_KIB: u32 = 64 << 10;
        let compressed =
            self.section(".gnu_debugdata").whole(COMPRESSED_LIMIT).filter(|bytes| !bytes.is_empty())?;
        let stream = XzReader::new_mem_limit(compressed.as_slice(), false, MEMORY_LIMIT_KIB);
        let mut bytes = Vec::new();
        stream.take(DECOMPRESSED_LIMIT).read_to_end(&mut bytes).ok()?;
        Image::from_bytes(bytes)
    }

    /// Whether there is a section of that name with bytes in the file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    /// The section of that name, decompressed where needed; empty where there is none.
    pub(crate) fn section(&self, name: &str) -> Section {
        self.header(name).and_then(|header| self.open(header)).unwrap_or_else(Section::empty)
    }

    /// The section's address in the image.
    pub(crate) fn address(&self, name: &str) -> Option<u64> {
        self.header(name).map(|header| header.row.address)
    }

    /// The address behind the section with this number.
    pub(crate) fn section_end(&self, number: u16) -> Option<u64> {
        self.sections
            .get(usize::from(number))
            .map(|header| header.row.address.saturating_add(header.row.size))
    }

    /// The full symbol table where there is one, else the dynamic one: symbols and their names.
    pub(crate) fn symbols(&self) -> Option<(Section, Section)> {
        [SHT_SYMTAB, SHT_DYNSYM].into_iter().find_map(|kind| {
            let table = self.sections.iter().find(|s| s.row.kind == kind && s.row.size > 0)?;
            let names = self.sections.get(table.row.link as usize)?;
            Some((self.open(table)?, self.open(names)?))
        })
    }

    /// The header of the unwind table and its address.
    pub(crate) fn eh_frame_hdr(&self) -> Option<(Section, u64)> {
        let (address, size) = self.headers.eh_frame_hdr?;
        let (offset, left) = self.offset_of(address)?;
        Some((Section::new(&self.source, offset, size.min(left)), address))
    }

    /// `.eh_frame` and its address: by the section table, or as the search table says where there is none.
    pub(crate) fn eh_frame(&self) -> Option<(Section, u64)> {
        if let Some(address) = self.address(".eh_frame") {
            return Some((self.section(".eh_frame"), address));
        }
        let (table, base) = self.eh_frame_hdr()?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(base);
        let table = EhFrameHdr::from(table.reader()).parse(&bases, self.class().word_bytes() as u8).ok()?;
        let address = table.eh_frame_ptr().direct().ok()?;
        // Where it ends nobody says: at the latest with its segment.
        let (offset, left) = self.offset_of(address)?;
        Some((Section::new(&self.source, offset, left), address))
    }

    /// Up to `length` bytes of code or data at `address`.
    pub(crate) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        match self.offset_of(address) {
            Some((offset, left)) => {
                self.source.read(offset, usize::try_from(left).unwrap_or(usize::MAX).min(length))
            }
            None => Vec::new(),
        }
    }

    fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        self.headers.loads.iter().find_map(|load| {
            let within = address.checked_sub(load.address)?;
            let left = load.file_size.checked_sub(within).filter(|left| *left > 0)?;
            Some((load.offset.checked_add(within)?, left))
        })
    }

    fn header(&self, name: &str) -> Option<&NamedSection> {
        self.sections.iter().find(|s| s.name == name && s.row.kind != SHT_NOBITS && s.row.size > 0)
    }

    fn open(&self, header: &NamedSection) -> Option<Section> {
        let section = Section::new(&self.source, header.row.offset, header.row.size);
        if header.row.flags & SHF_COMPRESSED == 0 {
            return Some(section);
        }
        // Its header: format, reserved (in 64-bit files), size, alignment.
        let (size_at, header_bytes) = match self.class() {
            Class::Bits32 => (4, 12),
            Class::Bits64 => (8, 24),
        };
        let start = self.source.read(header.row.offset, header_bytes);
        let length = self.class().word(&start, size_at).filter(|length| *length <= DECOMPRESSED_LIMIT)?;
        let compressed = header.row.size.checked_sub(header_bytes as u64)?;
        match u32_at(&start, 0)? {
            ZLIB => {
                let offset = header.row.offset.checked_add(header_bytes as u64)?;
                Some(Section::inflated(&self.source, offset, compressed, length))
            }
            ZSTANDARD => {
                let bytes = section.whole(DECOMPRESSED_LIMIT as usize)?;
                let bytes = unpack(bytes.get(header_bytes..)?, length)?;
                let length = bytes.len() as u64;
                Some(Section::new(&Source::bytes(bytes), 0, length))
            }
            _ => None,
        }
    }
}

fn section_table(source: &Source) -> Option<Vec<NamedSection>> {
    let header = Header::parse(&source.read(0, elf::HEADER_BYTES))?;
    let (class, table) = (header.class, header.sections);
    if table.row_bytes != elf::SectionHeader::bytes(class) || table.rows > SECTION_LIMIT {
        return None;
    }
    let bytes = source.read(table.offset, usize::from(table.rows) * table.row_bytes);
    let rows: Vec<elf::SectionHeader> =
        bytes.chunks_exact(table.row_bytes).filter_map(|row| elf::SectionHeader::parse(class, row)).collect();
    let names = rows.get(usize::from(header.names))?;
    let names = source.read(names.offset, names.size.min(1 << 20) as usize);
    let name = |row: &elf::SectionHeader| {
        let name = names.get(row.name as usize..).unwrap_or(&[]).split(|byte| *byte == 0).next();
        String::from_utf8_lossy(name.unwrap_or(&[])).into_owned()
    };
    Some(rows.into_iter().map(|row| NamedSection { name: name(&row), row }).collect())
}

// ELF notes: name size, description size, type, name, description, each part padded to 4 bytes.
fn build_id_in_notes(mut bytes: &[u8]) -> Option<Vec<u8>> {
    loop {
        let (name, length, kind) =
            (u32_at(bytes, 0)? as usize, u32_at(bytes, 4)? as usize, u32_at(bytes, 8)?);
        let name_end = 12usize.checked_add(name)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(length)?;
        if kind == NT_GNU_BUILD_ID && bytes.get(12..name_end)? == b"GNU\0" {
            // 20 bytes from a linker, 16 by some, 8 for fast ones; longer is no build-id.
            return bytes.get(start..end).filter(|id| (1..=64).contains(&id.len())).map(<[u8]>::to_vec);
        }
        bytes = bytes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn unpack(data: &[u8], uncompressed_size: u64) -> Option<Vec<u8>> {
    let packed = CompressedData { format: CompressionFormat::Zstandard, data, uncompressed_size };
    packed.decompress().ok().map(|bytes| bytes.into_owned())
}
