//! The dynamic loader's own list of libraries, for debuggers that want it. Every pointer in it is the process's word:
//! reads are bounded and the chain may end anywhere.

use minidump_writer::mem_writer::{Buffer, write_string_to_location};
use minidump_writer::minidump_format::MDLocationDescriptor;

use super::{Input, MinidumpError, bytes};
use crate::core::{text_until_nul, u32_at};
use crate::elf::{Class, ProgramHeader};
use crate::memory::Memory;

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const DT_NULL: u64 = 0;
const DT_DEBUG: u64 = 21;

const PROGRAM_HEADERS: u64 = 256;
const DYNAMIC_BYTES: usize = 16 << 10;
const LIBRARIES: usize = 4096;
const PATH_BYTES: usize = 4096;

/// What became of the loader's list.
pub(super) enum Loader {
    /// It is written.
    Written(MDLocationDescriptor),
    /// Its beginning is written: what comes after could not be read.
    Cut(MDLocationDescriptor),
    /// The program was linked statically and has none.
    None,
    /// It could not be read.
    Unreadable,
}

/// Writes what the loader keeps for debuggers.
pub(super) fn debug(input: &Input<'_>, buffer: &mut Buffer) -> Result<Loader, MinidumpError> {
    let class = Class::of_machine(input.head.machine);
    let size = class.word_bytes();
    let headers = program_headers(input, class);
    let Some(dynamic) = find_dynamic(input, &headers) else {
        let known = !headers.is_empty() && !headers.iter().any(|row| row.kind == PT_INTERP);
        return Ok(if known { Loader::None } else { Loader::Unreadable });
    };
    let table = input.memory.read_vec(dynamic, DYNAMIC_BYTES);
    let mut length = 0;
    let mut debug_address = None;
    for entry in table.chunks_exact(2 * size) {
        length += 2 * size;
        match (class.word(entry, 0), class.word(entry, size)) {
            (Some(DT_DEBUG), value) => debug_address = value,
            (Some(DT_NULL), _) => break,
            _ => {}
        }
    }
    // struct r_debug: version, first link_map, breakpoint, state, loader's base, each as wide as a word
    let debug = debug_address.filter(|address| *address != 0).map(|at| input.memory.read_vec(at, 5 * size));
    let read = |debug: Vec<u8>| {
        let word = |index: usize| class.word(&debug, index * size);
        Some((u32_at(&debug, 0)?, word(1)?, word(2)?, word(4)?))
    };
    let Some((version, first, brk, ldbase)) = debug.and_then(read) else { return Ok(Loader::Unreadable) };
    // Breakpad's layouts, in which only addresses are as wide as the machine's words, without padding.
    let wide = |value: u64| value.to_le_bytes().into_iter().take(size);
    let mut libraries = Vec::new();
    let mut count: u32 = 0;
    let (chained, whole) = chain(input.memory, class, first);
    for library in chained {
        let name = write_string_to_location(buffer, &library.name)?.rva;
        libraries.extend(wide(library.address).chain(name.to_le_bytes()).chain(wide(library.dynamic)));
        count += 1;
    }
    let map = bytes(buffer, &libraries).rva;
    let mut head: Vec<u8> = [version, map, count].iter().flat_map(|word| word.to_le_bytes()).collect();
    head.extend([brk, ldbase, dynamic].into_iter().flat_map(wide));
    head.extend_from_slice(&table[..length]);
    let location = bytes(buffer, &head);
    Ok(if whole { Loader::Written(location) } else { Loader::Cut(location) })
}

fn program_headers(input: &Input<'_>, class: Class) -> Vec<ProgramHeader> {
    let read = || -> Option<Vec<ProgramHeader>> {
        let count = input.head.auxv_value(AT_PHNUM)?.min(PROGRAM_HEADERS) as usize;
        let bytes = ProgramHeader::bytes(class);
        let table = input.memory.read_vec(input.head.auxv_value(AT_PHDR)?, count * bytes);
        table.chunks_exact(bytes).map(|row| ProgramHeader::parse(class, row)).collect()
    };
    read().unwrap_or_default()
}

// The program headers say where the dynamic section is, relative to where they themselves should be; where they do
// not say that, the program was not moved. A program without a loader may have one too, which nobody reads.
fn find_dynamic(input: &Input<'_>, headers: &[ProgramHeader]) -> Option<u64> {
    let address_of = |kind| headers.iter().find(|row| row.kind == kind).map(|row| row.address);
    let at = input.head.auxv_value(AT_PHDR)?;
    address_of(PT_INTERP)?;
    let bias = address_of(PT_PHDR).map_or(0, |own| at.wrapping_sub(own));
    Some(bias.wrapping_add(address_of(PT_DYNAMIC)?))
}

struct Library {
    address: u64,
    name: String,
    dynamic: u64,
}

// struct link_map: address, name, dynamic section, next, previous. False: it leads where nothing can be read, or has no end.
fn chain(memory: &dyn Memory, class: Class, first: u64) -> (Vec<Library>, bool) {
    let mut libraries = Vec::new();
    let mut next = first;
    let size = class.word_bytes();
    while next != 0 && libraries.len() < LIBRARIES {
        let entry = memory.read_vec(next, 4 * size);
        let word = |index: usize| class.word(&entry, index * size);
        let (Some(address), Some(name), Some(dynamic), Some(following)) =
            (word(0), word(1), word(2), word(3))
        else {
            return (libraries, false);
        };
        let name = if name == 0 { String::new() } else { text_until_nul(&memory.read_vec(name, PATH_BYTES)) };
        libraries.push(Library { address, name, dynamic });
        next = following;
    }
    (libraries, next == 0)
}
