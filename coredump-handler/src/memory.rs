//! Where a process's memory is read from: itself, a core file, a copy. Owns the rule of what may be read at all.
//!
//! `/proc/PID/mem` also gives what MADV_DONTDUMP and coredump_filter keep out of cores, keys among it. So the handler
//! reads through [`Dumped`], which answers only where the kernel's own core header holds bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::core::Segment;

/// Read access to a process's memory.
pub trait Memory {
    /// Copies from `address`; returns how many bytes from the start could be read (0 = none).
    fn read(&self, address: u64, into: &mut [u8]) -> usize;

    /// The little-endian word at `address`.
    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        (self.read(address, &mut word) == 8).then(|| u64::from_le_bytes(word))
    }

    /// `length` bytes from `address`, fewer where fewer could be read. The caller bounds `length`.
    fn read_vec(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let count = self.read(address, &mut bytes);
        bytes.truncate(count);
        bytes
    }
}

/// Memory of which nothing can be read.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Memory for Nothing {
    fn read(&self, _address: u64, _into: &mut [u8]) -> usize {
        0
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        (**self).read(address, into)
    }
}

/// Memory restricted to what the kernel was willing to dump.
pub struct Dumped<'a, M: Memory + ?Sized> {
    memory: &'a M,
    ranges: Vec<(u64, u64)>,
}

impl<'a, M: Memory + ?Sized> Dumped<'a, M> {
    /// Restricts `memory` to the ranges of `segments` that have bytes in the core.
    pub fn new(memory: &'a M, segments: &[Segment]) -> Self {
        let ranges =
            segments.iter().map(|s| (s.address, s.address.saturating_add(s.file_size.min(s.memory_size))));
        Dumped { memory, ranges: merged(ranges.collect()) }
    }

    /// Restricts `memory` to `ranges` (start, end).
    pub fn within(memory: &'a M, ranges: Vec<(u64, u64)>) -> Self {
        Dumped { memory, ranges: merged(ranges) }
    }
}

impl<M: Memory + ?Sized> Memory for Dumped<'_, M> {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let behind = self.ranges.partition_point(|range| range.0 <= address);
        let Some(range) = behind.checked_sub(1).and_then(|index| self.ranges.get(index)) else { return 0 };
        let allowed = usize::try_from(range.1.saturating_sub(address)).unwrap_or(usize::MAX).min(into.len());
        if allowed == 0 { 0 } else { self.memory.read(address, &mut into[..allowed]) }
    }
}

// Sorted and joined, so that a read may cross from one mapping into the next.
fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|range| range.0 < range.1);
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => joined.push(range),
        }
    }
    joined
}

/// A live or dying process, through an already opened `/proc/PID/mem`.
pub struct ProcessMemory(pub File);

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        read_at(&self.0, address, into)
    }
}

/// The memory in a core file.
pub struct CoreMemory {
    file: File,
    segments: Vec<Segment>,
}

impl CoreMemory {
    /// The memory of a core whose head has been read.
    pub fn new(file: File, segments: &[Segment]) -> Self {
        let mut segments = segments.to_vec();
        segments.retain(|segment| segment.file_size > 0);
        segments.sort_unstable_by_key(|segment| segment.address);
        CoreMemory { file, segments }
    }
}

impl Memory for CoreMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < into.len() {
            let Some(at) = address.checked_add(filled as u64) else { break };
            let behind = self.segments.partition_point(|segment| segment.address <= at);
            let Some(segment) = behind.checked_sub(1).and_then(|index| self.segments.get(index)) else {
                break;
            };
            let within = at - segment.address;
            let left = segment.file_size.min(segment.memory_size).saturating_sub(within);
            let Some(offset) = segment.file_offset.checked_add(within) else { break };
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(into.len() - filled);
            let count = read_at(&self.file, offset, &mut into[filled..filled + wanted]);
            filled += count;
            if count == 0 || count < wanted {
                break;
            }
        }
        filled
    }
}

