//! Machines that do not give what a ring is made of.

use std::ffi::CString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::apart::{apart, fork, not_tried, records_nothing, step, steps, wait_for};
use crate::rings;

/// From now on a system call fails with an error, for this thread and those that it starts.
fn forbid(call: libc::c_long, error: libc::c_int) {
    let answer = libc::SECCOMP_RET_ERRNO | error as u32;
    filter(&[statement(EQUAL, call as u32, 0, 1), statement(ANSWER, answer, 0, 0)], libc::SECCOMP_RET_ALLOW);
}

/// From now on every other system call kills.
fn allow_only(calls: &[libc::c_long]) {
    let one = |call: &libc::c_long| {
        [statement(EQUAL, *call as u32, 0, 1), statement(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0)]
    };
    filter(&calls.iter().flat_map(one).collect::<Vec<_>>(), libc::SECCOMP_RET_KILL_PROCESS);
}

const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const ANSWER: u32 = libc::BPF_RET | libc::BPF_K;

fn statement(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn filter(cases: &[libc::sock_filter], otherwise: u32) {
    // The number is the first word of what a filter sees.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    program.extend_from_slice(cases);
    program.push(statement(ANSWER, otherwise, 0, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: a filter that lives until the call returns.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) }, 0);
}

#[test]
fn a_sandbox_without_memfd_create_has_no_ring() {
    apart(
        "limits::a_sandbox_without_memfd_create_has_no_ring",
        |_| {},
        || {
            forbid(libc::SYS_memfd_create, libc::EPERM);
            records_nothing();
        },
    );
}

#[test]
fn a_sandbox_that_refuses_nearly_everything_harms_nobody() {
    let calls = [
        libc::SYS_ftruncate,
        libc::SYS_mmap,
        libc::SYS_fcntl,
        libc::SYS_madvise,
        libc::SYS_openat,
        libc::SYS_getrandom,
        libc::SYS_prlimit64,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_gettid,
        libc::SYS_prctl,
        libc::SYS_sigaltstack,
    ];
    let claim = "limits::a_sandbox_that_refuses_nearly_everything_harms_nobody";
    apart(
        claim,
        |_| {},
        || {
            for call in calls {
                for error in [libc::ENOSYS, libc::EPERM] {
                    wait_for(fork(|| {
                        forbid(call, error);
                        // With or without a ring: it goes on.
                        (0..10_000).for_each(step);
                        foretrace::annotate("a", "b", foretrace::Privacy::Public);
                        foretrace::report_error("nobody hears it");
                    }));
                }
            }
        },
    );
}

#[test]
fn a_sandbox_that_kills_for_any_system_call_goes_on_recording() {
    let pipe = || {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        ends
    };
    let claim = "limits::a_sandbox_that_kills_for_any_system_call_goes_on_recording";
    apart(
        claim,
        |_| {},
        || {
            let ([from_child, to_parent], [from_parent, to_child]) = (pipe(), pipe());
            let child = fork(|| {
                step(0);
                let ring = foretrace::descriptor().unwrap() as u8;
                let mut byte = [0_u8];
                // SAFETY: one byte.
                assert_eq!(unsafe { libc::write(to_parent, [ring].as_ptr().cast(), 1) }, 1);
                // SAFETY: one byte.
                assert_eq!(unsafe { libc::read(from_parent, byte.as_mut_ptr().cast(), 1) }, 1);
                allow_only(&[libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_rt_sigreturn]);
                (1..500_000).for_each(step);
                // SAFETY: ends the child's one thread.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
            });
            let mut ring = [0_u8];
            // SAFETY: one byte.
            assert_eq!(unsafe { libc::read(from_child, ring.as_mut_ptr().cast(), 1) }, 1);
            let held = fs::File::open(format!("/proc/{child}/fd/{}", ring[0])).unwrap();
            // SAFETY: one byte.
            assert_eq!(unsafe { libc::write(to_child, ring.as_ptr().cast(), 1) }, 1);
            wait_for(child);
            let ring = rings::Live::of(std::os::fd::AsRawFd::as_raw_fd(&held));
            let snapshot = foretrace_ring::reader::read(&ring).unwrap();
            assert_eq!((snapshot.recorded, snapshot.discarded), (500_000, 0));
        },
    );
}

