//! The worker and the broker, taken over: what code that runs in them can still do. Every attempt is made twice, by a
//! process of its own: without the sandbox, to show that it is an attempt, and inside.
//!
//! Needs root, whose rights are what is given up.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::ptr;

use foretrace_capture::handler::{privileges, sandbox};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

const NOBODY: u32 = 65_534;

/// What taken-over code tries. It returns what a system call returns.
type Attempt = fn(&Target) -> libc::c_long;

/// How an attempt's process ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(i32),
    Killed(i32),
    NotConfined,
}

/// What an attempt may use: made before it, because the process that makes it must not allocate more than it needs.
struct Target {
    process: Child,
    descriptor: RawFd,
    folder: CString,
    file: CString,
    new: CString,
    environment: CString,
    memory: CString,
    own: File,
    _folder: tempfile::TempDir,
}

impl Target {
    fn new() -> Target {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        // Open to everybody: what refuses is not the mode.
        chmod(folder.path(), 0o777);
        let file = folder.path().join("file");
        std::fs::write(&file, "content").unwrap();
        chmod(&file, 0o666);
        let process = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        // SAFETY: takes two integers. The descriptor lives as long as this test's process.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process.id(), 0) } as RawFd;
        assert!(descriptor >= 0);
        let name = |path: &std::path::Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        let own = tempfile::tempfile_in(folder.path()).unwrap();
        Target {
            environment: CString::new(format!("/proc/{}/environ", process.id())).unwrap(),
            memory: CString::new(format!("/proc/{}/mem", process.id())).unwrap(),
            process,
            descriptor,
            folder: name(folder.path()),
            new: name(&folder.path().join("new")),
            file: name(&file),
            own,
            _folder: folder,
        }
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn chmod(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Becomes one of the handler's processes.
type Become = fn() -> bool;

const WORKER: Become = || sandbox::enter(NOBODY, NOBODY).is_ok_and(|problems| problems.is_empty());
const BROKER: Become = || privileges::become_broker(NOBODY, NOBODY).is_ok();

/// Runs `attempt` in a process of its own, as the one that is `confined` where that is given.
fn outcome(target: &Target, confined: Option<Become>, attempt: Attempt) -> Outcome {
    const NOT_CONFINED: i32 = 250;
    let (mut said, saying) = nix::unistd::pipe().map(|(r, w)| (File::from(r), File::from(w))).unwrap();
    // SAFETY: the child calls the sandbox and raw system calls, and ends by _exit; the C library keeps its allocator
    // usable in a child.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let keep = [saying.as_raw_fd(), target.own.as_raw_fd(), target.descriptor];
            let entered = confined.is_none_or(|confine| sandbox::keep_only(&keep).is_ok() && confine());
            let code = match entered {
                true if attempt(target) >= 0 => 0,
                true => nix::errno::Errno::last_raw(),
                false => NOT_CONFINED,
            };
            let _ = (&saying).write_all(&code.to_ne_bytes());
            // SAFETY: ends this process without running anything else of it.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(saying);
            let mut code = [0; 4];
            let answered = said.read_exact(&mut code).is_ok();
            match (waitpid(child, None).unwrap(), i32::from_ne_bytes(code)) {
                (WaitStatus::Signaled(_, signal, _), _) => Outcome::Killed(signal as i32),
                (_, NOT_CONFINED) => Outcome::NotConfined,
                // A program that was executed ends with its own code and closes the pipe.
                (WaitStatus::Exited(_, 0), _) if !answered => Outcome::Done,
                (_, 0) => Outcome::Done,
                (_, errno) => Outcome::Refused(errno),
            }
        }
    }
}

fn fails_only_in_the_sandbox(attempts: &[(&str, Attempt)]) {
    fails_only_as(WORKER, attempts);
}

fn fails_only_as(confine: Become, attempts: &[(&str, Attempt)]) {
    assert!(nix::unistd::geteuid().is_root(), "only root can show that root's rights are given up");
    for (what, attempt) in attempts {
        // Each with a target of its own: what succeeds changes it.
        let control = outcome(&Target::new(), None, *attempt);
        assert_eq!(control, Outcome::Done, "{what}, without a sandbox");
        let confined = outcome(&Target::new(), Some(confine), *attempt);
        let refused = matches!(confined, Outcome::Refused(libc::EPERM | libc::EACCES | libc::EBADF));
        assert!(refused, "{what}: {confined:?}");
    }
}

fn open(path: &CStr, flags: i32) -> libc::c_long {
    // SAFETY: the path is terminated.
    unsafe { libc::openat(libc::AT_FDCWD, path.as_ptr(), flags, 0o600) }.into()
}

macro_rules! call {
    ($name:ident $(, $argument:expr)* $(,)?) => {{
        // SAFETY: every pointer is null, to a constant or to the target, which outlive the call.
        unsafe { libc::syscall(libc::$name $(, $argument)*) }
    }};
}

#[test]
fn it_reads_no_file_of_the_system_and_of_no_process() {
    fails_only_in_the_sandbox(&[
        ("/etc/shadow", |_| open(c"/etc/shadow", libc::O_RDONLY)),
        ("/etc/passwd", |_| open(c"/etc/passwd", libc::O_RDONLY)),
        ("its own /proc", |_| open(c"/proc/self/environ", libc::O_RDONLY)),
        ("another process", |target| open(&target.environment, libc::O_RDONLY)),
        ("a folder of everybody's", |target| open(&target.folder, libc::O_RDONLY | libc::O_DIRECTORY)),
        ("a file of everybody's", |target| open(&target.file, libc::O_RDONLY)),
        ("the root of all", |_| open(c"/", libc::O_RDONLY)),
    ]);
}

#[test]
fn it_writes_nowhere_but_to_what_it_was_given() {
    fails_only_in_the_sandbox(&[
        ("writing a file", |target| open(&target.file, libc::O_WRONLY)),
        ("creating", |target| open(&target.new, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)),
        ("an unnamed file", |target| open(&target.folder, libc::O_RDWR | libc::O_TMPFILE)),
        ("a directory", |target| call!(SYS_mkdirat, libc::AT_FDCWD, target.new.as_ptr(), 0o700)),
        ("a FIFO", |target| {
            call!(SYS_mknodat, libc::AT_FDCWD, target.new.as_ptr(), libc::S_IFIFO | 0o600, 0)
        }),
        ("a link", |target| {
            call!(SYS_linkat, libc::AT_FDCWD, target.file.as_ptr(), libc::AT_FDCWD, target.new.as_ptr(), 0)
        }),
        ("a symbolic link", |target| {
            call!(SYS_symlinkat, c"/etc".as_ptr(), libc::AT_FDCWD, target.new.as_ptr())
        }),
        ("renaming", |target| {
            call!(SYS_renameat2, libc::AT_FDCWD, target.file.as_ptr(), libc::AT_FDCWD, target.new.as_ptr(), 0)
        }),
        ("removing", |target| call!(SYS_unlinkat, libc::AT_FDCWD, target.file.as_ptr(), 0)),
        ("a mode", |target| call!(SYS_fchmodat, libc::AT_FDCWD, target.file.as_ptr(), 0o777)),
        ("the mode of its own", |target| call!(SYS_fchmod, target.own.as_raw_fd(), 0o777)),
        ("the owner of its own", |target| call!(SYS_fchown, target.own.as_raw_fd(), NOBODY, NOBODY)),
        ("cutting a file", |target| call!(SYS_truncate, target.file.as_ptr(), 0)),
    ]);
    let own = outcome(&Target::new(), Some(WORKER), |target| {
        call!(SYS_pwrite64, target.own.as_raw_fd(), c"x".as_ptr(), 1, 0)
    });
    assert_eq!(own, Outcome::Done, "what it was given to write");
}

#[test]
fn it_has_no_network_and_no_socket() {
    fails_only_in_the_sandbox(&[
        ("TCP", |_| call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)),
        ("UDP", |_| call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)),
        ("a local socket", |_| call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)),
        ("netlink", |_| call!(SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0)),
        ("packets", |_| call!(SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0)),
        ("a ring of requests", |_| {
            let mut parameters = [0u8; 256];
            match call!(SYS_io_uring_setup, 1, parameters.as_mut_ptr()) {
                // A kernel that offers none to anybody.
                -1 if matches!(nix::errno::Errno::last_raw(), libc::ENOSYS) => deny(),
                other => other,
            }
        }),
    ]);
}

