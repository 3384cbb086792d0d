//! Keeping stores small: what is too old or too much is removed, oldest first and fairly among users.
//!
//! The plan is a pure function of sizes and times. In a directory that belongs to a user, nothing but fstatat and
//! unlinkat happens, through held descriptors; no file is opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foretrace_report::ReportId;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::geteuid;

use crate::directory::{Directory, is_directory};
use crate::incoming::sweep;
use crate::report_dir::BUNDLE;
use crate::settings::Storage;
use crate::{Places, Settings, StoreError};

/// No store grows beyond this by default.
const DEFAULT_CAP: u64 = 4 << 30;

/// What a vacuum did.
#[derive(Debug, Default)]
pub struct Vacuumed {
    /// The reports that are gone.
    pub removed: Vec<Removed>,
    /// How many are left.
    pub kept: usize,
    /// The space that these take.
    pub kept_bytes: u64,
    /// What could not be removed or examined.
    pub problems: Vec<StoreError>,
}

/// A report that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its name.
    pub id: ReportId,
    /// Whose it was.
    pub uid: u32,
    /// The space that it took.
    pub bytes: u64,
    /// Why.
    pub why: Reason,
}

/// Why a report is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Older than `MaxAge=`.
    Age,
    /// More than `MaxUse=` allows together.
    Use,
    /// Less is free than `KeepFree=` wants.
    Free,
}

/// Removes what the settings no longer allow: of the system's store as root, of the user's own as anybody.
pub fn vacuum(places: &Places, settings: &Settings) -> Vacuumed {
    let mut done = Vacuumed::default();
    let mut states = vec![places.user_state()];
    if geteuid().is_root() {
        states.insert(0, places.state());
    }
    for state in states {
        match Directory::open(&state) {
            Ok(state) => vacuum_state(&state, &settings.storage, &mut done),
            Err(error) if error.is_missing() => {}
            Err(error) => done.problems.push(error),
        }
    }
    done
}

fn vacuum_state(state: &Directory, storage: &Storage, done: &mut Vacuumed) {
    if let Ok(incoming) = state.subdirectory("incoming") {
        sweep(&incoming);
    }
    let reports = match state.subdirectory("reports") {
        Ok(reports) => reports,
        Err(error) if error.is_missing() => return,
        Err(error) => return done.problems.push(error),
    };
    let found = examine(&reports, &mut done.problems);
    let entries: Vec<Entry> = found.iter().map(|(entry, _)| *entry).collect();
    let limits = Limits::of(storage, &reports);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as i64;
    let doomed = plan(&entries, now, &limits);
    for (index, (entry, shelf)) in found.iter().enumerate() {
        let why = doomed.get(&index).copied();
        match why.map(|why| (why, shelf.remove_tree(&entry.id.to_string(), BUNDLE))) {
            Some((why, Ok(()))) => {
                done.removed.push(Removed { id: entry.id, uid: entry.uid, bytes: entry.bytes, why });
            }
            other => {
                done.kept += 1;
                done.kept_bytes += entry.bytes;
                if let Some((_, Err(error))) = other {
                    done.problems.push(error);
                }
            }
        }
    }
}

/// What the plan needs to know of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    id: ReportId,
    uid: u32,
    modified: i64,
    bytes: u64,
}

/// The limits of one store at one moment, in bytes and seconds.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_use: u64,
    /// How much must become free for `KeepFree=`.
    short_of_free: u64,
    max_age: i64,
}

impl Limits {
    fn of(storage: &Storage, reports: &Directory) -> Limits {
        let (size, free) = match fstatvfs(reports) {
            Ok(fs) => (fs.blocks() * fs.fragment_size(), fs.blocks_available() * fs.fragment_size()),
            Err(_) => (u64::MAX, u64::MAX),
        };
        let keep_free = storage.keep_free.unwrap_or_else(|| (size / 100 * 15).min(DEFAULT_CAP));
        Limits {
            max_use: storage.max_use.unwrap_or_else(|| (size / 10).min(DEFAULT_CAP)),
            short_of_free: keep_free.saturating_sub(free),
            max_age: i64::try_from(storage.max_age.as_secs()).unwrap_or(i64::MAX),
        }
    }
}

