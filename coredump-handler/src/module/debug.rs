//! Separate debug files, by build-id and by `.gnu_debuglink`, and the files that `dwz` makes several of them share.
//!
//! Owns where they are looked for and when they are believed: a file bears the build-id that it was asked for, or, where
//! the image has none, its bytes have the checksum that the image notes. A path from a process is only followed below
//! the debug directory, unless a person asked about a core of their own ([`Places::Anywhere`]).

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use flate2::Crc;
use foretrace_report::bundle::hex;

use super::Section;
use super::image::Image;

const LINK_LIMIT: usize = 8192;
pub(super) const DEBUG_DIRECTORY: &str = "/usr/lib/debug";
/// A debug file that is told by its checksum has to be read whole.
const CHECKED_LIMIT: u64 = 1 << 30;

/// Where debug files may be looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Places {
    /// Below the system's debug directory, which is root's.
    #[default]
    System,
    /// Also beside the program and where its links point.
    Anywhere,
}

/// A module's separate debug file.
pub(crate) struct DebugFile {
    /// The file itself.
    pub image: Image,
    /// What `dwz` moved out of it, because other files needed the same.
    pub shared: Option<Image>,
}

impl DebugFile {
    /// The debug file of the image that was mapped from `path`.
    pub(crate) fn find(
        build_id: Option<&[u8]>,
        image: Option<&Image>,
        path: &str,
        places: Places,
    ) -> Option<DebugFile> {
        let (image, path) = build_id
            .and_then(with_build_id)
            .or_else(|| linked(&image?.section(".gnu_debuglink"), build_id, Path::new(path), places))?;
        let shared = shared(&image, &path, places);
        Some(DebugFile { image, shared })
    }

    /// A file that is offered as the debug file of an image with this build-id, if it is.
    pub(crate) fn given(file: &File, build_id: &[u8]) -> Option<DebugFile> {
        let image = Image::from_file(file.try_clone().ok()?)?;
        let shared = shared(&image, &path_of(build_id)?, Places::System);
        image.build_ids().iter().any(|id| id == build_id).then_some(DebugFile { image, shared })
    }
}

/// The file that `image`, which is at `path`, shares with others: its `.gnu_debugaltlink` section holds a path and,
/// behind its NUL, the build-id.
pub(crate) fn shared(image: &Image, path: &Path, places: Places) -> Option<Image> {
    let bytes = image.section(".gnu_debugaltlink").whole(LINK_LIMIT)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let build_id = bytes.get(end + 1..).filter(|id| !id.is_empty())?;
    if let Some((image, _)) = with_build_id(build_id) {
        return Some(image);
    }
    let named = path.parent()?.join(std::str::from_utf8(bytes.get(..end)?).ok()?);
    let image = open(&permitted(&named, places)?)?;
    image.build_ids().iter().any(|id| id == build_id).then_some(image)
}

/// Where the debug file with this build-id lies.
pub(crate) fn path_of(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first().filter(|(_, rest)| !rest.is_empty())?;
    Some(PathBuf::from(format!("{DEBUG_DIRECTORY}/.build-id/{first:02x}/{}.debug", hex(rest))))
}

fn with_build_id(build_id: &[u8]) -> Option<(Image, PathBuf)> {
    let path = path_of(build_id)?;
    let image = open(&path)?;
    image.build_ids().iter().any(|id| id == build_id).then_some((image, path))
}

// The section holds a file name, NULs up to a multiple of 4, and the CRC-32 of that file.
fn linked(
    link: &Section,
    build_id: Option<&[u8]>,
    program: &Path,
    places: Places,
) -> Option<(Image, PathBuf)> {
    let bytes = link.whole(LINK_LIMIT)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(bytes.get(..end)?).ok().filter(|name| is_file_name(name))?;
    let checksum = bytes.get((end + 1).checked_next_multiple_of(4)?..)?.first_chunk::<4>()?;
    let folder = program.parent()?;
    let below = Path::new(DEBUG_DIRECTORY).join(folder.strip_prefix("/").ok()?);
    [below.join(name), folder.join(name), folder.join(".debug").join(name)].into_iter().find_map(|path| {
        let path = permitted(&path, places)?;
        let image = open(&path)?;
        let theirs = image.build_ids();
        let believed = match build_id {
            Some(id) if !theirs.is_empty() => theirs.iter().any(|other| other == id),
            _ => checksum_of(&path) == Some(u32::from_le_bytes(*checksum)),
        };
        believed.then_some((image, path))
    })
}

fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

// Not a device and not a pipe, whatever lies there.
pub(super) fn open(path: &Path) -> Option<Image> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Image::from_file(File::open(path).ok()?)
}

fn checksum_of(path: &Path) -> Option<u32> {
    let mut file = File::open(path).ok()?.take(CHECKED_LIMIT);
    let mut sum = Crc::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return (file.limit() > 0).then(|| sum.sum()),
            count => sum.update(&chunk[..count]),
        }
    }
}

pub(super) fn permitted(path: &Path, places: Places) -> Option<PathBuf> {
    match places {
        Places::System => within_debug_directory(path),
        Places::Anywhere => Some(path.to_owned()),
    }
}

// Resolves `..` by text: symbolic links below the debug directory are root's.
fn within_debug_directory(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(resolved.pop()),
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    resolved.starts_with(DEBUG_DIRECTORY).then_some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_file_is_only_looked_for_below_the_debug_directory() {
        let from = Path::new("/usr/lib/debug/.build-id/ab");
        let named = |path| within_debug_directory(&from.join(path));
        assert_eq!(named("../../.dwz/a.debug"), Some(PathBuf::from("/usr/lib/debug/.dwz/a.debug")));
        assert_eq!(named("../../../../../etc/shadow"), None);
        assert_eq!(named("/home/a/b"), None);
    }

    #[test]
    fn a_build_id_too_short_for_a_path_finds_nothing() {
        assert!(with_build_id(&[]).is_none() && with_build_id(&[1]).is_none());
    }

    #[test]
    fn a_link_names_a_file_and_no_path() {
        assert!(is_file_name("program.debug"));
        for name in ["", ".", "..", "/etc/shadow", "../program.debug", "a/b"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
