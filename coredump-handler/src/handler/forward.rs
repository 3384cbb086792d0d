//! The whole core, handed on when the report is complete: what was taken of it, then what is still in the pipe, to
//! each of those who want it.
//!
//! The process is held until they have it, or until the time for that is over. Nothing is parsed here; a receiver that
//! fails, stops reading or takes too long loses only its own copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::Child;

const BLOCK: usize = 256 << 10;

/// Who wants the whole core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The report's directory.
    Kept,
    /// The handler that was there before.
    Previous,
    /// The crashed program's current directory.
    Plain,
}

impl Who {
    /// Its copy, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Who::Kept => "the kept core",
            Who::Previous => "the previous handler's core",
            Who::Plain => "the core in the current directory",
        }
    }
}

/// A process that gets the core.
pub struct Receiver {
    who: Who,
    process: Child,
    // None once it has failed.
    pipe: Option<File>,
    problem: Option<String>,
}

impl Receiver {
    /// A process that reads from the other end of `pipe`.
    ///
    /// # Errors
    /// The pipe's modes cannot be changed.
    pub fn new(who: Who, process: Child, pipe: OwnedFd) -> io::Result<Receiver> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Fewer turns; a pipe that cannot grow serves as well.
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Receiver { who, process, pipe: Some(File::from(pipe)), problem: None })
    }

    fn give(&mut self, mut bytes: &[u8], until: Instant) {
        while let Some(pipe) = self.pipe.as_mut().filter(|_| !bytes.is_empty()) {
            let failed = match pipe.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match ready(pipe.as_fd(), PollFlags::POLLOUT, until) {
                        true => continue,
                        false => "it took too long".to_owned(),
                    }
                }
                // Its exit code says whether it had what it wanted.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.pipe = None;
                    return;
                }
                Err(error) => error.to_string(),
            };
            self.pipe = None;
            self.problem = Some(failed);
        }
    }

    // Waits for its end. What went wrong, if anything did.
    fn end(mut self, until: Instant) -> Option<String> {
        drop(self.pipe.take());
        if !ready(self.process.as_fd(), PollFlags::POLLIN, until) {
            self.process.kill();
            return Some("it took too long".into());
        }
        let how = self.process.failed();
        self.process.ended();
        how.map(|how| format!("it {how}")).or(self.problem)
    }
}

/// Gives the core to all receivers: the first `length` bytes from `head`, the rest from `input`, which must not block.
/// Returns who did not get it, and why.
pub fn forward(
    (head, length): (&File, u64),
    input: &File,
    mut receivers: Vec<Receiver>,
    until: Instant,
) -> Vec<(Who, Option<String>)> {
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    let mut cut = None;
    while receivers.iter().any(|receiver| receiver.pipe.is_some()) {
        let read = match at < length {
            true => {
                let most = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
                head.read_at(&mut block[..most], at)
            }
            false => next(input, &mut block, until),
        };
        match read {
            Ok(0) => break,
            Ok(count) => {
                at += count as u64;
                receivers.iter_mut().for_each(|receiver| receiver.give(&block[..count], until));
            }
            Err(error) => {
                cut = Some(format!("the core ended after {at} bytes: {error}"));
                break;
            }
        }
    }
    let end = |receiver: Receiver| (receiver.who, receiver.end(until).or_else(|| cut.clone()));
    receivers.into_iter().map(end).collect()
}

fn next(mut input: &File, block: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        match input.read(block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !ready(input.as_fd(), PollFlags::POLLIN, until) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            other => return other,
        }
    }
}

fn ready(source: std::os::fd::BorrowedFd<'_>, what: PollFlags, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let patience = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(source, what)], patience) {
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::unistd::pipe2;

    use super::*;

    // A process that reads so much of its standard input and ends with this code.
    fn receiver(script: &'static str) -> Receiver {
        // Not for other tests' processes: the stream ends when the last of those who can write has closed it.
        let (input, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let process = Child::spawn(None, || {
            // Comes back only when it failed.
            let _ = Command::new("sh").args(["-c", script]).stdin(input).exec();
            127
        });
        Receiver::new(Who::Plain, process.unwrap(), output).unwrap()
    }

    fn stream(bytes: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![5; bytes]).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn everybody_gets_all_of_it_and_who_fails_loses_only_its_own() {
        let all = receiver("test $(wc -c) = 5000100");
        let fails = receiver("head -c 10 >/dev/null; exit 3");
        let stops = receiver("head -c 10 >/dev/null");
        let until = Instant::now() + Duration::from_secs(20);
        let outcomes = forward((&stream(100), 100), &stream(5_000_000), vec![all, fails, stops], until);
        assert_eq!(outcomes[0].1, None);
        assert_eq!(outcomes[1].1.as_deref(), Some("it ended with code 3"));
        assert_eq!(outcomes[2].1, None);
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let never = receiver("sleep 60");
        let begun = Instant::now();
        let until = begun + Duration::from_millis(300);
        let outcomes = forward((&stream(0), 0), &stream(5_000_000), vec![never], until);
        assert_eq!(outcomes[0].1.as_deref(), Some("it took too long"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_core_that_does_not_come_is_a_problem_of_everybodys() {
        let (input, _held) = pipe2(OFlag::O_CLOEXEC).unwrap();
        fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let until = Instant::now() + Duration::from_millis(1000);
        let reader = receiver("cat >/dev/null");
        let outcomes = forward((&stream(7), 7), &File::from(input), vec![reader], until);
        assert!(outcomes[0].1.is_some());
    }
}
