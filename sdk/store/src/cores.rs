//! Whole cores beside reports: how one gets into a report that its user has already, and how many there may be.
//!
//! A core is written to a file without a name and gets its name when it is whole: nobody ever sees half of one, and a
//! writer that dies leaves nothing. Cores have a quota of their own; what goes first is the oldest core of whichever user
//! takes most, and its report stays. In a directory that belongs to a user nothing is opened but that directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use foretrace_report::ReportId;
use nix::sys::stat::FileStat;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{Gid, Uid, fchown};

use crate::directory::{Directory, is_directory, on_disk};
use crate::settings::Storage;
use crate::{Owner, Places, StoreError};

/// The name of a core in its report's directory.
pub const CORE: &str = "core.gz";
/// The same, encrypted to its user's key.
pub const SEALED_CORE: &str = "core.gz.age";

/// All cores together take no more than this by default.
const DEFAULT_CAP: u64 = 4 << 30;

/// A place for a core in a report.
#[derive(Debug)]
pub struct CoreSeat {
    directory: Directory,
    file: File,
}

impl CoreSeat {
    pub(crate) fn new(directory: Directory) -> Result<CoreSeat, StoreError> {
        let file = directory.nameless_file()?;
        Ok(CoreSeat { directory, file })
    }

    /// The file that the core is written to.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn file(&self) -> Result<File, StoreError> {
        self.file.try_clone().map_err(|error| self.directory.error(CORE, error))
    }

    /// The space that the core takes.
    ///
    /// # Errors
    /// The file cannot be examined.
    pub fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        let status = self.file.metadata().map_err(|error| self.directory.error(CORE, error))?;
        Ok(std::os::unix::fs::MetadataExt::blocks(&status) * 512)
    }

    /// Makes the core durable and visible to `owner`, whose report it belongs to; `sealed` says how it was written.
    ///
    /// # Errors
    /// The report is gone, or the system refuses; no core is left.
    pub fn take(self, owner: Owner, sealed: bool) -> Result<(), StoreError> {
        let error = |error| self.directory.error(CORE, error);
        self.file.sync_all().map_err(error)?;
        let (user, group) = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
        fchown(&self.file, user, group).map_err(|refused| error(refused.into()))?;
        self.directory.link(&self.file, if sealed { SEALED_CORE } else { CORE })?;
        self.directory.sync()
    }
}

/// How many bytes all cores of the system's store may take together.
///
/// # Errors
/// There is no store yet.
pub fn quota(places: &Places, storage: &Storage) -> Result<u64, StoreError> {
    let state = Directory::open(&places.state())?;
    let size = fstatvfs(&state).map_or(u64::MAX, |fs| fs.blocks().saturating_mul(fs.fragment_size()));
    Ok(storage.core_max_use.unwrap_or_else(|| (size / 10).min(DEFAULT_CAP)))
}

/// Removes cores until another one of `bytes` fits below `quota`. Returns how many went.
///
/// # Errors
/// The store cannot be read, or a core cannot be removed.
pub fn make_room(places: &Places, bytes: u64, quota: u64) -> Result<usize, StoreError> {
    let reports = Directory::open(&places.state())?.subdirectory("reports")?;
    let found = examine(&reports);
    let kept: Vec<Kept> = found.iter().map(|(kept, ..)| *kept).collect();
    let doomed = plan(&kept, quota.saturating_sub(bytes));
    for index in &doomed {
        if let Some((kept, shelf, id)) = found.get(*index) {
            shelf.subdirectory(&id.to_string())?.remove_file(kept.name)?;
        }
    }
    Ok(doomed.len())
}

// A core that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    name: &'static str,
    uid: u32,
    modified: (i64, i64),
    bytes: u64,
}

fn plan(kept: &[Kept], room: u64) -> Vec<usize> {
    let mut queues: BTreeMap<u32, (u64, Vec<usize>)> = BTreeMap::new();
    for (index, core) in kept.iter().enumerate() {
        let (bytes, queue) = queues.entry(core.uid).or_default();
        *bytes = bytes.saturating_add(core.bytes);
        queue.push(index);
    }
    for (_, queue) in queues.values_mut() {
        queue.sort_by_key(|index| std::cmp::Reverse(kept[*index].modified));
    }
    let mut doomed = Vec::new();
    while queues.values().fold(0u64, |all, (bytes, _)| all.saturating_add(*bytes)) > room {
        let Some((bytes, queue)) = queues.values_mut().max_by_key(|(bytes, _)| *bytes) else { break };
        let Some(oldest) = queue.pop() else { break };
        *bytes -= kept[oldest].bytes;
        doomed.push(oldest);
    }
    doomed
}

