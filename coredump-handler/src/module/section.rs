//! Bytes of an ELF image, read when they are looked at.
//!
//! Owns the one way in which an image's bytes come into this process: by positioned reads of an already opened file, in
//! chunks that are kept. Never maps a file: its owner could truncate it, and the first touch behind the new end would
//! kill us. Never reads more of one image than [`BUDGET`], whatever its headers promise.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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
const INPUT: usize = 64 << 10;
/// What is inflated at once: most of what a stream repeats lies in it.
const STRIDE: usize = 128 << 10;
/// Smaller compressed sections are kept whole once they are inflated: who looks up strings goes back and forth.
const KEPT: usize = 1 << 20;

/// How much may still be looked at. Whoever looks at the same image at the same time may take a little more together.
pub(crate) struct Limit(AtomicU64);

impl Limit {
    fn of(amount: u64) -> Limit {
        Limit(AtomicU64::new(amount))
    }

    // Whether so much was left.
    fn take(&self, amount: u64) -> bool {
        let left = self.0.load(Ordering::Relaxed).checked_sub(amount);
        left.inspect(|left| self.0.store(*left, Ordering::Relaxed)).is_some()
    }
}

/// Where an image's bytes come from.
pub(crate) enum Source {
    /// An opened file, and how much may still be read of it.
    File(File, Limit),
    /// A copy: an image that exists only in a process's memory, or a decompressed one.
    Bytes(Box<[u8]>),
}

impl Source {
    pub(crate) fn file(file: File) -> Arc<Source> {
        Arc::new(Source::File(file, Limit::of(BUDGET)))
    }

