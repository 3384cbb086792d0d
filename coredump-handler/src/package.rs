//! The package that an executable came from: from dpkg's or rpm's own files, else from the executable's `.note.package`.
//!
//! Of rpm's databases only today's is read, which is SQLite's: Berkeley DB's (until RHEL 8) and openSUSE's own are not.
//!
//! Runs no program and asks no service, so that a sandboxed worker can do it that may read these files alone.
//! Never guesses: an executable that was replaced while it ran has no version that could be looked up.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use foretrace_report::schema::Package;
use memchr::memmem;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::core::{Notes, u16_at, u32_at, u64_at};

mod inside;
mod modified;
pub mod rpm;
mod sum;

pub use inside::Claim;
pub use modified::{Comparison, modified};
pub use sum::Sum;
pub(crate) use sum::sha256;

const LISTS: &str = "var/lib/dpkg/info";
const STATUS: &str = "var/lib/dpkg/status";
/// Larger lists and status files than any system has are not read.
const FILE_LIMIT: u64 = 256 << 20;
/// What is read at once of a list of files: nearly all of them have less.
const BUFFER: usize = 256 << 10;

/// Finds the package of the executable that a process showed as `exe`, on the system below `root`. `image` is the
/// executable itself, where it could be opened.
pub fn find(root: &Path, exe: &str, image: Option<&File>) -> Option<Package> {
    installed(root, exe).or_else(|| image.and_then(noted))
}

/// The installed package whose list of files names `exe`.
pub fn installed(root: &Path, exe: &str) -> Option<Package> {
    if exe.ends_with(" (deleted)") || !exe.starts_with('/') {
        return None;
    }
    let of_rpm = |database: &File| Some(rpm::installed(database, exe)?.package);
    of_dpkg(root, exe).or_else(|| databases(root).iter().find_map(of_rpm))
}

// rpm's, below a root directory.
fn databases(root: &Path) -> Vec<File> {
    rpm::PLACES.iter().filter_map(|place| File::open(root.join(place)).ok()).collect()
}

fn of_dpkg(root: &Path, exe: &str) -> Option<Package> {
    let names = spellings(exe);
    // All spellings end in the shortest: what does not hold that holds none.
    let shortest = names.iter().min_by_key(|name| name.len())?;
    let finder = memmem::Finder::new(shortest);
    let folder = File::open(root.join(LISTS)).ok()?;
    let mut buffer = vec![0; BUFFER];
    let entries = fs::read_dir(root.join(LISTS)).ok()?;
    let (name, architecture) = entries.flatten().find_map(|entry| {
        let file = entry.file_name();
        let package = file.to_str()?.strip_suffix(".list")?;
        let list = content(&folder, &file, &mut buffer)?;
        finder.find(list)?;
        names.iter().any(|name| lists(list, name)).then(|| match package.split_once(':') {
            Some((name, architecture)) => (name.to_owned(), Some(architecture.to_owned())),
            None => (package.to_owned(), None),
        })
    })?;
    let status = read(&root.join(STATUS))?;
    let version = version(&String::from_utf8_lossy(&status), &name, architecture.as_deref())?;
    Some(Package { name, version })
}

/// The package that an executable says of itself (the ELF package metadata of systemd and Fedora).
pub fn noted(image: &File) -> Option<Package> {
    const PACKAGE: u32 = 0xcafe_1a7e;
    described(&note(image, b"FDO", PACKAGE)?)
}

/// The build-id of an ELF file.
pub(crate) fn build_id(image: &File) -> Option<Vec<u8>> {
    const BUILD_ID: u32 = 3;
    note(image, b"GNU", BUILD_ID)
}

// The first note of this owner and type in an ELF file's PT_NOTE segments.
fn note(image: &File, wanted: &[u8], wanted_kind: u32) -> Option<Vec<u8>> {
    const PT_NOTE: u32 = 4;
    const HEADER_BYTES: usize = 64;
    const SEGMENT_BYTES: usize = 56;
    const NOTES_LIMIT: usize = 1 << 20;
    let header = range(image, 0, HEADER_BYTES);
    if !header.starts_with(b"\x7fELF\x02\x01") || u16_at(&header, 54)? as usize != SEGMENT_BYTES {
        return None;
    }
    let segments = range(image, u64_at(&header, 32)?, u16_at(&header, 56)? as usize * SEGMENT_BYTES);
    segments.chunks_exact(SEGMENT_BYTES).filter(|entry| u32_at(entry, 0) == Some(PT_NOTE)).find_map(|entry| {
        let length = usize::try_from(u64_at(entry, 32)?).ok()?.min(NOTES_LIMIT);
        let alignment = if u64_at(entry, 48)? == 8 { 8 } else { 4 };
        let bytes = range(image, u64_at(entry, 8)?, length);
        Notes::new(&bytes, alignment)
            .find(|(owner, kind, _)| *owner == wanted && *kind == wanted_kind)
            .map(|(_, _, description)| description.to_vec())
    })
}

fn described(json: &[u8]) -> Option<Package> {
    #[derive(serde::Deserialize)]
    struct Description {
        name: String,
        version: String,
    }
    let end = json.iter().rposition(|byte| *byte != 0)?;
    let Description { name, version } = serde_json::from_slice(&json[..=end]).ok()?;
    Some(Package { name, version })
}