/// Copies of ranges, with another memory behind them: stacks that were copied while the process stood still.
pub struct Copied<'a, M: Memory + ?Sized, B: AsRef<[u8]>> {
    copies: Vec<(u64, B)>,
    behind: &'a M,
}

impl<'a, M: Memory + ?Sized, B: AsRef<[u8]>> Copied<'a, M, B> {
    /// `copies` are (address, bytes) and shadow `behind`.
    pub fn new(mut copies: Vec<(u64, B)>, behind: &'a M) -> Self {
        copies.sort_by_key(|copy| copy.0);
        Copied { copies, behind }
    }
}

impl<M: Memory + ?Sized, B: AsRef<[u8]>> Memory for Copied<'_, M, B> {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let index = self.copies.partition_point(|copy| copy.0 <= address);
        let copy = index.checked_sub(1).and_then(|index| self.copies.get(index));
        if let Some((start, bytes)) = copy
            && let Some(rest) = usize::try_from(address - start)
                .ok()
                .and_then(|at| bytes.as_ref().get(at..))
                .filter(|r| !r.is_empty())
        {
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            return if count == into.len() {
                count
            } else {
                count + self.read(address + count as u64, &mut into[count..])
            };
        }
        self.behind.read(address, into)
    }
}

fn read_at(file: &File, offset: u64, into: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < into.len() {
        let Some(at) = offset.checked_add(filled as u64).filter(|at| i64::try_from(*at).is_ok()) else {
            break;
        };
        match file.read_at(&mut into[filled..], at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every byte is the low byte of its address.
    struct Addresses;

    impl Memory for Addresses {
        fn read(&self, address: u64, into: &mut [u8]) -> usize {
            (address..).zip(into.iter_mut()).for_each(|(address, byte)| *byte = address as u8);
            into.len()
        }
    }

    fn segment(address: u64, memory_size: u64, file_size: u64) -> Segment {
        Segment { address, memory_size, file_offset: 0, file_size, flags: 6 }
    }

    #[test]
    fn what_was_not_dumped_is_not_read_even_beside_what_was() {
        let segments = [
            segment(0x3000, 0x1000, 0x1000),
            segment(0x1000, 0x1000, 0x1000),
            segment(0x2000, 0x1000, 0),
            segment(0x4000, 0x1000, 0x10),
            segment(u64::MAX - 0xfff, 0x1000, u64::MAX),
        ];
        let dumped = Dumped::new(&Addresses, &segments);
        let read = |address, length| dumped.read_vec(address, length).len();
        assert_eq!(read(0x1ff0, 0x20), 0x10);
        assert_eq!(read(0x2000, 1), 0);
        assert_eq!(read(0x2fff, 2), 0);
        assert_eq!(read(0x3ff0, 0x100), 0x20, "a read goes on into the next dumped range");
        assert_eq!(read(0x4010, 1), 0);
        assert_eq!(read(0xfff, 1), 0);
        assert_eq!(dumped.read_u64(0x1ff8), Some(0xfffe_fdfc_fbfa_f9f8));
        assert_eq!(dumped.read_u64(0x1ff9), None);
        assert_eq!(read(u64::MAX, 8), 0);
    }

    #[test]
    fn copies_shadow_what_is_behind_them() {
        let copies: Vec<(u64, &[u8])> = vec![(0x2000, &[1, 2, 3, 4]), (0x1000, &[9; 4]), (0x2004, &[5, 6])];
        let copied = Copied::new(copies, &Addresses);
        assert_eq!(copied.read_vec(0x1002, 4), [9, 9, 4, 5]);
        assert_eq!(copied.read_vec(0x2001, 6), [2, 3, 4, 5, 6, 6]);
        assert_eq!(copied.read_vec(0x0ffe, 2), [0xfe, 0xff]);
    }
}
