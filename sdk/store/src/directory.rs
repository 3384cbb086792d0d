//! Directories as held descriptors: every operation is relative to one, and follows no link in the last name.
//!
//! This is the only file of the crate that creates, opens or removes names. It decides nothing about ownership.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use crate::StoreError;

/// How deep a tree may be that [`Directory::remove_tree`] removes; report directories are flat.
const DEPTH: u32 = 16;

/// What of a file that was replaced is there after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The file with its content.
    Content,
    /// The file, with its content or empty.
    Name,
    /// The file as it was before, or as now, or empty.
    Later,
}

/// An open directory and the path that it was opened by, for messages only.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by a path that only trusted users can change; an administrator may have put a link there.
    pub(crate) fn open(path: &Path) -> Result<Directory, StoreError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = openat(AT_FDCWD, path, flags, Mode::empty());
        Ok(Directory {
            fd: fd.map_err(|e| StoreError::io(path.display().to_string(), e))?,
            path: path.into(),
        })
    }

    /// Opens the subdirectory `name` for passing through only: it may be one whose names this user may not read.
    pub(crate) fn passage(&self, name: &str) -> Result<Directory, StoreError> {
        let fd = openat(&self.fd, name, directory_flags() | OFlag::O_PATH, Mode::empty());
        Ok(Directory { fd: fd.map_err(|e| self.error(name, e))?, path: self.path.join(name) })
    }

    /// Creates what is missing of a trusted path, with exactly `mode`, and opens it.
    pub(crate) fn create(path: &Path, mode: u32) -> Result<Directory, StoreError> {
        match Directory::open(path) {
            Err(error) if error.is_missing() => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Directory::open(path);
        };
        Directory::create(parent, mode)?.make(&name.to_string_lossy(), mode)
    }

    /// Opens the subdirectory `name`, creating it with exactly `mode` where it is missing.
    pub(crate) fn make(&self, name: &str, mode: u32) -> Result<Directory, StoreError> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(mode & 0o700)) {
            Ok(()) => {
                let made = self.subdirectory(name)?;
                made.set_mode(mode)?;
                Ok(made)
            }
            Err(Errno::EEXIST) => self.subdirectory(name),
            Err(error) => Err(self.error(name, error)),
        }
    }

    /// Creates the subdirectory `name`, which must not exist.
    pub(crate) fn make_new(&self, name: &str, mode: u32) -> Result<Directory, StoreError> {
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode)).map_err(|e| self.error(name, e))?;
        self.subdirectory(name)
    }

    /// Opens the subdirectory `name`; a link is refused.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<Directory, StoreError> {
        let fd = openat(&self.fd, name, directory_flags(), Mode::empty());
        Ok(Directory { fd: fd.map_err(|e| self.error(name, e))?, path: self.path.join(name) })
    }

    /// Opens a regular file for reading. Links, devices, FIFOs and sockets are refused, and never waited for.
    pub(crate) fn open_file(&self, name: &str) -> Result<File, StoreError> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::ELOOP) => return Err(self.untrusted(name, "it is a symbolic link")),
            other => other.map_err(|e| self.error(name, e))?,
        };
        require_regular(&fd).map_err(|why| self.untrusted(name, why))?;
        Ok(File::from(fd))
    }

    /// Creates a file that must not exist, for reading and writing by its owner alone.
    pub(crate) fn create_file(&self, name: &str) -> Result<File, StoreError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600));
        Ok(File::from(fd.map_err(|e| self.error(name, e))?))
    }

    /// Creates a file that has no name yet, for reading and writing.
    pub(crate) fn nameless_file(&self) -> Result<File, StoreError> {
        let flags = OFlag::O_RDWR | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, ".", flags, Mode::from_bits_truncate(0o600));
        Ok(File::from(fd.map_err(|e| self.error("", e))?))
    }

    /// Gives a nameless file a name that nobody has yet.
    pub(crate) fn link(&self, file: &File, name: &str) -> Result<(), StoreError> {
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(AT_FDCWD, own.as_str(), &self.fd, name, AtFlags::AT_SYMLINK_FOLLOW)
            .map_err(|e| self.error(name, e))
    }

    /// Opens a file to be locked, creating it where it is missing.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File, StoreError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600));
        let fd = fd.map_err(|e| self.error(name, e))?;
        require_regular(&fd).map_err(|why| self.untrusted(name, why))?;
        Ok(File::from(fd))
    }

    /// Replaces `name` by `content`: readers see the old or the new, also after a power cut.
    pub(crate) fn write_atomically(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.replace(name, content, Durable::Content)
    }

    /// Replaces `name` by `content`: readers see the old or the new, after a power cut what `durable` promises.
    pub(crate) fn replace(&self, name: &str, content: &[u8], durable: Durable) -> Result<(), StoreError> {
        // Whoever holds a half-written predecessor has died: one writer at a time is the uploader's lock's business,
        // and a race between two writers ends in one of them failing, never in a mixture.
        let draft = format!(".{name}.new");
        match unlinkat(&self.fd, draft.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(self.error(&draft, error)),
        }
        let mut file = self.create_file(&draft)?;
        let written = file
            .write_all(content)
            .and_then(|()| if durable == Durable::Content { file.sync_all() } else { Ok(()) })
            .map_err(|e| self.error(name, e))
            .and_then(|()| self.rename(&draft, self, name, RenameFlags::empty()))
            .and_then(|()| if durable == Durable::Later { Ok(()) } else { self.sync() });
        if written.is_err() {
            // The draft holds nothing that anybody waits for; the first error is the one to tell.
            let _ = unlinkat(&self.fd, draft.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Moves `from` in this directory to `to` in another.
    pub(crate) fn rename(
        &self,
        from: &str,
        other: &Directory,
        to: &str,
        flags: RenameFlags,
    ) -> Result<(), StoreError> {
        renameat2(&self.fd, from, &other.fd, to, flags).map_err(|e| other.error(to, e))
    }

    /// Removes a file or link.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), StoreError> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir).map_err(|e| self.error(name, e))
    }

    /// Removes a directory and everything in it, `last` after everything else; links are removed, not followed.
    pub(crate) fn remove_tree(&self, name: &str, last: &[&str]) -> Result<(), StoreError> {
        self.remove_level(name, last, DEPTH)
    }

    fn remove_level(&self, name: &str, last: &[&str], depth: u32) -> Result<(), StoreError> {
        let tree = self.subdirectory(name)?;
        let mut names = tree.names()?;
        names.sort_by_key(|entry| last.contains(&entry.as_str()));
        for entry in names {
            match unlinkat(&tree.fd, entry.as_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR) if depth > 0 => tree.remove_level(&entry, last, depth - 1)?,
                Err(error) => return Err(tree.error(&entry, error)),
            }
        }
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir).map_err(|e| self.error(name, e))
    }

    /// All names in the directory; names that are not UTF-8 are none of ours and are left out.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut stream = Dir::openat(&self.fd, ".", directory_flags(), Mode::empty())
            .map_err(|e| StoreError::io(self.path.display().to_string(), e))?;
        let mut names = Vec::new();
        for entry in stream.iter() {
            let entry = entry.map_err(|e| StoreError::io(self.path.display().to_string(), e))?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// What `name` is, without following it.
    pub(crate) fn stat(&self, name: &str) -> Result<FileStat, StoreError> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|e| self.error(name, e))
    }

    /// What this directory is.
    pub(crate) fn own_stat(&self) -> Result<FileStat, StoreError> {
        fstat(&self.fd).map_err(|e| StoreError::io(self.path.display().to_string(), e))
    }

    /// Gives this directory exactly `mode`.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), StoreError> {
        fchmod(&self.fd, Mode::from_bits_truncate(mode))
            .map_err(|e| StoreError::io(self.path.display().to_string(), e))
    }

    /// Makes the directory's names durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        nix::unistd::fsync(&self.fd).map_err(|e| StoreError::io(self.path.display().to_string(), e))
    }

    /// Makes everything durable that was written to this directory's file system.
    pub(crate) fn sync_all(&self) -> Result<(), StoreError> {
        nix::unistd::syncfs(&self.fd).map_err(|e| StoreError::io(self.path.display().to_string(), e))
    }

    /// Bytes on disk below this directory's entry `name`, one level deep.
    pub(crate) fn size_of(&self, name: &str) -> u64 {
        let Ok(tree) = self.subdirectory(name) else { return 0 };
        tree.names()
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| tree.stat(entry).ok())
            .map(|s| on_disk(&s))
            .sum()
    }

    /// The path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A second descriptor for the same directory.
    pub(crate) fn duplicate(&self) -> Result<Directory, StoreError> {
        let fd = self.fd.try_clone().map_err(|e| StoreError::io(self.path.display().to_string(), e))?;
        Ok(Directory { fd, path: self.path.clone() })
    }

    /// The descriptor as a file, whose lock is this directory's lock.
    pub(crate) fn as_file(&self) -> Result<File, StoreError> {
        Ok(File::from(self.duplicate()?.fd))
    }

    pub(crate) fn error(&self, name: &str, source: impl Into<io::Error>) -> StoreError {
        StoreError::io(self.path.join(name).display().to_string(), source)
    }

    pub(crate) fn untrusted(&self, name: &str, why: &'static str) -> StoreError {
        StoreError::Untrusted { what: self.path.join(name).display().to_string(), why }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All of a file, up to `limit` bytes.
pub(crate) fn read_limited(file: &mut impl Read, what: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|e| StoreError::io(what.display().to_string(), e))?;
    if content.len() as u64 > limit {
        return Err(StoreError::TooLarge { what: what.display().to_string(), limit });
    }
    Ok(content)
}

/// The space that a file takes, which for a sparse file is less than its length.
pub(crate) fn on_disk(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

pub(crate) fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Says what is wrong with a descriptor that should be a regular file.
pub(crate) fn require_regular(fd: impl AsFd) -> Result<FileStat, &'static str> {
    let stat = fstat(fd).map_err(|_| "it cannot be examined")?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG {
        Ok(stat)
    } else {
        Err("it is no regular file")
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}
