//! Separate debug files, as distributions install them under `/usr/lib/debug`, and the mini debug information
//! inside an image. Owns where they are looked for. Never believes a file that does not bear the build-id it was
//! asked for, and never opens a path that came from a process.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::image::Image;
use super::{Section, hex};

const LINK_LIMIT: usize = 8192;
const DEBUG_DIRECTORY: &str = "/usr/lib/debug";

/// A module's separate debug file.
pub(crate) struct DebugFile {
    /// The file itself.
    pub image: Image,
    /// What `dwz` moved out of it, because other files needed the same.
    pub shared: Option<Image>,
}

impl DebugFile {
    /// The debug file for `build_id`.
    pub(crate) fn find(build_id: &[u8]) -> Option<DebugFile> {
        let path = by_build_id(build_id)?;
        let image = open(&path, build_id)?;
        let shared = shared(&image.section(".gnu_debugaltlink"), &path);
        Some(DebugFile { image, shared })
    }
}

/// The file that a `.gnu_debugaltlink` section names: a path and, behind its NUL, the build-id.
pub(crate) fn shared(link: &Section, from: &Path) -> Option<Image> {
    let bytes = link.whole(LINK_LIMIT)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let build_id = bytes.get(end + 1..).filter(|id| !id.is_empty())?;
    if let Some(image) = by_build_id(build_id).and_then(|path| open(&path, build_id)) {
        return Some(image);
    }
    let named = from.parent()?.join(std::str::from_utf8(bytes.get(..end)?).ok()?);
    open(&within_debug_directory(&named)?, build_id)
}

fn by_build_id(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first().filter(|(_, rest)| !rest.is_empty())?;
    Some(PathBuf::from(format!("{DEBUG_DIRECTORY}/.build-id/{first:02x}/{}.debug", hex(rest))))
}

fn open(path: &Path, build_id: &[u8]) -> Option<Image> {
    let image = Image::from_file(File::open(path).ok()?)?;
    image.build_ids().iter().any(|id| id == build_id).then_some(image)
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
        assert!(DebugFile::find(&[]).is_none() && DebugFile::find(&[1]).is_none());
    }
}
