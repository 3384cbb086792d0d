//! One connection on the coredump socket: who crashed at its other end, and the few words that the kernel expects
//! before it sends the core.
//!
//! Everything comes from the kernel: the peer's pidfd and what the kernel says of it. A peer that is no dying process
//! is turned away, whoever it is. Nothing here waits for longer than a moment.
//!
//! ```text
//! kernel ──▶ u32 size of this, u32 size of the answer, u64 what may be asked for     (patterns with `@@` only)
//! kernel ◀── u32 size of this, u32 0, u64 what is asked for
//! kernel ──▶ u32 0, or why not
//! kernel ──▶ the core; the process is held until we close
//! ```
#![allow(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, getsockopt, recv, sockopt};

use super::arguments::Crash;
use crate::process::{Part, Process, core_limit, fatal_signal};

/// The kernel answers at once; whoever does not is no kernel.
const MOMENT: Duration = Duration::from_secs(2);

/// Why a connection is no crash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCrash {
    /// The kernel does not say who is at the other end.
    #[error("the kernel does not say who is at the other end: {0}")]
    Unknown(io::Error),
    /// A living process has connected.
    #[error("process {0} is not being dumped")]
    Alive(u32),
    /// The process was gone before anything could be read of it.
    #[error("process {0} is gone: {1}")]
    Gone(u32, io::Error),
}

// The beginning of the kernel's `struct pidfd_info`, up to what it says of core dumps.
#[repr(C)]
#[derive(Default)]
struct Information {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    others: [u32; 6],
    exit_code: i32,
    coredump: u32,
    signal: u32,
}

const _: () = assert!(size_of::<Information>() == 72);

const INFO_PID: u64 = 1;
const INFO_CREDENTIALS: u64 = 2;
const INFO_COREDUMP: u64 = 16;
const DUMPED: u32 = 1;
const DUMPED_AS_USER: u32 = 4;
const DUMPED_AS_ROOT: u32 = 8;

mod call {
    #![allow(missing_docs, reason = "the macro writes none")]
    nix::ioctl_readwrite!(information, 0xff, 11, super::Information);
}

fn information(pidfd: &OwnedFd) -> io::Result<Information> {
    let mut information =
        Information { mask: INFO_PID | INFO_CREDENTIALS | INFO_COREDUMP, ..Information::default() };
    // SAFETY: the request's number carries the structure's size, and the kernel writes no more than that into it.
    unsafe { call::information(pidfd.as_raw_fd(), &raw mut information) }?;
    Ok(information)
}

/// What the kernel would have said on a command line about the process at the other end of `connection`. The crash's
/// pidfd is open and belongs to whoever handles it.
///
/// # Errors
/// The peer is no dying process, or it is gone.
pub fn crash(connection: &UnixStream, root: &Path) -> Result<Crash, NoCrash> {
    let unknown = |error: nix::Error| NoCrash::Unknown(error.into());
    let pidfd = getsockopt(connection, sockopt::PeerPidfd).map_err(unknown)?;
    let told = information(&pidfd).map_err(NoCrash::Unknown)?;
    let pid = told.tgid;
    if told.mask & INFO_COREDUMP == 0 || told.coredump & DUMPED == 0 {
        return Err(NoCrash::Alive(pid));
    }
    let gone = |error| NoCrash::Gone(pid, error);
    let number = i32::try_from(pid).map_err(|error| gone(io::Error::other(error)))?;
    let process = Process::open(number).map_err(gone)?;
    if !process.is(pidfd.as_fd()) {
        return Err(gone(io::Error::from_raw_os_error(libc::ESRCH)));
    }
    let stat = process.read(Part::Stat).map_err(gone)?;
    let limits = process.read(Part::Limits).unwrap_or_default();
    let now = jiff::Timestamp::now().as_second();
    Ok(Crash {
        root: root.to_path_buf(),
        pid: number,
        uid: told.ruid,
        gid: told.rgid,
        signal: fatal_signal(&stat).unwrap_or_default(),
        time: now,
        core_limit: core_limit(&limits).unwrap_or_default(),
        host: nix::sys::utsname::uname().map(|names| names.nodename().to_owned()).unwrap_or_default(),
        dumpable: match told.coredump {
            how if how & DUMPED_AS_ROOT != 0 => 2,
            how if how & DUMPED_AS_USER != 0 => 1,
            _ => 0,
        },
        pidfd: Some(pidfd.into_raw_fd()),
    })
}

