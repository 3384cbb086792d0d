//! A disk whose power can fail: an ext4 in a file, mounted where a store is to lie.
//!
//! The power fails as xfstests' `godown` lets it: the file system is shut down without its journal being flushed. Whatever
//! was only in memory is gone; what it had been made to keep is there when it is mounted again.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::umount;

use crate::command::run;
use crate::mount::Mounted;

/// How long processes may hold on to a disk that is gone.
const LEFTOVERS: Duration = Duration::from_secs(60);
/// Written just before each cut by somebody who does not wait for the disk.
const UNKEPT: &str = "unkept";

/// A mounted disk. Dropping it unmounts it.
pub struct Disk {
    mounted: Option<Mounted>,
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Makes one in the file `image` and mounts it at `place`.
    ///
    /// # Errors
    /// Not root, no loop device, or no e2fsprogs.
    pub fn new(image: PathBuf, place: PathBuf) -> Result<Disk> {
        const BYTES: u64 = 512 << 20;
        File::create(&image)?.set_len(BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?.success()?;
        let mounted = Some(Mounted::image(&place, &image, "")?);
        Ok(Disk { mounted, image, place })
    }

    /// From this instant on nothing reaches the disk.
    ///
    /// # Errors
    /// A file system that cannot be shut down.
    pub fn cut(&self) -> Result<()> {
        const NO_FLUSH: u32 = 2;
        let mut how = NO_FLUSH;
        let folder = File::open(&self.place)?;
        fs::write(self.place.join(UNKEPT), "only in memory")?;
        // SAFETY: the call reads one number, which `how` is, through a descriptor that `folder` keeps open.
        unsafe { shut_down(folder.as_raw_fd(), &raw mut how) }.context("the disk cannot be shut down")?;
        Ok(())
    }

    /// Waits until nobody holds on to the disk that is gone, and mounts what it has kept.
    ///
    /// # Errors
    /// Somebody still does, or it kept what nobody made it keep: the power did not fail.
    pub fn come_back(&mut self) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = umount(&self.place) {
            ensure!(began.elapsed() < LEFTOVERS, "the disk is in use: {error}");
            thread::sleep(Duration::from_millis(20));
        }
        // What it stood for is unmounted; its end must not be the next one's.
        drop(self.mounted.take());
        self.mounted = Some(Mounted::image(&self.place, &self.image, "")?);
        let unkept = fs::read(self.place.join(UNKEPT)).unwrap_or_default();
        ensure!(unkept.is_empty(), "the power did not fail: what nobody made the disk keep is there");
        Ok(())
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

nix::ioctl_read!(
    /// Shuts an ext4 down, as `EXT4_IOC_SHUTDOWN` in the kernel's sources.
    shut_down,
    b'X',
    125,
    u32
);
