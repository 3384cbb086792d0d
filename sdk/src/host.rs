//! What the recorder asks of the machine: memory, limits, environment, a few numbers about the process.
//!
//! Owns every system call of making a ring. Async-signal-safe throughout: no allocation, no lock, no buffered file;
//! files are read into the stack. Never fails the host: what cannot be had is `None` or a harmless number.
#![allow(unsafe_code)]

use core::ffi::CStr;
use core::ptr;

use foretrace_ring::layout::*;

/// Descriptors are moved out of the range in which programs expect to find their own.
const LOWEST_DESCRIPTOR: i32 = 64;

/// Whether this program got privileges by being executed, so that its environment may be an attacker's.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// A variable of the environment, unless this program got privileges by being executed.
pub(crate) fn variable(name: &CStr) -> Option<&'static CStr> {
    if is_privileged() {
        return None;
    }
    // SAFETY: a terminated name. A program that changes its environment while other threads read it breaks C's rules
    // with every library; the value is used at once.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: getenv returns null or a terminated string.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// How large the pool may be: as large as is wanted, less where a limit on files, on the address space or of the cgroup
/// is near. `None`: there is no room for one.
pub(crate) fn pool_size(wanted: u64) -> Option<u64> {
    let room = limit(libc::RLIMIT_FSIZE).min(limit(libc::RLIMIT_AS) / 8).saturating_sub(4096);
    // A tenth of what the cgroup may use at all, but the rest of the ring is hardly touched and does not count.
    let group = cgroup_limit().map_or(u64::MAX, |limit| limit / 10);
    let mut size = wanted.min(group);
    // What a ring has besides its pool grows with the pool.
    while size >= MIN_POOL && Geometry::of_pool(size).size > room {
        size -= u64::from(BLOCK_SIZE);
    }
    (size >= MIN_POOL).then_some(size)
}

fn limit(which: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: writes the structure it is given.
    unsafe { libc::getrlimit(which, &mut limit) };
    limit.rlim_cur
}

/// The smallest memory limit of the process's cgroups (of either version) and those above them.
#[inline(never)]
fn cgroup_limit() -> Option<u64> {
    let mut text = [0; 1536];
    let lines = read(c"/proc/self/cgroup", &mut text).split(|byte| *byte == b'\n');
    lines.filter_map(limit_of_line).min()
}

/// The limit of one line: a number, controllers (none in version 2), the group's path.
fn limit_of_line(line: &[u8]) -> Option<u64> {
    let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
    let (controllers, group) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return smallest_limit(b"/sys/fs/cgroup", group, b"/memory.max\0");
    }
    let of_memory = controllers.split(|byte| *byte == b',').any(|name| name == b"memory");
    of_memory.then(|| smallest_limit(b"/sys/fs/cgroup/memory", group, b"/memory.limit_in_bytes\0"))?
}

/// The smallest number in the files of this name, in a group and those above it.
fn smallest_limit(root: &[u8], group: &[u8], file: &[u8]) -> Option<u64> {
    let mut smallest = None;
    let mut length = group.len();
    loop {
        let mut path = [0_u8; 600];
        let mut end = 0;
        for part in [root, group.get(..length)?, file] {
            path.get_mut(end..end + part.len())?.copy_from_slice(part);
            end += part.len();
        }
        let mut value = [0; 32];
        if let Ok(path) = CStr::from_bytes_until_nul(&path)
            && let Some(limit) = number(read(path, &mut value))
        {
            smallest = Some(smallest.map_or(limit, |other: u64| other.min(limit)));
        }
        match group.get(..length)?.iter().rposition(|byte| *byte == b'/') {
            Some(slash) if length > 0 => length = slash,
            _ => return smallest,
        }
    }
}

