//! One report's directory: `bundle.zip` and what a person's answer adds to it.
//!
//! Owns the names of the files, the limits under which they are read and how they are replaced. What they mean is not
//! its business. Every access starts from the held directory of the report's owner and follows no link.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foretrace_report::bundle::{BundleReader, Limits};
use foretrace_report::{Report, ReportId};

use crate::directory::{Directory, Durable, on_disk, read_limited, require_regular};
use nix::sys::stat::FileStat;

use crate::incoming::{Owner, StoreKind};
use crate::sealing::{Content, Keyring, Recipient};
use crate::tally::{self, Counted};
use crate::{CORE, SEALED_CORE, StoreError, as_user};

/// The report itself. Its handler may replace it once, while it holds the directory's lock; then it never changes.
pub const BUNDLE: &str = "bundle.zip";
/// The same, encrypted to its user's key: one of both is there.
pub const SEALED: &str = "bundle.zip.age";
/// The answer, and the receipt in it.
pub const CONSENT: &str = "consent.json";
/// What became of sending.
pub const DELIVERY: &str = "delivery.json";
/// The bytes that were agreed to.
pub const OUTGOING: &str = "outgoing.zip";
/// The same, encrypted to the key that the settings name.
pub const SEALED_OUTGOING: &str = "outgoing.zip.age";
/// What this report's pseudonyms are made with.
pub const SALT: &str = "salt";

/// The receipt for asking a server to erase its copy.
pub const ERASURE: &str = "erasure.json";
/// The receipts for asking for names that it lacks.
pub const SYMBOLS: &str = "symbols.json";
/// Names that were found later.
pub const NAMES: &str = "names.json";
/// The receipt for the comment that was sent after the report.
pub const LATE_COMMENT: &str = "comment.json";
/// What the person wrote about it.
pub const COMMENT: &str = "comment.txt";

/// The files of a report directory that may change, and how long each may be.
const CHANGEABLE: [(&str, u64); 10] = [
    (CONSENT, 64 << 20),
    (DELIVERY, 1 << 20),
    (OUTGOING, 2 << 30),
    (SEALED_OUTGOING, 2 << 30),
    (SALT, 4096),
    (ERASURE, 1 << 20),
    (LATE_COMMENT, 1 << 20),
    (COMMENT, 4096),
    (SYMBOLS, 1 << 20),
    (NAMES, 64 << 20),
];

/// A report's container, opened.
pub type Bundle = BundleReader<Box<dyn Content>>;

/// A report in a store.
#[derive(Clone, Debug)]
pub struct ReportDir {
    id: ReportId,
    owner: Owner,
    kind: StoreKind,
    shelf: Arc<Directory>,
    // Whether the reader is root and the report another user's.
    foreign: bool,
    sealed: bool,
    keys: Arc<Keyring>,
    modified: (i64, i64),
    // Of another user's report: its container alone, for the rest is not looked at.
    foreign_bytes: u64,
}

impl ReportDir {
    /// The directory `id` on `owner`'s shelf, as far as it can be known without reading it.
    pub(crate) fn examine(
        shelf: &Arc<Directory>,
        id: ReportId,
        owner: Owner,
        kind: StoreKind,
        foreign: bool,
        keys: &Arc<Keyring>,
    ) -> Result<ReportDir, StoreError> {
        let mut report = ReportDir {
            id,
            owner,
            kind,
            shelf: Arc::clone(shelf),
            foreign,
            sealed: false,
            keys: Arc::clone(keys),
            modified: (0, 0),
            foreign_bytes: 0,
        };
        let stat = match report.stat(BUNDLE) {
            Err(error) if error.is_missing() => {
                report.sealed = true;
                // Where neither is there, it is the container that is missed.
                report.stat(SEALED).map_err(|other| if other.is_missing() { error } else { other })?
            }
            other => other?,
        };
        report.foreign_bytes = on_disk(&stat);
        report.modified = (stat.st_mtime, stat.st_mtime_nsec);
        Ok(report)
    }

    fn stat(&self, name: &str) -> Result<FileStat, StoreError> {
        match self.foreign {
            true => require_regular(self.open_file(name)?).map_err(|why| self.untrusted(name, why)),
            false => self.own()?.stat(name),
        }
    }

    /// The report's name.
    pub fn id(&self) -> ReportId {
        self.id
    }

    /// The user whose it is.
    pub fn uid(&self) -> u32 {
        self.owner.uid
    }

    /// The store that it is in.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Whether it belongs to somebody else than the user of this process, who may then read but not answer it.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Where it lies, for messages; the store itself never opens this path.
    pub fn path(&self) -> PathBuf {
        self.shelf.path().join(self.id.to_string())
    }

