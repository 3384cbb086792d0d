//! The broker: the hands of a worker that has no rights. It answers numeric questions about one process, opens what
//! that process could open, and parses nothing. What the worker gives it the sum of is arithmetic, no more.
//!
//! It is no longer root: the worker's own user with the six capabilities that this takes (`privileges`).
//!
//! It does not hold the core's pipe: should it hang on a page that never comes, the crashed process is let go all the
//! same. What it reads goes into the locker, what it opens goes over the channel as a descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::channel::{Answer, Channel, Question};
use super::locker::Locker;
use super::logs;
use crate::package::sha256;
use crate::process::{MappingRefused, Process};
use crate::surroundings::is_unit_name;

/// The locker's numbers for what is no part of the process.
pub const JOURNAL: u32 = 1000;
/// See [`JOURNAL`].
pub const KERNEL_LOG: u32 = 1001;
/// See [`JOURNAL`].
pub const DIGEST: u32 = 1002;

/// A file whose sum takes longer has none.
const DIGEST_PATIENCE: Duration = Duration::from_millis(500);

/// Whom the broker serves, and what it may give.
pub struct Broker<'a> {
    /// The connection to the worker.
    pub channel: Channel,
    /// The process it answers for.
    pub process: &'a Process,
    /// Its user.
    pub uid: u32,
    /// Whom to run as: user and group.
    pub user: (u32, u32),
    /// Where it leaves what it reads.
    pub locker: &'a mut Locker,
    /// Whether it may read from the process's memory: arguments, environment, memory itself.
    pub memory: bool,
    /// Whether the report's owner may see the kernel's log.
    pub kernel_log: bool,
}

impl Broker<'_> {
    /// Answers until the worker is gone.
    pub fn serve(mut self) -> i32 {
        let ready = super::sandbox::keep_only(&self.descriptors())
            .and_then(|()| super::privileges::become_broker(self.user.0, self.user.1));
        if ready.is_err() {
            return 1;
        }
        while let Ok(Some((question, given))) = self.channel.receive::<Question>() {
            let (answer, descriptor) = self.answer(question, given.map(File::from));
            if self.channel.send(&answer, descriptor.as_ref().map(AsFd::as_fd)).is_err() {
                break;
            }
        }
        0
    }

    fn descriptors(&self) -> Vec<i32> {
        vec![
            self.channel.as_fd().as_raw_fd(),
            self.process.as_fd().as_raw_fd(),
            self.locker.as_fd().as_raw_fd(),
        ]
    }

    fn answer(&mut self, question: Question, given: Option<File>) -> (Answer, Option<File>) {
        let content = match question {
            Question::Part(part) if part.reads_memory() && !self.memory => return refused(libc::EPERM),
            Question::Part(part) => (part as u32, self.process.read(part)),
            Question::Memory if !self.memory => return refused(libc::EPERM),
            Question::Memory => return opened(self.process.memory()),
            Question::Mapping(start, end) => return regular(self.process.mapping(start, end)),
            // Finding a file may block where its name leads.
            Question::File(_) if !self.memory => return refused(libc::EPERM),
            Question::File(path) => return regular(self.process.file(&path)),
            Question::Journal(_) if !logs::has_journal() => return refused(libc::ENOENT),
            Question::Journal(unit) => {
                let unit = std::str::from_utf8(&unit).ok().filter(|unit| is_unit_name(unit));
                (JOURNAL, logs::journal(self.process.pid(), self.uid, unit))
            }
            Question::KernelLog if !self.kernel_log => return refused(libc::EPERM),
            Question::KernelLog => (KERNEL_LOG, logs::kernel()),
            Question::Digest => (DIGEST, digest(given)),
        };
        let (number, content) = content;
        match content.and_then(|content| self.locker.add(number, &content)) {
            Ok((offset, length)) => (Answer::Here(offset, length), None),
            Err(error) => (refusal(&error), None),
        }
    }
}

// Whoever asks may have been taken over: nothing is read that could block, and nothing for long.
fn digest(given: Option<File>) -> io::Result<Vec<u8>> {
    let file = given.ok_or(io::ErrorKind::InvalidInput)?;
    if fstatfs(&file)?.filesystem_type() != TMPFS_MAGIC || !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sum = sha256(&file, Instant::now() + DIGEST_PATIENCE);
    Ok(sum.ok_or(io::ErrorKind::TimedOut)?.into_bytes())
}

fn regular(file: Result<File, MappingRefused>) -> (Answer, Option<File>) {
    match file {
        Ok(file) => opened(Ok(file)),
        Err(MappingRefused::Io(error)) => opened(Err(error)),
        Err(MappingRefused::NotRegular) => (Answer::NotRegular, None),
        Err(MappingRefused::MayBlock(_)) => (Answer::MayBlock, None),
    }
}

fn opened(file: io::Result<File>) -> (Answer, Option<File>) {
    match file {
        Ok(file) => (Answer::Here(0, 0), Some(file)),
        Err(error) => (refusal(&error), None),
    }
}

fn refused(number: i32) -> (Answer, Option<File>) {
    (Answer::Refused(number), None)
}

fn refusal(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::TimedOut => Answer::Refused(libc::ETIMEDOUT),
        _ => Answer::Refused(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn only_a_file_in_memory_is_summed_up() {
        let mut file = File::from(memfd_create(c"part", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(b"abc").unwrap();
        let sum = digest(Some(file)).unwrap();
        assert_eq!(sum, b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-2");
        let (pipe, _writer) = nix::unistd::pipe().unwrap();
        for other in [Some(File::from(pipe)), File::open("/proc/self/maps").ok(), None] {
            assert_eq!(digest(other).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
