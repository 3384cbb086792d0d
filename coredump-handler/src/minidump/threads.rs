//! The thread list, threads' names, their registers, and the exception stream.

use minidump_writer::mem_writer::{Buffer, MemoryArrayWriter, MemoryWriter, write_string_to_location};
use minidump_writer::minidump_format::format::{
    CONTEXT_AMD64, CONTEXT_ARM64_OLD, CONTEXT_X86, ContextFlagsAmd64,
};
use minidump_writer::minidump_format::{
    MDException, MDLocationDescriptor, MDMemoryDescriptor, MDRawExceptionStream, MDRawThread, MDRawThreadName,
};

use super::memory::Blocks;
use super::{Input, MinidumpError, Written, joined};
use crate::core::{Aarch64, Registers, ThreadState, X86, X86_64};

/// Writes all threads with their stacks and registers. The second location is the crashed thread's registers.
pub(super) fn list(
    input: &Input<'_>,
    blocks: &mut Blocks,
    buffer: &mut Buffer,
) -> Result<(MDLocationDescriptor, MDLocationDescriptor), MinidumpError> {
    let mut threads = Vec::with_capacity(input.head.threads.len());
    let placed = blocks.add_stacks(input, buffer);
    let mut crashed = MDLocationDescriptor::default();
    for (index, thread) in input.head.threads.iter().enumerate() {
        let thread_context = context(thread, buffer)?;
        if index == 0 {
            crashed = thread_context;
        }
        let pointer = thread.registers.stack();
        let nothing =
            MDMemoryDescriptor { start_of_memory_range: pointer, memory: MDLocationDescriptor::default() };
        threads.push(MDRawThread {
            thread_id: thread.tid.cast_unsigned(),
            suspend_count: 0,
            priority_class: 0,
            priority: 0,
            teb: thread_pointer(&thread.registers),
            stack: placed.get(&thread.tid).copied().unwrap_or(nothing),
            thread_context,
        });
    }
    let count = MemoryWriter::<u32>::alloc_with_val(buffer, threads.len() as u32)?;
    let threads = MemoryArrayWriter::alloc_from_iter(buffer, threads)?;
    Ok((joined(count.location(), threads.location()), crashed))
}

/// Writes the names that are known.
pub(super) fn names(input: &Input<'_>, buffer: &mut Buffer) -> Written {
    let mut names = Vec::with_capacity(input.thread_names.len());
    for (tid, name) in input.thread_names {
        let text = write_string_to_location(buffer, name)?;
        names.push(MDRawThreadName { thread_id: tid.cast_unsigned(), thread_name_rva: u64::from(text.rva) });
    }
    let count = MemoryWriter::<u32>::alloc_with_val(buffer, names.len() as u32)?;
    let names = MemoryArrayWriter::alloc_from_iter(buffer, names)?;
    Ok(joined(count.location(), names.location()))
}

/// Writes the signal: its number is the code, `si_code` the flags. Without a signal the code is Breakpad's
/// "dump requested" (0xffffffff).
pub(super) fn exception(input: &Input<'_>, context: MDLocationDescriptor, buffer: &mut Buffer) -> Written {
    const DUMP_REQUESTED: u32 = u32::MAX;
    let signal = input.head.signal;
    let record = MDException {
        exception_code: signal.map_or(DUMP_REQUESTED, |signal| signal.number.cast_unsigned()),
        exception_flags: signal.and_then(|signal| signal.code).map_or(0, i32::cast_unsigned),
        exception_address: signal.and_then(|signal| signal.address).unwrap_or(0),
        ..MDException::default()
    };
    let stream = MDRawExceptionStream {
        thread_id: input.head.crashed().map_or(0, |thread| thread.tid.cast_unsigned()),
        __align: 0,
        exception_record: record,
        thread_context: context,
    };
    Ok(MemoryWriter::alloc_with_val(buffer, stream)?.location())
}

