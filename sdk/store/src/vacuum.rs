//! Keeping stores small: what is too old or too much is removed, oldest first and fairly among users and programs.
//!
//! [`vacuum`] does it exactly; [`enforce`] is what makers of reports call after each of them: it adds up what was written
//! and looks only when that may be too much. In a directory that belongs to another user, nothing but fstatat and unlinkat
//! happens, through held descriptors; no file is opened.

mod plan;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foretrace_report::ReportId;
use foretrace_report::bundle::{BundleReader, Limits as BundleLimits};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::directory::{Directory, is_directory, on_disk, read_limited};
use crate::incoming::{StoreKind, sweep};
use crate::report_dir::{self, BUNDLE, SEALED};
use crate::settings::Storage;
use crate::tally::{self, CrashKey};
use crate::{Places, Settings, StoreError, cores};
pub use plan::Reason;
use plan::{Entry, Limits, plan};

/// No store grows beyond this by default.
const DEFAULT_CAP: u64 = 4 << 30;
/// What is added up lies here.
const USAGE: &str = "usage";
/// A sum is not trusted for longer: reports are erased and answered without anybody adding that up.
const TRUSTED: i64 = 3600;
/// Where others fill the disk, looking more often than this helps nobody.
const PAUSE: i64 = 10;
/// Where there is too much, one part in so many goes besides, so that not every crash has to look.
const SLACK: u64 = 16;

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

/// Removes what the settings no longer allow: of the system's store as root, of the user's own as anybody.
pub fn vacuum(places: &Places, settings: &Settings) -> Vacuumed {
    let mut done = Vacuumed::default();
    let mut states = vec![(StoreKind::User, places.user_state())];
    if geteuid().is_root() {
        states.insert(0, (StoreKind::System, places.state()));
    }
    for (kind, state) in states {
        match Directory::open(&state) {
            Ok(state) => {
                Vacuum { state: &state, kind, storage: &settings.storage, until: None }.run(0, &mut done)
            }
            Err(error) if error.is_missing() => {}
            Err(error) => done.problems.push(error),
        }
    }
    done
}

/// Keeps a store within its limits after `added` bytes were written to it. Takes no time while they are far, and no
/// longer than `patience` when they are reached.
///
/// # Errors
/// The store cannot be examined. What cannot be removed is among the problems of what is returned.
pub fn enforce(
    places: &Places,
    storage: &Storage,
    kind: StoreKind,
    added: u64,
    patience: Duration,
) -> Result<Vacuumed, StoreError> {
    let until = Instant::now() + patience;
    let state = Directory::open(&match kind {
        StoreKind::System => places.state(),
        StoreKind::User => places.user_state(),
    })?;
    let file = state.lock_file(USAGE)?;
    tally::lock(&file).map_err(|error| state.error(USAGE, error))?;
    let mut usage = Usage::read(&file);
    usage.bytes = usage.bytes.saturating_add(added);
    let limits = limits(storage, &state, 0);
    let now = now();
    let since = now.saturating_sub(usage.examined);
    let look = usage.bytes > limits.max_use
        || !(0..TRUSTED).contains(&since)
        || limits.short_of_free > 0 && since >= PAUSE;
    let mut done = Vacuumed::default();
    if look {
        Vacuum { state: &state, kind, storage, until: Some(until) }.run(SLACK, &mut done);
        usage = Usage { bytes: done.kept_bytes, examined: now };
    }
    usage.write(&file).map_err(|error| state.error(USAGE, error))?;
    Ok(done)
}

/// What a store was found to hold, and what was added since.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Usage {
    bytes: u64,
    // In seconds since 1970; 0 has never been.
    examined: i64,
}

impl Usage {
    // What cannot be read is not known, and looked for.
    fn read(mut file: &File) -> Usage {
        let text = read_limited(&mut file, USAGE.as_ref(), 4096).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(self, file: &File) -> std::io::Result<()> {
        let text = serde_json::to_vec(&self)?;
        file.set_len(0)?;
        file.write_all_at(&text, 0)
    }
}

/// One store that is looked through.
struct Vacuum<'a> {
    state: &'a Directory,
    kind: StoreKind,
    storage: &'a Storage,
    // When to stop, whatever is left to do.
    until: Option<Instant>,
}

