//! Fixed-size typed records between the handler's processes, with at most one descriptor each.
//!
//! SOCK_SEQPACKET keeps records whole, so that nothing has to be framed and no field can leak into the next one. A
//! record of another size or with an unknown number is refused: the peer may have been taken over.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use foretrace_report::schema::Kind;
use foretrace_ring::layout::ATTACHMENT_PATH;
use foretrace_store::CrashKey;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
    sendmsg, socketpair,
};

use crate::process::Part;

/// A record that travels over a [`Channel`].
pub trait Record: Sized {
    /// Its size on the wire.
    const BYTES: usize;
    /// Its bytes.
    fn encode(&self) -> Vec<u8>;
    /// The record in `bytes`, which are [`Record::BYTES`] long.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// One end of a connection between two of the handler's processes.
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends of a new connection.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Channel(one), Channel(other)))
    }

    /// Sends a record, and a descriptor with it.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn send<R: Record>(&self, record: &R, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = record.encode();
        let raw = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
        let control: Vec<ControlMessage<'_>> = raw.iter().map(|raw| ControlMessage::ScmRights(raw)).collect();
        sendmsg::<UnixAddr>(
            self.0.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            &control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }

    /// Waits for a record. `None`: the peer has closed its end.
    ///
    /// # Errors
    /// The connection broke, or what came is no such record.
    pub fn receive<R: Record>(&self) -> io::Result<Option<(R, Option<OwnedFd>)>> {
        let mut bytes = vec![0; R::BYTES + 1];
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let (length, descriptor) = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Ok(message) => break (message.bytes, first_descriptor(message.cmsgs()?)),
                // A peer that ended before it had read everything: said once, and before what it had sent itself.
                Err(nix::Error::EINTR | nix::Error::ECONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let record = (length == R::BYTES).then(|| R::decode(&bytes[..length])).flatten();
        let record =
            record.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an unknown record arrived"))?;
        Ok(Some((record, descriptor)))
    }
}

impl From<OwnedFd> for Channel {
    fn from(descriptor: OwnedFd) -> Channel {
        Channel(descriptor)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// The control buffer has room for one descriptor; the kernel closes what does not fit.
fn first_descriptor(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<OwnedFd> {
    let mut first = None;
    for message in messages {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            for raw in descriptors {
                // SAFETY: the kernel has just installed this descriptor for us and told nobody else its number.
                let owned = unsafe { OwnedFd::from_raw_fd(raw) };
                first.get_or_insert(owned);
            }
        }
    }
    first
}

/// What the worker asks of the broker. Numbers only, but for attached files, which the broker opens with the process's
/// own rights, and for what it is to work out the sum of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The bytes of a part, into the locker.
    Part(Part),
    /// A descriptor of the file that is mapped from start to end.
    Mapping(u64, u64),
    /// A descriptor of the process's memory.
    Memory,
    /// The journal's last lines about the process and, where this is a unit's name, of its user's in that unit, into
    /// the locker.
    Journal(Vec<u8>),
    /// The kernel's last lines, into the locker.
    KernelLog,
    /// A descriptor of the file with this path, as the process itself could open it.
    File(Vec<u8>),
    /// The sha256 in hex of the file whose descriptor comes along, into the locker: on another processor than the worker's.
    Digest,
}

impl Record for Question {
    const BYTES: usize = 24 + ATTACHMENT_PATH;

    fn encode(&self) -> Vec<u8> {
        let mut path: &[u8] = &[];
        let (kind, start, end) = match self {
            Question::Part(part) => (1, *part as u64, 0),
            Question::Mapping(start, end) => (2, *start, *end),
            Question::Memory => (3, 0, 0),
            Question::Journal(unit) => {
                path = &unit[..unit.len().min(ATTACHMENT_PATH)];
                (4, path.len() as u64, 0)
            }
            Question::KernelLog => (5, 0, 0),
            Question::File(named) => {
                path = &named[..named.len().min(ATTACHMENT_PATH)];
                (6, path.len() as u64, 0)
            }
            Question::Digest => (7, 0, 0),
        };
        let mut bytes = words([kind, start, end]);
        bytes.extend_from_slice(path);
        bytes.resize(Self::BYTES, 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = |length: u64| Some(bytes.get(24..)?.get(..usize::try_from(length).ok()?)?.to_vec());
        Some(match (word(bytes, 0)?, word(bytes, 1)?, word(bytes, 2)?) {
            (1, part, _) => Question::Part(Part::from_number(u32::try_from(part).ok()?)?),
            (2, start, end) => Question::Mapping(start, end),
            (3, ..) => Question::Memory,
            (4, length, _) => Question::Journal(text(length)?),
            (5, ..) => Question::KernelLog,
            (6, length, _) => Question::File(text(length)?),
            (7, ..) => Question::Digest,
            _ => return None,
        })
    }
}

/// What the broker answers; a descriptor may come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there: in the locker at this offset and of this length, or the descriptor that came along.
    Here(u64, u64),
    /// The system refused, with this error number.
    Refused(i32),
    /// The mapping is no regular file.
    NotRegular,
    /// The mapping's file lies where reading may block for ever.
    MayBlock,
}

impl Record for Answer {
    const BYTES: usize = 24;

