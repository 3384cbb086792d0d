//! What of root's rights the supervisor and the broker keep: as few capabilities as their work takes, nothing that a
//! program they start could gain, and for the broker no system call that changes anything.
//!
//! The worker, which parses, gives up everything: `sandbox`.
#![allow(unsafe_code)]

use std::io;

use foretrace_report::schema::Problem;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use seccompiler::SeccompCmpOp;

use super::calls::Calls;
use crate::process::capabilities::{self as held, Capability};

/// What reading a process, and opening a file as it, takes.
const BROKER: [Capability; 6] = [
    Capability::DAC_READ_SEARCH,
    Capability::SETGID,
    Capability::SETUID,
    Capability::SYS_PTRACE,
    Capability::SYSLOG,
    Capability::CHECKPOINT_RESTORE,
];

/// What publishing, ending children and making them takes. SYS_ADMIN is for the worker's namespaces.
const SUPERVISOR: [Capability; 13] = [
    Capability::CHOWN,
    Capability::DAC_OVERRIDE,
    Capability::DAC_READ_SEARCH,
    Capability::FOWNER,
    Capability::KILL,
    Capability::SETGID,
    Capability::SETUID,
    Capability::SETPCAP,
    Capability::SYS_PTRACE,
    Capability::SYS_ADMIN,
    Capability::SYS_RESOURCE,
    Capability::SYSLOG,
    Capability::CHECKPOINT_RESTORE,
];

/// The user and group that those who parse run as: the package's own, or nobody.
pub fn unprivileged_user() -> (u32, u32) {
    const NOBODY: (u32, u32) = (65_534, 65_534);
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = accounts.lines().find_map(|line| {
        let mut fields = line.strip_prefix("foretrace:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    own.filter(|(user, group)| *user != 0 && *group != 0).unwrap_or(NOBODY)
}

/// Makes this process the broker: `user` and `group` with [`BROKER`]'s capabilities alone, bound to its parent.
///
/// # Errors
/// The rights of root could not be given up: nothing may be read for others then.
pub fn become_broker(user: u32, group: u32) -> io::Result<()> {
    let mut kept = BROKER.to_vec();
    // Before Linux 5.9 only this opened mapped files.
    if !held::is_known(Capability::CHECKPOINT_RESTORE) {
        kept.push(Capability::SYS_ADMIN);
    }
    held::bound(&kept);
    held::keep_through_change_of_user()?;
    setgroups(&[])?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    held::reduce(&kept)?;
    nix::sys::prctl::set_dumpable(false)?;
    super::bind_to_parent()?;
    deny_calls().map_err(io::Error::other)
}

/// Leaves the supervisor what it needs; all of it where it `starts_another` handler, which was made to be root. Where
/// the kernel refuses that is a problem: the supervisor then has root's rights, as any handler.
pub fn reduce_supervisor(starts_another: bool) -> Option<Problem> {
    let reduced = || -> io::Result<()> {
        held::bound(&SUPERVISOR);
        held::reduce(&SUPERVISOR)?;
        Ok(nix::sys::prctl::set_no_new_privs()?)
    };
    let error = if starts_another { None } else { reduced().err() }?;
    Some(Problem::new("sandbox", format!("the handler kept all of root's rights: {error}")))
}

// What cannot be seen in a register, such as openat2's flags, is left to user and capabilities.
fn deny_calls() -> Result<(), seccompiler::Error> {
    let writing = [libc::O_WRONLY, libc::O_RDWR, libc::O_ACCMODE];
    let writing = writing.map(|mode| (SeccompCmpOp::MaskedEq(libc::O_ACCMODE as u64), mode));
    let creating = (SeccompCmpOp::MaskedEq(libc::O_CREAT as u64), libc::O_CREAT);
    let writing = [writing.as_slice(), &[creating]].concat();
    let calls = Calls::new(DENIED)
        .with(libc::SYS_openat, 2, &writing)?
        // Files are opened as users, never as root.
        .with(libc::SYS_setfsuid, 0, &[(SeccompCmpOp::Eq, 0)])?;
    #[cfg(target_arch = "x86_64")]
    let calls = calls.with(libc::SYS_open, 1, &writing)?;
    calls.deny()
}

// Other processes, who one is, the network, files' names and owners, the machine.
const DENIED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_io_uring_setup,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_fsetxattr,
    libc::SYS_utimensat,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_open_by_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_renameat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
];
