//! `/proc/PID/smaps` as far as it says what a core would hold: a pure parser. A live process has no core whose headers
//! could be asked, so its mappings' own flags are.

/// The ranges of mappings that the kernel would dump with the usual filter: no MADV_DONTDUMP, no devices, no shared
/// files.
pub fn dumped_ranges(text: &[u8]) -> Vec<(u64, u64)> {
    let text = String::from_utf8_lossy(text);
    let mut ranges = Vec::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(range) = current.take().filter(|_| is_dumped(flags)) {
                ranges.push(range);
            }
        } else if let Some(header) = header(line) {
            current = header.dumped.then_some(header.range);
        }
    }
    ranges
}

struct Header {
    range: (u64, u64),
    dumped: bool,
}

// The line that also stands in maps. What follows it are lines such as `Rss:                 4 kB`.
fn header(line: &str) -> Option<Header> {
    let (mut mappings, _) = crate::maps::parse(line.as_bytes());
    let mapping = mappings.pop()?;
    let linked_file = mapping.inode != 0 && !mapping.path.ends_with(" (deleted)");
    Some(Header {
        range: (mapping.start, mapping.end),
        dumped: mapping.readable && !(mapping.shared && linked_file),
    })
}

fn is_dumped(flags: &str) -> bool {
    const DONT_DUMP: &str = "dd";
    const DEVICE_MEMORY: &str = "io";
    !flags.split_whitespace().any(|flag| flag == DONT_DUMP || flag == DEVICE_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
00400000-00401000 r-xp 00000000 08:01 12                  /bin/a
Size:                  4 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
Size:                  4 kB
VmFlags: rd wr mr mw me ac dd
7f0000001000-7f0000002000 rw-p 00000000 00:00 0 \n\
VmFlags: rd wr mr mw me ac sd
7f0000002000-7f0000003000 rw-s 00000000 08:01 13          /data
VmFlags: rd wr sh mr mw me ms
7f0000003000-7f0000004000 rw-s 00000000 00:01 14          /memfd:a (deleted)
VmFlags: rd wr sh mr mw me ms
7f0000004000-7f0000005000 ---p 00000000 00:00 0 \n\
VmFlags: mr mw me
7f0000005000-7f0000006000 rw-p 00000000 00:00 0 \n";

    #[test]
    fn what_the_process_hid_from_dumps_is_left_out() {
        assert_eq!(
            dumped_ranges(TEXT),
            [
                (0x40_0000, 0x40_1000),
                (0x7f00_0000_1000, 0x7f00_0000_2000),
                (0x7f00_0000_3000, 0x7f00_0000_4000)
            ]
        );
    }

    #[test]
    fn a_mapping_without_flags_is_not_allowed() {
        assert_eq!(dumped_ranges(b"00400000-00401000 r-xp 00000000 08:01 12 /bin/a\nSize: 4 kB\n"), []);
    }
}