    fn encode(&self) -> Vec<u8> {
        words(match *self {
            Answer::Here(offset, length) => [1, offset, length],
            Answer::Refused(number) => [2, u64::from(number.unsigned_abs()), 0],
            Answer::NotRegular => [3, 0, 0],
            Answer::MayBlock => [4, 0, 0],
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match (word(bytes, 0)?, word(bytes, 1)?, word(bytes, 2)?) {
            (1, offset, length) => Answer::Here(offset, length),
            (2, number, _) => Answer::Refused(i32::try_from(number).ok()?),
            (3, ..) => Answer::NotRegular,
            (4, ..) => Answer::MayBlock,
            _ => return None,
        })
    }
}

/// How far the worker has come. Should it die or hang, the next one leaves out what it was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// It has not said anything yet.
    Start = 0,
    /// Mappings and rings.
    Ring = 1,
    /// The core's header and notes.
    Head = 2,
    /// Mapped files.
    Images = 3,
    /// Stacks and the rest of memory.
    Memory = 4,
    /// The process's state in `/proc`.
    State = 5,
    /// Backtraces, symbols, package, logs: the process is gone.
    Analysis = 6,
    /// Writing the bundle.
    Assembly = 7,
    /// Inlined calls, files and lines, package, logs, and a second bundle with them: the report is published.
    Names = 8,
}

impl Stage {
    /// In the order of the work.
    pub const ALL: [Stage; 9] = [
        Stage::Start,
        Stage::Ring,
        Stage::Head,
        Stage::Images,
        Stage::Memory,
        Stage::State,
        Stage::Analysis,
        Stage::Assembly,
        Stage::Names,
    ];

    /// What it was busy with, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Stage::Start => "starting",
            Stage::Ring => "reading the ring",
            Stage::Head => "reading the core's notes",
            Stage::Images => "opening mapped files",
            Stage::Memory => "reading memory",
            Stage::State => "reading the process's state",
            Stage::Analysis => "working out backtraces",
            Stage::Assembly => "writing the report",
            Stage::Names => "looking up names",
        }
    }
}

/// What the worker tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It begins something new.
    At(Stage),
    /// A descriptor that another worker would need, should this one fail. The number says what it is.
    Keep(u32),
    /// Nothing more is needed of the process, which has so many threads.
    Release(u32),
    /// What the crash has in common with others; it waits for [`Told::Go`] before it does more.
    Same(CrashKey),
    /// What the journal is told of the program's package: name, version and a JSON object, a line each.
    Package(String),
    /// A bundle is complete: first the one that is published, then, after [`Told::Published`], the one that replaces it.
    Done(Kind, String),
    /// It gives up, for this reason.
    Failed(String),
}

const TEXT: usize = 1000;

impl Record for Progress {
    const BYTES: usize = 24 + TEXT;

    fn encode(&self) -> Vec<u8> {
        let key;
        let (kind, number, text) = match self {
            Progress::Same(common) => {
                key = common.to_string();
                (6, 0, key.as_str())
            }
            Progress::At(stage) => (1, u64::from(*stage as u32), ""),
            Progress::Keep(number) => (2, u64::from(*number), ""),
            Progress::Release(threads) => (3, u64::from(*threads), ""),
            Progress::Done(what, signature) => (4, *what as u64, signature.as_str()),
            Progress::Failed(why) => (5, 0, why.as_str()),
            Progress::Package(lines) => (7, 0, lines.as_str()),
        };
        let end = (0..=text.len().min(TEXT)).rev().find(|end| text.is_char_boundary(*end));
        let text = &text.as_bytes()[..end.unwrap_or(0)];
        let mut bytes = words([kind, number, text.len() as u64]);
        bytes.extend_from_slice(text);
        bytes.resize(Self::BYTES, 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        const KINDS: [Kind; 6] =
            [Kind::Crash, Kind::Error, Kind::Panic, Kind::Hang, Kind::Killed, Kind::Snapshot];
        let number = usize::try_from(word(bytes, 1)?).ok()?;
        let length = usize::try_from(word(bytes, 2)?).ok().filter(|length| *length <= TEXT)?;
        let text = || String::from_utf8_lossy(&bytes[24..24 + length]).into_owned();
        Some(match word(bytes, 0)? {
            1 => Progress::At(*Stage::ALL.get(number)?),
            2 => Progress::Keep(u32::try_from(number).ok()?),
            3 => Progress::Release(u32::try_from(number).ok()?),
            4 => Progress::Done(*KINDS.iter().find(|kind| **kind as usize == number)?, text()),
            5 => Progress::Failed(text()),
            6 => Progress::Same(text().parse().ok()?),
            7 => Progress::Package(text()),
            _ => return None,
        })
    }
}

/// What the supervisor tells the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The core's head is in its file now: so many bytes of it, and whether these are all.
    Head(u64, bool),
    /// The crash becomes a report.
    Go,
    /// The crash has been counted; nothing more is wanted.
    Stop,
    /// The first bundle is published.
    Published,
    /// The first bundle cannot be published, with this error number: a smaller one is wanted.
    Smaller(i32),
}

