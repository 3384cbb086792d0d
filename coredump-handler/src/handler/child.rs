//! The handler's child processes: forked without exec, watched through a pidfd, never waited for without a deadline.
//!
//! The supervisor has one thread, so a plain copy of it is a sound place to go on working; it saves the time of an
//! exec, and what the child needs is simply there. A child's code never returns into its parent's frames.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

/// A running child.
pub struct Child {
    pidfd: OwnedFd,
}

/// The exit code of a child whose code panicked.
pub const PANICKED: i32 = 101;

impl Child {
    /// Starts a child that runs `work` and exits with what it returns, in `group` where one is given.
    ///
    /// # Errors
    /// The system can make no process.
    pub fn spawn(group: Option<BorrowedFd<'_>>, work: impl FnOnce() -> i32) -> io::Result<Child> {
        match fork(group) {
            // A group that takes no processes must not cost the report.
            Err(_) if group.is_some() => Self::spawn(None, work),
            Err(error) => Err(error),
            Ok(Forked::Parent(pidfd)) => Ok(Child { pidfd }),
            Ok(Forked::Child) => {
                // No child ever holds the core's pipe: a child that hangs must not hold the crashed process.
                let released = drop_input();
                let work = || released.map_or(PANICKED, |()| work());
                let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
                // SAFETY: ends this process without running anything else of it; always sound.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// How it ended, where it has ended.
    pub fn ended(&self) -> Option<String> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(format!("ended with code {code}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("died by {signal}")),
            Ok(_) => None,
            // Nobody else waits for our children: it was waited for already.
            Err(_) => Some("has ended".into()),
        }
    }

    /// How it ended, where that was otherwise than with code 0.
    pub fn failed(&self) -> Option<String> {
        let only_looking = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::PIDFd(self.pidfd.as_fd()), only_looking) {
            Ok(WaitStatus::Exited(_, 0)) => None,
            _ => self.ended(),
        }
    }

    /// Kills it. A child in an uninterruptible wait stays until that ends; nobody waits for it.
    pub fn kill(&self) {
        // SAFETY: takes a descriptor that we hold, integers, and a null pointer that the call documents as allowed.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                Signal::SIGKILL as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
        }
    }
}

/// Readable once the child has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Opens a pidfd of the process that has this number now.
///
/// # Errors
/// There is none.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let raw = nix::errno::Errno::result(opened)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

/// Takes over a descriptor that the kernel left open for this program, such as `%F`'s pidfd.
///
/// # Errors
/// There is no such descriptor.
pub fn inherited(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD touches no memory and fails on a descriptor that is not open.
    nix::errno::Errno::result(unsafe { libc::fcntl(raw, libc::F_GETFD) })?;
    // SAFETY: it is open, the kernel opened it for this program, and the caller takes it over once.
    let owned = unsafe { OwnedFd::from_raw_fd(raw) };
    nix::fcntl::fcntl(&owned, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(owned)
}

/// Puts a descriptor under `number`, where a program that this process becomes will find it. What this process had
/// there is closed; whoever owned it must never be dropped.
///
/// # Errors
/// The system has no descriptors.
pub fn pass_on(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: takes integers only; the caller guarantees that nobody uses `number` any more.
    nix::errno::Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), number) })?;
    // SAFETY: as above. A copy of a descriptor to itself has kept its flag.
    nix::errno::Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
    Ok(())
}

/// Another descriptor of standard input, on which the kernel's core comes.
///
/// # Errors
/// Standard input is closed.
pub fn standard_input() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Puts `/dev/null` where standard input was: this process holds the core's pipe no longer.
///
/// # Errors
/// `/dev/null` cannot be opened; standard input is closed then.
pub fn drop_input() -> io::Result<()> {
    let null = File::open("/dev/null");
    match &null {
        Ok(null) => nix::unistd::dup2_stdin(null).map_err(io::Error::from),
        Err(_) => {
            // SAFETY: closes standard input, which nothing in this program owns as a value.
            unsafe { libc::close(0) };
            Ok(())
        }
    }?;
    null.map(drop)
}

enum Forked {
    Parent(OwnedFd),
    Child,
}

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

// clone3 puts the child straight into its control group; moving a process there later costs up to 10 ms.
fn fork(group: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut raw: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: CLONE_PIDFD,
        pidfd: (&raw mut raw) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = group.as_raw_fd() as u64;
    }
    let size = size_of::<CloneArguments>();
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of everything. The caller guarantees by the
    // program's design that there is one thread, so no lock is held by a thread that the copy lacks. The arguments
    // live until the call returns and `raw` is written by the kernel alone.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) };
    match nix::errno::Errno::result(result)? {
        0 => Ok(Forked::Child),
        // SAFETY: the kernel has just stored this new descriptor for the parent alone.
        _ => Ok(Forked::Parent(unsafe { OwnedFd::from_raw_fd(raw) })),
    }
}