fn examine(reports: &Directory) -> Vec<(Kept, Arc<Directory>, ReportId)> {
    let mut found = Vec::new();
    for name in reports.names().unwrap_or_default() {
        let (Ok(uid), Ok(shelf)) = (name.parse::<u32>(), reports.subdirectory(&name)) else { continue };
        let shelf = Arc::new(shelf);
        for id in shelf.names().unwrap_or_default().iter().filter_map(|name| name.parse::<ReportId>().ok()) {
            let Ok(directory) = shelf.subdirectory(&id.to_string()) else { continue };
            for (name, stat) in kept_in(&directory) {
                let modified = (stat.st_mtime, stat.st_mtime_nsec);
                found.push((Kept { name, uid, modified, bytes: on_disk(&stat) }, Arc::clone(&shelf), id));
            }
        }
    }
    found
}

/// The cores in a report's directory: one, or none.
pub(crate) fn kept_in(report: &Directory) -> impl Iterator<Item = (&'static str, FileStat)> {
    let there = |name| Some((name, report.stat(name).ok().filter(|stat| !is_directory(stat))?));
    [CORE, SEALED_CORE].into_iter().filter_map(there)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{Incoming, StoreKind, random_id};

    fn kept(uid: u32, modified: i64, bytes: u64) -> Kept {
        Kept { name: CORE, uid, modified: (modified, 0), bytes }
    }

    #[test]
    fn the_oldest_core_of_whoever_takes_most_goes_first() {
        let cores = [kept(1, 5, 30), kept(2, 1, 10), kept(1, 3, 30), kept(1, 4, 30)];
        assert!(plan(&cores, 100).is_empty());
        assert_eq!(plan(&cores, 99), [2]);
        assert_eq!(plan(&cores, 40), [2, 3]);
        assert_eq!(plan(&cores, 0), [2, 3, 0, 1]);
    }

    fn published(places: &Places, core: &[u8]) -> Option<ReportId> {
        let incoming = Incoming::begin(places, StoreKind::User).unwrap();
        incoming.bundle().unwrap().write_all(b"bundle").unwrap();
        // Not every file system has files without a name.
        let seat = incoming.core_seat().ok()?;
        let id = random_id().unwrap();
        let report = incoming.publish(id, Owner::current()).unwrap();
        seat.file().unwrap().write_all(core).unwrap();
        assert!(!report.path.join(CORE).exists());
        seat.take(Owner::current(), false).unwrap();
        assert_eq!(std::fs::read(report.path.join(CORE)).unwrap(), core);
        Some(id)
    }

    #[test]
    fn a_core_gets_its_name_when_it_is_whole_and_never_replaces_another() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::system(root.path());
        let incoming = Incoming::begin(&places, StoreKind::User).unwrap();
        incoming.bundle().unwrap().write_all(b"bundle").unwrap();
        let (Ok(first), Ok(second)) = (incoming.core_seat(), incoming.core_seat()) else { return };
        incoming.publish(random_id().unwrap(), Owner::current()).unwrap();
        first.take(Owner::current(), false).unwrap();
        assert!(second.take(Owner::current(), false).is_err());
    }

    #[test]
    fn room_is_made_by_removing_cores_and_never_their_reports() {
        let root = tempfile::tempdir().unwrap();
        let user = Places::system(root.path());
        let core = vec![1; 64 << 10];
        let Some(_) = published(&user, &core) else { return };
        let second = published(&user, &core).unwrap();
        // The user's store, seen as the system's.
        std::fs::create_dir_all(user.state().join("reports")).unwrap();
        let shelf = user.state().join("reports").join(Owner::current().uid.to_string());
        let own = user.user_state().join("reports").join(Owner::current().uid.to_string());
        std::fs::rename(own, &shelf).unwrap();
        assert_eq!(make_room(&user, 1, 1 << 30).unwrap(), 0);
        assert_eq!(make_room(&user, 0, 70 << 10).unwrap(), 1);
        assert_eq!(std::fs::read_dir(&shelf).unwrap().count(), 2);
        assert!(shelf.join(second.to_string()).join(CORE).exists(), "the newer one went");
    }
}
