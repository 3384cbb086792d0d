//! The process that reads an entry's core: without rights, and with the files that the core names opened for it, one by
//! one, by its parent, as the crashed user could open them.
//!
//! The same import as a person's of a core file. Its parent parses nothing but names and four numbers.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use foretrace_report::schema::{Problem, Signal, System, signal_name};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::entry::Entry;
use crate::assemble::{Collected, Extent};
use crate::container;
use crate::core;
use crate::handler::channel::{Channel, Record};
use crate::handler::child::Child;
use crate::handler::sandbox;
use crate::import::{self, Request, Surroundings};
use crate::module::Places;
use crate::owner::Credentials;
use crate::process::file_as;

const PATIENCE: Duration = Duration::from_secs(120);
const LONGEST_PATH: usize = 4096;
/// A core names some hundred files; a reader that was taken over could ask for ever.
const MOST_FILES: u32 = 20_000;

/// What the reader is given.
pub struct Task<'a> {
    /// What systemd-coredump says.
    pub entry: &'a Entry,
    /// The unpacked core.
    pub core: &'a File,
    /// Where the bundle goes.
    pub bundle: &'a File,
    /// Whom to run as: user and group.
    pub user: (u32, u32),
    /// Of what the import takes.
    pub request: Request,
    /// The machine, if it is the one that the process ran on.
    pub system: Option<System>,
    /// What is known to be wrong already.
    pub problems: Vec<Problem>,
}

/// Writes the core's report into the bundle, and says which credentials the process began with.
///
/// # Errors
/// How the reader ended, or what it could not read. What is in the bundle is worth nothing then.
pub fn read(task: &Task<'_>) -> io::Result<Option<Credentials>> {
    let (ours, theirs) = Channel::pair()?;
    let child = Child::spawn(None, || work(task, theirs.as_fd().as_raw_fd(), &theirs))?;
    drop(theirs);
    let until = Instant::now() + PATIENCE;
    let mut said = Said::Nothing;
    let mut asked = 0;
    while wait(&ours, until) {
        match ours.receive::<Asked>() {
            Ok(Some((Asked::Open(path), _))) if asked < MOST_FILES => {
                asked += 1;
                let group = task.entry.gid.unwrap_or(u32::MAX - 1);
                let file = file_as(task.entry.uid, group, &path).ok();
                ours.send(&Opened(file.is_some()), file.as_ref().map(AsFd::as_fd))?;
            }
            Ok(Some((Asked::Done(credentials), _))) => said = Said::Done(credentials),
            Ok(Some((Asked::Failed(why), _))) => said = Said::Failed(why),
            _ => break,
        }
    }
    drop(ours);
    match (end_of(&child, until.saturating_duration_since(Instant::now())), said) {
        (None, Said::Done(credentials)) => Ok(credentials),
        (_, Said::Failed(why)) => Err(io::Error::other(why)),
        (how, _) => Err(io::Error::other(format!(
            "the process that read it {}",
            how.unwrap_or_else(|| "said nothing".into())
        ))),
    }
}

/// Waits for a child's end, and kills it where it takes longer. How it ended, if not well.
pub fn end_of(child: &Child, patience: Duration) -> Option<String> {
    if wait(child, Instant::now() + patience) {
        return child.failed();
    }
    child.kill();
    Some(format!("was not done after {} s", patience.as_secs()))
}

fn wait(source: &impl AsFd, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let patience = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(source.as_fd(), PollFlags::POLLIN)], patience) {
            Err(nix::Error::EINTR) => {}
            answer => return answer.is_ok_and(|ready| ready > 0),
        }
    }
}

enum Said {
    Nothing,
    Done(Option<Credentials>),
    Failed(String),
}

fn work(task: &Task<'_>, raw: i32, parent: &Channel) -> i32 {
    let done = sandbox::keep_only(&[task.core.as_raw_fd(), task.bundle.as_raw_fd(), raw])
        .and_then(|()| sandbox::enter(task.user.0, task.user.1))
        .and_then(|weak| report(task, weak, parent));
    let failed = done.is_err();
    let last = match done {
        Ok(credentials) => Asked::Done(credentials),
        Err(error) => Asked::Failed(error.to_string()),
    };
    i32::from(parent.send(&last, None).is_err() || failed)
}

fn report(task: &Task<'_>, weak: Vec<Problem>, parent: &Channel) -> io::Result<Option<Credentials>> {
    let mut open = |path: &Path| {
        parent.send(&Asked::Open(path.as_os_str().as_bytes().to_vec()), None).ok()?;
        let (Opened(there), file) = parent.receive::<Opened>().ok()??;
        file.filter(|_| there).map(File::from)
    };
    let around = Surroundings { open: &mut open, places: Places::System };
    let collected = import::collect_within(task.core.try_clone()?, &task.request, around);
    let mut collected = collected.map_err(io::Error::other)?;
    collected.problems.splice(0..0, task.problems.iter().cloned().chain(weak));
    complete(&mut collected, task);
    let head = core::read_file(task.core).map_err(io::Error::other)?;
    container::write_what_fits(&collected, &collected.threads, task.bundle, &mut Extent::Whole)
        .map_err(io::Error::other)?;
    Ok(credentials(&head))
}

