//! `/proc/PID/maps` as values: a pure parser. Never opens a file, and proves nothing: a path in a mapping is only what
//! the kernel calls it, and any unlinked file can be called anything.

use std::collections::{HashMap, HashSet};

use foretrace_report::schema::Problem;

use crate::core::{CoreHead, MappedFile, Segment};

/// One mapping of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// `r`
    pub readable: bool,
    /// `w`
    pub writable: bool,
    /// `x`
    pub executable: bool,
    /// `s` in place of `p`
    pub shared: bool,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The file's device: major and minor.
    pub device: (u32, u32),
    /// The file's inode, 0 for no file.
    pub inode: u64,
    /// The file's path, `[stack]` and the like, or empty. ` (deleted)` is kept.
    pub path: String,
}

impl Mapping {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }
}

/// The most mappings that are looked at: twice `vm.max_map_count`'s usual value. Where a system allows a million, nearly
/// all of those are anonymous.
const LIMIT: usize = 1 << 17;

/// Parses the text of `/proc/PID/maps` into mappings in order of their addresses. Lines that cannot be read are left out
/// and counted in a problem. Of too many, those of files stay, and as many others as there is room for.
pub fn parse(text: &[u8]) -> (Vec<Mapping>, Vec<Problem>) {
    parse_around(text, &[])
}

/// The same, where of too many also those stay that `stacks`, threads' stack pointers, lie in.
pub fn parse_around(text: &[u8], stacks: &[u64]) -> (Vec<Mapping>, Vec<Problem>) {
    let rows = || text.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    let named = |row: &&[u8]| row.iter().any(|byte| matches!(byte, b'/' | b'['));
    let mut choice = Choice::among(rows().count(), || rows().filter(named).count(), stacks);
    let mut read = 0;
    let mappings: Vec<Mapping> = rows()
        .filter_map(line)
        .inspect(|_| read += 1)
        .filter(|mapping| choice.takes(mapping.start, mapping.end, !mapping.path.is_empty()))
        .collect();
    let mut bad = choice.total - read + mappings.len();
    let mappings = ordered(mappings);
    bad -= mappings.len();
    let mut problems = Vec::from_iter(choice.problem());
    if bad > 0 {
        problems.push(Problem::new("maps", format!("{bad} lines of the process's maps could not be read")));
    }
    (mappings, problems)
}

// Which of more mappings than are looked at are.
struct Choice {
    total: usize,
    stacks: Vec<u64>,
    // How many more are taken that a stack pointer needs, of a file, and of neither.
    needed: usize,
    named: usize,
    others: usize,
}

impl Choice {
    // How far below a stack its pointer may be after an overflow.
    const REACH: u64 = 1 << 20;

    fn among(total: usize, named: impl FnOnce() -> usize, stacks: &[u64]) -> Choice {
        if total <= LIMIT {
            return Choice { total, stacks: Vec::new(), needed: 0, named: LIMIT, others: LIMIT };
        }
        let mut stacks = stacks.to_vec();
        stacks.sort_unstable();
        let needed = stacks.len().min(LIMIT);
        let named = named().min(LIMIT - needed);
        Choice { total, stacks, needed, named, others: LIMIT - needed - named }
    }

    fn takes(&mut self, start: u64, end: u64, named: bool) -> bool {
        let below = start.saturating_sub(Self::REACH);
        let first = self.stacks.partition_point(|pointer| *pointer < below);
        let needed = self.stacks.get(first).is_some_and(|pointer| *pointer < end);
        let mut places = [(needed, &mut self.needed), (named, &mut self.named), (!named, &mut self.others)];
        let free = places.iter_mut().find(|(fits, left)| *fits && **left > 0);
        free.map(|(_, left)| **left -= 1).is_some()
    }

    fn problem(&self) -> Option<Problem> {
        let what = || format!("only {LIMIT} of {} mappings were looked at, those of files first", self.total);
        (self.total > LIMIT).then(|| Problem::new("maps", what()))
    }
}

/// The mapping that `address` lies in. `mappings` are in order of their addresses, as [`parse`] gives them.
pub fn find(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let behind = mappings.partition_point(|mapping| mapping.start <= address);
    mappings.get(behind.checked_sub(1)?).filter(|mapping| mapping.contains(address))
}

