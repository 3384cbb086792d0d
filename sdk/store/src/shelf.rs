//! Reading stores: the system's and the user's own, as one.
//!
//! A user sees their own reports in both. Root sees everybody's in the system's store and may read them, each file
//! opened by a child that has become its owner; it cannot answer or change them.

use std::sync::Arc;

use foretrace_report::ReportId;
use nix::unistd::geteuid;

use crate::directory::{Directory, is_directory};
use crate::incoming::{Owner, StoreKind};
use crate::report_dir::ReportDir;
use crate::sealing::{self, Keyring, RECIPIENT, Recipient};
use crate::{FindError, Places, StoreError};

/// The stores that this user may read.
#[derive(Debug)]
pub struct Store {
    shelves: Vec<Shelf>,
    keys: Arc<Keyring>,
    problems: Vec<StoreError>,
}

/// The reports of one user in one store.
#[derive(Debug)]
struct Shelf {
    directory: Arc<Directory>,
    owner: Owner,
    kind: StoreKind,
    foreign: bool,
}

/// What stores hold, and what of it could not be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// The reports, newest first.
    pub reports: Vec<ReportDir>,
    /// What is there and cannot be used.
    pub problems: Vec<StoreError>,
}

impl Store {
    /// Opens what there is; a store that does not exist is empty.
    pub fn open(places: &Places) -> Store {
        Store::with_keys(places, Arc::new(Keyring::new(places, None)))
    }

    /// The same with a key that may be unlocked already, or for which somebody can be asked.
    pub fn with_keys(places: &Places, keys: Arc<Keyring>) -> Store {
        let mut store = Store { shelves: Vec::new(), keys, problems: Vec::new() };
        let me = Owner::current();
        for (kind, state) in [(StoreKind::System, places.state()), (StoreKind::User, places.user_state())] {
            match Directory::open(&state).and_then(|state| state.passage("reports")) {
                Ok(reports) => store.add(&reports, kind, me),
                Err(error) if error.is_missing() => {}
                Err(error) => store.problems.push(error),
            }
        }
        store
    }

    fn add(&mut self, reports: &Directory, kind: StoreKind, me: Owner) {
        let names = if geteuid().is_root() && kind == StoreKind::System {
            reports.names().unwrap_or_else(|error| {
                self.problems.push(error);
                Vec::new()
            })
        } else {
            vec![me.uid.to_string()]
        };
        for name in names {
            match shelf(reports, &name, kind, me) {
                Ok(Some(shelf)) => self.shelves.push(shelf),
                Ok(None) => {}
                Err(error) => self.problems.push(error),
            }
        }
    }

    /// All reports, newest first.
    pub fn reports(&self) -> Listing {
        let mut listing = Listing::default();
        for shelf in &self.shelves {
            for id in shelf.ids(&mut listing.problems) {
                match shelf.report(id, &self.keys) {
                    Ok(report) => listing.reports.push(report),
                    // Erased since the names were read, or half erased: nothing to show either way.
                    Err(error) if error.is_missing() && !shelf.has(id) => {}
                    Err(error) => listing.problems.push(error),
                }
            }
        }
        listing.reports.sort_by_key(|report| (std::cmp::Reverse(report.modified()), report.id()));
        listing
    }

    /// Whether everybody who writes reports for this user will find `recipient` on their shelves.
    pub fn is_trusted(&self, recipient: &Recipient) -> bool {
        self.own().all(|shelf| shelf.recipient().is_some_and(|known| known == *recipient))
    }

    /// Puts `recipient` on this user's shelves, for everybody who writes reports for them.
    ///
    /// # Errors
    /// A shelf that cannot be written.
    pub fn trust(&self, recipient: &Recipient) -> Result<(), StoreError> {
        let line = format!("{recipient}\n");
        self.own().try_for_each(|shelf| shelf.directory.write_atomically(RECIPIENT, line.as_bytes()))
    }

    fn own(&self) -> impl Iterator<Item = &Shelf> {
        self.shelves.iter().filter(|shelf| !shelf.foreign)
    }

    /// What of the stores themselves could not be opened.
    pub fn problems(&self) -> &[StoreError] {
        &self.problems
    }

    /// The one report whose ID starts with `prefix`.
    ///
    /// # Errors
    /// None or more than one does, or `prefix` can start no ID.
    pub fn find(&self, prefix: &str) -> Result<ReportDir, FindError> {
        let digits = prefix.to_ascii_lowercase().replace('-', "");
        if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(FindError::NotAnId(prefix.to_owned()));
        }
        let mut found: Vec<(ReportId, &Shelf)> = Vec::new();
        for shelf in &self.shelves {
            let ids = shelf.ids(&mut Vec::new());
            found.extend(
                ids.into_iter().filter(|id| id.to_string().starts_with(&digits)).map(|id| (id, shelf)),
            );
        }
        found.sort_by_key(|(id, _)| *id);
        // The same report may lie in both stores; the first, the system's, is as good as the other.
        found.dedup_by_key(|(id, _)| *id);
        match found.as_slice() {
            [] => Err(FindError::None(prefix.to_owned())),
            [(id, shelf)] => Ok(shelf.report(*id, &self.keys)?),
            many => Err(FindError::Ambiguous(prefix.to_owned(), many.iter().map(|(id, _)| *id).collect())),
        }
    }
}

/// Whether somebody in the system's store has the report `id`, for the handler. Nothing in a user's directory is opened.
///
/// # Errors
/// The store cannot be read.
pub fn is_published(places: &Places, id: ReportId) -> Result<bool, StoreError> {
    let reports = match Directory::open(&places.state()).and_then(|state| state.subdirectory("reports")) {
        Err(error) if error.is_missing() => return Ok(false),
        other => other?,
    };
    let has = |shelf: &String| reports.passage(shelf).and_then(|it| it.stat(&id.to_string())).is_ok();
    Ok(reports.names()?.iter().any(has))
}

impl Shelf {
    fn ids(&self, problems: &mut Vec<StoreError>) -> Vec<ReportId> {
        match self.directory.names() {
            Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
            Err(error) => {
                problems.push(error);
                Vec::new()
            }
        }
    }

    fn report(&self, id: ReportId, keys: &Arc<Keyring>) -> Result<ReportDir, StoreError> {
        ReportDir::examine(&self.directory, id, self.owner, self.kind, self.foreign, keys)
    }

    fn recipient(&self) -> Option<Recipient> {
        sealing::recipient_on(&self.directory, self.owner)
    }

    fn has(&self, id: ReportId) -> bool {
        self.directory.stat(&id.to_string()).is_ok()
    }
}

/// One user's shelf, if `name` is one and it is that user's. The name lies in a directory that only the store's
/// owner can change.
fn shelf(reports: &Directory, name: &str, kind: StoreKind, me: Owner) -> Result<Option<Shelf>, StoreError> {
    let Ok(uid) = name.parse::<u32>() else {
        return Err(reports.untrusted(name, "no user ID"));
    };
    match reports.stat(name) {
        Err(error) if error.is_missing() => return Ok(None),
        Ok(stat) if !is_directory(&stat) => return Err(reports.untrusted(name, "it is no directory")),
        Ok(stat) if stat.st_uid != uid => return Err(reports.untrusted(name, "it belongs to another user")),
        other => other.map(drop)?,
    }
    let directory = reports.subdirectory(name)?;
    let owner = Owner { uid, gid: directory.own_stat()?.st_gid };
    Ok(Some(Shelf { directory: Arc::new(directory), owner, kind, foreign: uid != me.uid }))
}