    pub(crate) fn bytes(bytes: Vec<u8>) -> Arc<Source> {
        Arc::new(Source::Bytes(bytes.into_boxed_slice()))
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
                if !budget.take(into.len() as u64) {
                    return 0;
                }
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

// Bytes that are inflated no further than they are looked at, a stride after another. What is passed over is not kept, for
// memory that is new to a process costs more than what is copied into it.
struct Inflater {
    // Where the compressed bytes begin, and how many they are.
    start: u64,
    compressed: u64,
    // How many of them were read; what was read last, and how much of that the stream has taken.
    read: u64,
    input: Vec<u8>,
    taken: usize,
    state: Decompress,
    // What was inflated last, and where in the section that lies.
    stride: Vec<u8>,
    at: usize,
    // Whether everything is kept: somebody wanted what had been passed over.
    keeps: bool,
}

impl Inflater {
    fn new(start: u64, compressed: u64) -> Inflater {
        let state = Decompress::new(true);
        let (input, stride) = (Vec::new(), Vec::new());
        Inflater { start, compressed, read: 0, input, taken: 0, state, stride, at: 0, keeps: false }
    }

    // Begins again, which happens once.
    fn rewind(&mut self) {
        *self = Inflater { keeps: true, ..Inflater::new(self.start, self.compressed) };
    }

    // Where the section was inflated to.
    fn end(&self) -> usize {
        self.at + self.stride.len()
    }

    // Makes the next stride, of which a section of `length` bytes has no more than it says; empty where the stream is broken.
    fn advance(&mut self, source: &Source, length: usize) {
        self.at = self.end();
        self.stride.resize(STRIDE.min(length - self.at), 0);
        let mut filled = 0;
        while filled < self.stride.len() {
            if self.taken == self.input.len() {
                self.refill(source);
            }
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let (input, into) = (&self.input[self.taken..], &mut self.stride[filled..]);
            let did = self.state.decompress(input, into, FlushDecompress::None);
            let read = (self.state.total_in() - read) as usize;
            let written = (self.state.total_out() - written) as usize;
            self.taken += read;
            filled += written;
            if (read, written) == (0, 0) || !matches!(did, Ok(Status::Ok | Status::BufError)) {
                break;
            }
        }
        self.stride.truncate(filled);
    }

    fn refill(&mut self, source: &Source) {
        let count = INPUT.min(usize::try_from(self.compressed - self.read).unwrap_or(INPUT));
        self.input.resize(count, 0);
        let count = source.read_into(self.start.saturating_add(self.read), &mut self.input);
        self.input.truncate(count);
        self.taken = 0;
        self.read += count as u64;
    }
}

/// A range of an image.
pub(crate) struct Section {
    source: Arc<Source>,
    offset: u64,
    length: usize,
    chunks: Box<[OnceLock<Box<[u8]>>]>,
    inflater: Option<Mutex<Inflater>>,
    // How many more windows may be looked through.
    windows: Arc<Limit>,
}

impl Section {
    /// `length` bytes of `source` from `offset`. A section that is too long to be true is empty.
    pub(crate) fn new(source: &Arc<Source>, offset: u64, length: u64) -> Section {
        let length = if length > SECTION_LIMIT { 0 } else { usize::try_from(length).unwrap_or(0) };
        let chunks = match **source {
            Source::File(..) => length.div_ceil(CHUNK),
            Source::Bytes(_) => 0,
        };
        Section {
            source: source.clone(),
            offset,
            length,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            inflater: None,
            windows: Arc::new(Limit::of(u64::MAX)),
        }
    }

    /// The `length` bytes that the zlib stream in `compressed` bytes of `source` from `offset` stands for.
    pub(crate) fn inflated(source: &Arc<Source>, offset: u64, compressed: u64, length: u64) -> Section {
        let length = if length > SECTION_LIMIT { 0 } else { usize::try_from(length).unwrap_or(0) };
        Section {
            source: source.clone(),
            offset,
            length,
            chunks: (0..length.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            inflater: Some(Mutex::new(Inflater::new(offset, compressed))),
            windows: Arc::new(Limit::of(u64::MAX)),
        }
    }

    /// No bytes: what stands for a section that an image does not have.
    pub(crate) fn empty() -> Section {
        Section::new(&Source::bytes(Vec::new()), 0, 0)
    }

    /// The same, of which no more than so many windows, of [`CHUNK`] bytes each, are ever looked through: then it seems to
    /// end. References within debug information can lead through the same bytes without end.
    pub(crate) fn limited(self, windows: u64) -> Section {
        Section { windows: Arc::new(Limit::of(windows)), ..self }
    }

    /// The same, with nothing kept of what is looked at; `None` where only keeping makes it readable. Its limit is that of this one.
    pub(crate) fn again(&self) -> Option<Section> {
        let kept_nowhere = Section::new(&self.source, self.offset, self.length as u64);
        self.inflater.is_none().then(|| Section { windows: Arc::clone(&self.windows), ..kept_nowhere })
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
        if at >= self.length || !self.windows.take(1) {
            return &[];
        }
        match (&self.inflater, &*self.source) {
            (Some(inflater), _) => self.inflated_from(inflater, at),
            (None, Source::Bytes(bytes)) => {
                let start = usize::try_from(self.offset).ok().and_then(|offset| offset.checked_add(at));
                let rest = start.and_then(|start| bytes.get(start..)).unwrap_or(&[]);
                &rest[..rest.len().min(self.length - at).min(CHUNK)]
            }
            (None, Source::File(..)) => {
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

    fn inflated_from(&self, inflater: &Mutex<Inflater>, at: usize) -> &[u8] {
        let Some(chunk) = self.chunks.get(at / CHUNK) else { return &[] };
        if chunk.get().is_none() {
            // Whoever panicked while inflating left a stream that fails, or goes on. Chunks are only set under this lock.
            let mut inflater = inflater.lock().unwrap_or_else(PoisonError::into_inner);
            if chunk.get().is_none() {
                let _ = chunk.set(self.inflate(&mut inflater, at / CHUNK * CHUNK));
            }
        }
        chunk.get().and_then(|chunk| chunk.get(at % CHUNK..)).unwrap_or(&[])
    }

    // The chunk that begins at `start`. A stream can only be inflated from its own start.
    fn inflate(&self, inflater: &mut Inflater, start: usize) -> Box<[u8]> {
        if start < inflater.at {
            inflater.rewind();
        }
        while inflater.end() <= start {
            inflater.advance(&self.source, self.length);
            if inflater.stride.is_empty() {
                return Box::default();
            }
            if inflater.keeps || self.length <= KEPT {
                self.keep(inflater, start);
            }
        }
        let from = &inflater.stride[start - inflater.at..];
        from[..from.len().min(CHUNK)].into()
    }

    // Keeps a stride but for the chunk that begins at `wanted`, which is being made.
    fn keep(&self, inflater: &Inflater, wanted: usize) {
        for (number, bytes) in (inflater.at / CHUNK..).zip(inflater.stride.chunks(CHUNK)) {
            if number != wanted / CHUNK {
                // It may be there already.
                let _ = self.chunks[number].set(bytes.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn stored(bytes: &[u8]) -> Arc<Source> {
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

    // Numbers that do not repeat, deflated: the section that they are, behind 8 other bytes, and what is in it.
    fn deflated(length: usize) -> (Section, Vec<u8>) {
        let mut state = 1u32;
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        while bytes.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend([(state >> 28) as u8, (state >> 24) as u8 & 7]);
        }
        let mut stream = flate2::write::ZlibEncoder::new(b"in front".to_vec(), flate2::Compression::fast());
        stream.write_all(&bytes).unwrap();
        let stored_bytes = stream.finish().unwrap();
        let compressed = stored_bytes.len() as u64 - 8;
        (Section::inflated(&stored(&stored_bytes), 8, compressed, bytes.len() as u64), bytes)
    }

    #[test]
    fn an_inflated_section_is_read_in_any_order() {
        for length in [KEPT / 2, KEPT * 3] {
            let places = [0, STRIDE * 3 + 5, length - 9, STRIDE - 4, CHUNK * 7, length - CHUNK, 0];
            let (section, bytes) = deflated(length);
            for at in places {
                assert_eq!(section.glance::<8>(at).unwrap(), bytes[at..at + 8], "{at} of {length}");
            }
            assert_eq!(section.whole(length).unwrap(), bytes);
            assert!(section.glance::<8>(length - 7).is_none());
        }
    }

    #[test]
    fn what_is_passed_over_once_is_not_kept() {
        let (section, bytes) = deflated(KEPT * 3);
        let kept = |section: &Section| section.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        assert_eq!(section.glance::<1>(bytes.len() - 1).unwrap()[0], bytes[bytes.len() - 1]);
        assert_eq!(kept(&section), 1);
        assert_eq!(section.glance::<1>(0).unwrap()[0], bytes[0]);
        assert_eq!(section.glance::<1>(KEPT).unwrap()[0], bytes[KEPT]);
        assert!(kept(&section) > KEPT / CHUNK, "whoever goes back is served from memory from then on");
    }

    #[test]
    fn two_who_read_an_inflated_section_at_once_read_the_same() {
        let (section, bytes) = deflated(KEPT * 2);
        std::thread::scope(|scope| {
            for start in [0, 1, 2] {
                let (section, bytes) = (&section, &bytes);
                scope.spawn(move || {
                    for n in 0..60 {
                        let at = (start + n * 7) * 11_113 % (bytes.len() - 8);
                        assert_eq!(section.glance::<8>(at).unwrap(), bytes[at..at + 8]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_broken_stream_ends_where_it_breaks() {
        let (whole, bytes) = deflated(KEPT * 2);
        let Source::File(file, _) = &*whole.source else { panic!("it lies in a file") };
        let length = file.metadata().unwrap().len();
        file.write_all_at(&[0xff; 64], length / 2).unwrap();
        let section = Section::inflated(&whole.source, 8, length - 8, bytes.len() as u64);
        assert!(section.glance::<8>(bytes.len() - 8).is_none());
        assert_eq!(section.glance::<8>(0).unwrap(), bytes[..8]);
        assert_eq!(section.glance::<8>(KEPT / 2).unwrap(), bytes[KEPT / 2..KEPT / 2 + 8]);
        assert!(section.whole(bytes.len()).unwrap().len() < bytes.len());
    }

    #[test]
    fn a_section_too_long_to_be_true_is_empty() {
        let section = Section::new(&stored(b"abc"), 0, u64::MAX);
        assert!(section.reader().is_empty());
        let section = Section::new(&stored(b"abc"), u64::MAX, 3);
        assert!(section.reader().read_u8().is_err());
    }
}
