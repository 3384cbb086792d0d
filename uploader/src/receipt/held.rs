//! A file that is held open while it is checked and sent, and read without a shared position; a small one is read once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use bytes::Bytes;
use foretrace_report::receipt::CHUNK;

/// The held file; clones read the same file, each at its own position.
#[derive(Clone, Debug)]
pub struct Held {
    file: Arc<File>,
    // All of it, where that is no more than a chunk.
    kept: Option<Bytes>,
    length: u64,
    links: u64,
    at: u64,
}

impl Held {
    /// Holds `file`, as long as it is now.
    pub fn new(mut file: File) -> io::Result<Held> {
        let metadata = file.metadata()?;
        let length = metadata.len();
        let kept = match usize::try_from(length) {
            Ok(short) if short <= CHUNK => {
                let mut kept = Vec::with_capacity(short);
                file.rewind()?;
                if file.by_ref().take(length).read_to_end(&mut kept)? < short {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Some(Bytes::from(kept))
            }
            _ => None,
        };
        Ok(Held { file: Arc::new(file), kept, length, links: metadata.nlink(), at: 0 })
    }

    /// Whether it still has the name that it had: whoever takes an answer back removes it, and another answer replaces
    /// it.
    pub fn stands(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() >= self.links)
    }

    /// All of it, where it was read once: nobody can change what is in memory.
    pub fn kept(&self) -> Option<&Bytes> {
        self.kept.as_ref()
    }

    /// Its length when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Held {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let read = match &self.kept {
            Some(kept) => {
                let from = usize::try_from(self.at.min(self.length)).unwrap_or(usize::MAX);
                into[..wanted].copy_from_slice(&kept[from..from + wanted]);
                wanted
            }
            None => self.file.read_at(&mut into[..wanted], self.at)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Held {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
