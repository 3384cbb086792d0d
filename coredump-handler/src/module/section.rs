//! Bytes of an ELF image, read when they are looked at.
//!
//! Owns the one way in which an image's bytes come into this process: by positioned reads of an already opened file, in
//! chunks that are kept. Never maps a file: its owner could truncate it, and the first touch behind the new end would
//! kill us. Never reads more of one image than [`BUDGET`], whatever its headers promise.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use flate2::{Decompress, FlushDecompress, Status};
use gimli::Reader;

use super::reader::SectionReader;

/// The most that is read of one image: debug information of a large browser, and not a sparse file's terabytes.
const BUDGET: u64 = 2 << 30;
/// Longer sections are not believed.
const SECTION_LIMIT: u64 = 4 << 30;
/// What a lookup touches costs most where it is scattered: a page that is new to this process takes longer than reading it.
const CHUNK: usize = 8 << 10;
/// What is read at once of a section that is gone through from its start to its end.
const STRETCH: usize = 96 << 10;
/// What is read at once of a compressed section.
const INPUT: usize = 32 << 10;

/// Where an image's bytes come from.
pub(crate) enum Source {
    /// An opened file, and how much may still be read of it.
    File(File, Cell<u64>),
    /// A copy: an image that exists only in a process's memory, or a decompressed one.
    Bytes(Box<[u8]>),
}

impl Source {
    pub(crate) fn file(file: File) -> Rc<Source> {
        Rc::new(Source::File(file, Cell::new(BUDGET)))
    }

    pub(crate) fn bytes(bytes: Vec<u8>) -> Rc<Source> {
        Rc::new(Source::Bytes(bytes.into_boxed_slice()))
    }

    /// Up to `length` bytes at `offset`; fewer where there are no more. The caller bounds `length`.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let count = self.read_into(offset, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    // Returns how many bytes from the start could be read.
    fn read_into(&self, offset: u64, into: &mut [u8]) -> usize {
        match self {
            Source::Bytes(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
                let count = rest.len().min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                count
            }
            Source::File(file, budget) => {
                let Some(left) = budget.get().checked_sub(into.len() as u64) else { return 0 };
                budget.set(left);
                let mut filled = 0;
                while filled < into.len() {
                    let at = offset.saturating_add(filled as u64);
                    match file.read_at(&mut into[filled..], at) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        // EINVAL for an offset beyond i64, EIO of a broken disk: the bytes are not to be had.
                        Err(_) => break,
                    }
                }
                filled
            }
        }
    }
}

// Bytes that are inflated no further than they are looked at.
struct Inflater {
    // Where the compressed bytes are that were not read yet, and how many.
    at: u64,
    left: u64,
    // What was read, and how much of it the stream has taken.
    input: Vec<u8>,
    taken: usize,
    state: Decompress,
    // The next chunk of the section to be made.
    next: usize,
}

impl Inflater {
    // The next `length` bytes; fewer where the stream is broken or ends.
    fn inflate(&mut self, source: &Source, length: usize) -> Box<[u8]> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            if self.taken == self.input.len() {
                self.refill(source);
            }
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let input = &self.input[self.taken..];
            let did = self.state.decompress(input, &mut bytes[filled..], FlushDecompress::None);
            let read = (self.state.total_in() - read) as usize;
            let written = (self.state.total_out() - written) as usize;
            self.taken += read;
            filled += written;
            if (read, written) == (0, 0) || !matches!(did, Ok(Status::Ok | Status::BufError)) {
                break;
            }
        }
        bytes.truncate(filled);
        bytes.into_boxed_slice()
    }

    fn refill(&mut self, source: &Source) {
        let count = INPUT.min(usize::try_from(self.left).unwrap_or(INPUT));
        self.input.resize(count, 0);
        let count = source.read_into(self.at, &mut self.input);
        self.input.truncate(count);
        self.taken = 0;
        self.at += count as u64;
        self.left -= count as u64;
    }
}

/// A range of an image.
pub(crate) struct Section {
    source: Rc<Source>,
    offset: u64,
    length: usize,
    chunks: Box<[OnceCell<Box<[u8]>>]>,
    inflater: Option<RefCell<Inflater>>,
    // How many more windows may be looked through.
    windows: Rc<Cell<u64>>,
}

