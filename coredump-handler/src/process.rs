//! A process as `/proc` shows it: the only file of this package that reads `/proc/PID`.
//!
//! Everything goes through one held descriptor of `/proc/PID`, which stays bound to that process even when its number
//! is given to another. Files are read up to a bound and handed out as bytes (`part`), of which `facts` takes a few
//! numbers: nothing else is parsed here. Mapped files are opened without ever using the names that the process shows;
//! what follows a name of its making is in `rights`.

use std::cell::OnceCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};

use crate::maps::Mapping;

pub mod capabilities;
mod facts;
mod part;
mod rights;
mod surroundings;

use facts::{THREAD_RECORD, field};
pub use facts::{boot_offset, core_limit, fatal_signal, innermost_pid, start_time, thread_names};
pub use part::Part;
pub use rights::file_as;

/// Why a mapped file was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MappingRefused {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no regular file.
    #[error("it is no regular file")]
    NotRegular,
    /// It lies where reading may block for as long as somebody else likes.
    #[error("it lies on a file system that may block (type {0:#x})")]
    MayBlock(i64),
}

impl From<nix::Error> for MappingRefused {
    fn from(error: nix::Error) -> Self {
        MappingRefused::Io(error.into())
    }
}

/// A process, held by a descriptor of its directory in `/proc`.
pub struct Process {
    pid: i32,
    directory: OwnedFd,
    view: OnceCell<rights::View>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.pid)
    }
}

impl Process {
    /// Takes hold of the process that has this number now.
    ///
    /// # Errors
    /// There is none, or it may not be seen.
    pub fn open(pid: i32) -> io::Result<Process> {
        let path = format!("/proc/{pid}");
        let directory =
            open(path.as_str(), OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Process { pid, directory, view: OnceCell::new() })
    }

