//! Control groups as a service manager makes them, on whichever hierarchy this machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const TOP: [&str; 3] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];

/// A control group that goes when it is dropped, with those above it that were made for it.
pub struct Group {
    made: Vec<PathBuf>,
    path: PathBuf,
}

impl Group {
    /// Makes what is not there of a path such as `system.slice/nginx.service`.
    ///
    /// # Errors
    /// No control groups here, or not root.
    pub fn new(path: &str) -> Result<Group> {
        let top = TOP.iter().map(Path::new).find(|top| top.join("cgroup.procs").exists());
        Group::below(top.context("no control groups")?, path)
    }

    /// The same in the hierarchy that is mounted at `top`.
    ///
    /// # Errors
    /// Not root, or no hierarchy.
    pub fn below(top: &Path, path: &str) -> Result<Group> {
        let mut group = Group { made: Vec::new(), path: top.to_owned() };
        for name in path.split('/') {
            group.path.push(name);
            if !group.path.exists() {
                fs::create_dir(&group.path).with_context(|| format!("{}", group.path.display()))?;
                group.made.push(group.path.clone());
            }
        }
        Ok(group)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that enters the group and becomes `program`.
    pub fn within(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ >\"$1/cgroup.procs\" && shift && exec \"$@\"", "sh"])
            .arg(&self.path)
            .arg(program);
        command
    }

    /// The same for `program` with further arguments, which then runs as `uid`.
    pub fn within_as(&self, uid: u32, program: &Path) -> Command {
        let mut command = self.within(Path::new("setpriv"));
        let uid = uid.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]).arg(program);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            let began = Instant::now();
            // The last process may still be on its way out.
            while fs::remove_dir(path).is_err() && began.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