// With a merged /usr the kernel says /usr/bin/ls where dpkg's list may still say /bin/ls, and the other way round.
fn spellings(exe: &str) -> Vec<String> {
    let mut names = vec![exe.to_owned()];
    match exe.strip_prefix("/usr") {
        Some(rest) if is_merged(rest) => names.push(rest.to_owned()),
        None if is_merged(exe) => names.push(format!("/usr{exe}")),
        _ => {}
    }
    names
}

fn is_merged(path: &str) -> bool {
    ["/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"].iter().any(|top| path.starts_with(top))
}

// Whether one whole line of the list is `name`.
fn lists(list: &[u8], name: &str) -> bool {
    list.split(|byte| *byte == b'\n').any(|line| line == name.as_bytes())
}

fn version(status: &str, name: &str, architecture: Option<&str>) -> Option<String> {
    status.split("\n\n").find_map(|stanza| {
        let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let fits = field("Package:") == Some(name)
            && architecture.is_none_or(|wanted| field("Architecture:") == Some(wanted))
            && field("Status:").is_some_and(|status| status.ends_with(" installed"));
        fits.then(|| field("Version:").map(str::to_owned)).flatten()
    })
}

// What is in a file of a folder, by as few calls as can be: there are a thousand lists, most of a page or two.
fn content<'b>(folder: &File, name: &OsStr, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let file = openat(folder, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut file = File::from(file);
    let mut filled = file.read(buffer).ok()?;
    // Less than there is room for is all.
    while filled == buffer.len() && (filled as u64) < FILE_LIMIT {
        buffer.resize(filled * 2, 0);
        filled += file.read(&mut buffer[filled..]).ok()?;
    }
    buffer.get(..filled)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let status = fs::metadata(path).ok()?;
    (status.is_file() && status.len() <= FILE_LIMIT).then(|| fs::read(path).ok()).flatten()
}

fn range(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const SYSTEM_STATUS: &str = "Package: old\nStatus: deinstall ok config-files\nVersion: 0.1\n\n\
        Package: coreutils\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 9.1-1\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.35-1\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n";

    fn system(lists: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(LISTS)).unwrap();
        fs::write(root.path().join(STATUS), SYSTEM_STATUS).unwrap();
        for (package, list) in lists {
            fs::write(root.path().join(LISTS).join(format!("{package}.list")), list).unwrap();
        }
        root
    }

    fn package(name: &str, version: &str) -> Option<Package> {
        Some(Package { name: name.into(), version: version.into() })
    }

    #[test]
    fn both_spellings_of_a_merged_usr_are_found() {
        let root = system(&[("coreutils", "/.\n/bin\n/bin/ls\n/usr/bin/env\n")]);
        for exe in ["/bin/ls", "/usr/bin/ls", "/usr/bin/env", "/bin/env"] {
            assert_eq!(installed(root.path(), exe), package("coreutils", "9.1-1"), "{exe}");
        }
    }

    #[test]
    fn a_part_of_a_line_is_no_path() {
        let root = system(&[("coreutils", "/.\n/bin/lsof\n/opt/bin/ls\n")]);
        assert_eq!(installed(root.path(), "/bin/ls"), None);
        assert_eq!(installed(root.path(), "/bin/lsof (deleted)"), None);
        assert_eq!(installed(root.path(), "../bin/lsof"), None);
    }

    #[test]
    fn the_right_architecture_gives_the_version() {
        let root = system(&[("libc6:amd64", "/lib/x86_64-linux-gnu/libc.so.6\n"), ("old", "/bin/old\n")]);
        assert_eq!(
            installed(root.path(), "/usr/lib/x86_64-linux-gnu/libc.so.6"),
            package("libc6", "2.36-9+deb12u10")
        );
        assert_eq!(installed(root.path(), "/bin/old"), None, "it is no longer installed");
    }

    fn image(json: &[u8]) -> File {
        let mut note =
            [4u32.to_le_bytes(), (json.len() as u32).to_le_bytes(), 0xcafe_1a7e_u32.to_le_bytes()].concat();
        note.extend(b"FDO\0");
        note.extend(json);
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 4;
        elf[64 + 8] = 120;
        elf[64 + 32..64 + 40].copy_from_slice(&(note.len() as u64).to_le_bytes());
        elf.extend(note);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&elf).unwrap();
        file
    }

    #[test]
    fn an_executable_that_names_its_package_is_believed_when_no_list_has_it() {
        let json = br#"{"type":"rpm","name":"bash","version":"5.2-1.fc40","osCpe":"x"}"#;
        let root = system(&[]);
        assert_eq!(
            find(root.path(), "/usr/bin/bash", Some(&image(&[json, &[0; 3][..]].concat()))),
            package("bash", "5.2-1.fc40")
        );
        assert_eq!(find(root.path(), "/usr/bin/bash", Some(&image(b"{\"name\":7}"))), None);
        assert_eq!(find(root.path(), "/usr/bin/bash", Some(&image(b""))), None);
    }
}
