//! This thread's capabilities: seen and given up, never gained beyond what is permitted.
#![allow(unsafe_code)]

use std::io;

use nix::errno::Errno;

/// One of the kernel's capabilities, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u32);

#[allow(missing_docs, reason = "the names are the kernel's")]
impl Capability {
    pub const CHOWN: Capability = Capability(0);
    pub const DAC_OVERRIDE: Capability = Capability(1);
    pub const DAC_READ_SEARCH: Capability = Capability(2);
    pub const FOWNER: Capability = Capability(3);
    pub const KILL: Capability = Capability(5);
    pub const SETGID: Capability = Capability(6);
    pub const SETUID: Capability = Capability(7);
    pub const SETPCAP: Capability = Capability(8);
    pub const SYS_PTRACE: Capability = Capability(19);
    pub const SYS_ADMIN: Capability = Capability(21);
    pub const SYS_RESOURCE: Capability = Capability(24);
    pub const SYSLOG: Capability = Capability(34);
    pub const CHECKPOINT_RESTORE: Capability = Capability(40);
}

/// Whether this kernel has such a capability.
pub fn is_known(capability: Capability) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability.0), 0, 0, 0) >= 0 }
}

/// Nothing that this process executes gets any other than `kept`. Who may not decide that leaves it as it is.
pub fn bound(kept: &[Capability]) {
    let kept = mask(kept);
    for number in 0..64u32 {
        // SAFETY: takes numbers only; a number that the kernel does not know is refused.
        let dropped = kept >> number & 1 == 1
            || unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } == 0;
        if !dropped {
            break;
        }
    }
}

/// Lets what is permitted stay so when this process becomes another user.
///
/// # Errors
/// The kernel refuses.
pub fn keep_through_change_of_user() -> io::Result<()> {
    nix::sys::prctl::set_keepcaps(true)?;
    Ok(())
}

/// Keeps `kept`, as far as it is permitted now, and none else; none are inherited.
///
/// # Errors
/// The kernel refuses.
pub fn reduce(kept: &[Capability]) -> io::Result<()> {
    let permitted = Sets::now()?.permitted & mask(kept);
    Sets { effective: permitted, permitted, inheritable: 0 }.set()
}

/// Whether this thread may act with `capability`.
pub fn is_effective(capability: Capability) -> bool {
    Sets::now().is_ok_and(|sets| sets.effective & mask(&[capability]) != 0)
}

/// Acts with `capability` or without it, as far as it is permitted.
///
/// # Errors
/// It is not permitted.
pub fn switch(capability: Capability, on: bool) -> io::Result<()> {
    let sets = Sets::now()?;
    let bit = mask(&[capability]);
    let effective = if on { sets.effective | bit } else { sets.effective & !bit };
    Sets { effective, ..sets }.set()
}

fn mask(capabilities: &[Capability]) -> u64 {
    capabilities.iter().fold(0, |mask, capability| mask | 1 << capability.0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Header {
    // Sets of 64 bits; this thread.
    const OWN: Header = Header { version: 0x2008_0522, pid: 0 };
}

impl Sets {
    fn now() -> io::Result<Sets> {
        let mut header = Header::OWN;
        let mut halves = [Half::default(); 2];
        // SAFETY: this version writes two halves; both places outlive the call.
        let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
        Errno::result(answer)?;
        let [low, high] = halves;
        let whole = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        Ok(Sets {
            effective: whole(low.effective, high.effective),
            permitted: whole(low.permitted, high.permitted),
            inheritable: whole(low.inheritable, high.inheritable),
        })
    }

    fn set(self) -> io::Result<()> {
        let mut header = Header::OWN;
        let half = |shift: u32| Half {
            effective: (self.effective >> shift) as u32,
            permitted: (self.permitted >> shift) as u32,
            inheritable: (self.inheritable >> shift) as u32,
        };
        let halves = [half(0), half(32)];
        // SAFETY: this version reads two halves; both places outlive the call.
        let answer = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
        Errno::result(answer)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_switched_off_is_not_used_and_comes_back() {
        // Of this thread alone; without root there is nothing to switch.
        if !is_effective(Capability::DAC_READ_SEARCH) {
            return;
        }
        switch(Capability::DAC_READ_SEARCH, false).unwrap();
        assert!(!is_effective(Capability::DAC_READ_SEARCH) && is_effective(Capability::SETUID));
        switch(Capability::DAC_READ_SEARCH, true).unwrap();
        assert!(is_effective(Capability::DAC_READ_SEARCH));
    }

    #[test]
    fn a_thread_that_gave_capabilities_up_does_not_get_them_back() {
        if !is_effective(Capability::SETUID) {
            return;
        }
        std::thread::spawn(|| {
            reduce(&[Capability::SETUID]).unwrap();
            assert!(is_effective(Capability::SETUID) && !is_effective(Capability::SYSLOG));
            assert!(switch(Capability::SYSLOG, true).is_err());
        })
        .join()
        .unwrap();
    }
}
