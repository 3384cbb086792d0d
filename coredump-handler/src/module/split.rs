//! Split DWARF: what a compiler with `-gsplit-dwarf` left in `.dwo` files, or `dwp` gathered into one `.dwp`.
//!
//! Owns where they are looked for: a package beside the program, else an object where the compiler wrote it or beside the
//! program, under the rule for all debug files ([`Places`]): in the handler that is below the debug directory alone. Whether
//! an object is the right one its ID says, which whoever asks for it compares.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::debug::{self, DEBUG_DIRECTORY, Places};
use super::dwarf::DwarfSections;

/// More objects of one image are not opened.
const OBJECT_LIMIT: usize = 1024;

/// The split debug information of one image.
pub(crate) struct Split {
    program: PathBuf,
    places: Places,
    package: OnceLock<Option<DwarfSections>>,
    objects: OnceLock<Box<Object>>,
}

// A list that grows while what is in it is borrowed.
struct Object {
    sections: DwarfSections,
    next: OnceLock<Box<Object>>,
}

impl Split {
    /// That of the image that was mapped from `program`.
    pub(crate) fn new(program: &Path, places: Places) -> Split {
        Split { program: program.to_owned(), places, package: OnceLock::new(), objects: OnceLock::new() }
    }

    /// The package, looked for once.
    pub(crate) fn package(&self) -> Option<&DwarfSections> {
        let find = || {
            let mut name = OsString::from(self.program.file_name()?);
            name.push(".dwp");
            let beside = self.program.with_file_name(name);
            let below = Path::new(DEBUG_DIRECTORY).join(beside.strip_prefix("/").ok()?);
            [below, beside].iter().find_map(|path| self.open(path))
        };
        self.package.get_or_init(find).as_ref()
    }

    /// An object by the name that the compiler gave it in `directory`, if `is_right` says so.
    pub(crate) fn object(
        &self,
        directory: &Path,
        name: &Path,
        is_right: impl Fn(&DwarfSections) -> bool,
    ) -> Option<&DwarfSections> {
        let beside = self.program.with_file_name(name.file_name()?);
        let mut place = &self.objects;
        let mut known = 0;
        while let Some(object) = place.get() {
            (place, known) = (&object.next, known + 1);
        }
        if known == OBJECT_LIMIT {
            return None;
        }
        let mut candidates = [directory.join(name), beside].into_iter();
        let sections = candidates.find_map(|path| self.open(&path).filter(&is_right))?;
        Some(&place.get_or_init(|| Box::new(Object { sections, next: OnceLock::new() })).sections)
    }

    fn open(&self, path: &Path) -> Option<DwarfSections> {
        DwarfSections::split(&debug::open(&debug::permitted(path, self.places)?)?)
    }
}
