//! Copies of threads' stacks, taken once while the process stands still, for the unwinder and the minidump.
//!
//! Also finds the stacks that signal handlers on a sigaltstack interrupted: without them a stack overflow would have
//! an empty backtrace. Never follows any other pointer. Sizes are capped per thread and in all, so that neither a
//! thousand threads nor a hostile stack pointer can make a report large.

use foretrace_report::schema::Problem;

use crate::core::{CoreHead, EM_X86_64, u16_at, u32_at, u64_at};
use crate::maps::{self, Mapping};
use crate::memory::Memory;

/// A copy of the innermost part of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The thread that runs on it.
    pub tid: i32,
    /// The address of the first byte.
    pub start: u64,
    /// What is there.
    pub bytes: Vec<u8>,
    /// Whether this is the stack that a signal handler on another stack interrupted.
    pub interrupted: bool,
}

impl Stack {
    /// The first address behind the copy.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

/// How many bytes are copied at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of each of the crashed thread's stacks.
    pub crashed: u64,
    /// Of each other stack.
    pub other: u64,
    /// Of all stacks together; the crashed thread's come first.
    pub total: u64,
}

impl Default for Limits {
    // The usual 8 MiB stack whole, where it overflowed; 1,000 threads still get 40 KiB each, 5,000 threads 8 KiB.
    fn default() -> Self {
        Limits { crashed: 8 << 20, other: 256 << 10, total: 48 << 20 }
    }
}

/// Bytes below the stack pointer that leaf functions may use.
const RED_ZONE: u64 = 128;
/// How far below a stack its pointer may be after an overflow.
const OVERFLOW_REACH: u64 = 1 << 20;
/// A thread with more nested signal frames than this has made them up.
const SIGNAL_FRAMES: usize = 8;

/// Copies every thread's stack, the crashed thread's first.
pub fn copy(
    head: &CoreHead,
    mappings: &[Mapping],
    memory: &dyn Memory,
    limits: &Limits,
) -> (Vec<Stack>, Vec<Problem>) {
    let mut stacks = Vec::new();
    let mut problems = Vec::new();
    let mut left = limits.total;
    for (index, thread) in head.threads.iter().enumerate() {
        let waiting = (head.threads.len() - index) as u64;
        let cap = if index == 0 { limits.crashed } else { limits.other.min(left / waiting) }.min(left);
        let mut pointers = vec![thread.registers.stack()];
        let mut copied: Vec<Stack> = Vec::new();
        while let Some(pointer) = pointers.pop() {
            if copied.len() == SIGNAL_FRAMES || copied.iter().any(|s| s.start <= pointer && pointer < s.end())
            {
                continue;
            }
            let interrupted = !copied.is_empty();
            match copy_one(mappings, memory, pointer, cap.min(left)) {
                Ok((start, bytes)) => {
                    left = left.saturating_sub(bytes.len() as u64);
                    if head.machine == EM_X86_64 {
                        pointers.extend(interrupted_pointers(start, &bytes, mappings));
                    }
                    copied.push(Stack { tid: thread.tid, start, bytes, interrupted });
                }
                Err(reason) => problems
                    .push(Problem::new("memory", format!("no stack of thread {}: {reason}", thread.tid))),
            }
        }
        stacks.append(&mut copied);
    }
    (stacks, summarised(problems))
}

/// Whether `tid` has used up one of its stacks: its pointer, or the one that a signal handler interrupted, is at or
/// below the end of the mapping.
pub fn overflowed(stacks: &[Stack], tid: i32, mappings: &[Mapping]) -> bool {
    // The copy starts at the mapping's start only if the pointer was no more than the red zone above it.
    let at_end = |stack: &Stack| maps::find(mappings, stack.start).is_some_and(|m| m.start == stack.start);
    stacks.iter().any(|stack| stack.tid == tid && at_end(stack))
}

fn copy_one(
    mappings: &[Mapping],
    memory: &dyn Memory,
    pointer: u64,
    cap: u64,
) -> Result<(u64, Vec<u8>), String> {
    let mapping = stack_mapping(mappings, pointer)
        .ok_or_else(|| format!("its pointer {pointer:#x} is in no writable mapping"))?;
    let start = (pointer.saturating_sub(RED_ZONE) & !0xf).max(mapping.start);
    let length = (mapping.end - start).min(cap);
    let bytes = memory.read_vec(start, length as usize);
    match bytes.len() {
        0 => Err(format!("{length} bytes at {start:#x} could not be read")),
        _ => Ok((start, bytes)),
    }
}

