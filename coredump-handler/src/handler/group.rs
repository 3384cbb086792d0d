//! The control group that broker and worker run in: without it the kernel's helpers count as nobody's.
//!
//! Children are put into it as they are made; the supervisor stays where it is, because a move costs up to 10 ms. All of
//! it is as far as the machine allows: no group is no problem.

use std::fs::{self, File};
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

const NAME: &str = "foretrace";
/// The children of all crashes together get at most one part in so many of the machine's memory.
const MEMORY_SHARE: u64 = 4;

/// The group's directory, created where it is missing. `None` where there is no version 2 hierarchy to write to.
pub fn open() -> Option<File> {
    let hierarchy = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|path| statfs(*path).is_ok_and(|status| status.filesystem_type() == CGROUP2_SUPER_MAGIC))?;
    let group = Path::new(hierarchy).join(NAME);
    if fs::create_dir(&group).is_ok() {
        limit_memory(&group);
    }
    File::open(group).ok()
}

fn limit_memory(group: &Path) {
    let Ok(information) = nix::sys::sysinfo::sysinfo() else { return };
    let share = information.ram_total() / MEMORY_SHARE;
    // Fails where the memory controller is not handed down: then the children's own limits must do.
    let _ = fs::write(group.join("memory.max"), share.to_string());
}
