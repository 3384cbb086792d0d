//! Which of a program's files are no longer what their package installed, by dpkg's and rpm's own sums.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use super::{LISTS, Sum, databases, read, rpm, spellings};

/// What a comparison gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The names of the files that differ, in the order in which they were given.
    pub modified: Vec<String>,
    /// How many files the time did not suffice for.
    pub left_out: usize,
}

/// Compares `files`, each with the name under which the process had it mapped, with the sums of the system below `root`.
/// Files of no package are never called modified.
pub fn modified(root: &Path, files: &[(String, File)], until: Instant) -> Comparison {
    let mut places = HashMap::new();
    for (place, (name, _)) in files.iter().enumerate() {
        for spelling in spellings(name) {
            places.entry(spelling.trim_start_matches('/').as_bytes().to_vec()).or_insert(place);
        }
    }
    let mut sums: Vec<Option<Sum>> = vec![None; files.len()];
    let mut known = 0;
    for entry in fs::read_dir(root.join(LISTS)).into_iter().flatten().flatten() {
        if known == files.len() || entry.path().extension().is_none_or(|end| end != "md5sums") {
            continue;
        }
        if Instant::now() >= until {
            return Comparison { modified: Vec::new(), left_out: files.len() };
        }
        let content = read(&entry.path()).unwrap_or_default();
        for (sum, name) in content.split(|byte| *byte == b'\n').filter_map(line) {
            if let Some(place) = places.get(name).filter(|place| sums[**place].is_none()) {
                sums[*place] = Some(Sum::Md5(sum.to_vec()));
                known += 1;
            }
        }
    }
    let databases = databases(root);
    let kept = |name: &str| databases.iter().find_map(|database| rpm::installed(database, name)?.sum);
    let mut found = Comparison::default();
    for ((name, file), listed) in files.iter().zip(sums) {
        let Some(expected) = listed.or_else(|| kept(name).filter(|_| Instant::now() < until)) else {
            continue;
        };
        match expected.fits(file, until) {
            Some(true) => {}
            Some(false) => found.modified.push(name.clone()),
            None => found.left_out += 1,
        }
    }
    found
}

// d41d8cd98f00b204e9800998ecf8427e  usr/bin/name
pub(super) fn line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const DIGITS: usize = 32;
    let (sum, rest) = line.split_at_checked(DIGITS)?;
    Some((sum, rest.strip_prefix(b"  ")?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn system() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(LISTS)).unwrap();
        let sums = format!("{EMPTY}  usr/bin/same\n{EMPTY}  bin/changed\ntorn");
        fs::write(root.path().join(LISTS).join("a.md5sums"), sums).unwrap();
        root
    }

    fn files() -> Vec<(String, File)> {
        let file = |content: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            file
        };
        let named = [("/usr/bin/same", &b""[..]), ("/usr/bin/changed", b"x"), ("/opt/own", b"y")];
        named.into_iter().map(|(name, content)| (name.to_owned(), file(content))).collect()
    }

    #[test]
    fn only_a_packages_file_that_differs_is_called_modified() {
        let found = modified(system().path(), &files(), Instant::now() + Duration::from_secs(60));
        assert_eq!(found, Comparison { modified: vec!["/usr/bin/changed".into()], left_out: 0 });
    }

    #[test]
    fn what_the_time_does_not_suffice_for_is_counted() {
        let found = modified(system().path(), &files(), Instant::now());
        assert_eq!(found, Comparison { modified: vec![], left_out: 3 });
    }
}
