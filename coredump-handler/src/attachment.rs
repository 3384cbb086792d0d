//! What a program wanted to have beside its report: pieces of its memory, and files.
//!
//! Owns how much of it a report holds and what the parts are called. Addresses and paths are the process's own words:
//! memory is read only through the rule of what may be read at all, and how a file is opened is the caller's business.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use foretrace_report::schema::Problem;
use foretrace_ring::Snapshot;
use foretrace_ring::reader::{Attached, Attachment};

use crate::memory::Memory;

/// Bytes of one attachment that a report holds.
pub const MOST_OF_ONE: u64 = 8 << 20;
/// Bytes of all attached memory, and of all attached files.
pub const MOST_OF_ALL: u64 = 32 << 20;

/// Parts by their names in the bundle, and what could not be had of them.
#[derive(Debug, Default)]
pub struct Had {
    /// The parts.
    pub parts: Vec<(String, Vec<u8>)>,
    /// What is missing.
    pub problems: Vec<Problem>,
    bytes: u64,
}

/// The attached memory.
pub fn memory(trails: &[(String, Snapshot)], memory: &dyn Memory) -> Had {
    let mut had = Had::default();
    for attachment in attached(trails) {
        let Attached::Memory(address) = attachment.what else { continue };
        let Some(most) = had.most(attachment) else { continue };
        let content = memory.read_vec(address, most);
        if content.len() < most {
            let what = format!("{} of {most} bytes at {address:#x} could be read", content.len());
            had.miss(attachment, &what);
        }
        if !content.is_empty() || most == 0 {
            had.keep(attachment, content);
        }
    }
    had
}

/// The attached files, each opened by `open`.
pub fn files(trails: &[(String, Snapshot)], open: &mut dyn FnMut(&[u8]) -> Result<File, String>) -> Had {
    let mut had = Had::default();
    for attachment in attached(trails) {
        let Attached::File(path) = &attachment.what else { continue };
        let Some(most) = had.most(attachment) else { continue };
        match open(path).and_then(|file| end_of(&file, most).map_err(|error| error.to_string())) {
            Ok((content, size)) => {
                // A file that is longer than what the program asked for is no problem; one that we cut is.
                if most as u64 != attachment.most && size > most as u64 {
                    had.miss(attachment, &format!("the last {most} of {size} bytes were kept"));
                }
                had.keep(attachment, content);
            }
            Err(why) => {
                let path = String::from_utf8_lossy(path);
                had.miss(attachment, &format!("{path} could not be read: {why}"));
            }
        }
    }
    had
}

/// Whether anything is attached.
pub fn any(trails: &[(String, Snapshot)]) -> bool {
    attached(trails).next().is_some()
}

fn attached(trails: &[(String, Snapshot)]) -> impl Iterator<Item = &Attachment> {
    trails.iter().flat_map(|(_, snapshot)| &snapshot.attachments)
}

impl Had {
    // How many bytes of it there may be; none where all room is used up.
    fn most(&mut self, attachment: &Attachment) -> Option<usize> {
        let left = MOST_OF_ALL - self.bytes.min(MOST_OF_ALL);
        if left == 0 && attachment.most > 0 {
            self.miss(attachment, "there was no room left for it");
            return None;
        }
        let most = attachment.most.min(MOST_OF_ONE).min(left);
        if most < attachment.most && matches!(attachment.what, Attached::Memory(_)) {
            self.miss(attachment, &format!("{most} of its {} bytes were kept", attachment.most));
        }
        usize::try_from(most).ok()
    }

    fn keep(&mut self, attachment: &Attachment, content: Vec<u8>) {
        self.bytes += content.len() as u64;
        self.parts.push((format!("attachments/{}/{}", attachment.class.name(), attachment.name), content));
    }

    fn miss(&mut self, attachment: &Attachment, what: &str) {
        self.problems.push(Problem::new("attachments", format!("{}: {what}", attachment.name)));
    }
}

