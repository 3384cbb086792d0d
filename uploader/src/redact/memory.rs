//! The rules for memory: the environment and the arguments that the kernel puts above a program's first
//! stack.
//!
//! A minidump's copy of that stack holds them whole, past every allow-list. They are recognised by their
//! shape, strings of `NAME=value` one after the other with the arguments before them, and overwritten in
//! place: no byte moves, so every offset and every frame of the dump stays right. Copies that a program made
//! elsewhere are not found.

use super::{Removed, Rule};

/// What stands for each byte that was taken out.
const BLANK: u8 = b'x';
/// So many variables in a row are an environment; fewer could be anything.
const ROW: usize = 2;
/// Arguments are looked for within this many strings before the environment.
const ARGUMENTS: usize = 4096;

/// Overwrites variables that are not `allowed`, and all arguments after the first, wherever an environment
/// lies in `memory`.
pub(super) fn blank(memory: &mut [u8], allowed: &dyn Fn(&[u8]) -> bool, removed: &mut Removed) {
    let mut at = 0;
    while let Some(start) = next_row(memory, at) {
        let mut end = start;
        while let Some(length) = variable(&memory[end..]) {
            if !allowed(&memory[end..end + length]) {
                memory[end..end + length].fill(BLANK);
                removed.count(Rule::Environment, 1);
            }
            end += length + 1;
        }
        blank_arguments(&mut memory[at..start], removed);
        at = end;
    }
}

/// Where from `at` on the next environment begins. Every run of text is looked at a bounded number of times,
/// so that hostile memory cannot make this slow.
fn next_row(memory: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let sign = at + memory.get(at..)?.iter().position(|byte| *byte == b'=')?;
        let start =
            memory[at..sign].iter().rposition(|byte| !is_text(*byte)).map_or(at, |before| at + before + 1);
        let (mut end, mut found) = (start, 0);
        while found < ROW
            && let Some(length) = variable(&memory[end..])
        {
            end += length + 1;
            found += 1;
        }
        if found == ROW {
            return Some(start);
        }
        at = sign + memory[sign..].iter().position(|byte| !is_text(*byte))?;
    }
}

/// Blanks the arguments that `memory` ends with.
fn blank_arguments(memory: &mut [u8], removed: &mut Removed) {
    let mut found = Vec::new();
    let mut end = memory.len();
    let mut whole = false;
    while end > 1 && memory[end - 1] == 0 && found.len() < ARGUMENTS {
        let start = memory[..end - 1].iter().rposition(|byte| !is_text(*byte)).map_or(0, |at| at + 1);
        // An empty string is where the arguments begin.
        whole = start == end - 1;
        if whole {
            break;
        }
        found.push((start, end - 1));
        end = start;
    }
    // The last one found is the first, the program's own name; unless what stands before it may be the rest
    // of another.
    if whole {
        found.pop();
    }
    for (start, end) in found {
        memory[start..end].fill(BLANK);
        removed.count(Rule::Arguments, 1);
    }
}

/// The length of the `NAME=value` at the beginning, without its NUL.
fn variable(memory: &[u8]) -> Option<usize> {
    let name = memory.iter().position(|byte| !is_name(*byte))?;
    if name == 0 || memory[0].is_ascii_digit() || memory[name] != b'=' {
        return None;
    }
    let length = name + memory[name..].iter().position(|byte| !is_text(*byte))?;
    (memory[length] == 0).then_some(length)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_text(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(memory: &[u8]) -> (Vec<u8>, u64, u64) {
        let (mut memory, mut removed) = (memory.to_vec(), Removed::default());
        blank(&mut memory, &|variable| variable.starts_with(b"LANG="), &mut removed);
        (memory, removed.of(Rule::Environment), removed.of(Rule::Arguments))
    }

    #[test]
    fn the_environment_and_the_arguments_are_blanked_in_place() {
        let stack =
            b"\x01\x02\xff\0\0/bin/prog\0--password\0pw a\0LANG=C\0TOKEN=pw\0EMPTY=\0/bin/prog\0\0\x7f\x01";
        let expected =
            b"\x01\x02\xff\0\0/bin/prog\0xxxxxxxxxx\0xxxx\0LANG=C\0xxxxxxxx\0xxxxxx\0/bin/prog\0\0\x7f\x01";
        assert_eq!(blanked(stack), (expected.to_vec(), 2, 2));
    }

    #[test]
    fn memory_that_only_resembles_it_stays() {
        for memory in [
            &b"a = b\0c == d\0"[..],
            b"NAME=alone\0\0\0other\0",
            b"=x\0=y\0",
            b"1A=x\0 2B=y\0",
            b"",
            b"=",
            b"A=",
            b"A=1\0B=2",
            b"\0\0\0",
            b"A=\x01\x02\0B=\x03\0",
        ] {
            assert_eq!(blanked(memory), (memory.to_vec(), 0, 0), "{memory:?}");
        }
    }

    #[test]
    fn every_environment_in_a_dump_is_found() {
        let (memory, environment, arguments) = blanked(b"A=1\0B=2\0\0\x01p\0q\0C=3\0D=4\0E=5\0");
        assert_eq!(memory, b"xxx\0xxx\0\0\x01x\0x\0xxx\0xxx\0xxx\0");
        assert_eq!((environment, arguments), (5, 2));
    }

    #[test]
    fn hostile_memory_is_read_in_one_pass() {
        let started = std::time::Instant::now();
        for memory in [
            "A=".repeat(2 << 20),
            "A=\0\x01".repeat(1 << 20),
            "=\0".repeat(2 << 20),
            "A=\0B=\0p\0".repeat(1 << 19),
        ] {
            blanked(memory.as_bytes());
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn any_bytes_are_survived_and_keep_their_length() {
        let mut state = 1u32;
        for length in 0..3000 {
            let memory: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"\0\0A=b_1 \xff\n"[(state >> 24) as usize % 10]
            })
            .take(length % 97)
            .collect();
            assert_eq!(blanked(&memory).0.len(), memory.len());
        }
    }
}
