//! The package of a file on systems with rpm: from rpm's own database, without rpm.
//!
//! Owns where the database lies and what a package's header says. The header is rpm's: a table of tags, whose values lie
//! behind it. Nothing in either is believed beyond its bounds.

mod database;

use std::fs::File;

use foretrace_report::schema::Package;

use super::{Sum, spellings};
use database::{Database, Field};

/// Where rpm's database may lie, below a root directory: for most, for Fedora and openSUSE, for image-based systems.
pub const PLACES: [&str; 3] =
    ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/share/rpm/rpmdb.sqlite"];
/// What may be read for one file's package.
const BUDGET: u64 = 16 << 20;

/// A file that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its package: epoch, version and release make the version.
    pub package: Package,
    /// What it was when it was installed.
    pub sum: Option<Sum>,
}

/// Finds who installed `path`, in the database `file`.
pub fn installed(file: &File, path: &str) -> Option<Installed> {
    let names = spellings(path);
    let (_, name) = path.rsplit_once('/')?;
    let database = Database::open(file, BUDGET)?;
    let (index, table) = (database.root("Basenames_key_idx")?, database.root("Basenames")?);
    let packages = database.root("Packages")?;
    database.rows_with(index, name.as_bytes()).into_iter().find_map(|number| {
        // The file's name, its package's number, its place among the package's files.
        let row = database.row(table, number)?;
        let (package, place) = (row.get(1)?.number()?, row.get(2)?.number()?);
        let row = database.row(packages, package)?;
        let header = Header::parse(row.get(1).and_then(Field::bytes)?)?;
        let place = usize::try_from(place).ok()?;
        names.iter().any(|name| header.file(place).as_deref() == Some(name)).then_some(())?;
        header.is_there(place).then_some(())?;
        Some(Installed { package: header.package()?, sum: header.sum(place) })
    })
}

// A package's header.
struct Header<'a> {
    tags: &'a [[u8; 16]],
    // What all tags' values lie in.
    values: &'a [u8],
}

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const FILE_STATES: u32 = 1029;
const FILE_DIGESTS: u32 = 1035;
const DIRECTORY_INDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRECTORIES: u32 = 1118;
const FILE_DIGEST_KIND: u32 = 5011;
const MD5: u32 = 1;
const SHA256: u32 = 8;

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Header<'a>> {
        const TAGS: usize = 1 << 16;
        let length = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
        let (count, size) = (length(0).filter(|count| *count <= TAGS)?, length(4)?);
        let (tags, values) = bytes.get(8..)?.split_at_checked(count * 16)?;
        Some(Header { tags: tags.as_chunks().0, values: values.get(..size)? })
    }

    fn package(&self) -> Option<Package> {
        let text = |tag| Some(String::from_utf8_lossy(self.text(tag, 0)?).into_owned());
        let (version, release) = (text(VERSION)?, text(RELEASE)?);
        let version = match self.number(EPOCH, 0) {
            None | Some(0) => format!("{version}-{release}"),
            Some(epoch) => format!("{epoch}:{version}-{release}"),
        };
        Some(Package { name: text(NAME)?, version })
    }

    fn file(&self, place: usize) -> Option<String> {
        let directory = self.number(DIRECTORY_INDEXES, place)? as usize;
        let path = [self.text(DIRECTORIES, directory)?, self.text(BASENAMES, place)?].concat();
        String::from_utf8(path).ok()
    }

    // Another package may have put its own in the place, or the file was left out.
    fn is_there(&self, place: usize) -> bool {
        self.values(FILE_STATES).and_then(|(states, _)| states.get(place)).is_none_or(|state| *state == 0)
    }

    fn sum(&self, place: usize) -> Option<Sum> {
        let digits = self.text(FILE_DIGESTS, place)?.to_ascii_lowercase();
        match self.number(FILE_DIGEST_KIND, 0).unwrap_or(MD5) {
            MD5 if digits.len() == 32 => Some(Sum::Md5(digits)),
            SHA256 if digits.len() == 64 => Some(Sum::Sha256(digits)),
            _ => None,
        }
    }

    // A tag's values, and how many they are; each tag is a number, a type, a place, a count.
    fn values(&self, tag: u32) -> Option<(&'a [u8], usize)> {
        let word = |entry: &[u8; 16], at: usize| Some(u32::from_be_bytes(*entry.get(at..)?.first_chunk()?));
        let entry = self.tags.iter().find(|entry| word(entry, 0) == Some(tag))?;
        let place = usize::try_from(word(entry, 8)?).ok()?;
        Some((self.values.get(place..)?, usize::try_from(word(entry, 12)?).ok()?))
    }

    fn number(&self, tag: u32, index: usize) -> Option<u32> {
        let (values, _) = self.values(tag).filter(|(_, count)| index < *count)?;
        Some(u32::from_be_bytes(*values.get(index * 4..)?.first_chunk()?))
    }

    fn text(&self, tag: u32, index: usize) -> Option<&'a [u8]> {
        let (values, _) = self.values(tag).filter(|(_, count)| index < *count)?;
        values.split(|byte| *byte == 0).nth(index)
    }
}
