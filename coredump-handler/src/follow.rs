//! Reports of the crashes that systemd-coredump keeps, where that stays the kernel's handler: `foretrace-coredump follow`.
//!
//! ```text
//!   /var/lib/systemd/coredump/core.*     names, attributes, access lists ── entry
//!        │ once each ── followed
//!        ▼
//!   follow (root; parses names and numbers) ──▶ unpack   no rights: zstd, xz, lz4 → a file without a name
//!        ▲  opens files as the crashed user    ▶ reader   no rights: the same import as of any core file
//! ```
//!
//! Whatever becomes of unpacking and reading, an entry gives a report: at the least what systemd-coredump noted itself.
//! Nothing here is changed in systemd-coredump's directory.

mod entry;
mod followed;
mod reader;
mod unpack;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_report::schema::{Kind, Problem, Program, System};
use foretrace_report::text::escape;
use foretrace_store::{Incoming, Owner, Places, Settings, StoreKind, is_published};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use xattr::FileExt;

use self::entry::Entry;
use self::followed::Followed;
use crate::assemble::{Collected, Extent};
use crate::container;
use crate::handler::{privileges, supervisor};
use crate::import::Request;
use crate::owner::Credentials;
use crate::system::Machine;

/// Where systemd-coredump keeps its entries, below the root directory.
pub const ENTRIES: &str = "var/lib/systemd/coredump";

/// How long old reports may be looked for when there are too many.
const ROOM: Duration = Duration::from_secs(2);

/// Makes a report of each entry in `directory` that has none yet, oldest first, and unless `once`, of each that comes.
///
/// # Errors
/// Not root, no such directory, or a store that cannot be written. An entry that cannot be read is no error.
pub fn follow(places: &Places, directory: &Path, once: bool) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "only root can read what systemd-coredump keeps");
    supervisor::guard().context("the follower could not be made safe against its own crash")?;
    let shown = escape(&directory.display().to_string());
    let status = fs::metadata(directory).with_context(|| {
        format!("{shown} cannot be read; systemd-coredump makes it when it keeps its first core")
    })?;
    ensure!(status.is_dir(), "{shown} is no directory");
    ensure!(
        status.uid() == 0 && status.mode() & 0o002 == 0,
        "{shown} is not believed: others than root can write there"
    );
    let news = Inotify::init(InitFlags::IN_CLOEXEC)?;
    if !once {
        let kinds = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        news.add_watch(directory, kinds | AddWatchFlags::IN_ONLYDIR)
            .with_context(|| format!("{shown} cannot be watched"))?;
    }
    let mut followed = Followed::load(places)?;
    if !once {
        say(&format!("following {shown}"));
    }
    loop {
        take_all(places, directory, &mut followed)?;
        if once {
            return Ok(());
        }
        // What has happened is found by looking: names come and go, and the queue of events may overflow.
        match news.read_events() {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).with_context(|| format!("{shown} is no longer watched")),
        }
    }
}

fn take_all(places: &Places, directory: &Path, followed: &mut Followed) -> Result<()> {
    let shown = || escape(&directory.display().to_string());
    let names = fs::read_dir(directory).with_context(shown)?;
    let names: Vec<String> =
        names.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let mut entries: Vec<Entry> = names.iter().filter_map(|name| Entry::named(name)).collect();
    entries.sort_by_key(|entry| entry.time);
    followed.keep_only(&names);
    for entry in entries {
        // A follower may have ended between a report and its note of it.
        let stored = || is_published(places, entry.report_id()).unwrap_or(false);
        if followed.has(&entry.name) || stored() {
            continue;
        }
        match opened(directory, entry) {
            Ok((entry, packed)) => {
                let id = report(places, &entry, &packed).context(escape(&entry.name))?;
                followed.add(&entry.name)?;
                say(&format!("{id} {}", escape(&entry.name)));
            }
            // It may have gone meanwhile, or is none of systemd-coredump's.
            Err(error) => eprintln!("foretrace-coredump: {error:#}"),
        }
    }
    Ok(())
}

