//! A plain core in the crashed program's current directory, for developers: what the kernel would have written there
//! itself, and with no more rights than the program had.
//!
//! Written by a process that has become the crashed user before it looks at the directory. Never for a program that held
//! more than its user may see. The user's limit for core files holds; pages of zeros become holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::arguments::Crash;
use super::child::Child;
use super::forward::{Receiver, Who};
use super::sandbox;
use crate::process::Process;

const PAGE: usize = 4096;

/// Starts the process that writes `core.PID`, with the number that the program knew itself by.
///
/// # Errors
/// The system has no processes or descriptors.
pub fn start(crash: &Crash, process: &Process, inner_pid: u32) -> io::Result<Receiver> {
    let (input, output) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let writer = Child::spawn(None, || {
        let write = || -> io::Result<()> {
            sandbox::keep_only(&[input.as_raw_fd(), process.as_fd().as_raw_fd()])?;
            become_user(crash.uid, crash.gid)?;
            let file = create(process, &format!("core.{inner_pid}"))?;
            copy(&mut File::from(input), &file, crash.core_limit)
        };
        i32::from(write().is_err())
    })?;
    Receiver::new(Who::Plain, writer, output)
}

fn become_user(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    // From here on the user could trace this process, were it dumpable.
    nix::sys::prctl::set_dumpable(false)?;
    super::bind_to_parent()?;
    Ok(())
}

// A name that is there already is left alone, whatever it is.
fn create(process: &Process, name: &str) -> io::Result<File> {
    let directory =
        openat(process, "cwd", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
}

fn copy(input: &mut impl Read, file: &File, limit: u64) -> io::Result<()> {
    let mut block = vec![0; 64 * PAGE];
    let (mut at, mut filled) = (0u64, 0);
    loop {
        match input.read(&mut block[filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(count) => {
                filled += count;
                if count > 0 && filled < block.len() {
                    continue;
                }
            }
        }
        let room = usize::try_from(limit - at).unwrap_or(usize::MAX).min(filled);
        for (page, content) in block[..room].chunks(PAGE).enumerate() {
            if content.iter().any(|byte| *byte != 0) {
                file.write_all_at(content, at + (page * PAGE) as u64)?;
            }
        }
        at += room as u64;
        if filled < block.len() || at == limit {
            // A hole at the end has its length, too.
            return file.set_len(at);
        }
        filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn copied(content: &[u8], limit: u64) -> (Vec<u8>, u64) {
        let file = tempfile::tempfile().unwrap();
        copy(&mut &*content, &file, limit).unwrap();
        let status = file.metadata().unwrap();
        let mut whole = vec![0; status.len() as usize];
        file.read_exact_at(&mut whole, 0).unwrap();
        (whole, status.blocks() * 512)
    }

    #[test]
    fn a_copy_is_the_core_up_to_the_limit_with_its_holes() {
        let mut content = vec![0; 3_000_000];
        content[5000] = 1;
        content[2_000_001] = 2;
        let (whole, used) = copied(&content, u64::MAX);
        assert!(whole == content && used < 1 << 20, "{used}");
        assert!(copied(&content, 2_000_002).0 == content[..2_000_002]);
        assert!(copied(&content, 0).0.is_empty());
        assert!(copied(&[], 10).0.is_empty());
    }
}
