//! Rings in a process: which mappings bear the name, which of them are believed, and their snapshots.
//!
//! A mapping's name proves nothing. A ring is believed only if its descriptor is a regular file on tmpfs, carries the
//! seals that keep its size, has a bounded size, and names the process as its owner. Its content is taken with pread
//! and never mapped, so that nobody can make the reader fault. Anything else is refused, with a sentence for the
//! report, and nothing of it is copied into the report.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, MetadataExt};

use foretrace_report::schema::Problem;
use foretrace_report::text::escape;
use foretrace_ring::reader::{Owner, RingError, Snapshot};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use crate::maps::Mapping;
use crate::process::{self, Part, Process};

/// The name that a ring's memfd bears.
pub const NAME: &str = "memfd:foretrace.v1";
/// A ring larger than this is not read: the largest pool and its tables.
pub const MAX_BYTES: u64 = 2 * foretrace_ring::layout::MAX_POOL;
// A ring up to this size is copied whole before it is read.
const COPIED: u64 = 64 << 20;
/// Rings of one process that are looked at; a process that joined two copies of the recorder has two.
pub const MAX_RINGS: usize = 8;

/// Why a mapping that bears a ring's name is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingRefused {
    /// The descriptor could not be examined or read.
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
    /// It is no regular file on tmpfs.
    #[error("it is no memfd but another file that bears the name")]
    NotMemory,
    /// It lacks the seals.
    #[error("it lacks the seals of a ring")]
    NotSealed,
    /// Its size is beyond bounds.
    #[error("its size of {0} bytes is out of bounds")]
    Size(u64),
    /// The reader does not know what it holds.
    #[error("its content is no ring: {0}")]
    Content(String),
    /// It names another process as its owner.
    #[error("it belongs to another process ({found:?}, not {expected:?})")]
    Owner {
        /// What the ring says.
        found: Owner,
        /// Who was asked about.
        expected: Owner,
    },
}

impl From<nix::Error> for RingRefused {
    fn from(error: nix::Error) -> Self {
        RingRefused::Io(error.into())
    }
}

impl From<RingError> for RingRefused {
    fn from(error: RingError) -> Self {
        RingRefused::Content(error.to_string())
    }
}

/// The mappings that bear a ring's name, each file once.
pub fn candidates(maps: &[Mapping]) -> Vec<&Mapping> {
    let mut found: Vec<&Mapping> = Vec::new();
    for mapping in maps {
        let path = mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path);
        let known = found.iter().any(|other| (other.device, other.inode) == (mapping.device, mapping.inode));
        if path.ends_with(NAME) && !known && found.len() < MAX_RINGS {
            found.push(mapping);
        }
    }
    found
}

/// Whether what is mapped there is the kernel's own memory, as every memfd is, by the device alone: nothing else is even
/// looked at, for a file system that a user provides need not answer.
pub fn is_memory(mapping: &Mapping) -> bool {
    memfd_create(c"foretrace-device", MFdFlags::MFD_CLOEXEC)
        .and_then(|own| fstat(&own))
        .is_ok_and(|own| mapping.device == (major(own.st_dev) as u32, minor(own.st_dev) as u32))
}

/// The sentence for a report about a mapping that is not believed.
pub fn refusal(mapping: &Mapping, why: &RingRefused) -> Problem {
    let place = format!("{:#x}", mapping.start);
    Problem::new("trail", format!("the mapping {} at {place} was not read: {why}", escape(&mapping.path)))
}

/// The ring of a process that stands still (it is dying, or stopped): copied whole, which is quick, then read. A very
/// large one is read piece by piece.
///
/// # Errors
/// A descriptor or content that is not believed.
pub fn read_still(file: &File, owner: &Expected) -> Result<Snapshot, RingRefused> {
    let size = examine(file)?;
    if size > COPIED {
        return read_live(file, owner);
    }
    let mut copy = vec![0; usize::try_from(size).map_err(|_| RingRefused::Size(size))?];
    file.read_exact_at(&mut copy, 0)?;
    owned(foretrace_ring::reader::read(&Copied(&copy))?, owner)
}

/// The ring of a process that goes on writing: each word and each packet is taken from it when the reader asks, so
/// that the reader's own check for packets that change under it works.
///
/// # Errors
/// A descriptor or content that is not believed.
pub fn read_live(file: &File, owner: &Expected) -> Result<Snapshot, RingRefused> {
    let size = examine(file)?;
    owned(foretrace_ring::reader::read(&Live { file, size })?, owner)
}

