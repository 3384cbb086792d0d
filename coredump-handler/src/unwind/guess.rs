//! Callers without call frame information: the kernel's signal frame, a call into nowhere, frame pointers, a scan.
//! Owns what makes a word on a stack plausible; promises nothing more, which is why its frames bear their own trust.

use foretrace_report::schema::Trust;

use super::Caller;
use super::machine::{Machine, REGISTERS, Values};
use super::stack::Stack;
use crate::module::Modules;

/// How many words a scan looks at: more where the program crashed, as its frame may be large and unfinished.
const SCAN_FIRST: u64 = 512;
const SCAN_WORDS: u64 = 128;
/// How long a function may be whose caller is known by the call alone.
const FUNCTION_LIMIT: u64 = 4096;
/// A frame larger than this is no frame.
const FRAME_LIMIT: u64 = 1 << 20;

/// What a guess goes by.
#[derive(Clone, Copy)]
pub(super) struct Guess<'a> {
    pub machine: &'static Machine,
    pub modules: &'a Modules,
    pub stack: &'a Stack<'a>,
}

impl Guess<'_> {
    /// Whether `ip` is at a signal trampoline that has no call frame information, as musl's.
    pub(super) fn is_signal_return(&self, ip: u64) -> bool {
        self.machine.is_trampoline(&self.code(ip, self.machine.trampoline_bytes()))
    }

    /// What the signal interrupted whose trampoline is at `ip`.
    pub(super) fn interrupted(&self, ip: u64, sp: u64) -> Caller {
        let code = self.code(ip, self.machine.trampoline_bytes());
        match self.machine.interrupted(&code, sp, self.stack) {
            Some(values) => Caller::Found { values, trust: Trust::Cfi, exact: true },
            None => Caller::Unknown,
        }
    }

    /// The caller of a frame that no table describes.
    pub(super) fn caller(&self, values: &Values, exact: bool) -> Caller {
        let machine = self.machine;
        let (Some(ip), Some(sp)) = (values[machine.pc], values[machine.sp]) else { return Caller::Unknown };
        // A call through a null or wild pointer, or a function that has pushed nothing yet: the return address is
        // where the call left it.
        let (left, above) = match machine.link {
            Some(link) => (values[link].map(|back| machine.code_address(back)), sp),
            None => (self.stack.word(sp), sp.wrapping_add(machine.word())),
        };
        if exact
            && let Some(back) = left.filter(|back| self.modules.is_executable(back.wrapping_sub(1)))
            && (!self.modules.is_executable(ip) || self.calls(back, ip))
        {
            let values = self.stepped(values, back, above, values[machine.frame]);
            return Caller::Found { values, trust: Trust::Scan, exact: false };
        }
        self.by_frame_pointer(values, sp).unwrap_or_else(|| self.by_scan(values, sp, exact))
    }

    /// The caller beyond a frame whose return address was overwritten: `values` are the caller's but for that.
    pub(super) fn beyond(&self, values: &Values) -> Caller {
        values[self.machine.sp].map_or(Caller::Unknown, |sp| self.by_scan(values, sp, true))
    }

    fn by_frame_pointer(&self, values: &Values, sp: u64) -> Option<Caller> {
        let word = self.machine.word();
        let frame = values[self.machine.frame].filter(|frame| frame % word == 0)?;
        if frame < sp || frame - sp > FRAME_LIMIT {
            return None;
        }
        let (saved, back) = (self.stack.word(frame)?, self.stack.word(frame.checked_add(word)?)?);
        if back == 0 && saved == 0 {
            return Some(Caller::None);
        }
        let back = self.machine.code_address(back);
        if !self.follows_call(back) {
            return None;
        }
        let values = self.stepped(values, back, frame.checked_add(2 * word)?, Some(saved));
        Some(Caller::Found { values, trust: Trust::FramePointer, exact: false })
    }

    fn by_scan(&self, values: &Values, sp: u64, exact: bool) -> Caller {
        let word = self.machine.word();
        let start = sp & !(word - 1);
        for index in 0..if exact { SCAN_FIRST } else { SCAN_WORDS } {
            let at = start.wrapping_add(index * word);
            let Some(back) = self.stack.word(at) else { break };
            let back = self.machine.code_address(back);
            if at >= sp && self.modules.find(back).is_some() && self.follows_call(back) {
                let above = at.wrapping_add(word);
                let frame = values[self.machine.frame].filter(|frame| *frame >= above);
                let values = self.stepped(values, back, above, frame);
                return Caller::Found { values, trust: Trust::Scan, exact: false };
            }
        }
        Caller::Unknown
    }

    // The caller's registers, where only these are known: what a callee must preserve is taken as preserved.
    fn stepped(&self, values: &Values, ip: u64, sp: u64, frame: Option<u64>) -> Values {
        let mut next: Values = [None; REGISTERS];
        for register in self.machine.preserved {
            next[*register] = values[*register];
        }
        next[self.machine.pc] = Some(ip);
        next[self.machine.sp] = Some(sp);
        next[self.machine.frame] = frame;
        next
    }

    // Whether the instruction before `back` is a call, as far as the code can be read.
    fn follows_call(&self, back: u64) -> bool {
        if !self.modules.is_executable(back.wrapping_sub(1)) {
            return false;
        }
        let length = self.machine.call_bytes();
        let before = self.code(back.wrapping_sub(length as u64), length);
        before.len() < length || self.machine.ends_in_call(&before)
    }

    // Whether the instruction before `back` calls the function that `ip` is in.
    fn calls(&self, back: u64, ip: u64) -> bool {
        let length = self.machine.call_bytes();
        let distance = self.machine.call_distance(&self.code(back.wrapping_sub(length as u64), length));
        distance.is_some_and(|distance| {
            ip.wrapping_sub(self.machine.code_address(back.wrapping_add_signed(distance))) < FUNCTION_LIMIT
        })
    }

    fn code(&self, address: u64, length: usize) -> Vec<u8> {
        match self.modules.find(address) {
            Some(module) => {
                module.image().map(|image| image.read(module.relative(address), length)).unwrap_or_default()
            }
            // Made at run time, like QEMU's trampolines.
            None => self.stack.bytes(address, length),
        }
    }
}
