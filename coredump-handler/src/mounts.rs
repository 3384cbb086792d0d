//! Mounts, as far as they decide whether reading may block: a pure parser of `mountinfo`.
//!
//! A file system whose server is another process or machine answers when that server likes; a crashed program's stack
//! can lie on one. What is found here is left alone from the start, so that no deadline has to save the report.

use std::collections::HashSet;

use crate::maps::Mapping;

/// Devices on which a read may block for as long as somebody else likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocking {
    devices: HashSet<(u32, u32)>,
    // Every device that is mounted.
    listed: HashSet<(u32, u32)>,
}

impl Blocking {
    /// The blocking devices among the mounts in `mountinfo`.
    pub fn parse(mountinfo: &[u8]) -> Blocking {
        let mut found = Blocking::default();
        found.add(mountinfo);
        found
    }

    /// Also those of another list.
    pub fn add(&mut self, mountinfo: &[u8]) {
        let text = String::from_utf8_lossy(mountinfo);
        self.devices.extend(text.lines().filter_map(blocking_device));
        self.listed.extend(text.lines().filter_map(|line| Some(mounted(line)?.0)));
    }

    /// Whether nobody can tell what this mapping's file lies on: no disk, and mounted nowhere. Even the question which
    /// file system it is may then never be answered.
    pub fn is_unknown(&self, mapping: &Mapping) -> bool {
        mapping.inode != 0 && mapping.device.0 == 0 && !self.listed.contains(&mapping.device)
    }

    /// Whether reading from this mapping may block.
    pub fn holds(&self, mapping: &Mapping) -> bool {
        mapping.inode != 0 && self.devices.contains(&mapping.device)
    }

    /// `ranges` without the mappings on such devices.
    pub fn without(&self, ranges: Vec<(u64, u64)>, maps: &[Mapping]) -> Vec<(u64, u64)> {
        let mut left = ranges;
        for mapping in maps.iter().filter(|mapping| self.holds(mapping)) {
            left = left.into_iter().flat_map(|range| cut(range, (mapping.start, mapping.end))).collect();
        }
        left
    }
}

// 36 35 98:0 /root /mount rw,noatime master:1 - type source options
fn mounted(line: &str) -> Option<((u32, u32), &str)> {
    let (mount, file_system) = line.split_once(" - ")?;
    let (major, minor) = mount.split(' ').nth(2)?.split_once(':')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), file_system.split(' ').next()?))
}

fn blocking_device(line: &str) -> Option<(u32, u32)> {
    const TYPES: [&str; 16] = [
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "coda", "ocfs2", "gfs2", "lustre",
        "ncpfs", "autofs", "virtiofs", "pvfs2",
    ];
    let (device, kind) = mounted(line)?;
    // fuse, fuseblk, fuse.sshfs
    let blocks = kind.starts_with("fuse") && kind != "fusectl" || TYPES.contains(&kind);
    blocks.then_some(device)
}

fn cut(range: (u64, u64), hole: (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    let before = (range.0, range.1.min(hole.0));
    let behind = (range.0.max(hole.1), range.1);
    [before, behind].into_iter().filter(|(start, end)| start < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        22 21 0:55 / /mnt/my\\040disk rw,nosuid - fuse.sshfs me@host: rw,user_id=1000\n\
        23 21 0:30 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n\
        24 21 0:56 / /net rw - nfs4 host:/ rw\n\
        broken line\n25 21 x:y / / rw - fuse a b\n";

    fn mapping(start: u64, end: u64, device: (u32, u32)) -> Mapping {
        Mapping { start, end, device, inode: 7, ..Mapping::default() }
    }

    #[test]
    fn only_devices_of_other_servers_block() {
        let blocking = Blocking::parse(MOUNTS);
        for (device, expected) in [((0, 55), true), ((0, 56), true), ((8, 1), false), ((0, 30), false)] {
            assert_eq!(blocking.holds(&mapping(0, 1, device)), expected, "{device:?}");
        }
        assert!(!blocking.holds(&Mapping { inode: 0, ..mapping(0, 1, (0, 55)) }));
    }

    #[test]
    fn what_is_on_no_disk_and_mounted_nowhere_is_unknown() {
        let mut blocking = Blocking::parse(MOUNTS);
        for (device, expected) in [((0, 55), false), ((0, 30), false), ((0, 77), true), ((8, 9), false)] {
            assert_eq!(blocking.is_unknown(&mapping(0, 1, device)), expected, "{device:?}");
        }
        assert!(!blocking.is_unknown(&Mapping { inode: 0, ..mapping(0, 1, (0, 77)) }));
        blocking.add(b"29 21 0:77 / /tmp rw - tmpfs tmpfs rw\n");
        assert!(!blocking.is_unknown(&mapping(0, 1, (0, 77))));
    }

    #[test]
    fn memory_on_such_a_device_is_cut_out_of_what_may_be_read() {
        let blocking = Blocking::parse(MOUNTS);
        let maps = [mapping(10, 20, (0, 55)), mapping(30, 40, (8, 1)), mapping(50, 60, (0, 56))];
        assert_eq!(blocking.without(vec![(0, 15), (18, 70)], &maps), [(0, 10), (20, 50), (60, 70)]);
        assert_eq!(blocking.without(vec![(12, 18)], &maps), []);
    }
}
