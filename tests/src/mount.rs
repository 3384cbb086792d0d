//! Mounts that go when they are dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::command::run;

const NONE: Option<&str> = None;

/// Something that lies over a place, until it is dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// A file or directory over another.
    ///
    /// # Errors
    /// Not root, or no such places.
    pub fn over(place: &Path, what: &Path) -> Result<Mounted> {
        mount(Some(what), place, NONE, MsFlags::MS_BIND, NONE)?;
        Ok(Mounted(place.to_owned()))
    }

    /// A file system in memory of so many bytes.
    ///
    /// # Errors
    /// Not root, or no such place.
    pub fn memory(place: &Path, bytes: u64) -> Result<Mounted> {
        let size = format!("size={bytes},mode=755");
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        Ok(Mounted(place.to_owned()))
    }

    /// The file system in `image`, with options as `mount` takes them.
    ///
    /// # Errors
    /// Not root, no loop device, or no file system.
    pub fn image(place: &Path, image: &Path, options: &str) -> Result<Mounted> {
        let options = ["loop", options].join(",");
        run(Command::new("mount").args(["-o", options.trim_end_matches(',')]).arg(image).arg(place))?
            .success()?;
        Ok(Mounted(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
