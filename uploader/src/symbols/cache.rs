//! Debug files that were fetched before: the cache that debuginfod's own client, gdb and others share.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

/// A folder for each build-id, with its debug file in it.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

/// A debug file on its way into the cache. What is not kept is removed.
#[derive(Debug)]
pub struct Arriving {
    /// The file, to be written to.
    pub file: File,
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Cache {
    /// Where debuginfod's client keeps its files; `None` where the user has no home.
    pub fn from_environment() -> Option<Cache> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("DEBUGINFOD_CACHE_PATH")
            .or_else(|| {
                let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
                Some(caches.join("debuginfod_client"))
            })
            .map(Cache)
    }

    /// The debug file of a build-id, where it is here. An empty one says that servers did not have it once.
    pub fn find(&self, build_id: &str) -> Option<File> {
        let file = File::open(self.place(build_id)).ok()?;
        file.metadata().ok().filter(|status| status.is_file() && status.len() > 0)?;
        Some(file)
    }

    /// Makes room for a debug file.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn begin(&self, build_id: &str) -> io::Result<Arriving> {
        let target = self.place(build_id);
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        let path = target.with_extension(format!("foretrace-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Arriving { file, path, target, kept: false })
    }

    fn place(&self, build_id: &str) -> PathBuf {
        self.0.join(build_id).join("debuginfo")
    }
}

impl Arriving {
    /// Puts it where it will be found.
    ///
    /// # Errors
    /// It cannot be.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.rewind()?;
        fs::rename(&self.path, &self.target)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.kept {
            // A leftover takes room and is never believed.
            let _ = fs::remove_file(&self.path);
        }
    }
}