// The last `most` bytes, and how many there are in all. Files of the kernel's own that have no size are empty.
fn end_of(file: &File, most: usize) -> io::Result<(Vec<u8>, u64)> {
    let size = file.metadata()?.len();
    let start = size.saturating_sub(most as u64);
    let mut content = vec![0; usize::try_from(size - start).unwrap_or(most)];
    let mut filled = 0;
    while filled < content.len() {
        match file.read_at(&mut content[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(filled);
    Ok((content, size))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use foretrace_ring::reader::{AttachmentClass, Owner};

    use super::*;

    // Sixteen bytes at 0x1000.
    struct Piece;

    impl Memory for Piece {
        fn read(&self, address: u64, into: &mut [u8]) -> usize {
            let left = 0x1010_u64.saturating_sub(address) as usize;
            let count = if address < 0x1000 { 0 } else { left.min(into.len()) };
            into[..count].fill(7);
            count
        }
    }

    fn trails(attachments: Vec<Attachment>) -> Vec<(String, Snapshot)> {
        let snapshot = Snapshot {
            owner: Owner { pid: 1, start_time: 2 },
            metadata: String::new(),
            streams: vec![],
            annotations: vec![],
            attachments,
            recorded: 0,
            overwritten: 0,
            discarded: 0,
            clock_cost: 0,
            problems: vec![],
        };
        vec![("ring-1".into(), snapshot)]
    }

    fn attachment(name: &str, most: u64, what: Attached) -> Attachment {
        Attachment { name: name.into(), class: AttachmentClass::Logs, most, what }
    }

    #[test]
    fn memory_is_had_as_far_as_it_may_be_read_and_bounded() {
        let all = trails(vec![
            attachment("whole", 16, Attached::Memory(0x1000)),
            attachment("half", 16, Attached::Memory(0x1008)),
            attachment("none", 16, Attached::Memory(0x2000)),
            attachment("huge", u64::MAX, Attached::Memory(u64::MAX - 1)),
        ]);
        let had = memory(&all, &Piece);
        let sizes: Vec<_> = had.parts.iter().map(|(name, content)| (name.as_str(), content.len())).collect();
        assert_eq!(sizes, [("attachments/logs/whole", 16), ("attachments/logs/half", 8)]);
        let said: Vec<_> = had.problems.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(
            said,
            [
                "half: 8 of 16 bytes at 0x1008 could be read",
                "none: 0 of 16 bytes at 0x2000 could be read",
                "huge: 8388608 of its 18446744073709551615 bytes were kept",
                "huge: 0 of 8388608 bytes at 0xfffffffffffffffe could be read",
            ]
        );
    }

    #[test]
    fn of_a_file_the_end_is_had_and_what_cannot_be_opened_is_said() {
        let all = trails(vec![
            attachment("a", 3, Attached::File(b"/here".into())),
            attachment("b", 3, Attached::File(b"/gone".into())),
            attachment("c", u64::MAX, Attached::File(b"/here".into())),
        ]);
        let had = files(&all, &mut |path| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"abcdef").unwrap();
            if path == b"/here" { Ok(file) } else { Err("it is gone".into()) }
        });
        let expected = [
            ("attachments/logs/a".into(), b"def".to_vec()),
            ("attachments/logs/c".into(), b"abcdef".to_vec()),
        ];
        assert_eq!(had.parts, expected);
        assert_eq!(had.problems.len(), 1);
        assert_eq!(had.problems[0].what, "b: /gone could not be read: it is gone");
    }

    #[test]
    fn there_is_an_end_to_what_a_report_holds() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let many = (0..6).map(|n| attachment(&n.to_string(), 1 << 40, Attached::File(b"/big".into())));
        let had = files(&trails(many.collect()), &mut |_| Ok(file.try_clone().unwrap()));
        assert_eq!(had.parts.iter().map(|(_, content)| content.len() as u64).sum::<u64>(), MOST_OF_ALL);
        assert_eq!(had.problems.len(), 6);
    }
}