/// A new memfd, closed on exec. With the newest kernels' "never executable", which a system may insist on.
pub(crate) fn memfd() -> Option<i32> {
    const NOEXEC_SEAL: libc::c_uint = 8;
    let mut name = [0_u8; NAME.len() + 1];
    name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    for flags in [flags | NOEXEC_SEAL, flags] {
        // SAFETY: a terminated name.
        let descriptor = unsafe { libc::memfd_create(name.as_ptr().cast(), flags) };
        if descriptor >= 0 {
            return Some(move_up(descriptor));
        }
    }
    None
}

fn move_up(descriptor: i32) -> i32 {
    // SAFETY: duplicates our own descriptor.
    let higher = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR) };
    if higher < 0 {
        return descriptor;
    }
    close(descriptor);
    higher
}

/// Gives a memfd its size and maps it.
pub(crate) fn map_shared(descriptor: i32, size: u64) -> Option<*mut u8> {
    // A signal for a file that is too large would kill the host: `pool_size` kept below the limit, and it is asked
    // again in a child, whose limits may differ.
    if limit(libc::RLIMIT_FSIZE) < size {
        return None;
    }
    // SAFETY: our own descriptor.
    if unsafe { libc::ftruncate(descriptor, i64::try_from(size).ok()?) } != 0 {
        return None;
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe {
        libc::mmap(ptr::null_mut(), usize::try_from(size).ok()?, protection, libc::MAP_SHARED, descriptor, 0)
    };
    (base != libc::MAP_FAILED).then_some(base.cast())
}

/// Memory of our own for a moment.
pub(crate) fn map_private(size: usize) -> Option<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    (base != libc::MAP_FAILED).then_some(base.cast())
}

/// Nobody may truncate the memfd under its writers, nor write it except through mappings that are already there.
pub(crate) fn seal(descriptor: i32) {
    let least = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
    for seals in [least | libc::F_SEAL_FUTURE_WRITE, least, libc::F_SEAL_SEAL] {
        // SAFETY: our own descriptor. A kernel without the newest seal refuses all that are named with it.
        unsafe { libc::fcntl(descriptor, libc::F_ADD_SEALS, seals) };
    }
}

/// Moves a mapping to where another one is. False: both are as they were.
pub(crate) fn replace(from: *mut u8, to: *mut u8, size: u64) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let size = size as usize;
    // SAFETY: both are mappings of ours of this size, and the second one is given up.
    let moved = unsafe { libc::mremap(from.cast(), size, size, flags, to.cast::<libc::c_void>()) };
    moved != libc::MAP_FAILED
}

/// Undoes [`map_shared`] for a mapping that nobody has seen.
pub(crate) fn unmap(base: *mut u8, size: u64) {
    // SAFETY: our own mapping, of which no reference exists.
    unsafe { libc::munmap(base.cast(), size as usize) };
}

/// Closes a descriptor of ours.
pub(crate) fn close(descriptor: i32) {
    // SAFETY: the caller owns it.
    unsafe { libc::close(descriptor) };
}

/// The inode behind a descriptor.
pub(crate) fn inode(descriptor: i32) -> Option<u64> {
    // SAFETY: all zeroes are a valid `stat`.
    let mut status: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: writes the structure it is given.
    let answer = unsafe { libc::fstat(descriptor, &mut status) };
    (answer == 0).then_some(status.st_ino)
}

/// 128 bits that no other ring has.
pub(crate) fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    // SAFETY: fills the buffer it is given. Does not wait for a machine that has just started.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if filled == 16 {
        return u128::from_le_bytes(bytes);
    }
    let time = u128::from(crate::clock::realtime());
    time << 64 | u128::from(process_id()) << 32 | u128::from(crate::clock::monotonic() as u32)
}

/// The process's ID.
pub(crate) fn process_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() as u32 }
}

/// The calling thread's ID.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() as u32 }
}

