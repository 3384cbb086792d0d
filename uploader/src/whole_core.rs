//! A report's whole core, where one was kept beside the bundle: unpacked for people and debuggers. It never leaves this
//! machine from here.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use nix::fcntl::OFlag;

/// Its name among the parts.
pub const PART: &str = "core";

const PAGE: usize = 4096;
const BLOCK: usize = 256 * PAGE;

/// Writes the core as it was.
///
/// # Errors
/// A damaged file, or a destination that cannot be written.
pub fn unpack(compressed: impl Read, to: &mut impl Write) -> io::Result<u64> {
    io::copy(&mut MultiGzDecoder::new(BufReader::with_capacity(1 << 18, compressed)), to)
}

/// Writes the core to a file; memory that was never touched becomes holes.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_to_file(compressed: impl Read, to: &File) -> io::Result<u64> {
    let mut core = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, compressed));
    let mut block = Vec::with_capacity(BLOCK);
    let mut at = 0;
    loop {
        block.clear();
        core.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            to.set_len(at)?;
            return Ok(at);
        }
        for page in block.chunks(PAGE) {
            if page.iter().any(|byte| *byte != 0) {
                to.write_all_at(page, at)?;
            }
            at += page.len() as u64;
        }
    }
}

/// A file without a name, which is gone with its last reader. Cores can be larger than memory, so it lies on a disk.
///
/// # Errors
/// There is no room, or no such files, in the directory for large temporary files.
pub fn nameless_file() -> io::Result<File> {
    let directory = std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into());
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .mode(0o600)
        .open(Path::new(&directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_core_in_several_members_comes_back_whole_and_with_its_holes() {
        let mut content = vec![0; 40 * PAGE + 17];
        content[3 * PAGE] = 1;
        content[40 * PAGE + 16] = 2;
        let mut packed = tempfile::tempfile().unwrap();
        for member in content.chunks(7 * PAGE) {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(member).unwrap();
            packed.write_all(&encoder.finish().unwrap()).unwrap();
        }
        let again = || {
            let mut file = packed.try_clone().unwrap();
            io::Seek::rewind(&mut file).unwrap();
            file
        };
        let mut whole = Vec::new();
        assert_eq!(unpack(again(), &mut whole).unwrap(), content.len() as u64);
        assert!(whole == content);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(unpack_to_file(again(), &file).unwrap(), content.len() as u64);
        let mut read = vec![0; content.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == content);
        assert!(file.metadata().unwrap().blocks() * 512 < 20 * PAGE as u64);
    }

    #[test]
    fn a_damaged_core_is_an_error_and_not_a_shorter_one() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[7; 100_000]).unwrap();
        let packed = encoder.finish().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&packed[..packed.len() - 9]).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        assert!(unpack(file, &mut Vec::new()).is_err());
    }
}