impl Section {
    /// `length` bytes of `source` from `offset`. A section that is too long to be true is empty.
    pub(crate) fn new(source: &Rc<Source>, offset: u64, length: u64) -> Section {
        let length = if length > SECTION_LIMIT { 0 } else { usize::try_from(length).unwrap_or(0) };
        let chunks = match **source {
            Source::File(..) => length.div_ceil(CHUNK),
            Source::Bytes(_) => 0,
        };
        Section {
            source: source.clone(),
            offset,
            length,
            chunks: (0..chunks).map(|_| OnceCell::new()).collect(),
            inflater: None,
            windows: Rc::new(Cell::new(u64::MAX)),
        }
    }

    /// The `length` bytes that the zlib stream in `compressed` bytes of `source` from `offset` stands for.
    pub(crate) fn inflated(source: &Rc<Source>, offset: u64, compressed: u64, length: u64) -> Section {
        let length = if length > SECTION_LIMIT { 0 } else { usize::try_from(length).unwrap_or(0) };
        let state = Decompress::new(true);
        let inflater = Inflater { at: offset, left: compressed, input: Vec::new(), taken: 0, state, next: 0 };
        Section {
            source: source.clone(),
            offset,
            length,
            chunks: (0..length.div_ceil(CHUNK)).map(|_| OnceCell::new()).collect(),
            inflater: Some(RefCell::new(inflater)),
            windows: Rc::new(Cell::new(u64::MAX)),
        }
    }

    /// No bytes: what stands for a section that an image does not have.
    pub(crate) fn empty() -> Section {
        Section::new(&Source::bytes(Vec::new()), 0, 0)
    }

    /// The same, of which no more than so many windows, of [`CHUNK`] bytes each, are ever looked through: then it seems to
    /// end. References within debug information can lead through the same bytes without end.
    pub(crate) fn limited(self, windows: u64) -> Section {
        self.windows.set(windows);
        self
    }

    /// The same, with nothing kept of what is looked at; `None` where only keeping makes it readable. Its limit is that of this one.
    pub(crate) fn again(&self) -> Option<Section> {
        let kept_nowhere = Section::new(&self.source, self.offset, self.length as u64);
        self.inflater.is_none().then(|| Section { windows: Rc::clone(&self.windows), ..kept_nowhere })
    }