fn thread_pointer(registers: &Registers) -> u64 {
    match registers {
        Registers::X86_64(registers) => registers.fs_base,
        // There it is a segment's base, which the notes do not tell, or a register of its own.
        Registers::X86(_) | Registers::Aarch64(_) => 0,
    }
}

fn context(thread: &ThreadState, buffer: &mut Buffer) -> Written {
    Ok(match &thread.registers {
        Registers::X86_64(registers) => {
            MemoryWriter::alloc_with_val(buffer, x86_64(registers, thread.fpregs.as_deref()))?.location()
        }
        Registers::X86(registers) => {
            MemoryWriter::alloc_with_val(buffer, x86(registers, thread.fpregs.as_deref()))?.location()
        }
        Registers::Aarch64(registers) => MemoryWriter::alloc_with_val(buffer, aarch64(registers))?.location(),
    })
}

// Segment registers and flags are words of 64 bits in the notes only.
fn x86_64(registers: &X86_64, fpregs: Option<&[u8]>) -> CONTEXT_AMD64 {
    let mut flags = ContextFlagsAmd64::CONTEXT_AMD64_CONTROL
        | ContextFlagsAmd64::CONTEXT_AMD64_INTEGER
        | ContextFlagsAmd64::CONTEXT_AMD64_SEGMENTS;
    let mut context = CONTEXT_AMD64 {
        cs: registers.cs as u16,
        ds: registers.ds as u16,
        es: registers.es as u16,
        fs: registers.fs as u16,
        gs: registers.gs as u16,
        ss: registers.ss as u16,
        eflags: registers.eflags as u32,
        rax: registers.rax,
        rcx: registers.rcx,
        rdx: registers.rdx,
        rbx: registers.rbx,
        rsp: registers.rsp,
        rbp: registers.rbp,
        rsi: registers.rsi,
        rdi: registers.rdi,
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        rip: registers.rip,
        ..CONTEXT_AMD64::default()
    };
    // The save area is FXSAVE's own layout.
    if let Some(state) = fpregs.and_then(|bytes| <[u8; 512]>::try_from(bytes).ok()) {
        flags |= ContextFlagsAmd64::CONTEXT_AMD64_FLOATING_POINT;
        context.mx_csr = u32::from_le_bytes([state[24], state[25], state[26], state[27]]);
        context.float_save = state;
    }
    context.context_flags = flags.bits();
    context
}

fn x86(registers: &X86, fpregs: Option<&[u8]>) -> CONTEXT_X86 {
    // CONTEXT_i386 with control, integer and segment registers; extended ones where they are known.
    const FLAGS: u32 = 0x1_0000 | 0x7;
    const EXTENDED: u32 = 0x20;
    let saved = fpregs.and_then(|bytes| <[u8; 512]>::try_from(bytes).ok());
    CONTEXT_X86 {
        context_flags: FLAGS | if saved.is_some() { EXTENDED } else { 0 },
        gs: registers.gs,
        fs: registers.fs,
        es: registers.es,
        ds: registers.ds,
        edi: registers.edi,
        esi: registers.esi,
        ebx: registers.ebx,
        edx: registers.edx,
        ecx: registers.ecx,
        eax: registers.eax,
        ebp: registers.ebp,
        eip: registers.eip,
        cs: registers.cs,
        eflags: registers.eflags,
        esp: registers.esp,
        ss: registers.ss,
        extended_registers: saved.unwrap_or([0; 512]),
        ..CONTEXT_X86::default()
    }
}

fn aarch64(registers: &Aarch64) -> CONTEXT_ARM64_OLD {
    // CONTEXT_ARM64_OLD with control and integer registers
    const FLAGS: u64 = 0x8000_0000 | 0x3;
    CONTEXT_ARM64_OLD {
        context_flags: FLAGS,
        iregs: registers.x,
        sp: registers.sp,
        pc: registers.pc,
        cpsr: registers.pstate as u32,
        ..CONTEXT_ARM64_OLD::default()
    }
}
