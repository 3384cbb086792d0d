//! The fixed parts of ELF files in both word sizes: where each field lies, and nothing about what it means.
//!
//! Used for cores, for images and for what a process has of them in memory. Every function takes hostile bytes and gives
//! `None` beyond their end.

use crate::core::{u16_at, u32_at, u64_at};

/// Enough for either header.
pub(crate) const HEADER_BYTES: usize = 64;
/// `e_machine` of i386.
pub const EM_386: u16 = 3;
/// `e_machine` of x86-64.
pub const EM_X86_64: u16 = 62;
/// `e_machine` of aarch64.
pub const EM_AARCH64: u16 = 183;

/// How wide a machine's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 4 bytes.
    Bits32,
    /// 8 bytes.
    Bits64,
}

impl Class {
    /// The class of a known machine's programs.
    pub fn of_machine(machine: u16) -> Class {
        if machine == EM_386 { Class::Bits32 } else { Class::Bits64 }
    }

    /// The bytes of a word.
    pub fn word_bytes(self) -> usize {
        match self {
            Class::Bits32 => 4,
            Class::Bits64 => 8,
        }
    }

    /// The little-endian word at `at`.
    pub(crate) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        match self {
            Class::Bits32 => u32_at(bytes, at).map(u64::from),
            Class::Bits64 => u64_at(bytes, at),
        }
    }

    // The one of two offsets that is this class's.
    fn pick(self, bits32: usize, bits64: usize) -> usize {
        match self {
            Class::Bits32 => bits32,
            Class::Bits64 => bits64,
        }
    }
}

/// Rows of one size somewhere in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub offset: u64,
    pub row_bytes: usize,
    pub rows: u16,
}

/// An ELF header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub class: Class,
    pub kind: u16,
    pub machine: u16,
    pub segments: Table,
    pub sections: Table,
    /// The number of the section that holds the sections' names.
    pub names: u16,
}

impl Header {
    /// Parses a little-endian header; whether rows have the size that is read is the caller's to ask.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
        if !bytes.starts_with(b"\x7fELF") || bytes.get(5..7)? != [1, 1] {
            return None;
        }
        let class = match bytes.get(4)? {
            1 => Class::Bits32,
            2 => Class::Bits64,
            _ => return None,
        };
        let half = |bits32, bits64| u16_at(bytes, class.pick(bits32, bits64));
        let table = |offset, row_bytes, rows| Some(Table { offset, row_bytes: usize::from(row_bytes), rows });
        Some(Header {
            class,
            kind: u16_at(bytes, 16)?,
            machine: u16_at(bytes, 18)?,
            segments: table(class.word(bytes, class.pick(28, 32))?, half(42, 54)?, half(44, 56)?)?,
            sections: table(class.word(bytes, class.pick(32, 40))?, half(46, 58)?, half(48, 60)?)?,
            names: half(50, 62)?,
        })
    }
}

/// A row of the program header table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramHeader {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub file_size: u64,
    pub memory_size: u64,
}

impl ProgramHeader {
    /// The size of a row.
    pub(crate) fn bytes(class: Class) -> usize {
        class.pick(32, 56)
    }

    pub(crate) fn parse(class: Class, row: &[u8]) -> Option<ProgramHeader> {
        let word = |bits32, bits64| class.word(row, class.pick(bits32, bits64));
        Some(ProgramHeader {
            kind: u32_at(row, 0)?,
            flags: u32_at(row, class.pick(24, 4))?,
            offset: word(4, 8)?,
            address: word(8, 16)?,
            file_size: word(16, 32)?,
            memory_size: word(20, 40)?,
        })
    }
}

/// A row of the section header table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionHeader {
    pub name: u32,
    pub kind: u32,
    pub flags: u64,
    pub address: u64,
    pub offset: u64,
    pub size: u64,
    pub link: u32,
    /// `sh_info`; of section 0 it can be the true number of program headers.
    pub info: u32,
}

impl SectionHeader {
    /// The size of a row.
    pub(crate) fn bytes(class: Class) -> usize {
        class.pick(40, 64)
    }

    pub(crate) fn parse(class: Class, row: &[u8]) -> Option<SectionHeader> {
        let word = |bits32, bits64| class.word(row, class.pick(bits32, bits64));
        Some(SectionHeader {
            name: u32_at(row, 0)?,
            kind: u32_at(row, 4)?,
            flags: word(8, 8)?,
            address: word(12, 16)?,
            offset: word(16, 24)?,
            size: word(20, 32)?,
            link: u32_at(row, class.pick(24, 40))?,
            info: u32_at(row, class.pick(28, 44))?,
        })
    }
}

/// A row of a symbol table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolRow {
    pub name: u32,
    pub info: u8,
    pub section: u16,
    pub address: u64,
    pub size: u64,
}

impl SymbolRow {
    /// The size of a row.
    pub(crate) fn bytes(class: Class) -> usize {
        class.pick(16, 24)
    }

    pub(crate) fn parse(class: Class, row: &[u8]) -> Option<SymbolRow> {
        Some(SymbolRow {
            name: u32_at(row, 0)?,
            info: *row.get(class.pick(12, 4))?,
            section: u16_at(row, class.pick(14, 6))?,
            address: class.word(row, class.pick(4, 8))?,
            size: class.word(row, class.pick(8, 16))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_is_read_beyond_its_end() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        assert!(Header::parse(&bytes).is_some());
        assert!((0..HEADER_BYTES).all(|end| Header::parse(&bytes[..end]).is_none()));
        bytes[4] = 1;
        assert!(Header::parse(&bytes[..52]).is_some() && Header::parse(&bytes[..51]).is_none());
        bytes[4] = 3;
        assert!(Header::parse(&bytes).is_none());
    }
}
