//! Which entries have their report already: their names, one a line, in a file of root's beside the reports.
//!
//! Names that are no longer in systemd-coredump's directory are forgotten, so the file stays as short as that directory. A
//! report that its person has removed does not come back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use foretrace_report::text::escape;
use foretrace_store::{Incoming, Places, StoreKind};
use nix::fcntl::{Flock, FlockArg};

/// The names, and the right to change them.
pub struct Followed {
    names: BTreeSet<String>,
    file: PathBuf,
    _only_follower: Flock<File>,
}

impl Followed {
    /// Reads the names, as the only follower of this store.
    ///
    /// # Errors
    /// Another follower is running, or the store's directory cannot be read or made.
    pub fn load(places: &Places) -> Result<Followed> {
        // Makes the store's directory as reports need it.
        drop(Incoming::begin(places, StoreKind::System).context("no report could be stored")?);
        let file = places.state().join("followed");
        let lock = File::create(file.with_extension("lock")).context("cannot make the follower's lock")?;
        let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
            bail!("another `foretrace-coredump follow` is running")
        };
        let names = match fs::read_to_string(&file) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error).context(escape(&file.display().to_string())),
        };
        Ok(Followed { names, file, _only_follower: lock })
    }

    /// Whether this entry has its report.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Forgets all names but those that are still there.
    pub fn keep_only(&mut self, there: &[String]) {
        self.names.retain(|name| there.contains(name));
    }

    /// Notes that this entry has its report.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, name: &str) -> Result<()> {
        self.names.insert(name.to_owned());
        let new = self.file.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            for name in &self.names {
                writeln!(file, "{name}")?;
            }
            file.sync_all()?;
            fs::rename(&new, &self.file)
        };
        write().with_context(|| format!("{} cannot be written", escape(&self.file.display().to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_followed_is_known_to_the_next_follower_and_to_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::system(root.path());
        let mut first = Followed::load(&places).unwrap();
        first.add("core.a").unwrap();
        first.add("core.b").unwrap();
        assert!(Followed::load(&places).is_err());
        drop(first);
        let mut next = Followed::load(&places).unwrap();
        assert!(next.has("core.a") && next.has("core.b") && !next.has("core.c"));
        next.keep_only(&["core.b".into()]);
        assert!(!next.has("core.a") && next.has("core.b"));
    }
}
