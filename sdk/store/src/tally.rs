//! How often a user's programs crashed in the same way: which crashes become whole reports, and which are only counted.
//!
//! Used by root's handler. The tally is root's alone; what its owner may know of it lies on their own shelf, as
//! `<id>.count` beside the report that stands for the counted crashes. Never decides what "the same way" is: a
//! [`CrashKey`] comes from whoever looked at the crash, and can only mislead about crashes of the same user.
//!
//! ```text
//! tally/<uid>/<key>            this window's whole reports, the number of crashes behind them, earlier reports
//! reports/<uid>/<id>.count     how many crashes report <id> stands for besides its own; replaced, never written to
//! ```

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use foretrace_report::ReportId;
use nix::fcntl::RenameFlags;
use nix::unistd::{Gid, Uid, fchown};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::directory::{Directory, Durable, read_limited};
use crate::incoming::{Owner, own_directory, own_shelf};
use crate::settings::Storage;
use crate::{Places, StoreError};

/// The tally's directory in the system's state.
pub(crate) const TALLY: &str = "tally";
/// A tally is no longer than this, nor is what its owner sees of it.
const LIMIT: u64 = 1 << 20;
/// A handler that has not published a report by then has died.
const PENDING: i64 = 30;
/// Earlier reports that a tally remembers.
const OLDER: usize = 4096;
/// Nobody holds the tally's lock for longer unless its disk hangs.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The draft of what the owner may see.
const DRAFT: &str = ".count.new";

/// What two crashes have in common that count as the same: the program, and the way to the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CrashKey {
    program: u64,
    place: u64,
}

impl CrashKey {
    /// The key of a crash of `program` (its path) that is described by `place`.
    pub fn new(program: &[u8], place: &[u8]) -> CrashKey {
        let digest = |bytes: &[u8]| {
            Sha256::digest(bytes).iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        CrashKey { program: digest(program), place: digest(place) }
    }

    /// What all keys of the program have in common, and what is this key's own.
    pub(crate) fn numbers(self) -> (u64, u64) {
        (self.program, self.place)
    }
}

impl fmt::Display for CrashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.program, self.place)
    }
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no crash's key")]
pub struct NoKey;

impl FromStr for CrashKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<CrashKey, NoKey> {
        let (program, place) = text.split_once('-').ok_or(NoKey)?;
        let number = |text: &str| {
            let plain = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            u64::from_str_radix(text, 16).ok().filter(|_| plain).ok_or(NoKey)
        };
        Ok(CrashKey { program: number(program)?, place: number(place)? })
    }
}

/// A crash that wants to become a report.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What it has in common with others.
    pub key: CrashKey,
    /// The report's name, should it become one.
    pub id: ReportId,
    /// Whose it would be.
    pub owner: Owner,
    /// When it happened, RFC 3339.
    pub time: &'a str,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// What becomes of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A report of its own.
    Whole,
    /// It is counted, and the report with this name stands for it.
    Counted(ReportId),
}

/// The crashes that a report stands for besides its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// When the first of them happened, RFC 3339.
    pub first: String,
    /// When the last of them happened.
    pub last: String,
}

/// What is kept of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    /// When the window began, in seconds since 1970.
    opened: i64,
    /// The window's whole reports, and when they were promised to be some; 0 once they are.
    whole: Vec<(ReportId, i64)>,
    /// The report that stands for the counted crashes.
    carrier: Option<ReportId>,
    counted: Option<Counted>,
    /// Reports of earlier windows.
    older: Vec<ReportId>,
}

