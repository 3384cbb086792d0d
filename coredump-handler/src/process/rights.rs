//! Opening a file as the process itself could: with its user and groups, and from its root directory.
//!
//! The only place where a name of the process's making is followed. It is followed by the kernel, within the process's
//! own root and without `/proc`'s links, while this thread has the process's file system rights and none of root's.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use super::capabilities::{self, Capability};
use super::{MappingRefused, Part, Process, field, reopened};

impl Process {
    /// The file with this absolute path, as the process would open it for reading: with the rights and in the root
    /// directory that it had when this was first asked.
    ///
    /// # Errors
    /// The process could not open it, it is not regular, or its reading may block.
    pub fn file(&self, path: &[u8]) -> Result<File, MappingRefused> {
        let view = match self.view.get() {
            Some(view) => view,
            None => {
                let view = self.view()?;
                self.view.get_or_init(|| view)
            }
        };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let _borrowed = view.rights.borrow()?;
        reopened(&openat2(&view.root, OsStr::from_bytes(path), how)?)
    }

    fn view(&self) -> io::Result<View> {
        let status = self.read(Part::Status)?;
        let rights =
            Rights::of(&status).ok_or_else(|| io::Error::other("the process's rights could not be read"))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(&self.directory, "root", flags, Mode::empty())?;
        Ok(View { rights, root })
    }
}

/// What a process can see of file systems, and with which rights.
pub(super) struct View {
    rights: Rights,
    root: OwnedFd,
}

/// The regular file with this absolute path, as a user and group without further groups could open it for reading.
///
/// # Errors
/// They could not open it, it is not regular, or its reading may block.
pub fn file_as(user: u32, group: u32, path: &[u8]) -> Result<File, MappingRefused> {
    if !path.starts_with(b"/") {
        return Err(io::Error::from_raw_os_error(libc::EINVAL).into());
    }
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let _borrowed = Rights { user, group, groups: Vec::new() }.borrow()?;
    reopened(&openat2(nix::fcntl::AT_FDCWD, OsStr::from_bytes(path), how)?)
}

/// A process's rights in file systems, as this process's user namespace sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rights {
    user: u32,
    group: u32,
    groups: Vec<libc::gid_t>,
}

impl Rights {
    /// From the contents of `status`.
    fn of(status: &[u8]) -> Option<Rights> {
        let numbers = |name: &[u8]| -> Option<Vec<u32>> {
            field(status, name)?.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let (users, groups) = (numbers(b"Uid:")?, numbers(b"Gid:")?);
        // Real, effective, saved, and that of file systems.
        let ([_, _, _, user], [_, _, _, group]) = (users.as_slice(), groups.as_slice()) else { return None };
        Some(Rights { user: *user, group: *group, groups: numbers(b"Groups:")? })
    }

    /// Gives this thread these rights, and its own up, until the answer is dropped. Who may not do so keeps its own,
    /// which it cannot have more of.
    fn borrow(&self) -> io::Result<Borrowed> {
        if !capabilities::is_effective(Capability::SETUID) {
            return Ok(Borrowed::default());
        }
        let groups: Vec<libc::gid_t> =
            nix::unistd::getgroups()?.into_iter().map(|group| group.as_raw()).collect();
        set_groups(&self.groups)?;
        let mut borrowed = Borrowed { groups: Some(groups), ..Borrowed::default() };
        borrowed.group = Some(set_user(libc::SYS_setfsgid, self.group)?);
        // Of root's own processes the files are opened with the right to read whatever there is.
        if self.user != 0 {
            borrowed.user = Some(set_user(libc::SYS_setfsuid, self.user)?);
            capabilities::switch(Capability::DAC_OVERRIDE, false)?;
            capabilities::switch(Capability::DAC_READ_SEARCH, false)?;
        }
        Ok(borrowed)
    }
}

// What this thread was before, as far as it has changed.
#[derive(Default)]
struct Borrowed {
    groups: Option<Vec<libc::gid_t>>,
    group: Option<u32>,
    user: Option<u32>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Where one of these fails the thread goes on with fewer rights than it had.
        if let Some(user) = self.user {
            let _ = set_user(libc::SYS_setfsuid, user);
            let _ = capabilities::switch(Capability::DAC_READ_SEARCH, true);
            let _ = capabilities::switch(Capability::DAC_OVERRIDE, true);
        }
        if let Some(group) = self.group {
            let _ = set_user(libc::SYS_setfsgid, group);
        }
        if let Some(groups) = &self.groups {
            let _ = set_groups(groups);
        }
    }
}

// The C library would give the groups to every thread of this process.
fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: as many groups as it says; the call reads them and changes this thread's alone.
    let answer = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// Answers who it was before. Both calls do, and say nothing of errors: asked again with a number that nobody has, they
// change nothing.
fn set_user(call: libc::c_long, number: u32) -> io::Result<u32> {
    // SAFETY: takes a number.
    let before = unsafe { libc::syscall(call, number) };
    // SAFETY: takes a number.
    let now = unsafe { libc::syscall(call, u32::MAX) };
    if now == i64::from(number) {
        u32::try_from(before).map_err(io::Error::other)
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_are_those_of_file_systems() {
        let status = b"Name:\tUid: 0\nUid:\t1000\t1001\t1002\t1003\nGid:\t1\t2\t3\t4\nGroups:\t27 100 \n";
        let rights = Rights { user: 1003, group: 4, groups: vec![27, 100] };
        assert_eq!(Rights::of(status), Some(rights));
        let none = Rights::of(b"Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t\n").unwrap();
        assert!(none.groups.is_empty());
        assert_eq!(Rights::of(b"Uid:\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t\n"), None);
        assert_eq!(Rights::of(b"Uid:\t1\t1\t1\t-1\nGid:\t1\t1\t1\t1\nGroups:\t\n"), None);
    }

    #[test]
    fn only_regular_files_are_opened_and_no_link_of_proc_is_followed() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let file = own.file(b"/etc/passwd").unwrap();
        assert!(file.metadata().unwrap().len() > 0);
        assert!(matches!(own.file(b"/dev/null"), Err(MappingRefused::NotRegular)));
        assert!(matches!(own.file(b"/"), Err(MappingRefused::NotRegular)));
        assert!(matches!(own.file(b"/proc/self/exe"), Err(MappingRefused::Io(_))));
        assert!(matches!(own.file(b"/no/such/file"), Err(MappingRefused::Io(_))));
    }
}
