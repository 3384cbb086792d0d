//! Making a report: built where nobody else can look, then moved to its owner in one step.
//!
//! Used by root's handler for the system's store and by `foretrace-capture` for a user's own. A report is visible whole
//! or not at all. Nothing here reads what others have written, and no name is followed in a directory that was
//! handed to a user.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use foretrace_report::ReportId;
use nix::fcntl::RenameFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Gid, Uid, fchown, geteuid};

use crate::directory::{Directory, is_directory};
use crate::report_dir::{BUNDLE, SEALED};
use crate::{CoreSeat, Places, Recipient, Settings, StoreError, random_id, sealing};

/// Which store a report goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The system's, which root writes.
    System,
    /// The user's own.
    User,
}

/// Whose a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group of the files; their modes give it nothing.
    pub gid: u32,
}

impl Owner {
    /// Root, who gets what cannot be given to anybody else.
    pub const ROOT: Owner = Owner { uid: 0, gid: 0 };

    /// The user of this process.
    pub fn current() -> Owner {
        Owner { uid: geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }
}

/// A report that is being written. Dropped without [`Incoming::publish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    state: Directory,
    incoming: Directory,
    kind: StoreKind,
    name: String,
    building: Directory,
    // Held for as long as the writer lives: a directory whose lock is free has lost its writer.
    lock: File,
    bundle: File,
    // Whether the container is in memory only, to be encrypted before it gets a name.
    concealed: bool,
    published: bool,
    // Whether a revision has the lock now.
    revised: bool,
}

/// What became of a report.
#[derive(Debug)]
pub struct Published {
    /// Its name.
    pub id: ReportId,
    /// Whose it is now.
    pub owner: Owner,
    /// Where it lies.
    pub path: PathBuf,
    /// The space that it takes.
    pub bytes: u64,
    /// The key that it was encrypted to, where it was.
    pub sealed: Option<Recipient>,
    /// Why it is root's and not the owner's that was asked for, where that is so.
    pub fallback: Option<StoreError>,
}

impl Incoming {
    /// Starts a report, creating the store's directories where they are missing and clearing away what dead writers
    /// left. Where the settings say `[Storage] Encrypt=yes` its container is kept in memory until it is published, and
    /// encrypted then to its owner's key, if the owner has one.
    ///
    /// # Errors
    /// The store's directories cannot be made or written; the system has no memory that is a file.
    pub fn begin(places: &Places, kind: StoreKind) -> Result<Incoming, StoreError> {
        let state = match kind {
            StoreKind::System => Directory::create(&places.state(), 0o755)?,
            StoreKind::User => Directory::create(&places.user_state(), 0o700)?,
        };
        let mode = state.own_stat()?.st_mode & 0o7777;
        close_to_others(&state, mode & !0o022)?;
        let incoming = own_directory(&state, "incoming", 0o700)?;
        sweep(&incoming);
        let (name, building, lock) = building_directory(&incoming)?;
        let concealed = Settings::load(places).0.storage.encrypt;
        let bundle = if concealed {
            memory().map_err(|error| building.error(BUNDLE, error))?
        } else {
            building.create_file(BUNDLE)?
        };
        Ok(Incoming {
            state,
            incoming,
            kind,
            name,
            building,
            lock,
            bundle,
            concealed,
            published: false,
            revised: false,
        })
    }