// What systemd-coredump was told by the kernel comes before what is in the core: its numbers are the host's.
pub(super) fn complete(all: &mut Collected, task: &Task<'_>) {
    let entry = task.entry;
    all.program.pid = entry.pid;
    all.program.exe = entry.exe.clone().or(all.program.exe.take());
    if all.program.name.is_empty() {
        all.program.name.clone_from(&entry.comm);
    }
    if let (None, Some(number)) = (&all.signal, entry.signal) {
        all.signal = Some(Signal { number, name: signal_name(number), code: None, address: None });
    }
    if let Some(system) = &task.system {
        all.system = System { arch: std::mem::take(&mut all.system.arch), ..system.clone() };
        if all.system.arch.is_empty() {
            all.system.arch.clone_from(&system.arch);
        }
    }
}

fn credentials(head: &core::CoreHead) -> Option<Credentials> {
    let pairs = head.auxv.iter().flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()]);
    Credentials::from_auxv(&pairs.flatten().collect::<Vec<u8>>())
}

// What the reader says: one byte for what it is, then the rest.
enum Asked {
    Open(Vec<u8>),
    Done(Option<Credentials>),
    Failed(String),
}

impl Record for Asked {
    const BYTES: usize = 3 + LONGEST_PATH;

    fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Asked::Open(path) => (0, path.clone()),
            Asked::Done(None) => (1, Vec::new()),
            Asked::Done(Some(began)) => {
                let numbers = [u32::from(began.secure), began.uid, began.euid, began.gid, began.egid];
                (2, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            }
            Asked::Failed(why) => (3, why.clone().into_bytes()),
        };
        // A name that is too long is no file's.
        let length = if content.len() <= LONGEST_PATH { content.len() } else { 0 };
        let mut bytes = vec![kind];
        bytes.extend((length as u16).to_le_bytes());
        bytes.extend(&content[..length]);
        bytes.resize(Self::BYTES, 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let [kind, low, high, rest @ ..] = bytes else { return None };
        let content = rest.get(..usize::from(u16::from_le_bytes([*low, *high])))?;
        match kind {
            0 => Some(Asked::Open(content.to_vec())),
            1 => Some(Asked::Done(None)),
            2 => {
                let (numbers, _) = content.as_chunks::<4>();
                let [secure, uid, euid, gid, egid] = *numbers else { return None };
                let [uid, euid, gid, egid] = [uid, euid, gid, egid].map(u32::from_le_bytes);
                let secure = secure != [0; 4];
                Some(Asked::Done(Some(Credentials { secure, uid, euid, gid, egid })))
            }
            3 => Some(Asked::Failed(String::from_utf8_lossy(content).into_owned())),
            _ => None,
        }
    }
}

// Whether the file that was asked for comes with this.
struct Opened(bool);

impl Record for Opened {
    const BYTES: usize = 1;

    fn encode(&self) -> Vec<u8> {
        vec![u8::from(self.0)]
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Opened(bytes == [1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reader_says_arrives_as_it_was_said() {
        let (one, other) = Channel::pair().unwrap();
        let began = Credentials { secure: true, uid: 1, euid: 2, gid: 3, egid: u32::MAX };
        one.send(&Asked::Done(Some(began)), None).unwrap();
        one.send(&Asked::Open(b"/a b".to_vec()), None).unwrap();
        one.send(&Asked::Open(vec![b'x'; LONGEST_PATH + 1]), None).unwrap();
        one.send(&Asked::Failed("why".into()), None).unwrap();
        let next = || other.receive::<Asked>().unwrap().unwrap().0;
        assert!(matches!(next(), Asked::Done(Some(credentials)) if credentials == began));
        assert!(matches!(next(), Asked::Open(path) if path == b"/a b"));
        assert!(matches!(next(), Asked::Open(path) if path.is_empty()));
        assert!(matches!(next(), Asked::Failed(why) if why == "why"));
        assert!(Asked::decode(&[2, 4, 0, 0, 0, 0, 0]).is_none());
        assert!(Asked::decode(&[0, 4, 0, 0]).is_none());
    }

    #[test]
    fn no_name_opens_what_is_not_there_for_the_user() {
        assert!(file_as(65_534, 65_534, b"/etc/passwd").is_ok());
        assert!(file_as(65_534, 65_534, b"etc/passwd").is_err());
        assert!(file_as(65_534, 65_534, b"").is_err());
        if nix::unistd::geteuid().is_root() {
            assert!(file_as(65_534, 65_534, b"/etc/shadow").is_err());
        }
    }
}
