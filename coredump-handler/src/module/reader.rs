//! The [`gimli::Reader`] over a [`Section`]: a cursor that holds the bytes that are next, as long as they lie in one piece.

use std::borrow::Cow;
use std::fmt;

use gimli::{Error, LittleEndian, Reader, ReaderOffsetId};

use super::Section;

/// A cursor over a [`Section`].
#[derive(Clone, Copy)]
pub(crate) struct SectionReader<'a> {
    section: &'a Section,
    at: usize,
    end: usize,
    // The next bytes, where they are at hand: starts at `at`, never reaches beyond `end`.
    window: &'a [u8],
}

impl<'a> SectionReader<'a> {
    /// From the start of a section of `length` bytes.
    pub(super) fn new(section: &'a Section, length: usize) -> Self {
        SectionReader { section, at: 0, end: length, window: &[] }
    }

    fn fill(&mut self) {
        if self.window.is_empty() {
            let window = self.section.window(self.at);
            self.window = &window[..window.len().min(self.end - self.at)];
        }
    }

    fn end_of_bytes<T>(&self) -> gimli::Result<T> {
        Err(Error::UnexpectedEof(self.offset_id()))
    }

    // `count` is at most the window's length.
    fn advance(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.window.split_at(count);
        self.window = rest;
        self.at += count;
        taken
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> gimli::Result<[u8; N]> {
        if let Some((bytes, rest)) = self.window.split_first_chunk::<N>() {
            self.window = rest;
            self.at += N;
            return Ok(*bytes);
        }
        let mut bytes = [0; N];
        self.read_slice(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for SectionReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.at, self.end)
    }
}

impl Reader for SectionReader<'_> {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    #[inline]
    fn len(&self) -> usize {
        self.end - self.at
    }

    fn empty(&mut self) {
        self.end = self.at;
        self.window = &[];
    }

    fn truncate(&mut self, len: usize) -> gimli::Result<()> {
        if len > self.len() {
            return self.end_of_bytes();
        }
        self.end = self.at + len;
        self.window = &self.window[..self.window.len().min(len)];
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.at.saturating_sub(base.at)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let at = usize::try_from(id.0).ok()?;
        (self.at..=self.end).contains(&at).then(|| at - self.at)
    }

    fn find(&self, byte: u8) -> gimli::Result<usize> {
        let mut rest = *self;
        loop {
            rest.fill();
            if rest.window.is_empty() {
                return self.end_of_bytes();
            }
            match memchr::memchr(byte, rest.window) {
                Some(position) => return Ok(rest.at + position - self.at),
                None => rest.advance(rest.window.len()),
            };
        }
    }

    #[inline]
    fn skip(&mut self, len: usize) -> gimli::Result<()> {
        if len <= self.window.len() {
            self.advance(len);
        } else if len <= self.len() {
            self.window = &[];
            self.at += len;
        } else {
            return self.end_of_bytes();
        }
        Ok(())
    }

    fn split(&mut self, len: usize) -> gimli::Result<Self> {
        let mut first = *self;
        first.truncate(len)?;
        self.skip(len)?;
        Ok(first)
    }

    fn to_slice(&self) -> gimli::Result<Cow<'_, [u8]>> {
        let mut rest = *self;
        rest.fill();
        if rest.window.len() == self.len() {
            return Ok(Cow::Borrowed(rest.window));
        }
        let mut bytes = Vec::new();
        while !rest.is_empty() {
            rest.fill();
            if rest.window.is_empty() {
                return self.end_of_bytes();
            }
            bytes.extend_from_slice(rest.advance(rest.window.len()));
        }
        Ok(Cow::Owned(bytes))
    }

    fn to_string(&self) -> gimli::Result<Cow<'_, str>> {
        match self.to_slice()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Error::BadUtf8),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Error::BadUtf8),
        }
    }

    fn to_string_lossy(&self) -> gimli::Result<Cow<'_, str>> {
        Ok(match self.to_slice()? {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    fn read_slice(&mut self, buf: &mut [u8]) -> gimli::Result<()> {
        if buf.len() > self.len() {
            return self.end_of_bytes();
        }
        let mut filled = 0;
        while filled < buf.len() {
            self.fill();
            if self.window.is_empty() {
                return self.end_of_bytes();
            }
            let count = self.window.len().min(buf.len() - filled);
            buf[filled..filled + count].copy_from_slice(self.advance(count));
            filled += count;
        }
        Ok(())
    }

    #[inline]
    fn read_u8(&mut self) -> gimli::Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn read_u16(&mut self) -> gimli::Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    fn read_u32(&mut self) -> gimli::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    fn read_u64(&mut self) -> gimli::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