#[test]
fn it_touches_no_other_process() {
    fails_only_in_the_sandbox(&[
        ("PTRACE_SEIZE", |target| call!(SYS_ptrace, libc::PTRACE_SEIZE, target.pid(), 0, 0)),
        ("reading memory", |target| {
            let mut byte = 0u8;
            let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            let remote = libc::iovec { iov_base: stack_of(target) as *mut _, iov_len: 1 };
            call!(SYS_process_vm_readv, target.pid(), &raw const local, 1, &raw const remote, 1, 0)
        }),
        ("kill", |target| call!(SYS_kill, target.pid(), libc::SIGCONT)),
        ("kill of the parent", |_| call!(SYS_kill, nix::unistd::getppid().as_raw(), libc::SIGCONT)),
        ("tgkill", |target| call!(SYS_tgkill, target.pid(), target.pid(), libc::SIGCONT)),
        ("a signal by pidfd", |target| {
            call!(SYS_pidfd_send_signal, target.descriptor, libc::SIGCONT, ptr::null::<u8>(), 0)
        }),
        ("a descriptor by pidfd", |target| call!(SYS_pidfd_getfd, target.descriptor, 0, 0)),
        ("a signal for news of a descriptor", |target| {
            call!(SYS_fcntl, target.own.as_raw_fd(), libc::F_SETOWN, target.pid())
        }),
        ("a priority", |target| call!(SYS_setpriority, libc::PRIO_PROCESS, target.pid(), 5)),
        ("a limit", |target| {
            let limit = libc::rlimit64 { rlim_cur: 100, rlim_max: 100 };
            call!(
                SYS_prlimit64,
                target.pid(),
                libc::RLIMIT_NOFILE,
                &raw const limit,
                ptr::null_mut::<libc::rlimit64>()
            )
        }),
    ]);
}

