//! General registers in the order in which the kernel writes them. Owns the machines' layouts and nothing else.

use super::{EM_386, EM_AARCH64, EM_X86_64, u32_at, u64_at};

/// A thread's general registers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registers {
    /// x86-64.
    X86_64(X86_64),
    /// i386.
    X86(X86),
    /// aarch64.
    Aarch64(Aarch64),
}

/// `struct user_regs_struct` of x86-64, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the machine's")]
pub struct X86_64 {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// `struct user_regs_struct` of i386, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the machine's")]
pub struct X86 {
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
    pub eax: u32,
    pub ds: u32,
    pub es: u32,
    pub fs: u32,
    pub gs: u32,
    pub orig_eax: u32,
    pub eip: u32,
    pub cs: u32,
    pub eflags: u32,
    pub esp: u32,
    pub ss: u32,
}

/// `struct user_pt_regs` of aarch64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the machine's")]
pub struct Aarch64 {
    pub x: [u64; 31],
    pub sp: u64,
    pub pc: u64,
    pub pstate: u64,
}

impl Registers {
    /// The instruction pointer.
    pub fn instruction(&self) -> u64 {
        match self {
            Registers::X86_64(registers) => registers.rip,
            Registers::X86(registers) => registers.eip.into(),
            Registers::Aarch64(registers) => registers.pc,
        }
    }

    /// The machine whose they are.
    pub fn machine(&self) -> u16 {
        match self {
            Registers::X86_64(_) => EM_X86_64,
            Registers::X86(_) => EM_386,
            Registers::Aarch64(_) => EM_AARCH64,
        }
    }

    /// The stack pointer.
    pub fn stack(&self) -> u64 {
        match self {
            Registers::X86_64(registers) => registers.rsp,
            Registers::X86(registers) => registers.esp.into(),
            Registers::Aarch64(registers) => registers.sp,
        }
    }

    // From the bytes of `pr_reg`, or of PTRACE_GETREGSET.
    pub(crate) fn parse(machine: u16, bytes: &[u8]) -> Option<Registers> {
        let word = |index: usize| u64_at(bytes, index * 8);
        match machine {
            EM_X86_64 => Some(Registers::X86_64(X86_64 {
                r15: word(0)?,
                r14: word(1)?,
                r13: word(2)?,
                r12: word(3)?,
                rbp: word(4)?,
                rbx: word(5)?,
                r11: word(6)?,
                r10: word(7)?,
                r9: word(8)?,
                r8: word(9)?,
                rax: word(10)?,
                rcx: word(11)?,
                rdx: word(12)?,
                rsi: word(13)?,
                rdi: word(14)?,
                orig_rax: word(15)?,
                rip: word(16)?,
                cs: word(17)?,
                eflags: word(18)?,
                rsp: word(19)?,
                ss: word(20)?,
                fs_base: word(21)?,
                gs_base: word(22)?,
                ds: word(23)?,
                es: word(24)?,
                fs: word(25)?,
                gs: word(26)?,
            })),
            EM_386 => {
                let half = |index: usize| u32_at(bytes, index * 4);
                Some(Registers::X86(X86 {
                    ebx: half(0)?,
                    ecx: half(1)?,
                    edx: half(2)?,
                    esi: half(3)?,
                    edi: half(4)?,
                    ebp: half(5)?,
                    eax: half(6)?,
                    ds: half(7)?,
                    es: half(8)?,
                    fs: half(9)?,
                    gs: half(10)?,
                    orig_eax: half(11)?,
                    eip: half(12)?,
                    cs: half(13)?,
                    eflags: half(14)?,
                    esp: half(15)?,
                    ss: half(16)?,
                }))
            }
            EM_AARCH64 => {
                let mut x = [0; 31];
                for (index, register) in x.iter_mut().enumerate() {
                    *register = word(index)?;
                }
                Some(Registers::Aarch64(Aarch64 { x, sp: word(31)?, pc: word(32)?, pstate: word(33)? }))
            }
            _ => None,
        }
    }
}