impl Vacuum<'_> {
    fn run(&self, slack: u64, done: &mut Vacuumed) {
        if let Ok(incoming) = self.state.subdirectory("incoming") {
            sweep(&incoming);
        }
        let reports = match self.state.subdirectory("reports") {
            Ok(reports) => reports,
            Err(error) if error.is_missing() => return,
            Err(error) => return done.problems.push(error),
        };
        let found = self.examine(&reports, &mut done.problems);
        let entries: Vec<Entry> = found.iter().map(|(entry, _)| *entry).collect();
        let doomed = plan(&entries, now(), &limits(self.storage, &reports, slack));
        for (index, (entry, shelf)) in found.iter().enumerate() {
            let why = doomed.get(&index).copied().filter(|_| !self.is_late());
            match why.map(|why| (why, report_dir::remove(shelf, entry.id))) {
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

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn examine(&self, reports: &Directory, problems: &mut Vec<StoreError>) -> Vec<(Entry, Arc<Directory>)> {
        let mut found = Vec::new();
        for name in reports.names().unwrap_or_else(|error| {
            problems.push(error);
            Vec::new()
        }) {
            match (name.parse::<u32>(), reports.stat(&name)) {
                (Ok(uid), Ok(stat)) if is_directory(&stat) => match reports.subdirectory(&name) {
                    Ok(shelf) => self.shelf(uid, &Arc::new(shelf), &mut found, problems),
                    Err(error) => problems.push(error),
                },
                _ => problems.push(reports.untrusted(&name, "it is no user's directory")),
            }
        }
        found
    }

    fn shelf(
        &self,
        uid: u32,
        shelf: &Arc<Directory>,
        found: &mut Vec<(Entry, Arc<Directory>)>,
        problems: &mut Vec<StoreError>,
    ) {
        let keys: HashMap<ReportId, CrashKey> = match self.kind {
            StoreKind::System => tally::keys(self.state, uid).into_iter().collect(),
            StoreKind::User => HashMap::new(),
        };
        let names = shelf.names().unwrap_or_default();
        let ids: HashSet<ReportId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        for id in &ids {
            let name = id.to_string();
            let Ok(stat) = shelf.stat(&name) else { continue };
            if !is_directory(&stat) {
                problems.push(shelf.untrusted(&name, "it is no directory"));
                continue;
            }
            let Ok(directory) = shelf.subdirectory(&name) else { continue };
            let written = directory.stat(BUNDLE).or_else(|_| directory.stat(SEALED)).unwrap_or(stat);
            let modified = (written.st_mtime, written.st_mtime_nsec);
            let key = match self.kind {
                StoreKind::System => keys.get(id).copied(),
                StoreKind::User => own_key(&directory),
            };
            let (program, way) = key.map_or((0, 0), CrashKey::numbers);
            // Cores have a quota of their own.
            let core: u64 = cores::kept_in(&directory).map(|(_, core)| on_disk(&core)).sum();
            let bytes = shelf.size_of(&name).saturating_sub(core);
            found.push((Entry { id: *id, uid, program, way, modified, bytes }, Arc::clone(shelf)));
        }
        if self.kind == StoreKind::System {
            let within = self.storage.repeats_within;
            tally::tidy(self.state, uid, now(), within, |id| ids.contains(&id));
        }
        // Counts of reports that are gone. A new one may be waiting for its report.
        for name in names.iter().filter(|name| tally::is_count(name, |id| !ids.contains(&id))) {
            let old = shelf.stat(name).is_ok_and(|stat| now().saturating_sub(stat.st_mtime) > TRUSTED);
            if old {
                let _ = shelf.remove_file(name);
            }
        }
    }
}

// What a report of the user's own has in common with others, from the report itself.
fn own_key(directory: &Directory) -> Option<CrashKey> {
    let bundle = directory.open_file(BUNDLE).ok()?;
    let report = BundleReader::open(bundle, BundleLimits::default()).ok()?.report().ok()?;
    let program = report.program.exe.unwrap_or(report.program.name);
    Some(CrashKey::new(program.as_bytes(), report.signature.as_bytes()))
}

fn limits(storage: &Storage, reports: &Directory, slack: u64) -> Limits {
    let (size, free) = match fstatvfs(reports) {
        Ok(fs) => (fs.blocks() * fs.fragment_size(), fs.blocks_available() * fs.fragment_size()),
        Err(_) => (u64::MAX, u64::MAX),
    };
    let keep_free = storage.keep_free.unwrap_or_else(|| (size / 100 * 15).min(DEFAULT_CAP));
    let max_use = storage.max_use.unwrap_or_else(|| (size / 10).min(DEFAULT_CAP));
    Limits {
        max_use,
        target: max_use - max_use.checked_div(slack).unwrap_or(0),
        short_of_free: keep_free.saturating_sub(free),
        max_age: i64::try_from(storage.max_age.as_secs()).unwrap_or(i64::MAX),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
