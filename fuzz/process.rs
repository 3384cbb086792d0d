//! A process that consists of one mapped ELF file and a stack, made of a fuzz target's input: the file is the input, the
//! stack its last KiB, whose words also say which addresses are asked for.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use foretrace_capture::maps::Mapping;
use foretrace_capture::memory::Memory;
use foretrace_capture::module::Modules;

/// Where the file is mapped.
const BASE: u64 = 0x5555_0000_0000;
/// Where the stack is.
pub const STACK: u64 = 0x7fff_0000_0000;
const STACK_BYTES: usize = 1024;

/// The process's memory.
pub struct Mapped<'a> {
    file: &'a [u8],
    stack: &'a [u8],
}

impl<'a> Mapped<'a> {
    /// The memory that the input is.
    pub fn of(data: &'a [u8]) -> Mapped<'a> {
        Mapped { file: data, stack: &data[data.len().saturating_sub(STACK_BYTES)..] }
    }
}

impl Memory for Mapped<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        for (start, bytes) in [(BASE, self.file), (STACK, self.stack)] {
            let rest = address.checked_sub(start).and_then(|at| bytes.get(usize::try_from(at).ok()?..));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                let length = rest.len().min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                return length;
            }
        }
        0
    }
}

/// The images of the process: one, if the input is an ELF file.
pub fn modules(data: &[u8]) -> Modules {
    thread_local! {
        static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
    }
    let mapping = |start: u64, size: u64, path: &str, executable| Mapping {
        start,
        end: start + size,
        readable: true,
        writable: false,
        executable,
        shared: false,
        offset: 0,
        device: (8, 1),
        inode: 1,
        path: path.into(),
    };
    let size = (data.len() as u64).next_multiple_of(4096).max(4096);
    let maps =
        [mapping(BASE, size, "/usr/bin/till", true), mapping(STACK, STACK_BYTES as u64, "[stack]", false)];
    FILE.with_borrow_mut(|kept| {
        let file = kept.get_or_insert_with(|| tempfile::tempfile_in("/dev/shm").expect("a file in memory"));
        file.set_len(0).and_then(|()| file.write_all_at(data, 0)).expect("memory for the input");
        let mut open = |_: &Mapping| file.try_clone().ok();
        Modules::new(&maps, &Mapped::of(data), &mut open).0
    })
}

/// Addresses that are asked for: the halves of the last KiB of `data`, as offsets into an image of `size` bytes.
pub fn addresses(data: &[u8], size: usize) -> impl Iterator<Item = u64> {
    let size = size.max(1) as u64;
    let stack = &data[data.len().saturating_sub(STACK_BYTES)..];
    stack
        .chunks_exact(2)
        .take(64)
        .map(move |word| BASE + u64::from(u16::from_le_bytes([word[0], word[1]])) % size)
}
