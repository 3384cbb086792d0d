//! What the worker may still do once it has given everything else up.
//!
//! It reads bytes that a crashed, perhaps hostile process has shaped, so it is built to be taken over: no user of
//! weight, no network, no file system but a few read-only places, no way to make processes or to touch others, and a list
//! of system calls that ends in "no". What it needs of the outside comes as descriptors, from the broker.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use foretrace_report::schema::Problem;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use seccompiler::SeccompCmpOp;

use super::calls::Calls;

/// The places that a worker may read: debug files, what dpkg and rpm have installed, the system's name.
const READABLE: [&str; 7] = [
    "/usr/lib/debug",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/usr/lib/sysimage/rpm",
    "/usr/share/rpm",
    "/etc/os-release",
    "/usr/lib/os-release",
];

/// Address space: the largest programs with debug information need 1 GiB.
const ADDRESS_SPACE: u64 = 4 << 30;
const FILE_SIZE: u64 = 1 << 30;
const OPEN_FILES: u64 = 4096;
const CPU_SECONDS: u64 = 30;

/// Closes every descriptor that is not in `keep`, and standard input, output and error with it.
///
/// Values that own such a descriptor must never be dropped afterwards: the process ends by `_exit`.
pub fn keep_only(keep: &[RawFd]) -> io::Result<()> {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut next = 3;
    for descriptor in keep.into_iter().filter(|descriptor| *descriptor > 2) {
        if descriptor > next {
            close_range(next, descriptor - 1)?;
        }
        next = descriptor + 1;
    }
    close_range(next, RawFd::MAX)
}

/// Gives up everything, as `user` and `group`. Returns what this machine could not enforce.
///
/// # Errors
/// The rights of root could not be given up: nothing may be parsed then.
pub fn enter(user: u32, group: u32) -> io::Result<Vec<Problem>> {
    limit()?;
    shed(user, group)
}

/// The same without limits on time and sizes, for a process that parses nothing and writes a whole core.
///
/// # Errors
/// As [`enter`].
pub fn shed(user: u32, group: u32) -> io::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut weak = |what: &str, error: &dyn std::fmt::Display| {
        problems.push(Problem::new("sandbox", format!("the worker ran without {what}: {error}")));
    };
    // Only root may; and it hides the network even where the list of system calls had a hole.
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC) {
        weak("a network namespace of its own", &error);
    }
    setgroups(&[])?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    super::bind_to_parent()?;
    nix::sys::prctl::set_dumpable(false)?;
    // Opening files is among the system calls only where Landlock says which files.
    let walled = match restrict_files() {
        Ok(walled) => walled,
        Err(error) => {
            weak("Landlock", &error);
            false
        }
    };
    if !walled {
        weak("Landlock", &"this kernel does not offer it; debug files and packages were not looked up");
    }
    if let Err(error) = restrict_calls(walled) {
        weak("a list of system calls", &error);
    }
    Ok(problems)
}

/// Gives up everything but the rights of whoever started this process: for a command that reads what a stranger's
/// server sent.
///
/// # Errors
/// A limit, Landlock or the list of system calls could not be set: nothing may be parsed then.
pub fn confine() -> io::Result<()> {
    limit()?;
    let walled = restrict_files().map_err(io::Error::other)?;
    restrict_calls(walled).map_err(io::Error::other)
}

fn limit() -> io::Result<()> {
    let limits = [
        (Resource::RLIMIT_AS, ADDRESS_SPACE),
        (Resource::RLIMIT_FSIZE, FILE_SIZE),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_MEMLOCK, 0),
    ];
    for (resource, value) in limits {
        setrlimit(resource, value, value)?;
    }
    // May be above a limit that was set for everybody.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES);
    // SAFETY: no handler function is installed. A file that grows too large is an error then, not a death.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    Ok(())
}

fn restrict_files() -> Result<bool, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::from_all(ABI::V6))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn restrict_calls(open_files: bool) -> Result<(), seccompiler::Error> {
    let files = if open_files { FILES } else { &[] };
    // Memory never becomes code.
    let data = [(SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)];
    // A descriptor's owner is sent a signal of one's choice: that would be a way to kill.
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL, libc::F_GET_SEALS];
    Calls::new(&[ALWAYS, files].concat())
        .with(libc::SYS_mmap, 2, &data)?
        .with(libc::SYS_mprotect, 2, &data)?
        .with(libc::SYS_fcntl, 1, &commands.map(|command| (SeccompCmpOp::Eq, command)))?
        .allow()
}

// What reading descriptors, keeping memory, writing the bundle and answering the supervisor takes.
const ALWAYS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_dup,
    libc::SYS_ftruncate,
    libc::SYS_memfd_create,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

const FILES: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_getdents64,
];

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: takes integers only. Whoever calls this never uses or drops the owners of these descriptors again.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}
