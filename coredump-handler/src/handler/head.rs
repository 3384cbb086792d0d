//! The beginning of a core: how much of the kernel's stream is header and notes, and the file it is kept in.
//!
//! The supervisor looks at five numbers at fixed places and at nothing else. It reads without blocking, stops
//! exactly behind the notes, and leaves the memory that follows in the pipe: the kernel is told to stop by closing it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// More is never read: 20,000 threads with the largest register state.
const LIMIT: u64 = 256 << 20;

/// What is known of the head's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many bytes must be had before more can be said.
    AtLeast(u64),
    /// The head is so long.
    Is(u64),
    /// This is no core, or one with a head beyond all bounds.
    Unknown,
}

/// How long the head is, as far as its first bytes tell.
pub fn size(start: &[u8]) -> Size {
    let wide = match start.get(..5) {
        None => return Size::AtLeast(64),
        Some(b"\x7fELF\x02") => true,
        Some(b"\x7fELF\x01") => false,
        Some(_) => return Size::Unknown,
    };
    if start.len() < 64 {
        return Size::AtLeast(64);
    }
    let headers = if wide { u64_at(start, 32) } else { u32_at(start, 28) };
    let entry: u64 = if wide { 56 } else { 32 };
    let Some(headers) = headers.filter(|offset| *offset < LIMIT) else { return Size::Unknown };
    let Some(note) = start.get(headers as usize..(headers + entry) as usize) else {
        return Size::AtLeast(headers + entry);
    };
    // The kernel writes the notes' header first, and the notes right behind all headers.
    const PT_NOTE: u64 = 4;
    let place = if wide { (u64_at(note, 8), u64_at(note, 32)) } else { (u32_at(note, 4), u32_at(note, 16)) };
    let end = place.0.zip(place.1).and_then(|(offset, length)| offset.checked_add(length));
    match end {
        Some(end) if u32_at(note, 0) == Some(PT_NOTE) && (headers + entry..=LIMIT).contains(&end) => {
            Size::Is(end)
        }
        _ => Size::Unknown,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads the head from the kernel's pipe into a file in memory.
pub struct Collector {
    // None once the process has been let go.
    input: Option<File>,
    file: File,
    // The first bytes, for the sizes.
    start: Vec<u8>,
    // As much as a pipe holds.
    buffer: Box<[u8]>,
    length: u64,
    state: State,
}

/// How far the collecting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// More is to come.
    Reading,
    /// All of it is there.
    Whole,
    /// What is there is not all, and no more will come.
    Cut,
}

// Enough for the sizes even where the program headers do not follow the ELF header at once.
const START: usize = 4096;

impl Collector {
    /// Collects from `input`, which no longer blocks from now on. A pipe is left as small as it is: in a larger one the kernel
    /// would come past the notes, and it ends only where it next writes, which behind 16 GiB of holes is 150 ms later.
    ///
    /// # Errors
    /// The system has no descriptors, or `input` is closed.
    pub fn new(input: File) -> io::Result<Collector> {
        fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let file = File::from(memfd_create(c"foretrace-head", MFdFlags::MFD_CLOEXEC)?);
        let buffer = vec![0; 64 << 10].into();
        Ok(Collector {
            input: Some(input),
            file,
            start: Vec::new(),
            buffer,
            length: 0,
            state: State::Reading,
        })
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Bytes collected.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file they are in, from its first byte.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What to wait on for more, while there is more.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().filter(|_| self.state == State::Reading).map(AsFd::as_fd)
    }

    /// Where what follows the head comes from, without blocking, until the process has been let go.
    pub fn rest(&self) -> Option<&File> {
        self.input.as_ref()
    }

    /// Gives the pipe away: once it is closed, the kernel stops writing and the process ends.
    pub fn hand_over(&mut self) -> Option<File> {
        self.give_up();
        self.input.take()
    }

    /// Takes what there is.
    pub fn advance(&mut self) {
        while self.state == State::Reading {
            let wanted = match size(&self.start) {
                Size::AtLeast(bytes) if bytes as usize <= START => bytes,
                Size::Is(bytes) => bytes,
                _ => {
                    self.state = State::Cut;
                    break;
                }
            };
            if self.length >= wanted {
                self.state = State::Whole;
                break;
            }
            let length = usize::try_from(wanted - self.length).unwrap_or(usize::MAX).min(self.buffer.len());
            let Some(input) = &mut self.input else { break };
            match input.read(&mut self.buffer[..length]) {
                Ok(0) => self.state = State::Cut,
                Ok(count) => self.keep(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.state = State::Cut,
            }
        }
    }

    /// Takes all of it, waiting for what comes late until `until`.
    pub fn wait(&mut self, until: Instant) {
        loop {
            self.advance();
            let left = until.saturating_duration_since(Instant::now());
            let Some(input) = self.input().filter(|_| !left.is_zero()) else { return };
            let patience = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            // A failing poll leaves only the next look.
            let _ = poll(&mut [PollFd::new(input, PollFlags::POLLIN)], patience);
        }
    }

    /// Waits no longer.
    pub fn give_up(&mut self) {
        if self.state == State::Reading {
            self.state = State::Cut;
        }
    }

    // What the first `count` bytes of the buffer hold.
    fn keep(&mut self, count: usize) {
        let bytes = &self.buffer[..count];
        if self.file.write_all_at(bytes, self.length).is_err() {
            self.state = State::Cut;
            return;
        }
        let room = START.saturating_sub(self.start.len()).min(bytes.len());
        self.start.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    // An ELF header, a PT_NOTE header behind it, and where it says that the notes are.
    fn core(offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; 120];
        bytes[..5].copy_from_slice(b"\x7fELF\x02");
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[64..68].copy_from_slice(&4u32.to_le_bytes());
        bytes[72..80].copy_from_slice(&offset.to_le_bytes());
        bytes[96..104].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    #[test]
    fn the_head_ends_behind_the_notes() {
        let bytes = core(1000, 500);
        assert_eq!(size(&bytes), Size::Is(1500));
        assert_eq!(size(&bytes[..3]), Size::AtLeast(64));
        assert_eq!(size(&bytes[..63]), Size::AtLeast(64));
        assert_eq!(size(&bytes[..64]), Size::AtLeast(120));
    }

    #[test]
    fn sizes_that_lie_are_not_followed() {
        for bytes in [core(u64::MAX, 2), core(1 << 40, 1), core(0, 10), core(1000, LIMIT)] {
            assert_eq!(size(&bytes), Size::Unknown);
        }
        let mut elsewhere = core(1000, 500);
        elsewhere[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(size(&elsewhere), Size::Unknown);
        assert_eq!(size(b"#!/bin/sh\n"), Size::Unknown);
    }

    #[test]
    fn a_core_of_a_32_bit_program_has_a_size_too() {
        let mut bytes = vec![0; 64 + 32];
        bytes[..5].copy_from_slice(b"\x7fELF\x01");
        bytes[28..32].copy_from_slice(&52u32.to_le_bytes());
        bytes[52..56].copy_from_slice(&4u32.to_le_bytes());
        bytes[56..60].copy_from_slice(&300u32.to_le_bytes());
        bytes[68..72].copy_from_slice(&40u32.to_le_bytes());
        assert_eq!(size(&bytes), Size::Is(340));
    }

    fn pipe() -> (Collector, File) {
        let (input, output) = nix::unistd::pipe().unwrap();
        (Collector::new(File::from(input)).unwrap(), File::from(output))
    }

    #[test]
    fn not_one_byte_behind_the_notes_is_taken() {
        let (mut collector, mut output) = pipe();
        let mut stream = core(120, 30);
        stream.extend([7; 30]);
        stream.extend([9; 100]);
        output.write_all(&stream).unwrap();
        collector.advance();
        assert_eq!((collector.state(), collector.length()), (State::Whole, 150));
        let mut rest = [0; 200];
        assert_eq!(collector.input.as_mut().unwrap().read(&mut rest).unwrap(), 100);
        let mut kept = vec![0; 150];
        collector.file().read_exact_at(&mut kept, 0).unwrap();
        assert_eq!(kept, stream[..150]);
    }

    #[test]
    fn a_stream_that_pauses_or_ends_early_never_blocks() {
        let (mut collector, mut output) = pipe();
        collector.advance();
        assert_eq!(collector.state(), State::Reading);
        output.write_all(&core(120, 30)[..70]).unwrap();
        collector.advance();
        assert_eq!((collector.state(), collector.length()), (State::Reading, 70));
        drop(output);
        collector.advance();
        assert_eq!((collector.state(), collector.length()), (State::Cut, 70));
    }
}
