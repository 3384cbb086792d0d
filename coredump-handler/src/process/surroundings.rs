//! What the kernel says of a process's surroundings: its namespaces and their sockets, and the pressure on the machine and
//! its control group. Of the group's path nothing can lead out of the kernel's own file system.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

use super::{Part, Process, read_bounded};
use crate::surroundings::path_in;

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/// The machine's files, by the names they have in the records.
const MACHINE: [(&str, &str); 4] = [
    ("meminfo", "/proc/meminfo"),
    ("cpu", "/proc/pressure/cpu"),
    ("memory", "/proc/pressure/memory"),
    ("io", "/proc/pressure/io"),
];
/// Where control groups are mounted, whose line of `cgroup` names the place below, and the files to read there.
const HIERARCHIES: [(&str, &str, [&str; 4]); 3] = [
    ("/sys/fs/cgroup", "", UNIFIED),
    ("/sys/fs/cgroup/unified", "", UNIFIED),
    ("/sys/fs/cgroup/memory", "memory", OLD),
];
const UNIFIED: [&str; 4] = ["memory.current", "memory.max", "memory.pressure", "memory.events"];
const OLD: [&str; 4] =
    ["memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control", "memory.failcnt"];
const FILE_LIMIT: u64 = 16 << 10;
/// The tables of sockets.
const SOCKETS: [&str; 5] = ["tcp", "tcp6", "udp", "udp6", "unix"];
const SOCKETS_LIMIT: u64 = 512 << 10;

impl Process {
    // Of a machine with very many sockets only the first are seen: reading the tables takes the longer the more there are.
    pub(super) fn sockets(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for table in SOCKETS {
            let path = format!("net/{table}");
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let Ok(file) = openat(self, path.as_str(), flags, Mode::empty()) else { continue };
            let Ok(content) = read_bounded(File::from(file), SOCKETS_LIMIT) else { continue };
            records.extend_from_slice(format!("{table}\t").as_bytes());
            records.extend(content.into_iter().filter(|byte| *byte != 0));
            records.push(0);
        }
        records
    }

    pub(super) fn namespaces(&self) -> io::Result<Vec<u8>> {
        let mut listing = Vec::new();
        for kind in KINDS {
            // A kernel without this kind has no link.
            let Ok(own) = self.link(&format!("ns/{kind}")) else { continue };
            // The kernel runs the handler in the machine's first ones.
            let ours = readlinkat(AT_FDCWD, format!("/proc/self/ns/{kind}").as_str())?;
            for word in [kind.as_bytes(), b" ", &own, b" ", ours.as_bytes(), b"\n"] {
                listing.extend_from_slice(word);
            }
        }
        Ok(listing)
    }

    // A file that is not there costs nothing else: kernels and hierarchies differ.
    pub(super) fn pressure(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |name: &str, file: File| {
            if let Ok(content) = read_bounded(file, FILE_LIMIT) {
                records.extend_from_slice(name.as_bytes());
                records.push(b'\t');
                records.extend(content.into_iter().filter(|byte| *byte != 0));
                records.push(0);
            }
        };
        for (name, path) in MACHINE {
            if let Ok(file) = File::open(path) {
                add(name, file);
            }
        }
        let cgroup = self.read(Part::Cgroup).unwrap_or_default();
        let cgroup = String::from_utf8_lossy(&cgroup);
        for (mount, controller, files) in HIERARCHIES {
            let Some(group) = path_in(&cgroup, controller).and_then(|path| beneath(mount, path).ok()) else {
                continue;
            };
            for name in files {
                if let Ok(file) = openat(&group, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
                    add(name, File::from(file));
                }
            }
        }
        records
    }
}

fn beneath(mount: &str, path: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = open(mount, flags, Mode::empty())?;
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let path = match path.trim_start_matches('/') {
        "" => ".",
        path => path,
    };
    openat2(&top, path, OpenHow::new().flags(flags).resolve(resolve))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_path_leads_nowhere_else() {
        assert!(beneath("/sys", "/fs").is_ok());
        assert!(beneath("/sys", "/").is_ok());
        assert!(beneath("/sys/fs", "/../kernel").is_err());
        assert!(beneath("/proc", "/self").is_err(), "a link was followed");
        assert!(beneath("/", "/proc").is_err(), "another file system was entered");
    }

    #[test]
    fn this_process_has_namespaces_and_the_machine_has_memory() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let text = |part| String::from_utf8(own.read(part).unwrap()).unwrap();
        assert!(text(Part::Namespaces).lines().any(|line| line.starts_with("mnt mnt:[")));
        assert!(crate::surroundings::pressure(text(Part::Pressure).as_bytes()).memory_total > Some(1 << 20));
    }
}
