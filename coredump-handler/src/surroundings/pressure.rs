//! How short memory and time were, from the kernel's own files.

use foretrace_report::schema::Pressure;

/// Reads the records that `process` makes: a name, a tab, the file's content, a zero byte; repeated.
pub fn pressure(records: &[u8]) -> Pressure {
    let mut found = Pressure::default();
    for record in records.split(|byte| *byte == 0) {
        let record = String::from_utf8_lossy(record);
        let Some((name, content)) = record.split_once('\t') else { continue };
        match name {
            "meminfo" => {
                found.memory_total = kibibytes(content, "MemTotal:");
                found.memory_available = kibibytes(content, "MemAvailable:");
                found.swap_free = kibibytes(content, "SwapFree:");
            }
            "cpu" => found.cpu_stalled = stalled(content),
            "memory" => found.memory_stalled = stalled(content),
            "io" => found.io_stalled = stalled(content),
            "memory.current" | "memory.usage_in_bytes" => found.group_memory = number(content),
            "memory.max" | "memory.limit_in_bytes" => {
                // The old hierarchy says "no limit" with a number that no machine has.
                found.group_memory_limit = number(content).filter(|limit| *limit < 1 << 60);
            }
            "memory.pressure" => found.group_memory_stalled = stalled(content),
            "memory.events" | "memory.oom_control" => found.group_oom_kills = value(content, "oom_kill "),
            _ => {}
        }
    }
    found
}

// some avg10=0.12 avg60=0.00 avg300=0.00 total=4711
fn stalled(content: &str) -> Option<f64> {
    let line = content.lines().find_map(|line| line.strip_prefix("some "))?;
    let share: f64 = line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
    share.is_finite().then_some(share)
}

fn kibibytes(content: &str, name: &str) -> Option<u64> {
    value(content, name)?.checked_mul(1024)
}

fn value(content: &str, name: &str) -> Option<u64> {
    let rest = content.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn number(content: &str) -> Option<u64> {
    content.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_stalls_are_read_and_what_is_missing_stays_unknown() {
        let records = b"meminfo\tMemTotal:  2048 kB\nMemAvailable: 1024 kB\n\0\
            memory\tsome avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0 avg300=0 total=1\n\0\
            memory.current\t4096\n\0memory.max\tmax\n\0memory.events\tlow 0\noom 3\noom_kill 2\n\0torn";
        let expected = Pressure {
            memory_total: Some(2 << 20),
            memory_available: Some(1 << 20),
            memory_stalled: Some(1.5),
            group_memory: Some(4096),
            group_oom_kills: Some(2),
            ..Pressure::default()
        };
        assert_eq!(pressure(records), expected);
        assert_eq!(pressure(b"memory\tsome avg10=nan\0\xff"), Pressure::default());
    }

    #[test]
    fn the_old_hierarchys_limit_of_no_limit_is_none() {
        let read = |limit: &str| pressure(format!("memory.limit_in_bytes\t{limit}\n").as_bytes());
        assert_eq!(read("9223372036854771712").group_memory_limit, None);
        assert_eq!(read("1048576").group_memory_limit, Some(1 << 20));
    }
}