/// Decides what becomes of a crash, and counts it.
///
/// The first [`Storage::repeats`] with the same key within [`Storage::repeats_within`] become whole reports; so does
/// the next one after all of these have been erased.
///
/// # Errors
/// The tally cannot be kept: the crash should become a whole report then, for it is not counted.
pub fn admit(places: &Places, storage: &Storage, candidate: &Candidate<'_>) -> Result<Admission, StoreError> {
    let state = Directory::create(&places.state(), 0o755)?;
    let tallies = own_directory(&state, TALLY, 0o700)?.make(&candidate.owner.uid.to_string(), 0o700)?;
    let _lock = lock_directory(&tallies)?;
    let name = candidate.key.to_string();
    let shelves = Shelves::open(state, candidate.owner);
    let mut tally = read(&tallies, &name).unwrap_or_default();
    let admission = tally.admit(storage, candidate, |id| shelves.holder(id).is_some());
    let text = tally.text(&tallies, &name)?;
    match admission {
        // The report is waited for, and writes this again when it is there. Should it be lost, others become reports.
        Admission::Whole => tallies.replace(&name, &text, Durable::Later)?,
        Admission::Counted(_) => tallies.write_atomically(&name, &text)?,
    }
    if let (Admission::Counted(carrier), Some(counted)) = (admission, &tally.counted) {
        // What cannot be shown now is shown with the next one.
        let _ = show(&tallies, &shelves, carrier, counted);
    }
    Ok(admission)
}

/// Notes that a crash which was admitted is a report now: from here on it is missed once it is gone.
///
/// # Errors
/// The tally cannot be kept: for half a minute the report counts as one that is being written.
pub fn settle(places: &Places, key: CrashKey, id: ReportId, owner: Owner) -> Result<(), StoreError> {
    let state = Directory::open(&places.state())?;
    let tallies = state.subdirectory(TALLY)?.subdirectory(&owner.uid.to_string())?;
    let _lock = lock_directory(&tallies)?;
    let name = key.to_string();
    let mut tally = read(&tallies, &name).unwrap_or_default();
    match tally.whole.iter_mut().find(|(whole, _)| *whole == id) {
        Some((_, promised)) => *promised = 0,
        None => return Ok(()),
    }
    tallies.write_atomically(&name, &tally.text(&tallies, &name)?)
}

impl Tally {
    fn text(&self, tallies: &Directory, name: &str) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|e| tallies.error(name, io::Error::from(e)))
    }

    fn admit(
        &mut self,
        storage: &Storage,
        candidate: &Candidate<'_>,
        exists: impl Fn(ReportId) -> bool,
    ) -> Admission {
        let Candidate { id, now, time, .. } = *candidate;
        let alive = |(id, promised): &(ReportId, i64)| {
            exists(*id)
                || *promised != 0
                    && (promised.saturating_sub(PENDING)..promised.saturating_add(PENDING)).contains(&now)
        };
        let within = i64::try_from(storage.repeats_within.as_secs()).unwrap_or(i64::MAX);
        let current = (self.opened..=self.opened.saturating_add(within)).contains(&now);
        if !current || !self.whole.iter().any(alive) {
            self.older.extend(self.whole.drain(..).map(|(id, _)| id));
            self.older.retain(|id| exists(*id));
            self.older.drain(..self.older.len().saturating_sub(OLDER));
            (self.opened, self.carrier, self.counted) = (now, None, None);
        }
        if self.whole.len() < usize::try_from(storage.repeats).unwrap_or(usize::MAX) {
            self.whole.push((id, now));
            return Admission::Whole;
        }
        let counted = self.counted.get_or_insert_with(|| Counted {
            count: 0,
            first: time.to_owned(),
            last: time.to_owned(),
        });
        counted.count = counted.count.saturating_add(1);
        time.clone_into(&mut counted.last);
        let stands = |id: &ReportId| self.whole.iter().any(|one| one.0 == *id && alive(one));
        // The newest: quotas take it last.
        let carrier = self
            .carrier
            .filter(stands)
            .or_else(|| self.whole.iter().rev().find(|one| alive(one)).map(|one| one.0))
            .unwrap_or(id);
        self.carrier = Some(carrier);
        Admission::Counted(carrier)
    }
}

/// Where a user's reports may lie: on their own shelf, or on root's where theirs could not be written.
struct Shelves {
    state: Directory,
    owner: Owner,
    open: Vec<(Directory, Owner)>,
}