// After an overflow the pointer is in the guard page or below it: the stack is the next mapping above.
fn stack_mapping(mappings: &[Mapping], pointer: u64) -> Option<&Mapping> {
    let first = mappings.partition_point(|mapping| mapping.end <= pointer);
    mappings
        .get(first..)?
        .iter()
        .take_while(|mapping| mapping.start <= pointer || mapping.start - pointer <= OVERFLOW_REACH)
        .find(|mapping| mapping.readable && mapping.writable)
}

// The kernel's rt_sigframe on x86-64, from its lowest address. The restorer's code cannot be looked at: it is in a
// library's text, which the kernel keeps out of cores. The frame's own shape is told from other data instead.
//
//     0  address of the restorer      8  uc_flags, at most 7      16 uc_link     24 uc_stack
//    48  r8 ... (8 bytes each)      168  rsp    176 rip    184 eflags    192 cs, gs, fs, ss (2 bytes each)
//   232  address of the FXSAVE area, which the kernel puts above, 64-byte aligned
fn interrupted_pointers(start: u64, stack: &[u8], mappings: &[Mapping]) -> Vec<u64> {
    const FRAME_BYTES: usize = 240;
    const USER_CODE_SEGMENT: u16 = 0x33;
    const FXSAVE_REACH: u64 = 64 << 10;
    let mut found = Vec::new();
    let executable = |address| maps::find(mappings, address).is_some_and(|mapping| mapping.executable);
    // The frame starts 8 bytes below a 16-byte boundary, like any function's.
    let first = (8u64.wrapping_sub(start) & 0xf) as usize;
    for at in (first..stack.len().saturating_sub(FRAME_BYTES)).step_by(16) {
        // What is rarest first: most of a stack is zero.
        if u16_at(stack, at + 192) != Some(USER_CODE_SEGMENT)
            || u32_at(stack, at + 8).is_none_or(|flags| flags > 7)
            || u32_at(stack, at + 12) != Some(0)
        {
            continue;
        }
        let (Some(fxsave), Some(restorer), Some(pointer)) =
            (u64_at(stack, at + 232), u64_at(stack, at), u64_at(stack, at + 168))
        else {
            break;
        };
        let address = start + at as u64;
        let framed =
            fxsave % 64 == 0 && fxsave > address && fxsave - address < FXSAVE_REACH && executable(restorer);
        if framed && !found.contains(&pointer) {
            found.push(pointer);
            if found.len() == SIGNAL_FRAMES {
                break;
            }
        }
    }
    found
}