/// Whether the calling thread runs on its alternate signal stack, and where that is. `None`: it has none.
pub(crate) fn alternate_stack() -> Option<(bool, core::ops::Range<u64>)> {
    let mut stack = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: writes the structure it is given and changes nothing.
    let answer = unsafe { libc::sigaltstack(ptr::null(), &mut stack) };
    let start = stack.ss_sp as u64;
    let known = answer == 0 && stack.ss_flags & libc::SS_DISABLE == 0;
    known.then(|| (stack.ss_flags & libc::SS_ONSTACK != 0, start..start.saturating_add(stack.ss_size as u64)))
}

/// When the process started: field 22 of `/proc/self/stat`, or 0.
#[inline(never)]
pub(crate) fn start_time() -> u64 {
    let mut bytes = [0; 512];
    let text = read(c"/proc/self/stat", &mut bytes);
    // The second field is a name in brackets that may contain anything, brackets too.
    let rest = text.iter().rposition(|byte| *byte == b')').and_then(|end| text.get(end + 2..)).unwrap_or(&[]);
    rest.split(|byte| *byte == b' ').nth(22 - 3).and_then(number).unwrap_or(0)
}

/// A path from the root directory on, in `into` unless it is one already. `None`: it is too long, or there is no current
/// directory that has a path.
pub(crate) fn absolute<'a>(path: &'a [u8], into: &'a mut [u8]) -> Option<&'a [u8]> {
    if path.first() == Some(&b'/') {
        return (path.len() <= into.len()).then_some(path);
    }
    // SAFETY: the buffer is as long as it says.
    if unsafe { libc::getcwd(into.as_mut_ptr().cast(), into.len()) }.is_null() {
        return None;
    }
    let directory = into.iter().position(|byte| *byte == 0)?;
    let end = directory + 1 + path.len();
    // A directory that was removed, or lies in another mount namespace, has no path from the root on.
    if into.first() != Some(&b'/') || path.is_empty() {
        return None;
    }
    into.get_mut(directory..end)?
        .iter_mut()
        .zip([b'/'].iter().chain(path))
        .for_each(|(to, from)| *to = *from);
    into.get(..end)
}

/// The first bytes of a file; none where it cannot be read.
pub(crate) fn read<'a>(path: &CStr, into: &'a mut [u8]) -> &'a [u8] {
    // SAFETY: a terminated path.
    let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if descriptor < 0 {
        return &[];
    }
    // SAFETY: the buffer is as long as it says.
    let length = unsafe { libc::read(descriptor, into.as_mut_ptr().cast(), into.len()) };
    close(descriptor);
    into.get(..usize::try_from(length).unwrap_or(0)).unwrap_or(&[])
}

/// Writes a message to standard error if that can be done at once. It is the host's: no signal that writing may cause
/// (a reader that has gone, a limit, a terminal's foreground) reaches it, and a full pipe is not waited for.
pub(crate) fn complain(message: &[u8]) {
    let mut error = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one structure; does not wait.
    let ready = unsafe { libc::poll(&mut error, 1, 0) };
    if message.is_empty() || ready != 1 || error.revents & libc::POLLOUT == 0 {
        return;
    }
    // SAFETY: all zeroes are the empty set.
    let mut ours: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: all zeroes are the empty set.
    let mut pending: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: writes the set it is given.
    unsafe { libc::sigpending(&mut pending) };
    let signals = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTOU];
    for signal in signals {
        // SAFETY: a valid set and signal. One that already waits is not ours to take away.
        if unsafe { libc::sigismember(&pending, signal) } == 0 {
            // SAFETY: a valid set and signal.
            unsafe { libc::sigaddset(&mut ours, signal) };
        }
    }
    let mut before = ours;
    // SAFETY: valid sets.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ours, &mut before) };
    // SAFETY: as many bytes as it says.
    unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid set and time; nothing is wanted of the signal.
    while unsafe { libc::sigtimedwait(&ours, ptr::null_mut(), &at_once) } > 0 {}
    // SAFETY: a valid set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
}

/// The decimal number at the start.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut value = None;
    for digit in digits {
        value = Some(value.unwrap_or(0_u64).checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
    }
    value
}