impl Shelves {
    fn open(state: Directory, owner: Owner) -> Shelves {
        let reports = state.passage("reports");
        let shelf =
            |owner: Owner| Some((reports.as_ref().ok()?.subdirectory(&owner.uid.to_string()).ok()?, owner));
        let open = [owner, Owner::ROOT].into_iter().filter_map(shelf).collect();
        Shelves { state, owner, open }
    }

    fn holder(&self, id: ReportId) -> Option<&(Directory, Owner)> {
        self.open.iter().find(|(shelf, _)| shelf.stat(&id.to_string()).is_ok())
    }
}

/// The name of the file that says for how many crashes a report stands.
pub(crate) fn count_name(id: ReportId) -> String {
    format!("{id}.count")
}

/// Whether a name on a shelf is that of a count, and its report one that `fits`.
pub(crate) fn is_count(name: &str, fits: impl Fn(ReportId) -> bool) -> bool {
    name.strip_suffix(".count").and_then(|id| id.parse().ok()).is_some_and(fits)
}

/// Puts what the owner may see on their shelf: a new file, moved over the old one.
fn show(
    tallies: &Directory,
    shelves: &Shelves,
    carrier: ReportId,
    counted: &Counted,
) -> Result<(), StoreError> {
    let awaited;
    let (shelf, owner) = match shelves.holder(carrier) {
        Some((shelf, owner)) => (shelf, *owner),
        // A report that is still being written will appear on its owner's shelf.
        None => {
            awaited = own_shelf(&own_directory(&shelves.state, "reports", 0o711)?, shelves.owner)?;
            (&awaited, shelves.owner)
        }
    };
    match tallies.remove_file(DRAFT) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    let mut draft = tallies.create_file(DRAFT)?;
    let text = serde_json::to_vec(counted).map_err(|e| tallies.error(DRAFT, io::Error::from(e)))?;
    draft.write_all(&text).map_err(|e| tallies.error(DRAFT, e))?;
    fchown(&draft, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
        .map_err(|e| tallies.error(DRAFT, e))?;
    tallies.rename(DRAFT, shelf, &count_name(carrier), RenameFlags::empty())
}

/// What a report's owner was shown, from its bytes: the owner's own, and so to be doubted.
pub(crate) fn parse_counted(text: &[u8]) -> Option<Counted> {
    serde_json::from_slice(text).ok()
}

/// The key that each of a user's reports was counted under. Reports that are not here were never counted.
pub(crate) fn keys(state: &Directory, uid: u32) -> Vec<(ReportId, CrashKey)> {
    let tallies = state.subdirectory(TALLY).and_then(|all| all.subdirectory(&uid.to_string()));
    let Ok(tallies) = tallies else { return Vec::new() };
    let mut found = Vec::new();
    for name in tallies.names().unwrap_or_default() {
        let Ok(key) = name.parse::<CrashKey>() else { continue };
        let Some(tally) = read(&tallies, &name) else { continue };
        let whole = tally.whole.iter().map(|(id, _)| *id);
        found.extend(whole.chain(tally.older).map(|id| (id, key)));
    }
    found
}

/// Removes the tallies of `uid` whose windows are over and whose reports are all gone.
pub(crate) fn tidy(
    state: &Directory,
    uid: u32,
    now: i64,
    within: Duration,
    exists: impl Fn(ReportId) -> bool,
) {
    let tallies = state.subdirectory(TALLY).and_then(|all| all.subdirectory(&uid.to_string()));
    let Ok(tallies) = tallies else { return };
    let Ok(_lock) = lock_directory(&tallies) else { return };
    let within = i64::try_from(within.as_secs()).unwrap_or(i64::MAX);
    for name in tallies.names().unwrap_or_default() {
        let over = match (name.parse::<CrashKey>(), read(&tallies, &name)) {
            (Ok(_), Some(tally)) => {
                let current = tally.opened.saturating_add(within.max(PENDING)) >= now;
                let ids = tally.whole.iter().map(|(id, _)| id).chain(&tally.older);
                !current && !ids.into_iter().any(|id| exists(*id))
            }
            // A draft whose writer has died: its lock is ours now.
            _ => true,
        };
        if over {
            let _ = tallies.remove_file(&name);
        }
    }
}

fn read(tallies: &Directory, name: &str) -> Option<Tally> {
    let mut file = tallies.open_file(name).ok()?;
    serde_json::from_slice(&read_limited(&mut file, tallies.path(), LIMIT).ok()?).ok()
}

fn lock_directory(directory: &Directory) -> Result<File, StoreError> {
    let file = directory.as_file()?;
    lock(&file).map_err(|error| directory.error("", error))?;
    Ok(file)
}

/// Waits for a file's lock, but not for ever.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ReportId {
        ReportId::from_random([n; 16])
    }

    fn storage() -> Storage {
        Storage { repeats: 2, repeats_within: Duration::from_secs(100), ..Storage::default() }
    }

    fn candidate(n: u8, now: i64) -> Candidate<'static> {
        let key = CrashKey::new(b"/bin/a", b"main");
        Candidate { key, id: id(n), owner: Owner::ROOT, time: "2026-01-01T00:00:00Z", now }
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is() {
        let key = CrashKey::new(b"/bin/a", b"x");
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "-", "../../etc/passwd", &key.to_string()[1..], "+000000000000000-0000000000000000"]
        {
            assert_eq!(text.parse::<CrashKey>(), Err(NoKey), "{text}");
        }
        assert_eq!(key.numbers().0, CrashKey::new(b"/bin/a", b"y").numbers().0);
    }

    #[test]
    fn the_first_of_a_window_are_whole_and_the_rest_is_counted() {
        let mut tally = Tally::default();
        let mut admit = |n, now| tally.admit(&storage(), &candidate(n, now), |_| true);
        assert_eq!((admit(1, 1000), admit(2, 1001)), (Admission::Whole, Admission::Whole));
        assert_eq!(admit(3, 1002), Admission::Counted(id(2)));
        assert_eq!(admit(4, 1100), Admission::Counted(id(2)));
        assert_eq!(tally.counted.as_ref().map(|counted| counted.count), Some(2));
        assert_eq!(tally.admit(&storage(), &candidate(5, 1101), |_| true), Admission::Whole);
        assert_eq!(tally.older, [id(1), id(2)]);
    }

    #[test]
    fn a_report_that_is_still_being_written_stands_for_others_and_one_that_never_came_does_not() {
        let mut tally = Tally::default();
        let mut admit = |n, now| tally.admit(&storage(), &candidate(n, now), |_| false);
        admit(1, 1000);
        admit(2, 1001);
        assert_eq!(admit(3, 1002), Admission::Counted(id(2)));
        assert_eq!(admit(4, 1040), Admission::Whole);
    }

    #[test]
    fn a_report_that_came_and_is_gone_stands_for_nobody() {
        let mut tally = Tally::default();
        tally.admit(&storage(), &candidate(1, 1000), |_| false);
        tally.whole[0].1 = 0;
        assert_eq!(tally.admit(&storage(), &candidate(2, 1001), |_| false), Admission::Whole);
        assert_eq!(tally.whole, [(id(2), 1001)]);
    }

    #[test]
    fn after_its_reports_were_erased_a_crash_is_whole_again() {
        let mut tally = Tally::default();
        for n in 1..4 {
            tally.admit(&storage(), &candidate(n, 1000), |_| true);
        }
        assert_eq!(
            tally.admit(&storage(), &candidate(4, 1050), |left| left == id(1)),
            Admission::Counted(id(1))
        );
        assert_eq!(tally.admit(&storage(), &candidate(5, 1051), |_| false), Admission::Whole);
        assert_eq!(tally.counted, None);
    }

    #[test]
    fn a_clock_that_was_set_back_opens_a_new_window() {
        let mut tally = Tally::default();
        for n in 1..4 {
            tally.admit(&storage(), &candidate(n, 1000), |_| true);
        }
        assert_eq!(tally.admit(&storage(), &candidate(4, 10), |_| true), Admission::Whole);
    }
}