/// Decides what goes. Age first; then, while there is too much, the oldest report of whichever user takes most, so that
/// one user's storm does not cost another's only report.
fn plan(entries: &[Entry], now: i64, limits: &Limits) -> BTreeMap<usize, Reason> {
    let mut doomed = BTreeMap::new();
    let mut queues: BTreeMap<u32, (u64, Vec<usize>)> = BTreeMap::new();
    let (mut total, mut freed) = (0u64, 0u64);
    for (index, entry) in entries.iter().enumerate() {
        if now.saturating_sub(entry.modified) > limits.max_age {
            doomed.insert(index, Reason::Age);
            freed = freed.saturating_add(entry.bytes);
        } else {
            let (bytes, queue) = queues.entry(entry.uid).or_default();
            *bytes = bytes.saturating_add(entry.bytes);
            queue.push(index);
            total = total.saturating_add(entry.bytes);
        }
    }
    for (_, queue) in queues.values_mut() {
        // Newest first, so that the oldest is popped.
        queue.sort_by_key(|index| (std::cmp::Reverse(entries[*index].modified), *index));
    }
    loop {
        let why = match () {
            () if total > limits.max_use => Reason::Use,
            () if freed < limits.short_of_free => Reason::Free,
            () => return doomed,
        };
        // A disk that others have filled must not cost anybody their only report.
        let spared = usize::from(why == Reason::Free);
        let largest =
            queues.values_mut().filter(|(_, queue)| queue.len() > spared).max_by_key(|(bytes, _)| *bytes);
        let Some((index, bytes)) = largest.and_then(|(bytes, queue)| Some((queue.pop()?, bytes))) else {
            return doomed;
        };
        *bytes -= entries[index].bytes;
        total -= entries[index].bytes;
        freed = freed.saturating_add(entries[index].bytes);
        doomed.insert(index, why);
    }
}

fn examine(reports: &Directory, problems: &mut Vec<StoreError>) -> Vec<(Entry, Arc<Directory>)> {
    let mut found = Vec::new();
    let mut shelves = Vec::new();
    for name in reports.names().unwrap_or_else(|error| {
        problems.push(error);
        Vec::new()
    }) {
        match (name.parse::<u32>(), reports.stat(&name)) {
            (Ok(uid), Ok(stat)) if is_directory(&stat) => match reports.subdirectory(&name) {
                Ok(shelf) => shelves.push((uid, Arc::new(shelf))),
                Err(error) => problems.push(error),
            },
            _ => problems.push(reports.untrusted(&name, "it is no user's directory")),
        }
    }
    for (uid, shelf) in shelves {
        for id in shelf.names().unwrap_or_default().iter().filter_map(|name| name.parse::<ReportId>().ok()) {
            let name = id.to_string();
            let Ok(stat) = shelf.stat(&name) else { continue };
            if !is_directory(&stat) {
                problems.push(shelf.untrusted(&name, "it is no directory"));
                continue;
            }
            let bundle = shelf.subdirectory(&name).and_then(|directory| directory.stat(BUNDLE));
            let modified = bundle.map_or(stat.st_mtime, |bundle| bundle.st_mtime);
            let bytes = shelf.size_of(&name);
            found.push((Entry { id, uid, modified, bytes }, Arc::clone(&shelf)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8, uid: u32, modified: i64, bytes: u64) -> Entry {
        Entry { id: ReportId::from_random([n; 16]), uid, modified, bytes }
    }

    const WIDE: Limits = Limits { max_use: u64::MAX, short_of_free: 0, max_age: i64::MAX };

    #[test]
    fn nothing_goes_while_nothing_is_too_much() {
        assert!(plan(&[entry(1, 0, 10, 100)], 20, &Limits { max_use: 100, max_age: 10, ..WIDE }).is_empty());
    }

    #[test]
    fn what_is_too_old_goes_whatever_its_size() {
        let doomed = plan(&[entry(1, 0, 10, 0), entry(2, 0, 11, 0)], 21, &Limits { max_age: 10, ..WIDE });
        assert_eq!(doomed.into_iter().collect::<Vec<_>>(), [(0, Reason::Age)]);
    }

    #[test]
    fn one_users_storm_does_not_cost_another_user_an_older_report() {
        let mut entries = vec![entry(0, 1000, 1, 50)];
        entries.extend((1..=10).map(|n| entry(n, 1001, i64::from(n) + 10, 50)));
        let doomed = plan(&entries, 100, &Limits { max_use: 200, ..WIDE });
        assert!(!doomed.contains_key(&0));
        // Seven of the storm's go, oldest first.
        assert_eq!(doomed.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn too_little_free_space_takes_all_but_the_newest_of_each_user() {
        let entries = [entry(1, 0, 1, 10), entry(2, 0, 2, 10), entry(3, 0, 3, 10), entry(4, 7, 1, 90)];
        let doomed = |short_of_free| {
            plan(&entries, 9, &Limits { short_of_free, ..WIDE }).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(doomed(5), [0]);
        assert_eq!(doomed(500), [0, 1]);
    }
}
