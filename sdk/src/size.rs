//! How large the ring's pool is to be: what the environment says, else what the program asked for, else the usual size.
//!
//! Owns the wish alone: `host` says what there is room for. `FORETRACE_SIZE` is read once, before `main` (or in dlopen),
//! while nobody changes the environment; what is wrong with it is said on standard error.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use foretrace_ring::layout::{DEFAULT_POOL, MIN_POOL};

use crate::host;

/// The largest pool that can be asked for, in bytes.
const MOST: u64 = 64 << 20;
/// The variable was not looked at yet.
const UNREAD: u64 = u64::MAX;

/// What the environment says; 0 is nothing.
static BY_ENVIRONMENT: AtomicU64 = AtomicU64::new(UNREAD);
/// What the program asked for; 0 is nothing.
static BY_PROGRAM: AtomicU64 = AtomicU64::new(0);

/// How large the pool is to be, in bytes.
pub(crate) fn wanted() -> u64 {
    if BY_ENVIRONMENT.load(Ordering::Relaxed) == UNREAD {
        // A constructor that ran before ours recorded something.
        read();
    }
    let wishes = [&BY_ENVIRONMENT, &BY_PROGRAM].map(|wish| wish.load(Ordering::Relaxed));
    wishes.into_iter().find(|wish| *wish != 0).unwrap_or(DEFAULT_POOL)
}

/// Notes the program's wish. False: it is out of bounds.
pub(crate) fn ask(bytes: u64) -> bool {
    let possible = (MIN_POOL..=MOST).contains(&bytes);
    if possible {
        BY_PROGRAM.store(bytes, Ordering::Relaxed);
    }
    possible
}

/// Reads the variable before `main`, and says what is wrong with it.
#[unsafe(no_mangle)]
extern "C" fn foretrace_read_size() {
    if !read() {
        host::complain(
            b"foretrace: FORETRACE_SIZE is ignored: it is a size from 256K to 64M, such as 16M; without it, 4M\n",
        );
    }
}

/// False: the variable is there and says no size.
fn read() -> bool {
    let value = host::variable(c"FORETRACE_SIZE").map(|value| parse(value.to_bytes()));
    BY_ENVIRONMENT.store(value.flatten().unwrap_or(0), Ordering::Relaxed);
    value.is_none_or(|size| size.is_some())
}

/// A size as it is written: bytes, or with a `K` or an `M` behind it.
fn parse(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        _ => return None,
    };
    // A sign is no part of a size.
    let number: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    number.checked_mul(unit).filter(|bytes| (MIN_POOL..=MOST).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_within_bounds_and_a_unit() {
        for (text, size) in [
            ("64M", Some(64 << 20)),
            (" 1m ", Some(1 << 20)),
            ("256K", Some(256 << 10)),
            ("300000", Some(300_000)),
            ("65M", None),
            ("255k", None),
            ("0", None),
            ("", None),
            ("M", None),
            ("+4M", None),
            ("-4M", None),
            ("4 M", None),
            ("4G", None),
            ("4MM", None),
            ("0x400000", None),
            ("18446744073709551615M", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text.as_bytes()), size, "{text:?}");
        }
        assert_eq!(parse(b"4M\xff"), None);
    }
}