    /// The file for the report's container, readable and writable, at the same offset as every other handle of it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn bundle(&self) -> Result<File, StoreError> {
        self.bundle.try_clone().map_err(|e| self.building.error(BUNDLE, e))
    }

    /// A place for the process's whole core beside the container, to be filled also after the report is published.
    ///
    /// # Errors
    /// The file system knows no files without a name, or refuses.
    pub fn core_seat(&self) -> Result<CoreSeat, StoreError> {
        CoreSeat::new(self.building.duplicate()?)
    }

    /// A second container, which may replace the first one once the report is published. Until it is taken or dropped the
    /// report is locked: whoever reads it waits for what is still to come.
    ///
    /// # Errors
    /// No file can be made, or no descriptor is left.
    pub fn revision(&mut self) -> Result<Revision, StoreError> {
        let name = format!("{}.zip", self.name);
        let file = self.incoming.create_file(&name)?;
        let lock = self.lock.try_clone().map_err(|error| self.building.error("", error));
        let mut revision = Revision {
            incoming: self.incoming.duplicate()?,
            name,
            plain: None,
            file,
            report: self.building.duplicate()?,
            taken: false,
            lock: lock?,
        };
        // A file whose lock is free has lost its writer.
        revision.file.try_lock().map_err(|error| revision.error(error.into()))?;
        if self.concealed {
            revision.plain = Some(memory().map_err(|error| revision.error(error))?);
        }
        self.revised = true;
        Ok(revision)
    }

    /// Makes the report durable, hands it to `owner` and moves it to its place.
    ///
    /// In the system's store a report that cannot be given to `owner` (a full quota, a directory that is not as it
    /// should be) becomes root's: a report is never lost for that.
    ///
    /// # Errors
    /// The report could not be placed at all; nothing is left of it.
    pub fn publish(mut self, id: ReportId, owner: Owner) -> Result<Published, StoreError> {
        self.try_to_publish(id, owner)
    }

    /// As [`Incoming::publish`], for who can do something about a failure and then try again.
    ///
    /// # Errors
    /// The report could not be placed; it is here as it was.
    pub fn try_to_publish(&mut self, id: ReportId, owner: Owner) -> Result<Published, StoreError> {
        let reports = match self.kind {
            // Everybody may pass to what is theirs; nobody may see who else has reports.
            StoreKind::System => own_directory(&self.state, "reports", 0o711)?,
            StoreKind::User => own_directory(&self.state, "reports", 0o700)?,
        };
        match self.place(&reports, id, owner) {
            Ok(published) => Ok(published),
            Err(error) if owner.uid != 0 && geteuid().is_root() => {
                let published = self.place(&reports, id, Owner::ROOT)?;
                Ok(Published { fallback: Some(error), ..published })
            }
            Err(error) => Err(error),
        }
    }

    fn place(&mut self, reports: &Directory, id: ReportId, owner: Owner) -> Result<Published, StoreError> {
        let shelf = own_shelf(reports, owner)?;
        let sealed = if self.concealed { sealing::recipient_on(&shelf, owner) } else { None };
        let bundle = self.settled(sealed.as_ref())?;
        bundle.sync_all().map_err(|e| self.building.error(BUNDLE, e))?;
        let bytes = bundle.metadata().map_or(0, |it| it.blocks() * 512);
        let (user, group) = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
        fchown(&bundle, user, group).map_err(|e| self.building.error(BUNDLE, e))?;
        fchown(&self.building, user, group).map_err(|e| self.incoming.error(&self.name, e))?;
        self.building.sync()?;
        let name = id.to_string();
        self.incoming.rename(&self.name, &shelf, &name, RenameFlags::RENAME_NOREPLACE)?;
        // From here on the report is visible: a failing sync must not make it look lost.
        self.published = true;
        let _ = shelf.sync();
        let _ = self.incoming.sync();
        if !self.revised {
            let _ = self.lock.unlock();
        }
        Ok(Published { id, owner, path: shelf.path().join(name), bytes, sealed, fallback: None })
    }

    /// The container as the file that it will be. One that was in memory gets its file here.
    fn settled(&self, sealed: Option<&Recipient>) -> Result<File, StoreError> {
        if !self.concealed {
            return self.bundle();
        }
        // An earlier try may have been for another owner.
        for name in [BUNDLE, SEALED] {
            match self.building.remove_file(name) {
                Err(error) if !error.is_missing() => return Err(error),
                _ => {}
            }
        }
        let name = container(sealed);
        let file = self.building.create_file(name)?;
        let written = settle(self.bundle()?, sealed, &file);
        written.map_err(|error| self.building.error(name, error)).map(|()| file)
    }
}

/// A container that replaces a published report's own. Dropped without [`Revision::take`], it leaves the report as it was.
#[derive(Debug)]
pub struct Revision {
    incoming: Directory,
    name: String,
    // The container in memory, where it may have to be encrypted.
    plain: Option<File>,
    file: File,
    report: Directory,
    taken: bool,
    // The report's, which its readers wait for.
    lock: File,
}

impl Revision {
    /// The file for the container, readable and writable, at the same offset as every other handle of it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn file(&self) -> Result<File, StoreError> {
        self.plain.as_ref().unwrap_or(&self.file).try_clone().map_err(|error| self.error(error))
    }

    /// Puts the container in the place of the one that was `published`, durably and encrypted to the same key; returns the
    /// space that it takes. Nothing is opened and no name followed in a directory that is no longer root's: a name is
    /// replaced there, whatever it was.
    ///
    /// # Errors
    /// The report is gone, or the system refuses; it stays as it was.
    pub fn take(mut self, published: &Published) -> Result<u64, StoreError> {
        let sealed = published.sealed.as_ref();
        if let Some(plain) = self.plain.take() {
            settle(plain, sealed, &self.file).map_err(|error| self.error(error))?;
        }
        self.file.sync_all().map_err(|error| self.error(error))?;
        let Owner { uid, gid } = published.owner;
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fchown(&self.file, user, group).map_err(|error| self.error(error.into()))?;
        self.incoming.rename(&self.name, &self.report, container(sealed), RenameFlags::empty())?;
        self.taken = true;
        self.report.sync()?;
        Ok(self.file.metadata().map_or(0, |status| status.blocks() * 512))
    }

    fn error(&self, source: std::io::Error) -> StoreError {
        self.incoming.error(&self.name, source)
    }
}

