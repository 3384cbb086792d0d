//! What a package manager keeps of a file to know it again, and the comparison with a file.
//!
//! MD5 is what dpkg keeps: it tells a changed file from an installed one, and proves nothing against somebody who makes
//! two files with one sum.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use foretrace_report::bundle::hex;
use md5::{Digest, Md5};
use sha2::Sha256;

/// A file's sum, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// As dpkg keeps it.
    Md5(Vec<u8>),
    /// As rpm does.
    Sha256(Vec<u8>),
}

impl Sum {
    /// Whether `file` has this sum. `None`: it could not be read, or not until then.
    pub fn fits(&self, file: &File, until: Instant) -> Option<bool> {
        Some(match self {
            Sum::Md5(digits) => digest::<Md5>(file, until)?.as_bytes() == digits,
            Sum::Sha256(digits) => digest::<Sha256>(file, until)?.as_bytes() == digits,
        })
    }
}

/// A file's sha256 in hex. `None`: it could not be read, or not until then.
pub(crate) fn sha256(file: &File, until: Instant) -> Option<String> {
    digest::<Sha256>(file, until)
}

fn digest<D: Digest>(file: &File, until: Instant) -> Option<String> {
    let mut sum = D::new();
    let mut buffer = vec![0; 1 << 18];
    let mut offset = 0;
    loop {
        if Instant::now() >= until {
            return None;
        }
        match file.read_at(&mut buffer, offset).ok()? {
            0 => break,
            count => {
                sum.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
    Some(hex(&sum.finalize()))
}
