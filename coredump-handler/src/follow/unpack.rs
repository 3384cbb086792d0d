//! An entry's core, unpacked into a file without a name by a process without rights.
//!
//! Owns the formats and their bounds. What comes out may be of any length: blocks of zeros become holes, and what takes
//! room is bounded by what the file system has.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::entry::Packing;
use super::reader::end_of;
use crate::handler::child::Child;
use crate::handler::sandbox;

/// zstd's and xz's memory for what came before. systemd-coredump's levels take 8 MiB.
const WINDOW: u64 = 128 << 20;
const BLOCK: usize = 64 << 10;
/// The longest core, holes and all.
const LONGEST: u64 = 1 << 40;
const PATIENCE: Duration = Duration::from_secs(300);

/// Unpacks `packed` into `core`, `room` bytes of it at most besides holes, as `user` and group. Returns once it is done.
///
/// # Errors
/// Why there is no core, or not all of it. What was unpacked until then is in `core`.
pub fn unpack(
    packed: &File,
    packing: Packing,
    core: &File,
    room: u64,
    (user, group): (u32, u32),
) -> io::Result<()> {
    let (input, output) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let child = Child::spawn(None, || {
        let ready = sandbox::keep_only(&[packed.as_raw_fd(), core.as_raw_fd(), output.as_raw_fd()])
            .and_then(|()| sandbox::shed(user, group).map(drop));
        let unpacked = ready
            .and_then(|()| opened(packed, packing))
            .and_then(|mut content| copy(&mut content, core, room));
        if let Err(error) = &unpacked {
            let text = error.to_string();
            let _ = nix::unistd::write(&output, &text.as_bytes()[..text.len().min(200)]);
        }
        i32::from(unpacked.is_err())
    })?;
    drop(output);
    let ended = end_of(&child, PATIENCE);
    let Some(how) = ended else { return Ok(()) };
    let mut said = Vec::new();
    File::from(input).take(200).read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    Err(io::Error::other(if said.is_empty() { how } else { said.into_owned() }))
}

fn opened<'a>(packed: &'a File, packing: Packing) -> io::Result<Box<dyn Read + 'a>> {
    let packed = io::BufReader::with_capacity(1 << 18, packed);
    Ok(match packing {
        Packing::Plain => Box::new(packed),
        Packing::Zstd => Box::new(
            StreamingDecoder::new_with_max_window_size(packed, WINDOW)
                .map_err(|error| io::Error::other(error.to_string()))?,
        ),
        Packing::Xz => Box::new(XzReader::new_mem_limit(packed, true, (WINDOW >> 10) as u32)),
        Packing::Lz4 => Box::new(FrameDecoder::new(packed)),
    })
}

// The beginning of a core has notes and stacks: what comes before an error is kept, and its length is set.
fn copy(content: &mut dyn Read, core: &File, room: u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let (mut at, mut taken) = (0u64, 0u64);
    let read = loop {
        let (length, read) = fill(content, &mut block);
        if block[..length].iter().any(|byte| *byte != 0) {
            taken += length as u64;
            if taken > room {
                break Err(io::Error::new(io::ErrorKind::StorageFull, "there is no room for the whole core"));
            }
            core.write_all_at(&block[..length], at)?;
        }
        at += length as u64;
        if at > LONGEST {
            break Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any core"));
        }
        if read.is_err() || length < BLOCK {
            break read;
        }
    };
    core.set_len(at)?;
    read
}

fn fill(content: &mut dyn Read, block: &mut [u8]) -> (usize, io::Result<()>) {
    let mut length = 0;
    while length < block.len() {
        match content.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (length, Err(error)),
        }
    }
    (length, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_become_holes_and_the_length_stays() {
        let core = tempfile::tempfile().unwrap();
        let mut content = io::repeat(7).take(10).chain(io::repeat(0).take(64 << 20)).chain(&b"end"[..]);
        copy(&mut content, &core, 1 << 20).unwrap();
        let status = core.metadata().unwrap();
        assert_eq!(status.len(), (64 << 20) + 13);
        assert!(std::os::unix::fs::MetadataExt::blocks(&status) * 512 < 1 << 20);
        let mut end = [0; 4];
        core.read_exact_at(&mut end, (64 << 20) + 9).unwrap();
        assert_eq!(&end, b"\0end");
    }

    #[test]
    fn beyond_its_room_a_core_is_cut() {
        let core = tempfile::tempfile().unwrap();
        let error = copy(&mut io::repeat(7).take(1 << 20), &core, 200_000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!((100_000..=200_000).contains(&core.metadata().unwrap().len()));
    }

    #[test]
    fn a_stream_that_is_none_is_an_error_in_every_format() {
        for packing in [Packing::Zstd, Packing::Xz, Packing::Lz4] {
            let packed = tempfile::tempfile().unwrap();
            packed.write_all_at(b"no such format, but long enough for all of their headers", 0).unwrap();
            let core = tempfile::tempfile().unwrap();
            let read = opened(&packed, packing).and_then(|mut content| copy(&mut content, &core, 1 << 20));
            assert!(read.is_err(), "{packing:?}");
            assert_eq!(core.metadata().unwrap().len(), 0);
        }
    }
}
