//! Where the broker leaves what it read: one file in memory that it alone writes and that outlives it.
//!
//! A worker that dies costs nothing that was already here; the next worker finds it without asking again.
//!
//! ```text
//! 0            8            16           24
//! +------------+------------+------------+----------------+----------
//! | part       | length     | 0          | content        | next record, at the next multiple of 8
//! +------------+------------+------------+----------------+----------
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

const HEADER: u64 = 24;
/// The locker takes no more than this.
const LIMIT: u64 = 256 << 20;

/// The locker, for writing and reading.
pub struct Locker {
    file: File,
    end: u64,
}

impl Locker {
    /// An empty locker.
    ///
    /// # Errors
    /// The system has no memory or descriptors.
    pub fn new() -> io::Result<Locker> {
        Ok(Locker { file: File::from(memfd_create(c"foretrace-locker", MFdFlags::MFD_CLOEXEC)?), end: 0 })
    }

    /// The same locker, with a descriptor that cannot write.
    ///
    /// # Errors
    /// The system has no descriptors.
    pub fn reader(&self) -> io::Result<LockerReader> {
        let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        Ok(LockerReader { file })
    }

    /// Adds a record and says where its content lies.
    ///
    /// # Errors
    /// The locker is full.
    pub fn add(&mut self, part: u32, content: &[u8]) -> io::Result<(u64, u64)> {
        let length = content.len() as u64;
        let next = self.end.saturating_add(HEADER).saturating_add(length).next_multiple_of(8);
        if next > LIMIT {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let at = self.end + HEADER;
        self.file.write_all_at(content, at)?;
        // The header last: a record whose writer died half-way is no record.
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&u64::from(part).to_le_bytes());
        header[8..16].copy_from_slice(&length.to_le_bytes());
        self.file.write_all_at(&header, self.end)?;
        self.end = next;
        Ok((at, length))
    }

    /// Looks for the end again: another process has written through its own copy.
    pub fn catch_up(&mut self) {
        if let Ok(reader) = self.reader() {
            self.end = reader.walk(|_, _, _| {});
        }
    }
}

impl AsFd for Locker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The locker, for reading.
pub struct LockerReader {
    file: File,
}

impl LockerReader {
    /// The content at a place that the broker named.
    ///
    /// # Errors
    /// The file cannot be read there.
    pub fn content(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length.min(LIMIT)).map_err(io::Error::other)?;
        let mut content = vec![0; length];
        self.file.read_exact_at(&mut content, offset)?;
        Ok(content)
    }

    /// The content of the first record with this number.
    pub fn find(&self, wanted: u32) -> Option<Vec<u8>> {
        let mut found = None;
        self.walk(|part, offset, length| {
            if part == wanted && found.is_none() {
                found = Some((offset, length));
            }
        });
        found.and_then(|(offset, length)| self.content(offset, length).ok())
    }

    /// The descriptor that it reads from.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    // Calls `each` with every record's number and place, and returns where the next one would begin.
    fn walk(&self, mut each: impl FnMut(u32, u64, u64)) -> u64 {
        let mut at = 0;
        loop {
            let mut header = [0; HEADER as usize];
            if self.file.read_exact_at(&mut header, at).is_err() {
                return at;
            }
            let word =
                |n: usize| header[n * 8..n * 8 + 8].iter().rev().fold(0, |w, b| w << 8 | u64::from(*b));
            let (part, length) = (word(0), word(1));
            let next = at.saturating_add(HEADER).saturating_add(length).next_multiple_of(8);
            match u32::try_from(part) {
                Ok(part) if part != 0 && next <= LIMIT => each(part, at + HEADER, length),
                _ => return at,
            }
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_by_place_and_by_number() {
        let mut locker = Locker::new().unwrap();
        let (offset, length) = locker.add(3, b"three").unwrap();
        locker.add(4, b"").unwrap();
        locker.add(5, b"five").unwrap();
        let reader = locker.reader().unwrap();
        assert_eq!(reader.content(offset, length).unwrap(), b"three");
        assert_eq!(reader.find(4).unwrap(), b"");
        assert_eq!(reader.find(5).unwrap(), b"five");
        assert_eq!(reader.find(6), None);
    }

    #[test]
    fn a_second_writer_goes_on_behind_the_first() {
        let mut first = Locker::new().unwrap();
        first.add(1, b"from the first").unwrap();
        let mut second = Locker { file: first.file.try_clone().unwrap(), end: 0 };
        second.catch_up();
        second.add(2, b"from the second").unwrap();
        let reader = first.reader().unwrap();
        assert_eq!(reader.find(1).unwrap(), b"from the first");
        assert_eq!(reader.find(2).unwrap(), b"from the second");
    }

    #[test]
    fn a_reader_cannot_write() {
        let locker = Locker::new().unwrap();
        assert!(locker.reader().unwrap().file.write_at(b"x", 0).is_err());
    }

    #[test]
    fn a_place_outside_is_an_error() {
        let mut locker = Locker::new().unwrap();
        locker.add(1, b"x").unwrap();
        let reader = locker.reader().unwrap();
        assert!(reader.content(1 << 40, 1).is_err());
        assert!(reader.content(0, 4096).is_err());
    }
}
