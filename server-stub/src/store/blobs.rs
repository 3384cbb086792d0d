//! Files by content: `ab/cdef…`, named by the sha256 of what they hold.
//!
//! Owns drafts (bytes on their way in, in memory while they are few) and the way to disk: write beside, fsync,
//! rename, fsync the directory. Never looks into a file.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use foretrace_report::bundle::hex;
use sha2::{Digest, Sha256};

/// A draft moves to a file when it grows beyond this.
const IN_MEMORY: usize = 1 << 20;

/// A kept file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The sha256 of its content, 64 lower-case hex digits.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// A directory of files by content.
pub struct Blobs {
    root: PathBuf,
    drafts: AtomicU64,
}

impl Blobs {
    /// Opens the directory and throws away drafts that an earlier server did not finish.
    ///
    /// # Errors
    /// A directory that cannot be made or read.
    pub fn open(root: PathBuf) -> io::Result<Blobs> {
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let unfinished = root.join("tmp");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        make(&unfinished)?;
        for shard in 0..=u8::MAX {
            make(&root.join(format!("{shard:02x}")))?;
        }
        File::open(&root)?.sync_all()?;
        Ok(Blobs { root, drafts: AtomicU64::new(0) })
    }

    /// An empty draft.
    pub fn draft(&self) -> Draft {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        Draft {
            path: self.root.join("tmp").join(number.to_string()),
            file: None,
            memory: Vec::new(),
            bytes: 0,
            digest: Sha256::new(),
        }
    }

    /// A draft whose content lies in a file already; the file becomes the draft's.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn adopt(&self, path: PathBuf) -> io::Result<Draft> {
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut digest = Sha256::new();
        let mut bytes = 0;
        let mut piece = vec![0; 256 << 10];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => {
                    digest.update(&piece[..read]);
                    bytes += read as u64;
                }
            }
        }
        Ok(Draft { path, file: Some(file), memory: Vec::new(), bytes, digest })
    }

    /// Removes a kept file; one that is not there is no error.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove(&self, blob: &Blob) -> io::Result<()> {
        let path = self.path(&blob.sha256);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::open(path.parent().expect("every file lies in a shard"))?.sync_all()
    }

    /// Makes a draft a file that survives a loss of power.
    ///
    /// # Errors
    /// A write, fsync or rename that failed.
    pub fn keep(&self, mut draft: Draft) -> io::Result<Blob> {
        draft.flush()?;
        let file = draft.file.as_ref().expect("flush has made the file");
        file.sync_all()?;
        let blob = Blob { sha256: draft.sha256(), bytes: draft.bytes };
        let path = self.path(&blob.sha256);
        fs::rename(&draft.path, &path)?;
        // Also when the content was there before: whoever brought it may not have come this far.
        File::open(path.parent().expect("every file lies in a shard"))?.sync_all()?;
        Ok(blob)
    }

    /// Opens a kept file.
    ///
    /// # Errors
    /// A file that is not there or cannot be read.
    pub fn read(&self, blob: &Blob) -> io::Result<File> {
        File::open(self.path(&blob.sha256))
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.root.join(&sha256[..2]).join(&sha256[2..])
    }
}

/// Bytes on their way in. Dropped, it leaves nothing behind.
pub struct Draft {
    path: PathBuf,
    file: Option<File>,
    memory: Vec<u8>,
    bytes: u64,
    digest: Sha256,
}

impl Draft {
    /// Takes in more bytes, in memory. True when it is time to [`flush`](Draft::flush).
    pub fn push(&mut self, chunk: &[u8]) -> bool {
        self.digest.update(chunk);
        self.bytes += chunk.len() as u64;
        self.memory.extend_from_slice(chunk);
        self.memory.len() > IN_MEMORY
    }

    /// Moves what is in memory to the draft's file. Blocks.
    ///
    /// # Errors
    /// A file that cannot be made or written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let options =
                fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).to_owned();
            self.file = Some(options.open(&self.path)?);
        }
        let file = self.file.as_mut().expect("made above");
        // A reader may have left the file anywhere.
        file.seek(SeekFrom::End(0))?;
        file.write_all(&self.memory)?;
        self.memory.clear();
        Ok(())
    }

    /// The sha256 of everything taken in so far, in hex.
    pub fn sha256(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// The content so far.
    ///
    /// # Errors
    /// A file that cannot be written or read.
    pub fn reader(&mut self) -> io::Result<Box<dyn ReadSeek + '_>> {
        if self.file.is_none() {
            return Ok(Box::new(Cursor::new(&self.memory)));
        }
        self.flush()?;
        let file = self.file.as_mut().expect("checked above");
        file.rewind()?;
        Ok(Box::new(file))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some() {
            // A kept draft has moved away; then there is nothing to remove.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What a zip reader needs.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_under(path: &Path) -> usize {
        fs::read_dir(path)
            .unwrap()
            .flatten()
            .map(|entry| if entry.path().is_dir() { files_under(&entry.path()) } else { 1 })
            .sum()
    }

    #[test]
    fn content_is_found_under_its_digest_and_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().into()).unwrap();
        for _ in 0..2 {
            let mut draft = blobs.draft();
            draft.push(b"abc");
            let blob = blobs.keep(draft).unwrap();
            assert_eq!(blob.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
            let mut content = Vec::new();
            blobs.read(&blob).unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content, b"abc");
        }
        assert_eq!(files_under(folder.path()), 1);
    }

    #[test]
    fn a_large_draft_reads_the_same_before_and_after_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().into()).unwrap();
        let mut draft = blobs.draft();
        let mut expected = Vec::new();
        for n in 0..5u8 {
            let chunk = vec![n; 700_000];
            expected.extend_from_slice(&chunk);
            if draft.push(&chunk) {
                draft.flush().unwrap();
            }
        }
        let mut content = Vec::new();
        draft.reader().unwrap().read_to_end(&mut content).unwrap();
        assert!(content == expected);
        let blob = blobs.keep(draft).unwrap();
        assert_eq!(blob.bytes, expected.len() as u64);
        content.clear();
        blobs.read(&blob).unwrap().read_to_end(&mut content).unwrap();
        assert!(content == expected);
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().into()).unwrap();
        let mut draft = blobs.draft();
        draft.push(b"abc");
        draft.flush().unwrap();
        assert_eq!(files_under(folder.path()), 1);
        drop(draft);
        assert_eq!(files_under(folder.path()), 0);

        let mut unfinished = blobs.draft();
        unfinished.push(b"abc");
        unfinished.flush().unwrap();
        std::mem::forget(unfinished);
        Blobs::open(folder.path().into()).unwrap();
        assert_eq!(files_under(folder.path()), 0);
    }
}
