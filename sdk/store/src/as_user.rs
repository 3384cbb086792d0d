//! What root does among a user's files, in a child that has become that user: opening one, knocking at a socket.
//!
//! Root never follows a name in a directory that belongs to somebody else. The child has the user's rights and nothing
//! more, opens one file without following a link, passes the descriptor back and ends. It may hang (the user may have
//! mounted something); the parent waits a few seconds and goes on.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrLike as _, UnixAddr, recvmsg,
    socketpair,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::incoming::Owner;

/// How long the child may take, in milliseconds.
const PATIENCE: u16 = 3000;
/// How long a knock may take: looks at whether it is over, and the time between them.
const KNOCKS: u32 = 50;
const BREATH: Duration = Duration::from_millis(10);

/// Connects to the socket at `path`, says nothing and goes away, all with the rights of `user`. Nothing comes of it where
/// nobody listens.
///
/// # Errors
/// A path that is too long for a socket, or a system without processes.
pub(crate) fn knock(path: &Path, user: Owner) -> io::Result<()> {
    let address = UnixAddr::new(path)?;
    // SAFETY: the child makes raw system calls on memory prepared here and then ends; so no lock that another thread held
    // at the fork is ever waited for.
    match unsafe { fork() }? {
        ForkResult::Child => become_and_knock(user, &address),
        ForkResult::Parent { child } => {
            for _ in 0..KNOCKS {
                match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
                    WaitStatus::StillAlive => std::thread::sleep(BREATH),
                    _ => return Ok(()),
                }
            }
            // It waits for the user's own file system. If it cannot even be killed, it is left to init.
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
            Ok(())
        }
    }
}

/// Opens `path` (no link in it, nothing above `shelf`) for reading, with the rights of `user`.
pub(crate) fn open(shelf: BorrowedFd<'_>, user: Owner, path: &str) -> io::Result<File> {
    let path = CString::new(path)?;
    let (parent_end, child_end) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the child calls nothing but `become_and_open`, which makes raw system calls on memory prepared here
    // and then ends; so no lock that another thread held at the fork is ever waited for.
    match unsafe { fork() }? {
        ForkResult::Child => become_and_open(shelf.as_raw_fd(), user, &path, child_end.as_raw_fd()),
        ForkResult::Parent { child } => {
            drop(child_end);
            let received = receive(&parent_end);
            // A child that has answered is ending; one that hangs is ended. If it cannot even be killed (it waits
            // for the user's own file system), it is left to init.
            let _ = kill(child, Signal::SIGKILL);
            let flags = if received.is_ok() { WaitPidFlag::empty() } else { WaitPidFlag::WNOHANG };
            let _ = waitpid(child, Some(flags));
            received
        }
    }
}

fn receive(from: &OwnedFd) -> io::Result<File> {
    let mut wait = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
    if poll(&mut wait, PollTimeout::from(PATIENCE))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = [0; size_of::<i32>()];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut buffers = [IoSliceMut::new(&mut answer)];
    let message =
        recvmsg::<()>(from.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let bytes = message.bytes;
    let mut file = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made this descriptor for this process; nothing else owns it.
                file = Some(unsafe { File::from_raw_fd(descriptor) });
            }
        }
    }
    match (file, i32::from_ne_bytes(answer)) {
        _ if bytes != size_of::<i32>() => Err(io::ErrorKind::UnexpectedEof.into()),
        (Some(file), _) => Ok(file),
        (None, errno) => Err(Errno::from_raw(errno).into()),
    }
}

/// The child: gives up everything that is root's, opens, answers, ends.
///
/// # Signal safety
/// Runs between fork and exit: raw system calls only, no allocation, no lock.
fn become_and_open(shelf: RawFd, user: Owner, path: &CString, to: RawFd) -> ! {
    let opened = become_user(user).and_then(|()| open_beneath(shelf, path));
    let (descriptor, errno) = match opened {
        Ok(descriptor) => (Some(descriptor), 0),
        Err(errno) => (None, errno),
    };
    send(to, descriptor, errno);
    // SAFETY: _exit takes no pointers and runs no handlers.
    unsafe { libc::_exit(0) }
}

/// The child that knocks.
///
/// # Signal safety
/// Runs between fork and exit: raw system calls only, no allocation, no lock.
fn become_and_knock(user: Owner, address: &UnixAddr) -> ! {
    if become_user(user).is_ok() {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: integers only.
        let socket = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
        // SAFETY: the address and its length belong together and outlive the call; a descriptor that is none is refused.
        unsafe { libc::connect(socket, address.as_ptr().cast(), address.len()) };
    }
    // SAFETY: _exit takes no pointers and runs no handlers.
    unsafe { libc::_exit(0) }
}

fn become_user(user: Owner) -> Result<(), i32> {
    let (uid, gid) = (libc::c_long::from(user.uid), libc::c_long::from(user.gid));
    // The raw calls: glibc's wrappers would try to tell threads that the child does not have.
    // SAFETY: a count of zero groups; the pointer is not read.
    check(unsafe { libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

fn open_beneath(shelf: RawFd, path: &CString) -> Result<RawFd, i32> {
    // SAFETY: open_how is plain integers, for which zero means "nothing asked".
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags =
        (libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV;
    let size = size_of::<libc::open_how>();
    // SAFETY: `path` is terminated, `how` has the size given; both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_openat2, shelf, path.as_ptr(), &raw const how, size) })
        .map(|descriptor| descriptor as RawFd)
}

fn send(to: RawFd, descriptor: Option<RawFd>, errno: i32) {
    #[repr(align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut word = errno.to_ne_bytes();
    let mut vector = libc::iovec { iov_base: word.as_mut_ptr().cast(), iov_len: word.len() };
    // SAFETY: msghdr is plain integers and pointers, for which zero means "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if let Some(descriptor) = descriptor {
        let length = size_of::<RawFd>() as u32;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: arithmetic on a length.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
        // SAFETY: the control buffer is aligned and longer than CMSG_SPACE of one descriptor, so that it holds one
        // header.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: as above; the header is inside the buffer.
        let header = unsafe { &mut *header };
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: arithmetic on a length.
        header.cmsg_len = unsafe { libc::CMSG_LEN(length) } as _;
        // SAFETY: the data follows the header inside the buffer.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: the buffer has room for one descriptor at `data`, at no promised alignment.
        unsafe { data.cast::<RawFd>().write_unaligned(descriptor) };
    }
    // SAFETY: every pointer in `message` is to a local that outlives the call.
    unsafe { libc::sendmsg(to, &raw const message, libc::MSG_NOSIGNAL) };
}

fn check(result: libc::c_long) -> Result<libc::c_long, i32> {
    if result < 0 { Err(Errno::last_raw()) } else { Ok(result) }
}
