//! The few facts that the handler takes from what `/proc` says of a process: pure readings of its bytes, which may be
//! forged, cut off or of another kernel. Reads no file.

use std::ops::RangeInclusive;

/// Size of one record of [`Part::Threads`](super::Part::Threads).
pub(super) const THREAD_RECORD: usize = 20;

/// The threads in a [`Part::Threads`](super::Part::Threads): number and name.
pub fn thread_names(records: &[u8]) -> Vec<(i32, String)> {
    let (records, _) = records.as_chunks::<THREAD_RECORD>();
    let decode = |record: &[u8; THREAD_RECORD]| {
        let [a, b, c, d, name @ ..] = record;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        (i32::from_le_bytes([*a, *b, *c, *d]), String::from_utf8_lossy(&name[..end]).into_owned())
    };
    records.iter().map(decode).collect()
}

/// The process's ID in its own PID namespace, from `status`.
pub fn innermost_pid(status: &[u8]) -> Option<u32> {
    let shown = field(status, b"NStgid:").or_else(|| field(status, b"Tgid:"))?;
    shown.split_whitespace().next_back()?.parse().ok()
}

/// The process's start time in clock ticks since boot, from `stat`.
pub fn start_time(stat: &[u8]) -> Option<u64> {
    stat_field(stat, 22)
}

const NANOSECONDS_PER_TICK: i64 = 10_000_000;

/// How many clock ticks later the machine booted for a process than for others, from `timens_offsets`: less than a tick
/// of it goes to one side or the other.
pub fn boot_offset(offsets: &[u8]) -> Option<RangeInclusive<i64>> {
    let shown = field(offsets, b"boottime ")?;
    let mut words = shown.split_whitespace();
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    let ticks = seconds.checked_mul(100)?.checked_add(nanoseconds / NANOSECONDS_PER_TICK)?;
    Some(ticks..=ticks.saturating_add(i64::from(nanoseconds % NANOSECONDS_PER_TICK != 0)))
}

/// The signal that ends a process while its core is written, from `stat`.
pub fn fatal_signal(stat: &[u8]) -> Option<i32> {
    let exit_code: i32 = stat_field(stat, 52)?;
    Some(exit_code & 0x7f).filter(|signal| *signal != 0)
}

/// The soft limit for core files in bytes, from `limits`.
pub fn core_limit(limits: &[u8]) -> Option<u64> {
    match field(limits, b"Max core file size")?.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        bytes => bytes.parse().ok(),
    }
}

// A field of `stat`, numbered from 1 as in proc(5).
fn stat_field<T: std::str::FromStr>(stat: &[u8], number: usize) -> Option<T> {
    // The command name stands in parentheses and can hold anything, also parentheses: the last one counts.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

// The value of `Name:` in a file of such lines. A name holds no line break that the kernel did not escape.
pub(super) fn field(text: &[u8], name: &[u8]) -> Option<String> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_cannot_forge_the_start_time() {
        let stat =
            b"7 (a) R 1 1) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 100 1 18446744073709551615 1\n";
        assert_eq!(start_time(stat), Some(4242));
        assert_eq!(start_time(b"7 (a"), None);
        assert_eq!(start_time(b""), None);
    }

    #[test]
    fn the_fatal_signal_is_what_the_process_will_end_by() {
        let stat = |last: &str| format!("7 (a) S {} {last}\n", vec!["0"; 48].join(" ")).into_bytes();
        assert_eq!(fatal_signal(&stat("11")), Some(11));
        assert_eq!(fatal_signal(&stat("139")), Some(11));
        assert_eq!(fatal_signal(&stat("0")), None);
    }

    #[test]
    fn a_core_limit_is_bytes_or_none_at_all() {
        let limits = |value: &str| {
            format!(
                "Limit   Soft\nMax core file size        {value}            unlimited            bytes     \n"
            )
        };
        assert_eq!(core_limit(limits("0").as_bytes()), Some(0));
        assert_eq!(core_limit(limits("unlimited").as_bytes()), Some(u64::MAX));
        assert_eq!(core_limit(b"Max cpu time 1\n"), None);
    }

    #[test]
    fn the_innermost_number_is_the_one_that_the_process_knows() {
        assert_eq!(innermost_pid(b"Name:\tx\nTgid:\t900\nNStgid:\t900\t17\t1\n"), Some(1));
        assert_eq!(innermost_pid(b"Tgid:\t900\n"), Some(900));
        assert_eq!(innermost_pid(b"NStgid:\tx\n"), None);
    }
}
