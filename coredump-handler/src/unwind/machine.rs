//! What differs between the machines whose stacks are walked: registers in DWARF's numbers, the shape of a call, the
//! kernel's signal frame. Owns facts alone; how they are used is the walk's.

use gimli::Vendor;

use super::stack::Stack;
use crate::core::Registers;
use crate::elf::Class;

/// Room for every machine's registers.
pub(super) const REGISTERS: usize = 33;
/// Values of the registers in DWARF's order, as far as they are known.
pub(super) type Values = [Option<u64>; REGISTERS];

/// A kind of processor.
pub(super) struct Machine {
    pub class: Class,
    pub vendor: Vendor,
    /// How many registers are followed.
    pub count: usize,
    /// The instruction pointer's place. Where DWARF gives it no number, one behind the last.
    pub pc: usize,
    /// The stack pointer.
    pub sp: usize,
    /// The frame pointer.
    pub frame: usize,
    /// The register that a call leaves the return address in; elsewhere it is on the stack.
    pub link: Option<usize>,
    /// Which registers a function gives back as they were.
    pub preserved: &'static [usize],
    returns: &'static [SignalReturn],
    // The longest call instruction, and the one that names its target.
    longest_call: usize,
    is_call: fn(&[u8]) -> bool,
    target: fn(&[u8]) -> Option<i64>,
    // Bits that are no part of a code address, as pointer authentication uses.
    address_bits: u32,
}

// A trampoline's code, and where the general registers lie in what the kernel put on the stack before it.
struct SignalReturn {
    code: &'static [u8],
    context: fn(u64, &Stack<'_>) -> Option<u64>,
    order: &'static [usize],
}

static X86_64: Machine = Machine {
    class: Class::Bits64,
    vendor: Vendor::Default,
    count: 17,
    pc: 16,
    sp: 7,
    frame: 6,
    link: None,
    preserved: &[3, 6, 12, 13, 14, 15],
    // `mov $15, %rax; syscall`. The stack pointer is at `struct ucontext`, in it `struct sigcontext`.
    returns: &[SignalReturn {
        code: &[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05],
        context: |sp, _| sp.checked_add(40),
        order: &[8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16],
    }],
    longest_call: 7,
    is_call: is_x86_call,
    target: x86_target,
    address_bits: 64,
};

const X86_ORDER: &[usize] = &[SKIP, SKIP, SKIP, SKIP, 7, 6, 5, 4, 3, 2, 1, 0, SKIP, SKIP, 8];

static X86: Machine = Machine {
    class: Class::Bits32,
    vendor: Vendor::Default,
    count: 9,
    pc: 8,
    sp: 4,
    frame: 5,
    link: None,
    preserved: &[3, 5, 6, 7],
    returns: &[
        // `mov $173, %eax; int $0x80`: the stack holds the signal and pointers to siginfo and ucontext.
        SignalReturn {
            code: &[0xb8, 0xad, 0, 0, 0, 0xcd, 0x80],
            context: |sp, stack| stack.word(sp.checked_add(8)?)?.checked_add(20),
            order: X86_ORDER,
        },
        // `pop %eax; mov $119, %eax; int $0x80`: the signal, and the context itself.
        SignalReturn {
            code: &[0x58, 0xb8, 0x77, 0, 0, 0, 0xcd, 0x80],
            context: |sp, _| sp.checked_add(4),
            order: X86_ORDER,
        },
    ],
    longest_call: 7,
    is_call: is_x86_call,
    target: x86_target,
    address_bits: 32,
};

static AARCH64: Machine = Machine {
    class: Class::Bits64,
    vendor: Vendor::AArch64,
    count: 33,
    pc: 32,
    sp: 31,
    frame: 29,
    link: Some(30),
    preserved: &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
    // `mov x8, #139; svc #0`. The stack pointer is at siginfo, behind it ucontext, in it the fault's address and x0 to pc.
    returns: &[SignalReturn {
        code: &[0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4],
        context: |sp, _| sp.checked_add(312),
        order: &[
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
            27, 28, 29, 30, 31, 32,
        ],
    }],
    longest_call: 4,
    is_call: is_aarch64_call,
    target: aarch64_target,
    address_bits: 48,
};

const SKIP: usize = usize::MAX;

/// The machine that these registers are of, and their values.
pub(super) fn of(registers: &Registers) -> (&'static Machine, Values) {
    let mut values: Values = [None; REGISTERS];
    let mut fill = |list: &[u64]| values.iter_mut().zip(list).for_each(|(slot, value)| *slot = Some(*value));
    let machine = match registers {
        Registers::X86_64(r) => {
            fill(&[
                r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12,
                r.r13, r.r14, r.r15, r.rip,
            ]);
            &X86_64
        }
        Registers::X86(r) => {
            fill(&[r.eax, r.ecx, r.edx, r.ebx, r.esp, r.ebp, r.esi, r.edi, r.eip].map(u64::from));
            &X86
        }
        Registers::Aarch64(r) => {
            fill(&r.x);
            (values[31], values[32]) = (Some(r.sp), Some(r.pc));
            &AARCH64
        }
    };
    (machine, values)
}

impl Machine {
    /// The bytes of a word.
    pub(super) fn word(&self) -> u64 {
        self.class.word_bytes() as u64
    }

    /// A code address without what hardware hides in it.
    pub(super) fn code_address(&self, value: u64) -> u64 {
        value & (u64::MAX >> (64 - self.address_bits))
    }

    /// How many bytes of code tell whether a return address follows a call.
    pub(super) fn call_bytes(&self) -> usize {
        self.longest_call
    }

