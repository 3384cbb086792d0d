//! One ELF image: its headers, its sections, its notes. Owns the layout of a 64-bit little-endian ELF file.
//!
//! Never opens a path and never decides whether an image belongs to a process (that is [`super`]). Every number in it
//! was chosen by whoever wrote the file: sizes are bounded before anything is allocated, sums never wrap.

use std::fs::File;
use std::io::Read;
use std::rc::Rc;

use gimli::{BaseAddresses, EhFrameHdr};
use lzma_rust2::XzReader;
use object::read::{CompressedData, CompressionFormat};

use super::section::{Section, Source};
use crate::core::{u16_at, u32_at, u64_at};
use crate::memory::Memory;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const SECTION_LIMIT: u16 = 4096;
const NOTES_LIMIT: u64 = 64 << 10;
/// Images that exist in memory alone are small: the vDSO has two pages, a JIT's hand-made library a few more.
const MEMORY_IMAGE_LIMIT: u64 = 16 << 20;
/// Compressed debug information beyond this is left alone.
const DECOMPRESSED_LIMIT: u64 = 512 << 20;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    pub loads: Vec<Load>,
    // (address, file offset, size)
    notes: Vec<(u64, u64, u64)>,
    eh_frame_hdr: Option<(u64, u64)>,
}

impl Headers {
    /// Parses an ELF header and its program headers. `read` gives bytes at an offset of the file.
    pub(crate) fn parse(read: impl Fn(u64, usize) -> Vec<u8>) -> Option<Headers> {
        let header = read(0, HEADER_BYTES);
        if header.get(..7)? != b"\x7fELF\x02\x01\x01" {
            return None;
        }
        let (offset, size, count) =
            (u64_at(&header, 32)?, usize::from(u16_at(&header, 54)?), u16_at(&header, 56)?);
        if size != PROGRAM_HEADER_BYTES {
            return None;
        }
        let length = usize::from(count) * PROGRAM_HEADER_BYTES;
        let table = read(offset, length);
        if count == 0 || table.len() < length {
            return None;
        }
        let mut headers = Headers::default();
        for row in table.chunks_exact(PROGRAM_HEADER_BYTES) {
            let word = |at| u64_at(row, at).unwrap_or(0);
            let (offset, address, file_size, memory_size) = (word(8), word(16), word(32), word(40));
            match u32_at(row, 0)? {
                PT_LOAD => headers.loads.push(Load {
                    address,
                    memory_size,
                    offset,
                    file_size,
                    executable: u32_at(row, 4)? & PF_X != 0,
                }),
                PT_NOTE => headers.notes.push((address, offset, file_size)),
                PT_GNU_EH_FRAME => headers.eh_frame_hdr = Some((address, memory_size)),
                _ => {}
            }
        }
        Some(headers)
    }

    /// The build-id in a process's memory, where the image lies `bias` bytes above its own addresses.
    pub(crate) fn build_id_in(&self, memory: &dyn Memory, bias: u64) -> Option<Vec<u8>> {
        self.notes.iter().find_map(|(address, _, size)| {
            let bytes = memory.read_vec(bias.wrapping_add(*address), (*size).min(NOTES_LIMIT) as usize);
            build_id_in_notes(&bytes)
        })
    }
}

/// One row of the section table.
struct SectionHeader {
    name: String,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
}