impl Drop for Revision {
    fn drop(&mut self) {
        if !self.taken {
            // What cannot be removed now, the next writer's sweep removes.
            let _ = self.incoming.remove_file(&self.name);
        }
        // Other descriptors of the same directory would go on holding it.
        let _ = self.lock.unlock();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now, the next writer's sweep removes.
            let _ = self.incoming.remove_tree(&self.name, &[BUNDLE, SEALED]);
        }
    }
}

/// A file in memory, for what must not be written as it is.
fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create(BUNDLE, MFdFlags::MFD_CLOEXEC)?))
}

/// The name of a report's container.
fn container(sealed: Option<&Recipient>) -> &'static str {
    if sealed.is_some() { SEALED } else { BUNDLE }
}

/// Writes a container that was in memory as it is to lie on the disk.
fn settle(mut plain: File, sealed: Option<&Recipient>, mut into: &File) -> io::Result<()> {
    plain.rewind()?;
    match sealed {
        Some(recipient) => recipient.seal(&mut plain, into),
        None => io::copy(&mut plain, &mut into).map(drop),
    }
}

/// The directory of one user's reports: created for them, or found to be theirs.
pub(crate) fn own_shelf(reports: &Directory, owner: Owner) -> Result<Directory, StoreError> {
    let name = owner.uid.to_string();
    let shelf = reports.make(&name, 0o700)?;
    let stat = shelf.own_stat()?;
    if stat.st_uid != owner.uid {
        // Root's and empty of meaning: a writer died between making it and giving it away.
        if stat.st_uid != geteuid().as_raw() {
            return Err(reports.untrusted(&name, "it belongs to another user"));
        }
        fchown(&shelf, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
            .map_err(|e| reports.error(&name, e))?;
    }
    if stat.st_mode & 0o7777 != 0o700 {
        shelf.set_mode(0o700)?;
    }
    Ok(shelf)
}

/// One of the store's own directories: made, or found to be this user's and given its mode again.
pub(crate) fn own_directory(state: &Directory, name: &str, mode: u32) -> Result<Directory, StoreError> {
    let directory = state.make(name, mode)?;
    close_to_others(&directory, mode)?;
    Ok(directory)
}

/// A directory of the store must be this user's. That others may write to it is no reason to lose a report: it is
/// closed first, and what they may have put there is examined name by name like everything else.
fn close_to_others(directory: &Directory, mode: u32) -> Result<(), StoreError> {
    let stat = directory.own_stat()?;
    if stat.st_uid != geteuid().as_raw() {
        let what = directory.path().display().to_string();
        return Err(StoreError::Untrusted { what, why: "it belongs to another user" });
    }
    if stat.st_mode & 0o7777 != mode { directory.set_mode(mode) } else { Ok(()) }
}

fn building_directory(incoming: &Directory) -> Result<(String, Directory, File), StoreError> {
    // Another writer's sweep may take a new directory for an abandoned one in the moment before it is locked.
    for _ in 0..16 {
        let name = random_id()?.to_string();
        let building = match incoming.make_new(&name, 0o700) {
            Err(error) if error.is_missing() => continue,
            other => other?,
        };
        let lock = building.as_file()?;
        if lock.try_lock().is_ok() && building.own_stat()?.st_nlink > 0 {
            return Ok((name, building, lock));
        }
    }
    Err(incoming.untrusted("", "new directories in it vanish at once"))
}

/// Removes what dead writers left; the living hold the lock of their directory or file.
pub(crate) fn sweep(incoming: &Directory) {
    for name in incoming.names().unwrap_or_default() {
        let Ok(stat) = incoming.stat(&name) else { continue };
        let whole = is_directory(&stat);
        let opened = match whole {
            true => incoming.subdirectory(&name).and_then(|directory| directory.as_file()),
            false => incoming.open_file(&name),
        };
        // Held until it is gone, so that nobody takes it for theirs meanwhile.
        let Some(_lock) = opened.ok().filter(|file| file.try_lock().is_ok()) else { continue };
        let _ =
            if whole { incoming.remove_tree(&name, &[BUNDLE, SEALED]) } else { incoming.remove_file(&name) };
    }
}
