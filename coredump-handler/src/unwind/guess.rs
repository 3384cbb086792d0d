//! Callers without call frame information: the kernel's signal frame, a call into nowhere, frame pointers, a scan.
//! Owns what makes a word on a stack plausible; promises nothing more, which is why its frames bear their own trust.

use foretrace_report::schema::Trust;

use super::stack::Stack;
use super::{Caller, RBP, RIP, RSP, Values};
use crate::module::Modules;

/// `mov $15, %rax; syscall`: what a signal handler returns to, whatever the C library.
const SIGNAL_RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// Where the general registers lie in `struct ucontext`, in the order of `struct sigcontext`, as DWARF numbers.
const CONTEXT_OFFSET: u64 = 40;
const CONTEXT_ORDER: [usize; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, RSP, RIP];
/// How many words a scan looks at: more where the program crashed, as its frame may be large and unfinished.
const SCAN_FIRST: u64 = 512;
const SCAN_WORDS: u64 = 128;
/// How long a function may be whose caller is known by the call alone.
const FUNCTION_LIMIT: u64 = 4096;
/// A frame larger than this is no frame.
const FRAME_LIMIT: u64 = 1 << 20;

/// Whether `ip` is at a signal trampoline that has no call frame information, as musl's.
pub(super) fn is_signal_return(modules: &Modules, ip: u64) -> bool {
    code(modules, ip, SIGNAL_RETURN.len()) == SIGNAL_RETURN
}

/// What a signal interrupted: at a trampoline the stack pointer is at the `ucontext` that the kernel wrote.
pub(super) fn interrupted(sp: u64, stack: &Stack<'_>) -> Caller {
    let mut values: Values = [None; 17];
    for (index, register) in CONTEXT_ORDER.iter().enumerate() {
        values[*register] = stack.word(sp.wrapping_add(CONTEXT_OFFSET + 8 * index as u64));
    }
    match (values[RIP], values[RSP]) {
        (Some(_), Some(_)) => Caller::Found { values, trust: Trust::Cfi, exact: true },
        _ => Caller::Unknown,
    }
}

/// The caller of a frame that no table describes.
pub(super) fn caller(modules: &Modules, values: &Values, exact: bool, stack: &Stack<'_>) -> Caller {
    let (Some(ip), Some(sp)) = (values[RIP], values[RSP]) else { return Caller::Unknown };
    // A call through a null or wild pointer, or a function that has pushed nothing yet: the return address is on top.
    if exact
        && let Some(back) = stack.word(sp).filter(|back| modules.is_executable(back.wrapping_sub(1)))
        && (!modules.is_executable(ip) || calls(modules, back, ip))
    {
        return Caller::Found {
            values: stepped(values, back, sp.wrapping_add(8), values[RBP]),
            trust: Trust::Scan,
            exact: false,
        };
    }
    by_frame_pointer(modules, values, sp, stack).unwrap_or_else(|| by_scan(modules, values, sp, exact, stack))
}

/// The caller beyond a frame whose return address was overwritten: `values` are the caller's but for that.
pub(super) fn beyond(modules: &Modules, values: &Values, stack: &Stack<'_>) -> Caller {
    values[RSP].map_or(Caller::Unknown, |sp| by_scan(modules, values, sp, true, stack))
}

fn by_frame_pointer(modules: &Modules, values: &Values, sp: u64, stack: &Stack<'_>) -> Option<Caller> {
    let frame = values[RBP].filter(|frame| frame % 8 == 0)?;
    if frame < sp || frame - sp > FRAME_LIMIT {
        return None;
    }
    let (saved, back) = (stack.word(frame)?, stack.word(frame.checked_add(8)?)?);
    if back == 0 && saved == 0 {
        return Some(Caller::None);
    }
    if !follows_call(modules, back) {
        return None;
    }
    let values = stepped(values, back, frame.checked_add(16)?, Some(saved));
    Some(Caller::Found { values, trust: Trust::FramePointer, exact: false })
}

fn by_scan(modules: &Modules, values: &Values, sp: u64, exact: bool, stack: &Stack<'_>) -> Caller {
    let start = sp & !7;
    for index in 0..if exact { SCAN_FIRST } else { SCAN_WORDS } {
        let at = start.wrapping_add(index * 8);
        let Some(back) = stack.word(at) else { break };
        if at >= sp && modules.find(back).is_some() && follows_call(modules, back) {
            let above = at.wrapping_add(8);
            let frame = values[RBP].filter(|frame| *frame >= above);
            return Caller::Found {
                values: stepped(values, back, above, frame),
                trust: Trust::Scan,
                exact: false,
            };
        }
    }
    Caller::Unknown
}

// The caller's registers, where only these are known: what a callee must preserve is taken as preserved.
fn stepped(values: &Values, ip: u64, sp: u64, frame: Option<u64>) -> Values {
    let mut next: Values = [None; 17];
    for register in [3, 12, 13, 14, 15] {
        next[register] = values[register];
    }
    next[RIP] = Some(ip);
    next[RSP] = Some(sp);
    next[RBP] = frame;
    next
}

// Whether the instruction before `back` is a call, as far as the code can be read.
fn follows_call(modules: &Modules, back: u64) -> bool {
    const LONGEST: usize = 7;
    if !modules.is_executable(back.wrapping_sub(1)) {
        return false;
    }
    let before = code(modules, back.wrapping_sub(LONGEST as u64), LONGEST);
    if before.len() < LONGEST {
        return true;
    }
    let near = before[2] == 0xe8;
    // FF /2 with 0 to 5 bytes behind its ModRM byte.
    let indirect = (0..LONGEST - 1).any(|at| {
        let modrm = before[at + 1];
        before[at] == 0xff
            && modrm >> 3 & 7 == 2
            && indirect_length(modrm, before.get(at + 2)) == LONGEST - at
    });
    near || indirect
}

// Whether the instruction before `back` calls the function that `ip` is in.
fn calls(modules: &Modules, back: u64, ip: u64) -> bool {
    match code(modules, back.wrapping_sub(5), 5).as_slice() {
        [0xe8, distance @ ..] if distance.len() == 4 => {
            let distance = i32::from_le_bytes([distance[0], distance[1], distance[2], distance[3]]);
            ip.wrapping_sub(back.wrapping_add_signed(distance.into())) < FUNCTION_LIMIT
        }
        _ => false,
    }
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

fn code(modules: &Modules, address: u64, length: usize) -> Vec<u8> {
    match modules.find(address) {
        Some(module) => {
            module.image().map(|image| image.read(module.relative(address), length)).unwrap_or_default()
        }
        None => Vec::new(),
    }
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
        }
    }
}