impl Record for Told {
    const BYTES: usize = 24;

    fn encode(&self) -> Vec<u8> {
        words(match *self {
            Told::Head(bytes, whole) => [1, bytes, u64::from(whole)],
            Told::Go => [2, 0, 0],
            Told::Stop => [3, 0, 0],
            Told::Published => [4, 0, 0],
            Told::Smaller(error) => [5, u64::from(error.unsigned_abs()), 0],
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match word(bytes, 0)? {
            1 => Told::Head(word(bytes, 1)?, word(bytes, 2)? == 1),
            2 => Told::Go,
            3 => Told::Stop,
            4 => Told::Published,
            5 => Told::Smaller(i32::try_from(word(bytes, 1)?).ok()?),
            _ => return None,
        })
    }
}

fn words(words: [u64; 3]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(index * 8..index * 8 + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn sent_and_received<R: Record>(record: &R) -> R {
        let (one, other) = Channel::pair().unwrap();
        one.send(record, None).unwrap();
        let (received, descriptor) = other.receive::<R>().unwrap().unwrap();
        assert!(descriptor.is_none());
        received
    }

    #[test]
    fn every_record_arrives_as_it_was_sent() {
        for question in [
            Question::Part(Part::Environ),
            Question::Mapping(1, u64::MAX),
            Question::Memory,
            Question::Journal(b"a.service".to_vec()),
            Question::KernelLog,
            Question::File(vec![b'/'; ATTACHMENT_PATH]),
            Question::Digest,
        ] {
            assert_eq!(sent_and_received(&question), question);
        }
        for answer in [Answer::Here(3, 4), Answer::Refused(13), Answer::NotRegular, Answer::MayBlock] {
            assert_eq!(sent_and_received(&answer), answer);
        }
        for progress in [
            Progress::At(Stage::Assembly),
            Progress::Keep(8),
            Progress::Release(500),
            Progress::Same(CrashKey::new(b"/bin/a", b"main")),
            Progress::Done(Kind::Panic, "a | b".into()),
            Progress::Failed("no".into()),
            Progress::Package("shop\n4.2-1\n{}".into()),
        ] {
            assert_eq!(sent_and_received(&progress), progress);
        }
        for told in [Told::Head(9, true), Told::Go, Told::Stop, Told::Published, Told::Smaller(28)] {
            assert_eq!(sent_and_received(&told), told);
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let Progress::Failed(text) = sent_and_received(&Progress::Failed("ü".repeat(600))) else { panic!() };
        assert_eq!(text, "ü".repeat(500));
    }

    #[test]
    fn records_of_another_size_or_number_are_refused() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&Progress::Release(1), None).unwrap();
        assert!(other.receive::<Question>().is_err());
        assert_eq!(Question::decode(&words([1, 9999, 0])), None);
        assert_eq!(Question::decode(&words([6, 1, 0])), None);
        assert_eq!(
            Progress::decode(&{ Progress::At(Stage::Ring).encode() }[..24]),
            Some(Progress::At(Stage::Ring))
        );
        assert_eq!(Answer::decode(&words([77, 0, 0])), None);
    }

    #[test]
    fn a_closed_peer_is_no_error() {
        let (one, other) = Channel::pair().unwrap();
        drop(one);
        assert!(other.receive::<Answer>().unwrap().is_none());
    }

    #[test]
    fn the_last_word_of_a_peer_that_did_not_listen_is_heard() {
        let (near, far) = Channel::pair().unwrap();
        far.send(&Progress::Done(Kind::Crash, "main".into()), None).unwrap();
        near.send(&Told::Head(1, true), None).unwrap();
        drop(far);
        let (said, _) = near.receive::<Progress>().unwrap().unwrap();
        assert_eq!(said, Progress::Done(Kind::Crash, "main".into()));
        assert!(near.receive::<Progress>().unwrap().is_none());
    }

    #[test]
    fn a_descriptor_travels_with_its_record() {
        let (one, other) = Channel::pair().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        one.send(&Answer::Here(0, 0), Some(far.as_fd())).unwrap();
        drop(far);
        let (_, descriptor) = other.receive::<Answer>().unwrap().unwrap();
        let mut far = UnixStream::from(descriptor.unwrap());
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