    /// How many bytes it says it has.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn reader(&self) -> SectionReader<'_> {
        SectionReader::new(self, self.length)
    }

    /// The NUL-terminated text at `at`, at most `limit` bytes of it.
    pub(crate) fn text(&self, at: usize, limit: usize) -> Option<String> {
        let mut reader = self.reader();
        reader.skip(at).ok()?;
        let length = reader.find(0).ok()?;
        reader.truncate(length.min(limit)).ok()?;
        reader.to_slice().ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All of it, if it is no longer than `limit`.
    pub(crate) fn whole(&self, limit: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.length > limit {
            return None;
        }
        self.each_stretch(1, |stretch| bytes.extend_from_slice(stretch));
        Some(bytes)
    }

    /// Up to `N` bytes at `at`, which are not kept: for a look at many distant places.
    pub(crate) fn glance<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if at.checked_add(N)? > self.length {
            return None;
        }
        let count = match &self.inflater {
            None => self.source.read_into(self.offset.checked_add(at as u64)?, &mut bytes),
            Some(_) => self.copy_to(at, &mut bytes),
        };
        (count == N).then_some(bytes)
    }

    /// Calls `take` with one stretch after another, each a multiple of `unit` bytes long but for the last. Nothing is kept.
    pub(crate) fn each_stretch(&self, unit: usize, mut take: impl FnMut(&[u8])) {
        let stretch = (STRETCH / unit).max(1) * unit;
        let mut buffer = vec![0; stretch.min(self.length)];
        let mut at = 0;
        while at < self.length {
            let wanted = stretch.min(self.length - at);
            let count = match &self.inflater {
                None => self.source.read_into(self.offset.saturating_add(at as u64), &mut buffer[..wanted]),
                Some(_) => self.copy_to(at, &mut buffer[..wanted]),
            };
            take(&buffer[..count]);
            if count < wanted {
                return;
            }
            at += count;
        }
    }

    fn copy_to(&self, at: usize, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < into.len() {
            let window = self.window(at + filled);
            if window.is_empty() {
                break;
            }
            let count = window.len().min(into.len() - filled);
            into[filled..filled + count].copy_from_slice(&window[..count]);
            filled += count;
        }
        filled
    }

    /// What is at hand from `at`: never empty within the section, unless the file is shorter than it says, or its limit is reached.
    pub(super) fn window(&self, at: usize) -> &[u8] {
        let left = self.windows.get();
        if at >= self.length || left == 0 {
            return &[];
        }
        self.windows.set(left - 1);
        if let Some(inflater) = &self.inflater {
            return self.inflate(&mut inflater.borrow_mut(), at);
        }
        match &*self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(self.offset).ok().and_then(|offset| offset.checked_add(at));
                let rest = start.and_then(|start| bytes.get(start..)).unwrap_or(&[]);
                &rest[..rest.len().min(self.length - at).min(CHUNK)]
            }
            Source::File(..) => {
                let Some(cell) = self.chunks.get(at / CHUNK) else { return &[] };
                let chunk = cell.get_or_init(|| {
                    let start = at / CHUNK * CHUNK;
                    let length = CHUNK.min(self.length - start);
                    self.source.read(self.offset.saturating_add(start as u64), length).into_boxed_slice()
                });
                chunk.get(at % CHUNK..).unwrap_or(&[])
            }
        }
    }

    // A stream can only be inflated from its start: what lies before the chunk comes with it.
    fn inflate(&self, inflater: &mut Inflater, at: usize) -> &[u8] {
        while inflater.next <= at / CHUNK {
            let length = CHUNK.min(self.length - inflater.next * CHUNK);
            let chunk = inflater.inflate(&self.source, length);
            // Each is made once.
            let _ = self.chunks[inflater.next].set(chunk);
            inflater.next += 1;
        }
        self.chunks[at / CHUNK].get().and_then(|chunk| chunk.get(at % CHUNK..)).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn stored(bytes: &[u8]) -> Rc<Source> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Source::file(file)
    }

    fn long() -> Vec<u8> {
        (0..CHUNK * 2 + 100).map(|n| (n % 251) as u8 + 1).collect()
    }

    #[test]
    fn a_word_across_two_chunks_is_read_whole() {
        let bytes = long();
        let section = Section::new(&stored(&bytes), 0, bytes.len() as u64);
        let mut reader = section.reader();
        reader.skip(CHUNK - 3).unwrap();
        let expected = u64::from_le_bytes(bytes[CHUNK - 3..CHUNK + 5].try_into().unwrap());
        assert_eq!(reader.read_u64().unwrap(), expected);
        assert_eq!(reader.read_u8().unwrap(), bytes[CHUNK + 5]);
    }

    #[test]
    fn a_reader_never_leaves_what_it_was_cut_to() {
        let bytes = long();
        for source in [stored(&bytes), Source::bytes(bytes.clone())] {
            let section = Section::new(&source, 1, CHUNK as u64 + 10);
            let mut reader = section.reader();
            reader.read_u8().unwrap();
            let mut first = reader.split(5).unwrap();
            assert_eq!(first.to_slice().unwrap(), &bytes[2..7]);
            assert!(first.read_u64().is_err());
            assert_eq!(first.read_u32().unwrap(), u32::from_le_bytes(bytes[2..6].try_into().unwrap()));
            assert_eq!(reader.len(), CHUNK + 4);
            assert!(reader.skip(CHUNK + 5).is_err());
            reader.skip(CHUNK + 4).unwrap();
            assert!(reader.read_u8().is_err());
        }
    }

    #[test]
    fn a_byte_is_found_in_a_later_chunk() {
        let mut bytes = long();
        bytes[CHUNK + 7] = 0;
        let section = Section::new(&stored(&bytes), 0, bytes.len() as u64);
        assert_eq!(section.reader().find(0).unwrap(), CHUNK + 7);
        assert_eq!(
            section.text(CHUNK - 2, 4).unwrap().len(),
            String::from_utf8_lossy(&bytes[CHUNK - 2..CHUNK + 2]).len()
        );
    }

    #[test]
    fn a_file_that_was_cut_short_ends_instead_of_killing() {
        let bytes = long();
        let section = Section::new(&stored(&bytes[..CHUNK + 10]), 0, bytes.len() as u64);
        let mut reader = section.reader();
        reader.skip(CHUNK + 5).unwrap();
        assert!(reader.read_u64().is_err());
        assert!(reader.find(0).is_err());
        assert!(section.reader().to_slice().is_err());
    }

    #[test]
    fn a_section_too_long_to_be_true_is_empty() {
        let section = Section::new(&stored(b"abc"), 0, u64::MAX);
        assert!(section.reader().is_empty());
        let section = Section::new(&stored(b"abc"), u64::MAX, 3);
        assert!(section.reader().read_u8().is_err());
    }
}
