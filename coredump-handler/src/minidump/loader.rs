//! The dynamic loader's own list of libraries, for debuggers that want it. Every pointer in it is the process's word:
//! reads are bounded and the chain may end anywhere.

use minidump_writer::mem_writer::{Buffer, MemoryArrayWriter, MemoryWriter, write_string_to_location};
use minidump_writer::minidump_format::{MDLocationDescriptor, MDRawDebug, MDRawLinkMap};

use super::{Input, MinidumpError, bytes, joined};
use crate::core::{text_until_nul, u32_at, u64_at};
use crate::memory::Memory;

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const PT_DYNAMIC: u32 = 2;
const PT_PHDR: u32 = 6;
const DT_NULL: u64 = 0;
const DT_DEBUG: u64 = 21;

const PROGRAM_HEADER_BYTES: usize = 56;
const PROGRAM_HEADERS: u64 = 256;
const DYNAMIC_BYTES: usize = 16 << 10;
const LIBRARIES: usize = 4096;
const PATH_BYTES: usize = 4096;

/// Writes what the loader keeps for debuggers; `None` where there is no loader or its list cannot be read.
pub(super) fn debug(
    input: &Input<'_>,
    buffer: &mut Buffer,
) -> Result<Option<MDLocationDescriptor>, MinidumpError> {
    let Some(dynamic) = find_dynamic(input) else { return Ok(None) };
    let table = input.memory.read_vec(dynamic, DYNAMIC_BYTES);
    let mut length = 0;
    let mut debug_address = None;
    for entry in table.chunks_exact(16) {
        length += 16;
        match (u64_at(entry, 0), u64_at(entry, 8)) {
            (Some(DT_DEBUG), value) => debug_address = value,
            (Some(DT_NULL), _) => break,
            _ => {}
        }
    }
    // struct r_debug: version, padding, first link_map, breakpoint, state, loader's base
    let Some(debug) = debug_address.filter(|address| *address != 0).map(|at| input.memory.read_vec(at, 40))
    else {
        return Ok(None);
    };
    let (Some(version), Some(first), Some(brk), Some(ldbase)) =
        (u32_at(&debug, 0), u64_at(&debug, 8), u64_at(&debug, 16), u64_at(&debug, 32))
    else {
        return Ok(None);
    };
    let mut libraries = Vec::new();
    for library in chain(input.memory, first) {
        let name = write_string_to_location(buffer, &library.name)?.rva;
        libraries.push(MDRawLinkMap { addr: library.address, name, ld: library.dynamic });
    }
    let dso_count = libraries.len() as u32;
    let map = MemoryArrayWriter::alloc_from_iter(buffer, libraries)?.location().rva;
    let head =
        MemoryWriter::alloc_with_val(buffer, MDRawDebug { version, map, dso_count, brk, ldbase, dynamic })?;
    let table = bytes(buffer, &table[..length]);
    Ok(Some(joined(head.location(), table)))
}

// The program headers say where the dynamic section is, relative to where they themselves should be.
fn find_dynamic(input: &Input<'_>) -> Option<u64> {
    let headers = input.head.auxv_value(AT_PHDR)?;
    let count = input.head.auxv_value(AT_PHNUM)?.min(PROGRAM_HEADERS);
    let table = input.memory.read_vec(headers, count as usize * PROGRAM_HEADER_BYTES);
    let address_of = |kind| {
        let mut entries = table.chunks_exact(PROGRAM_HEADER_BYTES);
        entries.find(|entry| u32_at(entry, 0) == Some(kind)).and_then(|entry| u64_at(entry, 16))
    };
    let bias = headers.wrapping_sub(address_of(PT_PHDR)?);
    Some(bias.wrapping_add(address_of(PT_DYNAMIC)?))
}

struct Library {
    address: u64,
    name: String,
    dynamic: u64,
}

// struct link_map: address, name, dynamic section, next, previous
fn chain(memory: &dyn Memory, first: u64) -> Vec<Library> {
    let mut libraries = Vec::new();
    let mut next = first;
    while next != 0 && libraries.len() < LIBRARIES {
        let entry = memory.read_vec(next, 32);
        let (Some(address), Some(name), Some(dynamic), Some(following)) =
            (u64_at(&entry, 0), u64_at(&entry, 8), u64_at(&entry, 16), u64_at(&entry, 24))
        else {
            break;
        };
        let name = if name == 0 { String::new() } else { text_until_nul(&memory.read_vec(name, PATH_BYTES)) };
        libraries.push(Library { address, name, dynamic });
        next = following;
    }
    libraries
}