/// The ring of a process that may have ended: its descriptor was handed over by that process itself, so only the
/// number is compared, for nobody can tell any more when it started.
///
/// # Errors
/// A descriptor or content that is not believed.
pub fn read_orphan(file: &File, pid: u32) -> Result<Snapshot, RingRefused> {
    let size = examine(file)?;
    numbered(foretrace_ring::reader::read(&Live { file, size })?, pid)
}

/// The ring that a core file held, from its bytes: only the number of its owner can be compared.
///
/// # Errors
/// Content that is not believed.
pub fn read_bytes(bytes: &[u8], pid: u32) -> Result<Snapshot, RingRefused> {
    match bytes.len() as u64 {
        4096..=MAX_BYTES => numbered(foretrace_ring::reader::read(&Copied(bytes))?, pid),
        size => Err(RingRefused::Size(size)),
    }
}

/// All rings of a live process, found through its mappings, and what was refused.
pub fn of_process(process: &Process, maps: &[Mapping]) -> (Vec<(String, Snapshot)>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut trails = Vec::new();
    let found = candidates(maps);
    if found.is_empty() {
        return (trails, problems);
    }
    let Some(owner) = Expected::of(process) else {
        problems.push(Problem::new(
            "trail",
            "the process's start time could not be read, so no ring was believed",
        ));
        return (trails, problems);
    };
    for mapping in found {
        let file = match is_memory(mapping) {
            true => process.mapped_file(mapping).map_err(|error| RingRefused::Io(io::Error::other(error))),
            false => Err(RingRefused::NotMemory),
        };
        let snapshot = file.and_then(|file| read_live(&file, &owner));
        match snapshot {
            Ok(snapshot) => trails.push((source_name(process.pid(), trails.len()), snapshot)),
            Err(why) => problems.push(refusal(mapping, &why)),
        }
    }
    (trails, problems)
}

/// Who a process is to its ring.
#[derive(Clone, Debug)]
pub struct Expected {
    owner: Owner,
    /// Its start time by its own clock, which a time namespace may have moved.
    by_its_clock: RangeInclusive<u64>,
}

impl Expected {
    /// Whoever it is that its number and its start time name, on the machine's clock.
    pub fn new(owner: Owner) -> Expected {
        Expected { owner, by_its_clock: owner.start_time..=owner.start_time }
    }

    /// A process by its innermost process ID and its start time, if they can be read.
    pub fn of(process: &Process) -> Option<Expected> {
        let (status, stat) = (process.read(Part::Status).ok()?, process.read(Part::Stat).ok()?);
        Expected::parse(&status, &stat, &process.read(Part::Clocks).unwrap_or_default())
    }

    /// The same from the contents of `status`, `stat` and `timens_offsets`.
    pub fn parse(status: &[u8], stat: &[u8], offsets: &[u8]) -> Option<Expected> {
        let pid = process::innermost_pid(status)?;
        let start_time = process::start_time(stat)?;
        let mut expected = Expected::new(Owner { pid, start_time });
        if let Some(ticks) = process::boot_offset(offsets) {
            let moved = |ticks: i64| start_time.saturating_add_signed(ticks);
            expected.by_its_clock = moved(*ticks.start())..=moved(*ticks.end());
        }
        Some(expected)
    }

    // A recorder that could not read its own start time says 0.
    fn is(&self, found: Owner) -> bool {
        let Owner { pid, start_time } = found;
        let started =
            [self.owner.start_time, 0].contains(&start_time) || self.by_its_clock.contains(&start_time);
        pid == self.owner.pid && started
    }
}

/// The name of a ring's folder under `trace/`.
pub fn source_name(pid: i32, number: usize) -> String {
    match number {
        0 => format!("ring-{pid}"),
        number => format!("ring-{pid}-{number}"),
    }
}

// The descriptor's own properties; the content is looked at only when they hold.
fn examine(file: &File) -> Result<u64, RingRefused> {
    let status = file.metadata()?;
    if !status.file_type().is_file() || fstatfs(file)?.filesystem_type() != TMPFS_MAGIC {
        return Err(RingRefused::NotMemory);
    }
    let required = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    let seals = SealFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(required) {
        return Err(RingRefused::NotSealed);
    }
    match status.size() {
        size @ 4096..=MAX_BYTES => Ok(size),
        size => Err(RingRefused::Size(size)),
    }
}

fn numbered(snapshot: Snapshot, pid: u32) -> Result<Snapshot, RingRefused> {
    let expected = Expected::new(Owner { pid, ..snapshot.owner });
    owned(snapshot, &expected)
}