    /// Its number on the host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether `pidfd` is this very process, and has not been reaped yet.
    ///
    /// The kernel gives a number away only when its process has been reaped. So when the pidfd still has its number
    /// after the directory was opened, the directory is that process's.
    pub fn is(&self, pidfd: BorrowedFd<'_>) -> bool {
        let shown = std::fs::read(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
        field(&shown, b"Pid:").and_then(|text| text.trim().parse().ok()) == Some(self.pid)
    }

    /// The bytes of one part, up to its bound.
    ///
    /// # Errors
    /// The process is gone, or the system refuses.
    pub fn read(&self, part: Part) -> io::Result<Vec<u8>> {
        let file = match part {
            Part::Maps => "maps",
            Part::Status => "status",
            Part::Stat => "stat",
            Part::Limits => "limits",
            Part::Cgroup => "cgroup",
            Part::MountInfo => "mountinfo",
            Part::Auxv => "auxv",
            Part::Environ => "environ",
            Part::CommandLine => "cmdline",
            Part::Name => "comm",
            Part::Clocks => "timens_offsets",
            Part::Executable => return self.link("exe"),
            Part::Directory => return self.link("cwd"),
            Part::Descriptors => return self.descriptors(),
            Part::Threads => return self.threads(),
            Part::Root => return self.root(),
            Part::Processors => return read_bounded(File::open("/proc/cpuinfo")?, part.bound()),
            Part::Mounts => return read_bounded(File::open("/proc/self/mountinfo")?, part.bound()),
            Part::Namespaces => return self.namespaces(),
            Part::Pressure => return Ok(self.pressure()),
            Part::Numbers => return self.numbers(),
            Part::Sockets => return Ok(self.sockets()),
        };
        let descriptor = openat(&self.directory, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        read_bounded(File::from(descriptor), part.bound())
    }

    /// The file that is mapped from `start` to `end`, opened for reading through the kernel's own link: no name of
    /// the process's making is followed, and opening never blocks on a FIFO or a device.
    ///
    /// # Errors
    /// No such mapping, a file that is not regular, or one whose reading may block.
    pub fn mapping(&self, start: u64, end: u64) -> Result<File, MappingRefused> {
        let link = format!("map_files/{start:x}-{end:x}");
        let handle = openat(&self.directory, link.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        reopened(&handle)
    }

    /// The same for a user without the privilege that the kernel's own links need: the file that bears the mapping's
    /// name or is among the process's descriptors, if it is the same inode.
    ///
    /// # Errors
    /// As above, or there is no such file.
    pub fn mapped_file(&self, mapping: &Mapping) -> Result<File, MappingRefused> {
        match self.mapping(mapping.start, mapping.end) {
            Err(MappingRefused::Io(error)) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => return other,
        }
        let named = mapping.path.starts_with('/').then(|| format!("root{}", mapping.path));
        let numbers = numbers(self.directory.as_fd(), "fd").unwrap_or_default();
        let open_files = numbers.into_iter().take(DESCRIPTORS).map(|number| format!("fd/{number}"));
        for link in named.into_iter().chain(open_files) {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let Ok(handle) = openat(&self.directory, link.as_str(), flags, Mode::empty()) else { continue };
            if fstat(&handle).is_ok_and(|status| status.st_ino == mapping.inode) {
                return reopened(&handle);
            }
        }
        Err(MappingRefused::Io(io::Error::from_raw_os_error(libc::EPERM)))
    }

    /// Its mappings with their flags (`smaps`). Of a large process this takes long, and holds up its own mmap calls.
    ///
    /// # Errors
    /// The process is gone, or the system refuses.
    pub fn mapping_details(&self) -> io::Result<Vec<u8>> {
        const BOUND: u64 = 256 << 20;
        let descriptor = openat(&self.directory, "smaps", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        read_bounded(File::from(descriptor), BOUND)
    }

    /// Its memory, to be read at addresses. Reading may block for ever where a page comes from another process.
    ///
    /// # Errors
    /// The process is gone, or the system refuses.
    pub fn memory(&self) -> io::Result<File> {
        Ok(File::from(openat(&self.directory, "mem", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.directory, name)?.as_bytes().to_vec())
    }

    // Entries that vanish while they are listed are left out: the listing is of a process that may be dying.
    fn descriptors(&self) -> io::Result<Vec<u8>> {
        let mut listing = Vec::new();
        for number in numbers(self.directory.as_fd(), "fd")?.into_iter().take(DESCRIPTORS) {
            if let Ok(target) = self.link(&format!("fd/{number}")) {
                listing.extend_from_slice(format!("{number}\t").as_bytes());
                listing.extend_from_slice(&target);
                listing.push(0);
            }
        }
        Ok(listing)
    }

    fn threads(&self) -> io::Result<Vec<u8>> {
        let mut listing = Vec::new();
        for thread in numbers(self.directory.as_fd(), "task")?.into_iter().take(THREADS) {
            let comm = self.of_thread(thread, "comm", 64).unwrap_or_default();
            let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
            let mut record = [0; THREAD_RECORD];
            record[..4].copy_from_slice(&thread.to_le_bytes());
            let length = comm.len().min(16);
            record[4..4 + length].copy_from_slice(&comm[..length]);
            listing.extend_from_slice(&record);
        }
        Ok(listing)
    }

    fn numbers(&self) -> io::Result<Vec<u8>> {
        let mut listing = Vec::new();
        for thread in numbers(self.directory.as_fd(), "task")?.into_iter().take(THREADS) {
            let status = self.of_thread(thread, "status", 16 << 10).unwrap_or_default();
            if let Some(all) = field(&status, b"NSpid:") {
                listing.extend_from_slice(format!("{thread}\t{all}\0").as_bytes());
            }
        }
        Ok(listing)
    }

    fn of_thread(&self, thread: i32, file: &str, bound: u64) -> io::Result<Vec<u8>> {
        let path = format!("task/{thread}/{file}");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        read_bounded(File::from(openat(&self.directory, path.as_str(), flags, Mode::empty())?), bound)
    }

    fn root(&self) -> io::Result<Vec<u8>> {
        let mounts =
            self.link("ns/mnt")? == readlinkat(nix::fcntl::AT_FDCWD, "/proc/self/ns/mnt")?.as_bytes();
        // Only the link's text is looked at: the directory itself may lie on a file system that blocks.
        let root = self.link("root")?;
        Ok([&[u8::from(mounts && root == b"/")], root.as_slice()].concat())
    }
}

/// The descriptor of its directory in `/proc`.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// More threads of a process are not looked at.
const THREADS: usize = 65_536;
/// More open descriptors of a process are not looked at.
const DESCRIPTORS: usize = 4096;

// File systems whose server is another machine or process; whoever runs it decides when a read returns.
const MAY_BLOCK: [FsType; 17] = [
    FsType(0x6573_5546), // FUSE
    FsType(0x6969),      // NFS
    FsType(0xff53_4d42), // CIFS
    FsType(0xfe53_4d42), // SMB2
    FsType(0x517b),      // SMB
    FsType(0x0102_1997), // 9P
    FsType(0x5346_414f), // AFS
    FsType(0x6b41_4653), // kAFS
    FsType(0x00c3_6400), // Ceph
    FsType(0x7375_7245), // Coda
    FsType(0x564c),      // NCP
    FsType(0x0187),      // autofs
    FsType(0x7461_636f), // OCFS2
    FsType(0x0116_1970), // GFS2
    FsType(0x0bd0_0bd0), // Lustre
    FsType(0x786f_4256), // VirtualBox shared folders
    FsType(0x2003_0528), // OrangeFS
];

// A file that was only pointed at, opened for reading: never a FIFO, a device, or one whose reading may block.
fn reopened(handle: &OwnedFd) -> Result<File, MappingRefused> {
    if !is_regular(&fstat(handle)?) {
        return Err(MappingRefused::NotRegular);
    }
    let kind = fstatfs(handle)?.filesystem_type();
    if MAY_BLOCK.contains(&kind) {
        return Err(MappingRefused::MayBlock(kind.0));
    }
    let again = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(File::from(open(again.as_str(), flags, Mode::empty())?))
}

fn is_regular(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn read_bounded(file: File, bound: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(bound).read_to_end(&mut content)?;
    Ok(content)
}

fn numbers(directory: BorrowedFd<'_>, name: &str) -> io::Result<Vec<i32>> {
    let mut listing =
        Dir::openat(directory, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut found: Vec<i32> = listing
        .iter()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().and_then(|name| name.parse().ok()))
        .collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;
    use crate::numbers::Numbers;

    fn own() -> Process {
        Process::open(std::process::id() as i32).unwrap()
    }

    #[test]
    fn a_process_reads_itself() {
        let process = own();
        assert!(start_time(&process.read(Part::Stat).unwrap()).is_some());
        assert_eq!(innermost_pid(&process.read(Part::Status).unwrap()), Some(std::process::id()));
        let threads = thread_names(&process.read(Part::Threads).unwrap());
        assert!(threads.iter().any(|(thread, name)| *thread == process.pid() && !name.is_empty()));
        let numbers = Numbers::parse(&process.read(Part::Numbers).unwrap());
        assert_eq!(numbers.inner(process.pid()), process.pid());
        assert_eq!(process.read(Part::Root).unwrap(), b"\x01/");
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.read(Part::Executable).unwrap(), exe.as_os_str().as_bytes());
    }

    #[test]
    fn a_pidfd_of_another_process_is_not_this_one() {
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let opened = nix::errno::Errno::result(pidfd_open(child.id())).unwrap();
        // The system call returned a new descriptor that nobody else owns.
        let pidfd = own_descriptor(opened as i32);
        assert!(Process::open(child.id() as i32).unwrap().is(pidfd.as_fd()));
        assert!(!own().is(pidfd.as_fd()));
        let mut child = child;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[allow(unsafe_code)]
    fn pidfd_open(pid: u32) -> libc::c_long {
        // SAFETY: the call takes two integers and touches no memory.
        unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }
    }

    #[allow(unsafe_code)]
    fn own_descriptor(raw: i32) -> OwnedFd {
        // SAFETY: the caller has just been given this descriptor by the kernel.
        unsafe { OwnedFd::from_raw_fd(raw) }
    }
}
