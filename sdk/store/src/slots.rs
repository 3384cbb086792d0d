//! How many crashes of one user are in hand at the same time: the kernel starts only so many handlers at once, and nobody
//! may have them all.
//!
//! A slot is one byte of a locked file, held by the handler's process and given back by the kernel when that ends,
//! however it ends. Nothing is ever written into the file.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::directory::Directory;
use crate::incoming::own_directory;
use crate::{Places, StoreError};

/// A user's place among the crashes that are being handled. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    _file: File,
}

/// Takes one of `uid`'s `most` slots. `None`: all of them are held.
///
/// # Errors
/// The run-time directory cannot be used.
pub fn take(places: &Places, uid: u32, most: u32) -> Result<Option<Slot>, StoreError> {
    let directory = own_directory(&Directory::create(&places.runtime(), 0o755)?, "slots", 0o700)?;
    let name = uid.to_string();
    let file = directory.lock_file(&name)?;
    for byte in 0..most {
        let range = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: libc::off_t::from(byte),
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => return Ok(Some(Slot { _file: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(error) => return Err(directory.error(&name, error)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_slots_and_another_user_has_others() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::system(root.path());
        let mine = || take(&places, 7, 2).unwrap();
        let (first, second) = (mine(), mine());
        assert!(first.is_some() && second.is_some() && mine().is_none());
        assert!(take(&places, 8, 2).unwrap().is_some());
        drop(first);
        assert!(mine().is_some());
    }
}
