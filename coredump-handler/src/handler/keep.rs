//! A core kept whole: compressed as it comes, and encrypted where its report is, by a process without rights, into a file
//! that gets its name when all of it is there.
//!
//! The format is gzip in several members, which every gunzip reads as one file. Memory that was never touched comes
//! through the pipe as zeros; a whole block of them costs one look and a few prepared bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use flate2::Compression;
use flate2::write::GzEncoder;
use foretrace_store::Recipient;

use super::child::Child;
use super::forward::{Receiver, Who};
use super::sandbox;

const BLOCK: usize = 1 << 20;

/// Starts the process that compresses what it is given into `file`, `most` bytes of it at most, as `user` and group;
/// encrypted to a key where there is one.
///
/// # Errors
/// The system has no processes or descriptors.
pub fn start(
    file: &File,
    most: u64,
    sealed: Option<&Recipient>,
    (user, group): (u32, u32),
) -> io::Result<Receiver> {
    let (input, output) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let process = Child::spawn(None, || {
        let ready = sandbox::keep_only(&[input.as_raw_fd(), file.as_raw_fd()])
            .and_then(|()| sandbox::shed(user, group).map(drop));
        let output = Bounded { file, left: most };
        let kept = ready.and_then(|()| write(&mut File::from(input), output, sealed));
        i32::from(kept.is_err())
    })?;
    Receiver::new(Who::Kept, process, output)
}

fn write(input: &mut impl Read, output: impl Write, sealed: Option<&Recipient>) -> io::Result<()> {
    let Some(recipient) = sealed else { return compress(input, output) };
    let mut sealing = recipient.sealing(output)?;
    compress(input, &mut sealing)?;
    sealing.finish().map(drop)
}

// Refuses what goes beyond the quota.
struct Bounded<'a> {
    file: &'a File,
    left: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let mut file = self.file;
        let written = file.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress(input: &mut impl Read, mut output: impl Write) -> io::Result<()> {
    let zeros = member(&[0; BLOCK])?;
    let mut block = vec![0; BLOCK];
    // Open from the start: also of nothing comes a file that gunzip takes.
    let begin = || GzEncoder::new(Vec::new(), Compression::fast());
    let mut open = Some(begin());
    loop {
        let length = fill(input, &mut block)?;
        let block = &block[..length];
        if length == BLOCK && block.iter().all(|byte| *byte == 0) {
            close(open.take(), &mut output)?;
            output.write_all(&zeros)?;
        } else if length > 0 {
            let encoder = open.get_or_insert_with(begin);
            encoder.write_all(block)?;
            output.write_all(encoder.get_ref())?;
            encoder.get_mut().clear();
        }
        if length < BLOCK {
            return close(open, &mut output);
        }
    }
}

fn close(encoder: Option<GzEncoder<Vec<u8>>>, output: &mut impl Write) -> io::Result<()> {
    match encoder {
        Some(encoder) => output.write_all(&encoder.finish()?),
        None => Ok(()),
    }
}

fn member(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

fn fill(input: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match input.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use flate2::read::MultiGzDecoder;

    use super::*;

    fn unpacked(compressed: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        MultiGzDecoder::new(compressed).read_to_end(&mut content).unwrap();
        content
    }

    #[test]
    fn what_comes_out_is_what_went_in_with_and_without_holes() {
        let noise: Vec<u8> =
            (0..BLOCK as u32 + 77).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let hole = vec![0; 3 * BLOCK];
        for parts in
            [vec![], vec![&noise], vec![&hole], vec![&noise, &hole, &noise], vec![&hole, &noise, &hole]]
        {
            let content: Vec<u8> = parts.into_iter().flatten().copied().collect();
            let mut compressed = Vec::new();
            compress(&mut content.as_slice(), &mut compressed).unwrap();
            assert!(unpacked(&compressed) == content, "{} bytes", content.len());
        }
    }

    #[test]
    fn a_hole_takes_a_thousandth_of_its_size() {
        let mut compressed = Vec::new();
        compress(&mut io::repeat(0).take(256 << 20), &mut compressed).unwrap();
        assert!(compressed.len() < 300 << 10, "{}", compressed.len());
    }

    #[test]
    fn beyond_its_quota_a_core_is_not_kept() {
        let file = tempfile::tempfile().unwrap();
        let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(compress(&mut noise.as_slice(), Bounded { file: &file, left: 10_000 }).is_err());
        assert!(file.metadata().unwrap().len() <= 10_000);
    }
}