// A thousand threads must not make a thousand problems.
fn summarised(mut problems: Vec<Problem>) -> Vec<Problem> {
    const SHOWN: usize = 4;
    if problems.len() > SHOWN {
        let more = problems.len() - SHOWN;
        problems.truncate(SHOWN);
        problems.push(Problem::new("memory", format!("{more} more stacks could not be copied")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Registers, ThreadState, X86_64};

    const CODE: u64 = 0x40_0000;
    const STACK: u64 = 0x7000_0000;
    const OTHER: u64 = 0x9000_0000;
    const SIZE: u64 = 0x1_0000;

    fn mapping(start: u64, size: u64, flags: &str) -> Mapping {
        let has = |flag| flags.contains(flag);
        Mapping {
            start,
            end: start + size,
            readable: has('r'),
            writable: has('w'),
            executable: has('x'),
            ..Mapping::default()
        }
    }

    fn mappings() -> Vec<Mapping> {
        vec![
            mapping(CODE, 0x1000, "rx"),
            mapping(STACK - 0x1000, 0x1000, ""),
            mapping(STACK, SIZE, "rw"),
            mapping(OTHER, SIZE, "rw"),
        ]
    }

    fn head(pointers: &[u64]) -> CoreHead {
        let thread = |(index, rsp): (usize, &u64)| ThreadState {
            tid: index as i32 + 1,
            signal: 0,
            registers: Registers::X86_64(X86_64 { rsp: *rsp, ..X86_64::default() }),
            fpregs: None,
        };
        CoreHead {
            machine: EM_X86_64,
            pid: 1,
            uid: 0,
            name: String::new(),
            arguments: String::new(),
            threads: pointers.iter().enumerate().map(thread).collect(),
            signal: None,
            auxv: vec![],
            auxv_raw: vec![],
            segments: vec![],
            files: vec![],
            problems: vec![],
        }
    }

    // Zeros, but for words at addresses.
    struct Words(Vec<(u64, u64)>);

    impl Memory for Words {
        fn read(&self, address: u64, into: &mut [u8]) -> usize {
            into.fill(0);
            for (at, word) in &self.0 {
                if let Some(start) = at.checked_sub(address).and_then(|start| usize::try_from(start).ok())
                    && let Some(place) = into.get_mut(start..).and_then(|rest| rest.get_mut(..8))
                {
                    place.copy_from_slice(&word.to_le_bytes());
                }
            }
            into.len()
        }
    }

    fn signal_frame(at: u64, interrupted: u64) -> Vec<(u64, u64)> {
        let context = vec![(at, CODE + 0x10), (at + 8, 7), (at + 168, interrupted), (at + 176, CODE + 0x20)];
        [context, vec![(at + 192, 0x2b_0000_0000_0033), (at + 232, (at + 0x200) & !63)]].concat()
    }

    #[test]
    fn a_stack_is_copied_from_its_red_zone_to_its_end() {
        let (stacks, problems) =
            copy(&head(&[STACK + 0x8000]), &mappings(), &Words(vec![]), &Limits::default());
        assert_eq!((stacks[0].start, stacks[0].end()), (STACK + 0x8000 - RED_ZONE, STACK + SIZE));
        assert!(problems.is_empty() && !overflowed(&stacks, 1, &mappings()));
    }

    #[test]
    fn after_an_overflow_the_stack_above_the_pointer_is_copied() {
        for pointer in [STACK + 8, STACK - 0x10, STACK - 0x8000] {
            let (stacks, _) = copy(&head(&[pointer]), &mappings(), &Words(vec![]), &Limits::default());
            assert_eq!((stacks[0].start, stacks[0].end()), (STACK, STACK + SIZE), "{pointer:#x}");
            assert!(overflowed(&stacks, 1, &mappings()) && !overflowed(&stacks, 2, &mappings()));
        }
    }

    #[test]
    fn the_stack_that_a_handler_on_another_stack_interrupted_is_copied_too() {
        let memory = Words(signal_frame(OTHER + 0x4008, STACK - 0x20));
        let (stacks, _) = copy(&head(&[OTHER + 0x3000]), &mappings(), &memory, &Limits::default());
        assert_eq!(stacks.len(), 2);
        assert_eq!((stacks[1].tid, stacks[1].start, stacks[1].interrupted), (1, STACK, true));
        assert!(overflowed(&stacks, 1, &mappings()));
    }

    #[test]
    fn stacks_that_interrupt_each_other_in_a_circle_are_copied_once() {
        let frames =
            [signal_frame(OTHER + 0x4008, STACK + 0x1000), signal_frame(STACK + 0x2008, OTHER + 0x3000)];
        let memory = Words(frames.concat());
        let (stacks, _) = copy(&head(&[OTHER + 0x3000]), &mappings(), &memory, &Limits::default());
        assert_eq!(stacks.len(), 2);
    }

    #[test]
    fn what_only_resembles_a_signal_frame_is_none() {
        for broken in [0, 1, 4, 5] {
            let mut words = signal_frame(OTHER + 0x4008, STACK + 0x1000);
            words[broken].1 = 0xdead_0000_0000;
            let (stacks, _) = copy(&head(&[OTHER + 0x3000]), &mappings(), &Words(words), &Limits::default());
            assert_eq!(stacks.len(), 1, "word {broken}");
        }
    }

    #[test]
    fn a_thousand_threads_share_what_may_be_copied() {
        let limits = Limits { crashed: 0x1000, other: 0x4000, total: 0x8_0000 };
        let (stacks, problems) = copy(&head(&[STACK + 0x200; 1000]), &mappings(), &Words(vec![]), &limits);
        let sizes: Vec<u64> = stacks.iter().map(|stack| stack.bytes.len() as u64).collect();
        assert_eq!((sizes.len(), sizes[0]), (1000, 0x1000));
        assert!(sizes.iter().sum::<u64>() <= limits.total && sizes.iter().all(|size| *size >= 0x100));
        assert!(problems.is_empty());
    }

    #[test]
    fn pointers_to_nowhere_are_a_few_problems() {
        let (stacks, problems) = copy(
            &head(&[0x10, u64::MAX, 0, 8, 16, 24, CODE]),
            &mappings(),
            &Words(vec![]),
            &Limits::default(),
        );
        assert!(stacks.is_empty());
        assert_eq!(problems.len(), 5);
        assert!(problems[4].what.starts_with("3 more"), "{}", problems[4].what);
    }
}