fn owned(snapshot: Snapshot, expected: &Expected) -> Result<Snapshot, RingRefused> {
    if expected.is(snapshot.owner) {
        Ok(snapshot)
    } else {
        Err(RingRefused::Owner { found: snapshot.owner, expected: expected.owner })
    }
}

struct Copied<'a>(&'a [u8]);

impl foretrace_ring::Memory for Copied<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let word = self.0.get(start..start.checked_add(8)?)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let part =
            usize::try_from(offset).ok().and_then(|start| self.0.get(start..start.checked_add(into.len())?));
        part.is_some_and(|part| {
            into.copy_from_slice(part);
            true
        })
    }
}

struct Live<'a> {
    file: &'a File,
    size: u64,
}

// A system call orders what follows it after the load, which is the acquire that the trait asks for.
impl foretrace_ring::Memory for Live<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.copy(offset, &mut word).then(|| u64::from_le_bytes(word))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        self.file.read_exact_at(into, offset).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn owner() -> Expected {
        Expected::new(Owner { pid: 1, start_time: 1 })
    }

    fn memory(size: u64, seals: SealFlag) -> File {
        let file = File::from(
            memfd_create(c"foretrace.v1", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap(),
        );
        file.set_len(size).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file
    }

    fn sealed(size: u64) -> File {
        memory(size, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL)
    }

    fn mapping(path: &str, inode: u64) -> Mapping {
        Mapping {
            start: 0x1000,
            end: 0x2000,
            readable: true,
            writable: true,
            executable: false,
            shared: true,
            offset: 0,
            device: (0, 1),
            inode,
            path: path.into(),
        }
    }

    #[test]
    fn a_file_that_only_bears_the_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File::create_new(directory.path().join("memfd:foretrace.v1")).unwrap();
        file.write_all(&[0; 8192]).unwrap();
        assert!(matches!(
            read_still(&file, &owner()),
            Err(RingRefused::NotMemory | RingRefused::NotSealed | RingRefused::Io(_))
        ));
    }

    #[test]
    fn a_ring_whose_size_can_change_is_refused() {
        assert!(matches!(
            read_still(&memory(8192, SealFlag::F_SEAL_GROW), &owner()),
            Err(RingRefused::NotSealed)
        ));
    }

    #[test]
    fn sizes_out_of_bounds_are_refused_before_anything_is_read() {
        assert!(matches!(read_still(&sealed(0), &owner()), Err(RingRefused::Size(0))));
        assert!(matches!(read_live(&sealed(1 << 40), &owner()), Err(RingRefused::Size(_))));
    }

    #[test]
    fn memory_that_holds_no_ring_is_refused() {
        assert!(matches!(read_still(&sealed(1 << 20), &owner()), Err(RingRefused::Content(_))));
        assert!(matches!(read_live(&sealed(1 << 20), &owner()), Err(RingRefused::Content(_))));
    }

    #[test]
    fn a_process_may_have_begun_by_the_machines_clock_or_by_its_own_and_at_no_other_time() {
        let (status, stat) = (b"NStgid:\t70\t7\n", b"70 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5000 0");
        let moved = b"monotonic           0         0\nboottime         -20   5000000\n";
        let expected = Expected::parse(status, stat, moved).unwrap();
        let is = |pid, start_time| expected.is(Owner { pid, start_time });
        assert!(is(7, 5000) && is(7, 3000) && is(7, 3001) && is(7, 0));
        assert!(!is(7, 2999) && !is(7, 3002) && !is(7, 4999) && !is(70, 5000));
        let still = Expected::parse(status, stat, b"").unwrap();
        assert!(
            still.is(Owner { pid: 7, start_time: 5000 }) && !still.is(Owner { pid: 7, start_time: 3000 })
        );
    }

    #[test]
    fn each_file_is_a_candidate_once_and_other_names_are_none() {
        let name = "/memfd:foretrace.v1 (deleted)";
        let maps = [mapping(name, 5), mapping(name, 5), mapping("/dev/shm/memfd:foretrace.v1 (deleted)", 6)];
        assert_eq!(candidates(&maps).len(), 2);
        assert!(
            candidates(&[mapping("/memfd:foretrace.v1x", 7), mapping("/bin/foretrace.v1", 8)]).is_empty()
        );
    }

    #[test]
    fn nothing_beyond_the_end_is_ever_loaded() {
        use foretrace_ring::Memory as _;
        let file = sealed(4096);
        let live = Live { file: &file, size: 4096 };
        let copied = Copied(&[0; 4096]);
        for offset in [4089, 4096, u64::MAX - 3, u64::MAX] {
            assert_eq!((live.load(offset), copied.load(offset)), (None, None), "{offset}");
        }
    }
}