/// An ELF image that can be read.
pub(crate) struct Image {
    source: Rc<Source>,
    pub headers: Headers,
    sections: Vec<SectionHeader>,
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
        let end = headers.loads.iter().map(|load| load.offset.saturating_add(load.file_size)).max()?;
        if end > MEMORY_IMAGE_LIMIT {
            return None;
        }
        let mut bytes = vec![0; end as usize];
        for load in &headers.loads {
            // Both ends are at most `end`, which fits.
            let (from, to) = (load.offset as usize, load.offset.saturating_add(load.file_size) as usize);
            let Some(into) = bytes.get_mut(from..to) else { continue };
            memory.read(bias.wrapping_add(load.address), into);
        }
        Image::from_bytes(bytes)
    }

    fn from_source(source: Rc<Source>) -> Option<Image> {
        let headers = Headers::parse(|offset, length| source.read(offset, length))?;
        let sections = section_table(&source).unwrap_or_default();
        Some(Image { source, headers, sections })
    }

    /// Whether the file starts with `bytes`.
    pub(crate) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.source.read(0, bytes.len()) == bytes
    }

    /// Every build-id that the image's notes hold. (A separate debug file's program headers may point nowhere; its
    /// section headers do not.)
    pub(crate) fn build_ids(&self) -> Vec<Vec<u8>> {
        let segments = self.headers.notes.iter().map(|(_, offset, size)| (*offset, *size));
        let sections = self.sections.iter().filter(|s| s.kind == SHT_NOTE).map(|s| (s.offset, s.size));
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
        self.header(name).map(|header| header.address)
    }

    /// The address behind the section with this number.
    pub(crate) fn section_end(&self, number: u16) -> Option<u64> {
        self.sections.get(usize::from(number)).map(|header| header.address.saturating_add(header.size))
    }

    /// The full symbol table where there is one, else the dynamic one: symbols and their names.
    pub(crate) fn symbols(&self) -> Option<(Section, Section)> {
        [SHT_SYMTAB, SHT_DYNSYM].into_iter().find_map(|kind| {
            let table = self.sections.iter().find(|s| s.kind == kind && s.size > 0)?;
            let names = self.sections.get(table.link as usize)?;
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
        let table = EhFrameHdr::from(table.reader()).parse(&bases, 8).ok()?;
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

    fn header(&self, name: &str) -> Option<&SectionHeader> {
        self.sections.iter().find(|s| s.name == name && s.kind != SHT_NOBITS && s.size > 0)
    }

    fn open(&self, header: &SectionHeader) -> Option<Section> {
        let section = Section::new(&self.source, header.offset, header.size);
        if header.flags & SHF_COMPRESSED == 0 {
            return Some(section);
        }
        let bytes = decompress(&section.whole(DECOMPRESSED_LIMIT as usize)?)?;
        let length = bytes.len() as u64;
        Some(Section::new(&Source::bytes(bytes), 0, length))
    }
}

fn section_table(source: &Source) -> Option<Vec<SectionHeader>> {
    let header = source.read(0, HEADER_BYTES);
    let (offset, size, count, names) =
        (u64_at(&header, 40)?, u16_at(&header, 58)?, u16_at(&header, 60)?, u16_at(&header, 62)?);
    if usize::from(size) != SECTION_HEADER_BYTES || count > SECTION_LIMIT {
        return None;
    }
    let table = source.read(offset, usize::from(count) * SECTION_HEADER_BYTES);
    let rows: Vec<&[u8]> = table.chunks_exact(SECTION_HEADER_BYTES).collect();
    let names = rows.get(usize::from(names))?;
    let names = source.read(u64_at(names, 24)?, u64_at(names, 32)?.min(1 << 20) as usize);
    rows.into_iter()
        .map(|row| {
            let at = u32_at(row, 0)? as usize;
            let name = names.get(at..).unwrap_or(&[]).split(|byte| *byte == 0).next().unwrap_or(&[]);
            Some(SectionHeader {
                name: String::from_utf8_lossy(name).into_owned(),
                kind: u32_at(row, 4)?,
                flags: u64_at(row, 8)?,
                address: u64_at(row, 16)?,
                offset: u64_at(row, 24)?,
                size: u64_at(row, 32)?,
                link: u32_at(row, 40)?,
            })
        })
        .collect()
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

fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    const COMPRESSION_HEADER_BYTES: usize = 24;
    let format = match u32_at(bytes, 0)? {
        1 => CompressionFormat::Zlib,
        2 => CompressionFormat::Zstandard,
        _ => return None,
    };
    let uncompressed_size = u64_at(bytes, 8)?;
    if uncompressed_size > DECOMPRESSED_LIMIT {
        return None;
    }
    let data = bytes.get(COMPRESSION_HEADER_BYTES..)?;
    CompressedData { format, data, uncompressed_size }.decompress().ok().map(|bytes| bytes.into_owned())
}