    /// The space that it takes on disk.
    pub fn size(&self) -> u64 {
        if self.foreign { self.foreign_bytes } else { self.shelf.size_of(&self.id.to_string()) }
    }

    /// When the bundle was written: seconds since 1970, and nanoseconds.
    pub fn modified(&self) -> (i64, i64) {
        self.modified
    }

    /// The report's container.
    ///
    /// # Errors
    /// It cannot be opened, is no regular file, or is damaged.
    pub fn bundle(&self) -> Result<Bundle, StoreError> {
        Ok(BundleReader::open(self.content()?, Limits::default())?)
    }

    /// The container's bytes, decrypted where they are not plain.
    ///
    /// # Errors
    /// It cannot be opened, is no regular file, or its key is not there.
    pub fn content(&self) -> Result<Box<dyn Content>, StoreError> {
        let file = self.bundle_file()?;
        if self.sealed { self.opened(file) } else { Ok(Box::new(file)) }
    }

    fn opened(&self, file: File) -> Result<Box<dyn Content>, StoreError> {
        if self.foreign {
            let why = format!("only the user with ID {} has its key", self.owner.uid);
            return Err(StoreError::Sealed(why));
        }
        // Decrypted in pieces of 64 KiB: a larger buffer before it would be read twice.
        let opened = self.keys.key()?.open(file).map_err(StoreError::Sealed)?;
        Ok(Box::new(opened))
    }

    /// The container as the file that it is, encrypted or not; where it is still being added to, once that is done.
    ///
    /// # Errors
    /// It cannot be opened or is no regular file.
    pub fn bundle_file(&self) -> Result<File, StoreError> {
        // What another user does with a directory of theirs must not hold up root.
        if !self.foreign {
            wait_until_finished(&self.own()?)?;
        }
        self.open_file(if self.sealed { SEALED } else { BUNDLE })
    }

    /// Whether it is encrypted to its user's key.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Encrypts what is plain of the container and the whole core; of each, one of both is whole at every moment. Returns
    /// whether anything was.
    ///
    /// # Errors
    /// Another user's report, or a refusal by the system.
    pub fn seal(&mut self, recipient: &Recipient) -> Result<bool, StoreError> {
        let directory = self.own()?;
        wait_until_finished(&directory)?;
        let mut changed = false;
        for (plain, sealed) in [(BUNDLE, SEALED), (CORE, SEALED_CORE)] {
            match directory.open_file(plain) {
                Ok(mut file) => replace_by_sealed(&directory, (plain, &mut file), sealed, recipient)?,
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            }
            changed = true;
        }
        self.sealed = true;
        Ok(changed)
    }

