//! The rules for memory and registers: which words of a crashed process stay.
//!
//! A word stays where it is an address of something that was mapped, for that is what unwinding follows, and
//! where it is a small number. Everything else becomes zero: text, keys and numbers alike, in any encoding, whoever
//! put them there. Vector registers go whole.

use super::{Removed, Rule};

/// Numbers below this, and above its negative, are lengths, descriptors and error numbers.
const SMALL: u64 = 4096;
/// No machine's programs have addresses beyond this; eight or seven characters are always more.
const SPACE: u64 = 1 << 52;
/// The bytes of a word.
const WORD: usize = 8;

/// The machines whose registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// x86-64
    Amd64,
    /// 64-bit Arm, in Breakpad's first layout.
    Arm64,
}

/// Everything that was mapped.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Sorted and apart.
    ranges: Vec<(u64, u64)>,
    machine: Option<Machine>,
}

impl Addresses {
    /// From ranges in any order.
    pub(super) fn new(mut ranges: Vec<(u64, u64)>, machine: Option<Machine>) -> Addresses {
        ranges.retain(|(start, end)| start < end && *start >= SMALL && *end <= SPACE);
        ranges.sort_unstable();
        let mut apart: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match apart.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => apart.push((start, end)),
            }
        }
        Addresses { ranges: apart, machine }
    }

    fn stays(&self, word: u64) -> bool {
        !(SMALL..=u64::MAX - SMALL).contains(&word) || self.holds(word) || self.holds_signed(word)
    }

    /// Whether a word is an address, or the first one behind something.
    fn holds(&self, word: u64) -> bool {
        let behind = self.ranges.partition_point(|(start, _)| *start <= word);
        behind > 0 && word <= self.ranges[behind - 1].1
    }

    /// Arm signs return addresses in bits that addresses do not use. Only the address stays worth following, but
    /// the signature cannot be told from it without the keys' width, so the word stays whole.
    fn holds_signed(&self, word: u64) -> bool {
        self.machine == Some(Machine::Arm64) && word >> 48 != 0 && self.holds(word & 0xffff_ffff_ffff)
    }

    /// Zeroes what may not stay of memory that begins at `start`. Words are those of aligned addresses; bytes at
    /// the ends that make no word go.
    pub(super) fn keep_words(&self, memory: &mut [u8], start: u64, removed: &mut Removed) {
        let ahead = start.wrapping_neg() as usize % WORD;
        let (head, rest) = memory.split_at_mut(ahead.min(memory.len()));
        let whole = rest.len() / WORD * WORD;
        let (words, tail) = rest.split_at_mut(whole);
        let mut gone = 0;
        for word in words.chunks_exact_mut(WORD) {
            if !self.stays(read(word)) {
                word.fill(0);
                gone += 1;
            }
        }
        for end in [head, tail] {
            gone += u64::from(end.iter().any(|byte| *byte != 0));
            end.fill(0);
        }
        removed.count(Rule::Memory, gone);
    }

    /// Zeroes what may not stay of a thread's registers; of a machine that is not known nothing stays.
    pub(super) fn keep_registers(&self, context: &mut [u8], removed: &mut Removed) {
        let before = context.to_vec();
        let layout = match (self.machine, context.len()) {
            (Some(Machine::Amd64), AMD64_BYTES) => Some(&AMD64),
            (Some(Machine::Arm64), ARM64_BYTES) => Some(&ARM64),
            _ => None,
        };
        context.fill(0);
        let mut gone = 0;
        if let Some(layout) = layout {
            for (from, to) in layout.fixed {
                context[*from..*to].copy_from_slice(&before[*from..*to]);
            }
            // Says that there is no floating-point state, instead of that it is zero.
            context[layout.flags] &= !layout.floating_point;
            for at in layout.general.iter().flat_map(|(from, to)| (*from..*to).step_by(WORD)) {
                let word = &before[at..at + WORD];
                if self.stays(read(word)) {
                    context[at..at + WORD].copy_from_slice(word);
                } else {
                    gone += 1;
                }
            }
            gone += before[layout.vectors..].chunks(2 * WORD).filter(|v| v.iter().any(|b| *b != 0)).count()
                as u64;
        } else {
            gone += before.chunks(WORD).filter(|word| word.iter().any(|byte| *byte != 0)).count() as u64;
        }
        removed.count(Rule::Register, gone);
    }
}