#[test]
fn a_process_without_proc_and_sys_records() {
    let claim = "limits::a_process_without_proc_and_sys_records";
    apart(
        claim,
        |command| {
            let hide = || {
                // SAFETY: no preconditions.
                let user = if unsafe { libc::geteuid() } == 0 { 0 } else { libc::CLONE_NEWUSER };
                // SAFETY: takes numbers.
                let mut failed = unsafe { libc::unshare(libc::CLONE_NEWNS | user) };
                // SAFETY: terminated strings.
                failed |= unsafe {
                    let flags = libc::MS_REC | libc::MS_PRIVATE;
                    libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
                };
                for place in [c"/proc", c"/sys"] {
                    let kind = c"tmpfs".as_ptr();
                    // SAFETY: terminated strings.
                    failed |= unsafe { libc::mount(kind, place.as_ptr(), kind, 0, std::ptr::null()) };
                }
                if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: between fork and exec, system calls.
            unsafe { command.pre_exec(hide) };
        },
        || {
            assert!(!Path::new("/proc/self").exists());
            (0..100_000).for_each(step);
            let snapshot = rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.discarded), (100_000, 0));
            assert_eq!(steps().last(), Some(&99_999));
        },
    );
}

/// A cgroup of 16 MiB below ours, removed when this is dropped. `None`: there can be none.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Group> {
        let mine = fs::read_to_string("/proc/self/cgroup").unwrap();
        mine.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            match (parts.next()?, parts.next()?) {
                ("memory", path) => Group::below(
                    &Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/')),
                    "memory.limit_in_bytes",
                ),
                // Below the nearest group that lets its children be limited.
                ("", path) => Path::new(path).ancestors().find_map(|path| {
                    let group = Path::new("/sys/fs/cgroup").join(path.strip_prefix("/").ok()?);
                    let controllers = fs::read_to_string(group.join("cgroup.subtree_control")).ok()?;
                    controllers.contains("memory").then(|| Group::below(&group, "memory.max"))?
                }),
                _ => None,
            }
        })
    }

    fn below(parent: &Path, limit: &str) -> Option<Group> {
        let path = parent.join(format!("foretrace-test-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Group(path);
        fs::write(group.0.join(limit), "16777216").ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_small_cgroup_has_a_small_ring() {
    let claim = "limits::a_small_cgroup_has_a_small_ring";
    let group = Group::new();
    if group.is_none() {
        not_tried("cgroup", "this machine lets us make no cgroup with a memory limit");
    }
    let members = group.as_ref().map(|group| group.0.join("cgroup.procs"));
    let members = members.map(|path| CString::new(path.into_os_string().into_encoded_bytes()).unwrap());
    apart(
        claim,
        |command| {
            let Some(members) = members else { return };
            let join = move || {
                // SAFETY: a terminated path.
                let file = unsafe { libc::open(members.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
                // SAFETY: one byte: 0 is whoever writes.
                let written = unsafe { libc::write(file, b"0".as_ptr().cast(), 1) };
                if written == 1 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: between fork and exec, system calls.
            unsafe { command.env("FORETRACE_TEST_SMALL", "1").pre_exec(join) };
        },
        || {
            (0..1_000_000).for_each(step);
            let snapshot = rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.discarded), (1_000_000, 0));
            if std::env::var_os("FORETRACE_TEST_SMALL").is_some() {
                let bytes: usize = snapshot.streams.iter().map(|(_, bytes)| bytes.len()).sum();
                assert!(bytes <= (16 << 20) / 10, "{bytes} bytes of 16 MiB");
            }
        },
    );
}
