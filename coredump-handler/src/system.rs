//! The machine that this program runs on: its kernel and its distribution.

use std::fs;

use foretrace_report::schema::System;

/// This machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// What `uname -srvm` prints.
    pub kernel: String,
    /// `/etc/os-release`, where it can be read.
    pub os_release: Option<Vec<u8>>,
    /// The same in a report's form.
    pub system: System,
}

impl Machine {
    /// Asks the kernel and reads os-release.
    pub fn here() -> Machine {
        let os_release = fs::read("/etc/os-release").or_else(|_| fs::read("/usr/lib/os-release")).ok();
        let mut machine = Machine { os_release, ..Machine::default() };
        if let Ok(uname) = nix::sys::utsname::uname() {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            let (release, arch) = (text(uname.release()), text(uname.machine()));
            machine.kernel = format!("{} {release} {} {arch}", text(uname.sysname()), text(uname.version()));
            machine.system.kernel = release;
            machine.system.arch = arch;
        }
        let text = machine.os_release.as_deref().unwrap_or_default();
        machine.system.os = crate::handler::state::os_release_value(text, "PRETTY_NAME").unwrap_or_default();
        machine
    }
}