/// Where a context holds what, in bytes.
struct Layout {
    flags: usize,
    floating_point: u8,
    /// Flags, segments, status, the instruction and the stack pointer: stay as they are.
    fixed: &'static [(usize, usize)],
    /// General registers: words that stay where they are addresses.
    general: &'static [(usize, usize)],
    /// From here on floating-point and vector registers, which go.
    vectors: usize,
}

const AMD64_BYTES: usize = 1232;
const AMD64: Layout = Layout {
    flags: 0x30,
    floating_point: 0x08,
    fixed: &[(0x30, 0x48), (0x98, 0xa0), (0xf8, 0x100)],
    general: &[(0x78, 0x98), (0xa0, 0xf8)],
    vectors: 0x100,
};

const ARM64_BYTES: usize = 796;
const ARM64: Layout = Layout {
    flags: 0,
    floating_point: 0x04,
    fixed: &[(0, 8), (256, 276)],
    general: &[(8, 256)],
    vectors: 276,
};

fn read(word: &[u8]) -> u64 {
    word.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let ranges =
            vec![(0x7fff_0000_0000, 0x7fff_0001_0000), (0x5555_0000_0000, 0x5555_0000_1000), (0, 0x10_0000)];
        Addresses::new(ranges, Some(Machine::Amd64))
    }

    fn kept(words: &[u64]) -> (Vec<u64>, u64) {
        let mut memory: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut removed = Removed::default();
        addresses().keep_words(&mut memory, 0x7fff_0000_0100, &mut removed);
        (memory.chunks(8).map(read).collect(), removed.of(Rule::Memory))
    }

    #[test]
    fn addresses_and_small_numbers_stay_and_text_goes() {
        let text = u64::from_le_bytes(*b"hunter2\0");
        let words =
            [0x7fff_0000_0008, 0x5555_0000_1000, 0x5555_0000_1001, 0, 4095, 4096, u64::MAX, text, 0x8_0000];
        let (after, gone) = kept(&words);
        assert_eq!(after, [0x7fff_0000_0008, 0x5555_0000_1000, 0, 0, 4095, 0, u64::MAX, 0, 0]);
        assert_eq!(gone, 4);
    }

    #[test]
    fn bytes_beside_the_words_of_aligned_addresses_go() {
        let mut memory = b"secret!!".repeat(3);
        let mut removed = Removed::default();
        addresses().keep_words(&mut memory, 0x7fff_0000_0003, &mut removed);
        assert_eq!(memory, [0; 24]);
        for length in 0..20 {
            let mut memory = vec![b'x'; length];
            addresses().keep_words(&mut memory, 5, &mut removed);
            assert!(memory.iter().all(|byte| *byte == 0), "{length}");
        }
    }

    #[test]
    fn registers_keep_addresses_and_lose_everything_else() {
        let mut context = vec![0xaa; AMD64_BYTES];
        context[0x78..0x80].copy_from_slice(b"password");
        context[0x80..0x88].copy_from_slice(&0x5555_0000_0010u64.to_le_bytes());
        let mut removed = Removed::default();
        addresses().keep_registers(&mut context, &mut removed);
        assert_eq!(context[0x78..0x80], [0; 8]);
        assert_eq!(context[0x80..0x88], 0x5555_0000_0010u64.to_le_bytes());
        assert_eq!(context[0x98..0xa0], [0xaa; 8], "the stack pointer");
        assert_eq!(context[0xf8..0x100], [0xaa; 8], "the instruction");
        assert!(context[0x100..].iter().all(|byte| *byte == 0));
        assert_eq!(context[0x30] & 0x08, 0);
        let mut unknown = vec![7; 100];
        addresses().keep_registers(&mut unknown, &mut removed);
        assert_eq!(unknown, [0; 100]);
    }

    #[test]
    fn signed_return_addresses_stay_on_arm_alone() {
        let signed = 0x00ab_5555_0000_0010;
        assert!(!addresses().stays(signed));
        let arm = Addresses::new(vec![(0x5555_0000_0000, 0x5555_0000_1000)], Some(Machine::Arm64));
        assert!(arm.stays(signed));
    }
}
