//! Uploads that are not complete yet: a file that grows, and beside it what was said when it was announced.
//!
//! Owns their names, their number and how long they may lie. They survive a restart; a loss of power may take the last
//! bytes, which the digest of the whole finds out.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use foretrace_report::bundle::hex;
use serde::{Deserialize, Serialize};

use crate::intake::Told;

/// How long an upload may lie without a further byte.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Unfinished uploads at most.
const MOST: usize = 1024;

/// What was said when an upload was announced, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The whole length.
    pub length: u64,
    /// sha256 of the whole, in hex, where it was told.
    pub sha256: Option<String>,
    /// What else was said of the report.
    #[serde(default)]
    pub told: Told,
    /// The server's name for the report, once it is complete.
    pub report: Option<String>,
}

/// The directory of unfinished uploads.
pub struct Uploads {
    root: PathBuf,
    busy: Mutex<HashSet<String>>,
}

/// An upload that one request works on; nobody else may until it is dropped.
pub struct Claim<'a> {
    uploads: &'a Uploads,
    key: String,
}

impl Uploads {
    /// Opens the directory and throws away what has lain too long.
    ///
    /// # Errors
    /// A directory that cannot be made or read.
    pub fn open(root: PathBuf) -> io::Result<Uploads> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        let uploads = Uploads { root, busy: Mutex::new(HashSet::new()) };
        uploads.tidy()?;
        Ok(uploads)
    }

    /// Begins an upload; `None` where there are too many.
    ///
    /// # Errors
    /// Files that cannot be made.
    pub fn begin(&self, announced: &Announced) -> io::Result<Option<String>> {
        if self.tidy()? >= MOST {
            return Ok(None);
        }
        let mut random = [0; 16];
        io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
        let key = hex(&random);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.data(&key))?;
        self.describe(&key, announced)?;
        Ok(Some(key))
    }

    /// Takes an upload for one request; `None` where another has it, or it is no name of one.
    pub fn claim(&self, key: &str) -> Option<Claim<'_>> {
        let well_formed = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        (well_formed && busy.insert(key.to_owned())).then(|| Claim { uploads: self, key: key.to_owned() })
    }

    fn data(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn description(&self, key: &str) -> PathBuf {
        self.root.join(format!("{key}.json"))
    }

    fn describe(&self, key: &str, announced: &Announced) -> io::Result<()> {
        let draft = self.root.join(format!("{key}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(announced)?)?;
        fs::rename(draft, self.description(key))
    }

    /// Removes what has lain too long; returns how many unfinished ones there are.
    fn tidy(&self) -> io::Result<usize> {
        let mut unfinished = 0;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            // Removed by another request meanwhile: then it needs no tidying.
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if SystemTime::now().duration_since(modified).is_ok_and(|age| age > KEPT) {
                let _ = fs::remove_file(entry.path());
            } else if entry.path().extension().is_none() {
                unfinished += 1;
            }
        }
        Ok(unfinished)
    }
}

impl Claim<'_> {
    /// What was said of it; `None` where there is no such upload.
    pub fn announced(&self) -> Option<Announced> {
        serde_json::from_slice(&fs::read(self.uploads.description(&self.key)).ok()?).ok()
    }

    /// How many bytes of it there are.
    pub fn offset(&self) -> Option<u64> {
        Some(fs::metadata(self.path()).ok()?.len())
    }

    /// Where its bytes lie.
    pub fn path(&self) -> PathBuf {
        self.uploads.data(&self.key)
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// A write that failed.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(self.path())?.write_all(bytes)
    }

    /// Notes that it has become a report, so that a sender who missed the answer can ask again.
    ///
    /// # Errors
    /// A write that failed.
    pub fn complete(&self, announced: &Announced) -> io::Result<()> {
        remove(&self.path())?;
        self.uploads.describe(&self.key, announced)
    }

    /// Throws it away.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path())?;
        remove(&self.uploads.description(&self.key))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.uploads.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