#[test]
fn it_starts_nothing_and_runs_nothing() {
    fails_only_in_the_sandbox(&[
        ("execve", |_| {
            let arguments = [c"true".as_ptr(), ptr::null()];
            call!(SYS_execve, c"/bin/true".as_ptr(), arguments.as_ptr(), ptr::null::<u8>())
        }),
        ("execveat", |_| {
            let arguments = [c"true".as_ptr(), ptr::null()];
            call!(
                SYS_execveat,
                libc::AT_FDCWD,
                c"/bin/true".as_ptr(),
                arguments.as_ptr(),
                ptr::null::<u8>(),
                0
            )
        }),
        ("clone", |_| ended(call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0))),
        ("memory that is code", |_| {
            let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
            call!(SYS_mmap, 0, 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        }),
        ("memory that confines code", |_| {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let memory = call!(SYS_mmap, 0, 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            call!(SYS_mprotect, memory, 4096, libc::PROT_READ | libc::PROT_EXEC)
        }),
    ]);
}

#[test]
fn it_gets_no_right_back() {
    fails_only_in_the_sandbox(&[
        ("being root", |_| call!(SYS_setresuid, 0, 0, 0)),
        ("a namespace of users", |_| call!(SYS_unshare, libc::CLONE_NEWUSER)),
        ("init's namespaces", |target| call!(SYS_setns, target.descriptor, libc::CLONE_NEWUTS)),
        ("a mount", |target| {
            let mounted = call!(SYS_mount, c"none".as_ptr(), target.folder.as_ptr(), c"tmpfs".as_ptr(), 0, 0);
            // Where it succeeds, outside the sandbox, the machine gets its folder back.
            if mounted == 0 { call!(SYS_umount2, target.folder.as_ptr(), libc::MNT_DETACH) } else { mounted }
        }),
        ("another root", |target| call!(SYS_chroot, target.folder.as_ptr())),
        ("another limit", |_| {
            let limit = libc::rlimit64 { rlim_cur: 50, rlim_max: 50 };
            call!(SYS_prlimit64, 0, libc::RLIMIT_NPROC, &raw const limit, ptr::null_mut::<libc::rlimit64>())
        }),
        ("being dumpable", |_| call!(SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0)),
        ("counting for others", |_| {
            let mut attributes = [0u8; 128];
            attributes[0] = 1; // PERF_TYPE_SOFTWARE
            attributes[4] = 128;
            call!(SYS_perf_event_open, attributes.as_ptr(), -1, 0, -1, 0)
        }),
        ("a program in the kernel", |_| {
            let mut attributes = [0u8; 72];
            (attributes[0], attributes[4], attributes[8], attributes[12]) = (2, 4, 8, 1); // An array of one.
            call!(SYS_bpf, 0, attributes.as_mut_ptr(), attributes.len())
        }),
    ]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_older_calls_are_no_way_around() {
    fails_only_in_the_sandbox(&[
        ("open", |target| call!(SYS_open, target.file.as_ptr(), libc::O_RDONLY)),
        ("creat", |target| call!(SYS_creat, target.new.as_ptr(), 0o600)),
        ("fork", |_| ended(call!(SYS_fork))),
    ]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_door_is_no_way_around() {
    let through = |_: &Target| -> libc::c_long {
        const GETPID: i32 = 20;
        let result: i32;
        // SAFETY: the 32-bit kernel entry preserves all registers but rax; getpid touches no memory.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") GETPID => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
        };
        result.into()
    };
    let confined = outcome(&Target::new(), Some(WORKER), through);
    // By the filter where the kernel has that door, by the processor where it has none.
    assert!(matches!(confined, Outcome::Killed(libc::SIGSYS | libc::SIGSEGV)), "{confined:?}");
}

#[test]
fn a_broker_reads_processes_and_changes_nothing() {
    fails_only_as(
        BROKER,
        &[
            ("PTRACE_SEIZE", |target| call!(SYS_ptrace, libc::PTRACE_SEIZE, target.pid(), 0, 0)),
            ("kill", |target| call!(SYS_kill, target.pid(), libc::SIGCONT)),
            ("a signal by pidfd", |target| {
                call!(SYS_pidfd_send_signal, target.descriptor, libc::SIGCONT, ptr::null::<u8>(), 0)
            }),
            ("a descriptor by pidfd", |target| call!(SYS_pidfd_getfd, target.descriptor, 0, 0)),
            ("being root", |_| call!(SYS_setresuid, 0, 0, 0)),
            ("init's namespaces", |target| call!(SYS_setns, target.descriptor, libc::CLONE_NEWUTS)),
            ("a local socket", |_| call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)),
            ("TCP", |_| call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)),
            ("writing a file", |target| open(&target.file, libc::O_WRONLY)),
            ("reading and writing", |target| open(&target.file, libc::O_RDWR)),
            ("creating", |target| open(&target.new, libc::O_RDONLY | libc::O_CREAT | libc::O_EXCL)),
            ("root's file by the newest call", |_| {
                let how = [libc::O_WRONLY as u64, 0, 0];
                call!(SYS_openat2, libc::AT_FDCWD, c"/etc/shadow".as_ptr(), how.as_ptr(), 24)
            }),
            ("a process's memory by the newest call", |target| {
                let how = [libc::O_RDWR as u64, 0, 0];
                call!(SYS_openat2, libc::AT_FDCWD, target.memory.as_ptr(), how.as_ptr(), 24)
            }),
            ("a directory", |target| call!(SYS_mkdirat, libc::AT_FDCWD, target.new.as_ptr(), 0o700)),
            ("removing", |target| call!(SYS_unlinkat, libc::AT_FDCWD, target.file.as_ptr(), 0)),
            ("an owner", |target| {
                call!(SYS_fchownat, libc::AT_FDCWD, target.file.as_ptr(), NOBODY, NOBODY, 0)
            }),
            ("another root", |target| call!(SYS_chroot, target.folder.as_ptr())),
            ("a namespace of users", |_| call!(SYS_unshare, libc::CLONE_NEWUSER)),
        ],
    );
    let reads = outcome(&Target::new(), Some(BROKER), |target| open(&target.environment, libc::O_RDONLY));
    assert_eq!(reads, Outcome::Done, "what it is there for");
}

fn deny() -> libc::c_long {
    nix::errno::Errno::EPERM.set();
    -1
}

fn ended(child: libc::c_long) -> libc::c_long {
    if child == 0 {
        // SAFETY: ends this process without running anything else of it.
        unsafe { libc::_exit(0) }
    }
    child
}

/// An address that can be read in another process: the start of its stack, from `stat`.
fn stack_of(target: &Target) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", target.pid())).unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.nth(25).and_then(|field| field.parse().ok()).unwrap_or(4096)
}