    /// The process's whole core, compressed, and decrypted where it is not plain; `None` where none was kept.
    ///
    /// # Errors
    /// It cannot be opened, is no regular file, or its key is not there.
    pub fn core(&self) -> Result<Option<Box<dyn Content>>, StoreError> {
        for name in [CORE, SEALED_CORE] {
            match self.open_file(name) {
                Ok(file) if name == CORE => return Ok(Some(Box::new(file))),
                Ok(file) => return self.opened(file).map(Some),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// How long the file with the whole core is; `None` where none was kept or may be looked at.
    pub fn core_bytes(&self) -> Option<u64> {
        let core = [CORE, SEALED_CORE].into_iter().find_map(|name| self.stat(name).ok())?;
        u64::try_from(core.st_size).ok()
    }

    /// `report.json` of the container.
    ///
    /// # Errors
    /// As [`ReportDir::bundle`].
    pub fn report(&self) -> Result<Report, StoreError> {
        Ok(self.bundle()?.report()?)
    }

    /// The crashes that this report stands for besides its own, where there are any.
    ///
    /// # Errors
    /// What is there cannot be read, or is not what the handler wrote.
    pub fn counted(&self) -> Result<Option<Counted>, StoreError> {
        let name = tally::count_name(self.id);
        if self.shelf.stat(&name).is_err_and(|error| error.is_missing()) {
            return Ok(None);
        }
        let mut file = if self.foreign {
            let file = as_user::open(std::os::fd::AsFd::as_fd(&*self.shelf), self.owner, &name)
                .map_err(|source| self.shelf.error(&name, source))?;
            require_regular(&file).map_err(|why| self.shelf.untrusted(&name, why))?;
            file
        } else {
            self.shelf.open_file(&name)?
        };
        const LONGEST: u64 = 4096;
        let text = read_limited(&mut file, &self.shelf.path().join(&name), LONGEST)?;
        let counted = tally::parse_counted(&text);
        counted.map(Some).ok_or_else(|| self.shelf.untrusted(&name, "it is no count of crashes"))
    }

    /// All of one of the files that may change, such as [`CONSENT`] or [`NAMES`]; `None` where it is not there.
    ///
    /// # Errors
    /// A file that cannot be read, is a link, no regular file or too long; any other name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let limit = limit_of(name)?;
        match self.open_file(name) {
            Ok(mut file) => read_limited(&mut file, &self.path().join(name), limit).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One of the files that [`ReportDir::read`] reads, to be read piece by piece; `None` where it is not there.
    ///
    /// # Errors
    /// A file that cannot be opened, is a link, no regular file or too long; any other name.
    pub fn open(&self, name: &str) -> Result<Option<File>, StoreError> {
        let limit = limit_of(name)?;
        let file = match self.open_file(name) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let what = || self.path().join(name).display().to_string();
        let length = file.metadata().map_err(|source| StoreError::io(what(), source))?.len();
        if length > limit {
            return Err(StoreError::TooLarge { what: what(), limit });
        }
        Ok(Some(file))
    }

    /// Replaces one of the files that [`ReportDir::read`] reads; durable when it returns.
    ///
    /// # Errors
    /// Another user's report, a refusal by the system, any other name.
    pub fn write_atomically(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.replace(name, content, Durable::Content)
    }

    /// The same, where less has to be there after a power cut.
    ///
    /// # Errors
    /// As [`ReportDir::write_atomically`].
    pub fn replace(&self, name: &str, content: &[u8], durable: Durable) -> Result<(), StoreError> {
        limit_of(name)?;
        self.own()?.replace(name, content, durable)
    }

    /// Makes everything durable that was written to the file system on which the report lies.
    ///
    /// # Errors
    /// A refusal by the system.
    pub fn sync_all(&self) -> Result<(), StoreError> {
        self.shelf.sync_all()
    }

    /// Removes one of the files that [`ReportDir::read`] reads; one that is not there is no error.
    ///
    /// # Errors
    /// As [`ReportDir::write_atomically`].
    pub fn remove_file(&self, name: &str) -> Result<(), StoreError> {
        limit_of(name)?;
        match self.own()?.remove_file(name) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// Erases the report.
    ///
    /// # Errors
    /// Another user's report, or a refusal by the system.
    pub fn remove(self) -> Result<(), StoreError> {
        self.own()?;
        remove(&self.shelf, self.id)
    }

    fn own(&self) -> Result<Directory, StoreError> {
        if self.foreign {
            return Err(StoreError::Foreign(self.owner.uid));
        }
        self.shelf.subdirectory(&self.id.to_string())
    }

    fn open_file(&self, name: &str) -> Result<File, StoreError> {
        if !self.foreign {
            return self.own()?.open_file(name);
        }
        let path = format!("{}/{name}", self.id);
        let file = as_user::open(std::os::fd::AsFd::as_fd(&*self.shelf), self.owner, &path)
            .map_err(|source| self.shelf.error(&path, source))?;
        require_regular(&file).map_err(|why| self.untrusted(name, why))?;
        Ok(file)
    }

    fn untrusted(&self, name: &str, why: &'static str) -> StoreError {
        self.shelf.untrusted(&Path::new(&self.id.to_string()).join(name).to_string_lossy(), why)
    }
}

// Encrypting a file makes it no newer.
fn replace_by_sealed(
    directory: &Directory,
    (name, plain): (&str, &mut File),
    sealed_name: &str,
    recipient: &Recipient,
) -> Result<(), StoreError> {
    let sealed = directory.nameless_file()?;
    let written = plain.metadata().and_then(|metadata| metadata.modified());
    written
        .and_then(|written| recipient.seal(plain, &sealed).map(|()| written))
        .and_then(|written| sealed.set_modified(written))
        .and_then(|()| sealed.sync_all())
        .map_err(|error| directory.error(sealed_name, error))?;
    directory.link(&sealed, sealed_name)?;
    directory.sync()?;
    directory.remove_file(name)?;
    directory.sync()
}

// The handler holds the directory's lock for as long as it adds to the report; no handler takes longer than this.
fn wait_until_finished(report: &Directory) -> Result<(), StoreError> {
    const LONGEST: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(2);
    let until = Instant::now() + LONGEST;
    let directory = report.as_file()?;
    while matches!(directory.try_lock_shared(), Err(TryLockError::WouldBlock)) && Instant::now() < until {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Erases a report and the count of those that it stood for.
pub(crate) fn remove(shelf: &Directory, id: ReportId) -> Result<(), StoreError> {
    shelf.remove_tree(&id.to_string(), &[BUNDLE, SEALED])?;
    match shelf.remove_file(&tally::count_name(id)) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

fn limit_of(name: &str) -> Result<u64, StoreError> {
    CHANGEABLE
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, limit)| *limit)
        .ok_or_else(|| StoreError::Name(name.to_owned()))
}