    /// Whether code of [`Machine::call_bytes`] ends in a call.
    pub(super) fn ends_in_call(&self, code: &[u8]) -> bool {
        (self.is_call)(code)
    }

    /// Where the call at the end of `code` leads, as a distance from its end, if it says so itself.
    pub(super) fn call_distance(&self, code: &[u8]) -> Option<i64> {
        (self.target)(code)
    }

    /// How many bytes of code tell a trampoline.
    pub(super) fn trampoline_bytes(&self) -> usize {
        self.returns.iter().map(|way| way.code.len()).max().unwrap_or(0)
    }

    /// Whether a signal handler returns to `code`.
    pub(super) fn is_trampoline(&self, code: &[u8]) -> bool {
        self.returns.iter().any(|way| code.starts_with(way.code))
    }

    /// What a signal interrupted, from the frame that its trampoline's code tells.
    pub(super) fn interrupted(&self, code: &[u8], sp: u64, stack: &Stack<'_>) -> Option<Values> {
        let way = self.returns.iter().find(|way| code.starts_with(way.code))?;
        let context = (way.context)(sp, stack)?;
        let mut values: Values = [None; REGISTERS];
        for (index, register) in way.order.iter().enumerate().filter(|(_, register)| **register != SKIP) {
            values[*register] = stack.word(context.wrapping_add(self.word() * index as u64));
        }
        (values[self.pc].is_some() && values[self.sp].is_some()).then_some(values)
    }
}

fn is_x86_call(code: &[u8]) -> bool {
    let Some(near) = code.len().checked_sub(5) else { return false };
    // FF /2 with 0 to 5 bytes behind its ModRM byte.
    let indirect = (0..code.len() - 1).any(|at| {
        let modrm = code[at + 1];
        code[at] == 0xff && modrm >> 3 & 7 == 2 && indirect_length(modrm, code.get(at + 2)) == code.len() - at
    });
    code[near] == 0xe8 || indirect
}

fn x86_target(code: &[u8]) -> Option<i64> {
    let call = code.get(code.len().checked_sub(5)?..)?;
    let distance = call.strip_prefix(&[0xe8])?.first_chunk::<4>()?;
    Some(i32::from_le_bytes(*distance).into())
}

// The length of `FF modrm …`.
fn indirect_length(modrm: u8, sib: Option<&u8>) -> usize {
    let (mode, register) = (modrm >> 6, modrm & 7);
    let has_sib = mode != 3 && register == 4;
    let displacement = match (mode, register) {
        (0, 5) => 4,
        (0, 4) if sib.is_some_and(|sib| sib & 7 == 5) => 4,
        (1, _) => 1,
        (2, _) => 4,
        _ => 0,
    };
    2 + usize::from(has_sib) + displacement
}

// BL, BLR and the authenticating forms of BLR.
fn is_aarch64_call(code: &[u8]) -> bool {
    let Some(word) = code.last_chunk::<4>().map(|word| u32::from_le_bytes(*word)) else { return false };
    word & 0xfc00_0000 == 0x9400_0000
        || word & 0xfeff_f800 == 0xd63f_0000
        || word & 0xfeff_f800 == 0xd63f_0800
}

fn aarch64_target(code: &[u8]) -> Option<i64> {
    let word = u32::from_le_bytes(*code.last_chunk::<4>()?);
    // 26 bits, signed, in instructions, from the call itself.
    (word & 0xfc00_0000 == 0x9400_0000).then(|| i64::from((word << 6).cast_signed() >> 6) * 4 - 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indirect_calls_have_the_lengths_of_the_manual() {
        // call *%rax; call *(%rax); call *8(%rax); call *0x100(%rax); call *x(%rip); call *(%rax,%rbx,8); call *8(%rsp)
        for (code, length) in [
            (&[0xff, 0xd0][..], 2),
            (&[0xff, 0x10], 2),
            (&[0xff, 0x50, 0x08], 3),
            (&[0xff, 0x90, 0, 1, 0, 0], 6),
            (&[0xff, 0x15, 0, 0, 0, 0], 6),
            (&[0xff, 0x14, 0xd8], 3),
            (&[0xff, 0x54, 0x24, 0x08], 4),
            (&[0xff, 0x14, 0x25, 0, 0, 0, 0], 7),
        ] {
            assert_eq!(indirect_length(code[1], code.get(2)), length, "{code:x?}");
            assert_eq!(code.len(), length);
            let padded = [&vec![0x90; 7 - length], code].concat();
            assert!(X86_64.ends_in_call(&padded), "{padded:x?}");
        }
    }

    #[test]
    fn aarch64_calls_are_known_by_their_word() {
        // bl .-8; blr x3; blraa x3, x4; b .+4; ret
        let words = [0x97ff_fffe_u32, 0xd63f_0060, 0xd73f_0864, 0x1400_0001, 0xd65f_03c0];
        let called: Vec<bool> = words.iter().map(|word| AARCH64.ends_in_call(&word.to_le_bytes())).collect();
        assert_eq!(called, [true, true, true, false, false]);
        assert_eq!(AARCH64.call_distance(&words[0].to_le_bytes()), Some(-12));
        assert_eq!(AARCH64.call_distance(&words[1].to_le_bytes()), None);
    }

    #[test]
    fn a_signed_return_address_is_read_without_its_signature() {
        assert_eq!(AARCH64.code_address(0x002a_aaab_1234_5678), 0xaaab_1234_5678);
        assert_eq!(X86_64.code_address(u64::MAX), u64::MAX);
        assert_eq!(X86.code_address(0x1_0000_1000), 0x1000);
    }
}