/// Why the kernel sends no core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCore {
    /// The connection broke, or nothing came.
    #[error("the kernel's request did not come: {0}")]
    Broken(#[from] io::Error),
    /// A protocol of which we need something that it does not offer.
    #[error("the kernel offers {0:#x}, not a core that we may take our time over")]
    NotOffered(u64),
    /// The kernel did not like the answer.
    #[error("the kernel refused the answer with {0}")]
    Refused(u32),
}

const ASK_KERNEL: u64 = 1;
const ASK_WAIT: u64 = 8;

/// Asks the kernel for the core, and to hold the process until we close. Kernels that are asked by a pattern with one
/// `@` send it unasked.
///
/// # Errors
/// No core will come.
pub fn request_core(connection: &mut UnixStream) -> Result<(), NoCore> {
    connection.set_read_timeout(Some(MOMENT))?;
    connection.set_write_timeout(Some(MOMENT))?;
    let mut start = [0; 4];
    let seen = recv(connection.as_raw_fd(), &mut start, MsgFlags::MSG_PEEK).map_err(io::Error::from)?;
    if start[..seen].starts_with(b"\x7fEL") {
        return Ok(());
    }
    let mut request = [0; 16];
    connection.read_exact(&mut request)?;
    // Later kernels may say more.
    let more = u64::from(word(&request, 0)).saturating_sub(16).min(4096);
    io::copy(&mut Read::take(&mut *connection, more), &mut io::sink())?;
    let offered = u64::from(word(&request, 8)) | u64::from(word(&request, 12)) << 32;
    let wanted = ASK_KERNEL | ASK_WAIT;
    if offered & wanted != wanted {
        return Err(NoCore::NotOffered(offered));
    }
    let mut answer = [0; 16];
    answer[0] = 16;
    answer[8..].copy_from_slice(&wanted.to_le_bytes());
    connection.write_all(&answer)?;
    let mut mark = [0; 4];
    connection.read_exact(&mut mark)?;
    match word(&mark, 0) {
        0 => Ok(()),
        why => Err(NoCore::Refused(why)),
    }
}

// The kernel's words are in the machine's own order.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What the kernel says first, and what it answers to us.
    fn kernel(mut end: UnixStream, request: Vec<u8>, mark: u32) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            end.write_all(&request).unwrap();
            let mut answer = [0; 16];
            if end.read_exact(&mut answer).is_ok() {
                end.write_all(&mark.to_ne_bytes()).unwrap();
            }
            answer.to_vec()
        })
    }

    fn offer(size: u32, mask: u64) -> Vec<u8> {
        let mut bytes = [size.to_ne_bytes(), 16u32.to_ne_bytes()].concat();
        bytes.extend(mask.to_ne_bytes());
        bytes.resize(size as usize, 7);
        bytes
    }

    #[test]
    fn the_core_is_asked_for_and_the_process_held() {
        for size in [16, 40] {
            let (mut near, far) = UnixStream::pair().unwrap();
            let kernel = kernel(far, offer(size, 0xf), 0);
            request_core(&mut near).unwrap();
            assert_eq!(kernel.join().unwrap(), [&[16, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 7]].concat());
        }
    }

    #[test]
    fn a_core_that_comes_unasked_is_left_where_it_is() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"\x7fELF rest").unwrap();
        request_core(&mut near).unwrap();
        let mut start = [0; 9];
        near.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"\x7fELF rest");
    }

    #[test]
    fn a_kernel_that_will_not_send_is_an_error() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let refusing = kernel(far, offer(16, 0xf), 4);
        assert!(matches!(request_core(&mut near), Err(NoCore::Refused(4))));
        refusing.join().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        let lacking = kernel(far, offer(16, 0x6), 0);
        assert!(matches!(request_core(&mut near), Err(NoCore::NotOffered(6))));
        drop(near);
        lacking.join().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        drop(far);
        assert!(matches!(request_core(&mut near), Err(NoCore::Broken(_))));
    }

    #[test]
    fn a_living_process_is_turned_away() {
        let (near, _far) = UnixStream::pair().unwrap();
        match crash(&near, Path::new("/")) {
            Err(NoCrash::Alive(pid)) => assert_eq!(pid, std::process::id()),
            // Kernels before 6.16 cannot say.
            Err(NoCrash::Unknown(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}