/// What a core knows of the process's mappings, for when its `/proc` is gone. Of too many, those stay that
/// [`parse_around`] would keep.
pub fn from_core(head: &CoreHead) -> (Vec<Mapping>, Vec<Problem>) {
    const AT_SYSINFO_EHDR: u64 = 33;
    let vdso = head.auxv_value(AT_SYSINFO_EHDR);
    let main_stack = head.threads.iter().find(|thread| thread.tid == head.pid).map(|t| t.registers.stack());
    let files = Files::new(&head.files);
    // gdb leaves out what it does not dump, as unchanged code; the kernel gives every mapping a segment.
    let starts: HashSet<u64> = head.segments.iter().map(|segment| segment.address).collect();
    let undumped = head.files.iter().filter(|file| !starts.contains(&file.start)).map(|file| Segment {
        address: file.start,
        memory_size: file.end.saturating_sub(file.start),
        file_offset: 0,
        file_size: 0,
        // Nobody says; what is not dumped is not written to.
        flags: 1 | 4,
    });
    let segments = || head.segments.iter().copied().chain(undumped.clone());
    let named = || segments().filter(|segment| files.at(segment.address).is_some()).count();
    let mut choice = Choice::among(segments().count(), named, &head.stack_pointers());
    let mappings = segments()
        .filter_map(|segment| {
            let (start, end) = (segment.address, segment.address.saturating_add(segment.memory_size));
            let file = files.at(start);
            if !choice.takes(start, end, file.is_some()) {
                return None;
            }
            let path = match file {
                Some((_, file)) => file.path.clone(),
                None if vdso == Some(start) => "[vdso]".into(),
                None if main_stack.is_some_and(|sp| start <= sp && sp < end) => "[stack]".into(),
                None => String::new(),
            };
            Some(Mapping {
                start,
                end,
                readable: segment.flags & 4 != 0,
                writable: segment.flags & 2 != 0,
                executable: segment.flags & 1 != 0,
                shared: false,
                offset: file.map_or(0, |(_, file)| file.offset.saturating_add(start - file.start)),
                device: (0, 0),
                inode: file.map_or(0, |(number, _)| number),
                path,
            })
        })
        .collect();
    (ordered(mappings), Vec::from_iter(choice.problem()))
}

// A core's mapped files by address.
struct Files<'a> {
    // Each with a number for its path: not the file's inode, which a core does not tell.
    sorted: Vec<(u64, &'a MappedFile)>,
}

impl<'a> Files<'a> {
    fn new(files: &'a [MappedFile]) -> Self {
        let mut numbers = HashMap::new();
        let mut number = |path: &'a str| {
            let next = numbers.len() as u64 + 1;
            *numbers.entry(path).or_insert(next)
        };
        let mut sorted: Vec<_> = files.iter().map(|file| (number(&file.path), file)).collect();
        sorted.sort_by_key(|(_, file)| file.start);
        Files { sorted }
    }

    fn at(&self, address: u64) -> Option<(u64, &'a MappedFile)> {
        let behind = self.sorted.partition_point(|(_, file)| file.start <= address);
        self.sorted.get(behind.checked_sub(1)?).copied().filter(|(_, file)| address < file.end)
    }
}

/// The text of `/proc/PID/maps` for `mappings`: what a minidump carries when `/proc` is gone.
pub fn text(mappings: &[Mapping]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let flag = |set, letter| if set { letter } else { '-' };
    for mapping in mappings {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:x}-{:x} {}{}{}{} {:08x} {:02x}:{:02x} {} {}",
            mapping.start,
            mapping.end,
            flag(mapping.readable, 'r'),
            flag(mapping.writable, 'w'),
            flag(mapping.executable, 'x'),
            if mapping.shared { 's' } else { 'p' },
            mapping.offset,
            mapping.device.0,
            mapping.device.1,
            mapping.inode,
            mapping.path.replace('\n', "\\012"),
        );
    }
    text
}

// The kernel's mappings do not overlap; what does was made up, and searches rely on the order.
fn ordered(mut mappings: Vec<Mapping>) -> Vec<Mapping> {
    mappings.sort_by_key(|mapping| mapping.start);
    let mut end = 0;
    mappings.retain(|mapping| {
        let fits = mapping.start >= end && mapping.start < mapping.end;
        end = if fits { mapping.end } else { end };
        fits
    });
    mappings
}

// 55d0c0a00000-55d0c0a21000 r--p 00000000 08:01 1234   /usr/bin/with space
fn line(row: &[u8]) -> Option<Mapping> {
    let row = String::from_utf8_lossy(row);
    let (range, rest) = row.split_once(' ')?;
    let (flags, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    let (device, rest) = rest.split_once(' ')?;
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let (start, end) = pair(range, '-', |word| u64::from_str_radix(word, 16).ok())?;
    let flag = |index: usize, letter: u8| flags.as_bytes().get(index) == Some(&letter);
    if end < start || flags.len() != 4 {
        return None;
    }
    Some(Mapping {
        start,
        end,
        readable: flag(0, b'r'),
        writable: flag(1, b'w'),
        executable: flag(2, b'x'),
        shared: flag(3, b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: pair(device, ':', |word| u32::from_str_radix(word, 16).ok())?,
        inode: inode.parse().ok()?,
        // The kernel escapes a newline, and only that.
        path: path.trim_start_matches(' ').replace("\\012", "\n"),
    })
}

fn pair<T>(text: &str, separator: char, read: impl Fn(&str) -> Option<T>) -> Option<(T, T)> {
    let (left, right) = text.split_once(separator)?;
    Some((read(left)?, read(right)?))
}
