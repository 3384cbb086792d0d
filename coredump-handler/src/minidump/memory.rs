//! Memory blocks and the list of all mappings. Owns the caps on how much of the stacks a minidump carries.

use std::collections::BTreeMap;

use minidump_writer::mem_writer::{Buffer, MemoryArrayWriter, MemoryWriter};
use minidump_writer::minidump_format::{MDMemoryDescriptor, MDMemoryInfo, MDMemoryInfoList};

use super::{Input, Written, bytes, joined};
use crate::maps::{self, Mapping};

/// Of each of the crashed thread's stacks.
const CRASHED_STACK: usize = 1 << 20;
/// Of each other stack.
const OTHER_STACK: usize = 64 << 10;
/// Of the other stacks together.
const OTHER_STACKS: usize = 16 << 20;
/// On both sides of the crashed instruction, for disassemblers.
const CODE_REACH: u64 = 128;

/// The blocks that the memory list will name.
#[derive(Default)]
pub(super) struct Blocks(Vec<MDMemoryDescriptor>);

impl Blocks {
    /// Writes the stacks; returns where each thread's own stack is.
    pub(super) fn add_stacks(
        &mut self,
        input: &Input<'_>,
        buffer: &mut Buffer,
    ) -> BTreeMap<i32, MDMemoryDescriptor> {
        let crashed = input.head.crashed().map(|thread| thread.tid);
        let mut left = OTHER_STACKS;
        let mut waiting = input.stacks.len();
        let mut placed = BTreeMap::new();
        for stack in input.stacks {
            let cap = if Some(stack.tid) == crashed {
                CRASHED_STACK
            } else {
                OTHER_STACK.min(left / waiting.max(1))
            };
            waiting -= 1;
            let kept = &stack.bytes[..stack.bytes.len().min(cap)];
            if Some(stack.tid) != crashed {
                left -= kept.len();
            }
            let block = self.add(stack.start, kept, buffer);
            if !stack.interrupted {
                placed.insert(stack.tid, block);
            }
        }
        placed
    }

    /// Writes the code around the crashed instruction, where it may be read.
    pub(super) fn add_code(&mut self, input: &Input<'_>, buffer: &mut Buffer) {
        let Some(thread) = input.head.crashed() else { return };
        let instruction = thread.registers.instruction();
        let Some(mapping) = maps::find(input.maps, instruction) else { return };
        let start = instruction.saturating_sub(CODE_REACH).max(mapping.start);
        let end = instruction.saturating_add(CODE_REACH).min(mapping.end);
        let code = input.memory.read_vec(start, (end - start) as usize);
        if !code.is_empty() {
            self.add(start, &code, buffer);
        }
    }

    /// Writes the memory list.
    pub(super) fn list(self, buffer: &mut Buffer) -> Written {
        let count = MemoryWriter::<u32>::alloc_with_val(buffer, self.0.len() as u32)?;
        let blocks = MemoryArrayWriter::alloc_from_iter(buffer, self.0)?;
        Ok(joined(count.location(), blocks.location()))
    }

    fn add(&mut self, start: u64, content: &[u8], buffer: &mut Buffer) -> MDMemoryDescriptor {
        let block = MDMemoryDescriptor { start_of_memory_range: start, memory: bytes(buffer, content) };
        self.0.push(block);
        block
    }
}

/// Writes every mapping with its protection.
pub(super) fn info_list(maps: &[Mapping], buffer: &mut Buffer) -> Written {
    const COMMITTED: u32 = 0x1000;
    const PRIVATE: u32 = 0x2_0000;
    const MAPPED: u32 = 0x4_0000;
    let entries: Vec<MDMemoryInfo> = maps
        .iter()
        .map(|mapping| MDMemoryInfo {
            base_address: mapping.start,
            allocation_base: mapping.start,
            allocation_protection: protection(mapping),
            __alignment1: 0,
            region_size: mapping.end - mapping.start,
            state: COMMITTED,
            protection: protection(mapping),
            _type: if mapping.shared { MAPPED } else { PRIVATE },
            __alignment2: 0,
        })
        .collect();
    let head =
        MDMemoryInfoList { size_of_header: 16, size_of_entry: 48, number_of_entries: maps.len() as u64 };
    let head = MemoryWriter::alloc_with_val(buffer, head)?;
    let entries = MemoryArrayWriter::alloc_from_iter(buffer, entries)?;
    Ok(joined(head.location(), entries.location()))
}

// Windows' PAGE_ constants, which have no write without read.
fn protection(mapping: &Mapping) -> u32 {
    match (mapping.readable, mapping.writable, mapping.executable) {
        (false, false, false) => 0x01,
        (true, false, false) => 0x02,
        (_, true, false) => 0x04,
        (false, false, true) => 0x10,
        (true, false, true) => 0x20,
        (_, true, true) => 0x40,
    }
}