// Nobody needs to listen.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn opened(directory: &Path, mut entry: Entry) -> Result<(Entry, File)> {
    let shown = escape(&entry.name);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(directory.join(&entry.name))
        .with_context(|| format!("{shown} cannot be opened"))?;
    let status = file.metadata().with_context(|| shown.clone())?;
    ensure!(status.is_file(), "{shown} is no file");
    ensure!(status.uid() == 0, "{shown} is not root's, so systemd-coredump did not write it");
    let value = |name: &str| file.get_xattr(name).ok().flatten();
    for attribute in entry::ATTRIBUTES {
        if let Some(value) = value(&format!("{}{attribute}", entry::PREFIX)) {
            entry.take(attribute, &value);
        }
    }
    let exe = value(entry::EXECUTABLE).and_then(|value| String::from_utf8(value).ok());
    entry.exe = exe.filter(|exe| exe.starts_with('/'));
    entry.open_to_user = value(entry::ACCESS).is_some_and(|list| entry::lets_read(&list, entry.uid));
    Ok((entry, file))
}

// Unpacks, reads and publishes. What fails before publishing is a problem in the report.
fn report(places: &Places, entry: &Entry, packed: &File) -> Result<foretrace_report::ReportId> {
    let id = entry.report_id();
    let incoming = Incoming::begin(places, StoreKind::System).context("the report cannot be stored")?;
    let bundle = incoming.bundle().context("the report cannot be stored")?;
    let core = nameless(&places.state())?;
    let user = privileges::unprivileged_user();
    let mut problems = Vec::new();
    if let Err(error) = unpack::unpack(packed, entry.packing, &core, room(&core), user) {
        problems
            .push(Problem::new("core", format!("systemd-coredump's core could not be unpacked: {error}")));
    }
    let task = reader::Task {
        entry,
        core: &core,
        bundle: &bundle,
        user,
        request: Request { id, time: moment(entry.time), exe: None },
        system: system(entry),
        problems,
    };
    let credentials = match reader::read(&task) {
        Ok(credentials) => credentials,
        Err(error) => {
            write_least(&task, &error.to_string())?;
            None
        }
    };
    let published = publish(incoming, places, entry, credentials)?;
    Ok(published.id)
}

fn publish(
    incoming: Incoming,
    places: &Places,
    entry: &Entry,
    credentials: Option<Credentials>,
) -> Result<foretrace_store::Published> {
    let owner: Owner = entry.owner(credentials);
    let published = incoming.publish(entry.report_id(), owner).context("the report cannot be stored")?;
    // The report is safe: what cannot be removed to make room for the next one must not make it look lost.
    let storage = Settings::load(places).0.storage;
    let _ = foretrace_store::enforce(places, &storage, StoreKind::System, published.bytes, ROOM);
    Ok(published)
}

// What systemd-coredump noted makes a report of its own.
fn write_least(task: &reader::Task<'_>, why: &str) -> Result<()> {
    let program = Program { name: String::new(), exe: None, pid: task.entry.pid, package: None };
    let mut all = Collected::new(task.request.id, Kind::Crash, task.request.time.1.clone(), program);
    all.problems.extend(task.problems.iter().cloned());
    all.problem("core", format!("systemd-coredump's core could not be read: {why}"));
    reader::complete(&mut all, task);
    container::write_what_fits(&all, &all.threads, task.bundle, &mut Extent::Whole)
        .context("the report cannot be written")?;
    Ok(())
}

fn nameless(directory: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(directory)
        .with_context(|| format!("no room for a core in {}", escape(&directory.display().to_string())))
}

// Half of what is free: a core that fills the disk would cost others more than it is worth.
fn room(file: &File) -> u64 {
    nix::sys::statvfs::fstatvfs(file.as_fd())
        .map_or(0, |free| free.blocks_available().saturating_mul(free.fragment_size()) / 2)
}

fn moment(microseconds: u64) -> (u32, String) {
    let stamp =
        i64::try_from(microseconds).ok().and_then(|time| jiff::Timestamp::from_microsecond(time).ok());
    let stamp = stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    (u32::try_from(stamp.as_second()).unwrap_or(0), stamp.to_string())
}

// Of another boot nothing is known.
fn system(entry: &Entry) -> Option<System> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    (boot.trim().replace('-', "") == entry.boot.to_ascii_lowercase()).then(|| Machine::here().system)
}
