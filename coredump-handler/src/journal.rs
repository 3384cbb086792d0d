//! What the rest of the system is told of a crash: the journal's COREDUMP_* entry, and a line in the kernel's log when
//! something went wrong.
//!
//! Followers of systemd-coredump's entries go on working with ours. Telling is never waited for and never fails a
//! report.

use std::io::Write;
use std::os::unix::net::UnixDatagram;

use foretrace_report::schema::signal_name;
use foretrace_report::text::escape;
use foretrace_store::Places;
use foretrace_store::lost::NO_REPORT;

use crate::handler::{Crash, Handled};
use crate::process::Part;
use crate::surroundings::{Unit, group_path};

/// The message ID of a core dump in the journal's catalogue.
const MESSAGE_ID: &str = "fc2e22bc6ee647b6b90729ab34a250b1";
/// Longer values are left out of an entry that is too long.
const SHORT: usize = 4 << 10;
const SOCKET: &str = "run/systemd/journal/socket";

/// The parts of a process that an entry holds as they are, by the entry's fields.
pub const PARTS: [(&str, Part); 6] = [
    ("COREDUMP_CWD", Part::Directory),
    ("COREDUMP_ROOT", Part::Root),
    ("COREDUMP_PROC_STATUS", Part::Status),
    ("COREDUMP_PROC_MAPS", Part::Maps),
    ("COREDUMP_PROC_LIMITS", Part::Limits),
    ("COREDUMP_PROC_MOUNTINFO", Part::MountInfo),
];

/// The fields for the program's package.
const PACKAGE: [&str; 3] = ["COREDUMP_PACKAGE_NAME", "COREDUMP_PACKAGE_VERSION", "COREDUMP_PACKAGE_JSON"];

/// What an entry says.
pub struct Entry<'a> {
    /// The kernel's arguments.
    pub crash: &'a Crash,
    /// The report.
    pub handled: &'a Handled,
    /// The command name.
    pub name: String,
    /// The executable's path.
    pub exe: Option<String>,
    /// The process's control groups.
    pub cgroup: Option<String>,
    /// The program's package: name, version and a JSON object, a line each.
    pub package: Option<&'a str>,
    /// The process's open descriptors, as [`Part::Descriptors`] has them.
    pub descriptors: Option<Vec<u8>>,
    /// [`PARTS`], as far as they were read.
    pub parts: Vec<(&'static str, String)>,
}

/// Writes the entry, where there is a journal.
pub fn announce(places: &Places, entry: &Entry<'_>) {
    send(places, fields(entry));
}

/// Says that a crash has become no report, and why: in the kernel's log, from which such crashes are counted, and where there is a
/// journal in an entry of its own.
pub fn lose(places: &Places, crash: &Crash, why: &str) {
    line(&format!("{NO_REPORT}{} could be written: {}", crash.pid, escape(why)));
    let name = signal_name(crash.signal);
    let what = format!(
        "Process {} of user {} ended by {name}; no report could be written: {}",
        crash.pid,
        crash.uid,
        escape(why)
    );
    send(places, told(crash, what));
}

fn send(places: &Places, fields: Vec<(&'static str, String)>) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_ok() {
        let path = places.root().join(SOCKET);
        // Without a journal there is nobody to tell; the report itself is what counts. What is too long for one
        // datagram goes without the parts that the report holds anyway.
        if let Err(error) = socket.send_to(&encode(&fields), &path)
            && error.raw_os_error() == Some(libc::EMSGSIZE)
        {
            let short: Vec<_> = fields.into_iter().filter(|(_, value)| value.len() <= SHORT).collect();
            let _ = socket.send_to(&encode(&short), &path);
        }
    }
}

/// Writes a line to the kernel's log, which is there when nothing else is.
pub fn log(text: &str) {
    line(&format!("foretrace-coredump: {}", escape(text)));
}

fn line(text: &str) {
    if let Ok(mut log) = std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<3>{text}\n").as_bytes());
    }
}

fn fields(entry: &Entry<'_>) -> Vec<(&'static str, String)> {
    let Entry { crash, handled, name, exe, cgroup, package, descriptors, parts: _ } = entry;
    let published = &handled.published;
    let what = format!(
        "Process {} ({}) of user {} ended by {}; report {}",
        crash.pid,
        escape(name),
        crash.uid,
        signal_name(crash.signal),
        published.id
    );
    let mut fields = told(crash, what);
    fields.extend([
        ("COREDUMP_COMM", name.clone()),
        ("FORETRACE_REPORT", published.id.to_string()),
        ("FORETRACE_OWNER", published.owner.uid.to_string()),
        ("FORETRACE_KIND", handled.kind.name().into()),
        ("FORETRACE_SIGNATURE", handled.signature.clone()),
    ]);
    fields.extend(exe.iter().map(|exe| ("COREDUMP_EXE", exe.clone())));
    if let Some(path) = cgroup.as_deref().and_then(group_path) {
        let Unit { unit, user_unit, slice, session, owner } = Unit::of(path);
        fields.push(("COREDUMP_CGROUP", path.to_owned()));
        fields.extend(unit.map(|unit| ("COREDUMP_UNIT", unit)));
        fields.extend(user_unit.map(|unit| ("COREDUMP_USER_UNIT", unit)));
        fields.extend(slice.map(|slice| ("COREDUMP_SLICE", slice)));
        fields.extend(session.map(|session| ("COREDUMP_SESSION", session)));
        fields.extend(owner.map(|owner| ("COREDUMP_OWNER_UID", owner.to_string())));
    }
    let package = package.iter().flat_map(|lines| PACKAGE.into_iter().zip(lines.splitn(PACKAGE.len(), '\n')));
    fields.extend(package.map(|(field, text)| (field, text.to_owned())));
    fields.extend(cgroup.iter().map(|text| ("COREDUMP_PROC_CGROUP", text.clone())));
    fields.extend(descriptors.iter().map(|records| ("COREDUMP_OPEN_FDS", open_files(records))));
    // Whether the root directory is the handler's own comes before its name.
    fields.extend(
        entry.parts.iter().map(|(field, text)| (*field, text.trim_start_matches(['\0', '\x01']).into())),
    );
    fields
}

// What the kernel itself said, in the sentence `what` and field by field.
fn told(crash: &Crash, what: String) -> Vec<(&'static str, String)> {
    vec![
        ("MESSAGE", what),
        ("MESSAGE_ID", MESSAGE_ID.into()),
        ("PRIORITY", "2".into()),
        ("SYSLOG_IDENTIFIER", "foretrace-coredump".into()),
        ("COREDUMP_PID", crash.pid.to_string()),
        ("COREDUMP_UID", crash.uid.to_string()),
        ("COREDUMP_GID", crash.gid.to_string()),
        ("COREDUMP_SIGNAL", crash.signal.to_string()),
        ("COREDUMP_SIGNAL_NAME", signal_name(crash.signal)),
        ("COREDUMP_TIMESTAMP", format!("{}000000", crash.time)),
        ("COREDUMP_RLIMIT", crash.core_limit.to_string()),
        ("COREDUMP_HOSTNAME", crash.host.to_string_lossy().into_owned()),
        ("COREDUMP_DUMPABLE", crash.dumpable.to_string()),
    ]
}

// A line for each, as systemd-coredump's begin.
fn open_files(records: &[u8]) -> String {
    let records = records.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    let line = |record| format!("{}\n", escape(&String::from_utf8_lossy(record).replacen('\t', ":", 1)));
    records.map(line).collect()
}

// Each field as name, line break, length in 8 bytes, value, line break: no value can begin a field of its own.
fn encode(fields: &[(&'static str, String)]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for (name, value) in fields {
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
        datagram.extend_from_slice(value.as_bytes());
        datagram.push(b'\n');
    }
    datagram
}

#[cfg(test)]
mod tests {
    use foretrace_report::ReportId;
    use foretrace_report::schema::Kind;
    use foretrace_store::{Owner, Published};

    use super::*;

    fn entry<'a>(crash: &'a Crash, handled: &'a Handled) -> Entry<'a> {
        Entry {
            crash,
            handled,
            name: "evil\nPRIORITY=0".into(),
            exe: Some("/bin/evil".into()),
            cgroup: Some("1:name=systemd:/x\n0::/user.slice/user-7.slice/session-3.scope".into()),
            package: Some("evil\n1-2\n{\"/bin/evil\":{}}"),
            descriptors: Some(b"0\t/dev/null\x003\t/a\nb\0".to_vec()),
            parts: vec![("COREDUMP_PROC_MAPS", "m".repeat(1 << 20)), ("COREDUMP_PROC_LIMITS", "few".into())],
        }
    }

    fn crash() -> Crash {
        let words = "41 1000 1000 11 1700000000 0 host 1 3".split(' ').map(Into::into);
        Crash::parse(&words.collect::<Vec<_>>()).unwrap()
    }

    fn handled() -> Handled {
        let published = Published {
            id: ReportId::from_random([9; 16]),
            owner: Owner::ROOT,
            path: "/x".into(),
            bytes: 0,
            sealed: None,
            fallback: None,
        };
        Handled { published, kind: Kind::Crash, signature: "crash".into() }
    }

    #[test]
    fn a_command_name_cannot_add_a_field() {
        let (crash, handled) = (crash(), handled());
        let fields = fields(&entry(&crash, &handled));
        let datagram = encode(&[fields.into_iter().find(|(name, _)| *name == "COREDUMP_COMM").unwrap()]);
        let mut expected = b"COREDUMP_COMM\n".to_vec();
        expected.extend_from_slice(&15u64.to_le_bytes());
        expected.extend_from_slice(b"evil\nPRIORITY=0\n");
        assert_eq!(datagram, expected);
    }

    #[test]
    fn the_entry_reaches_a_journal_below_the_root_also_when_the_process_has_more_than_fits() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/systemd/journal")).unwrap();
        let journal = UnixDatagram::bind(root.path().join(SOCKET)).unwrap();
        journal.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let (crash, handled) = (crash(), handled());
        announce(&Places::system(root.path()), &entry(&crash, &handled));
        let mut buffer = [0; 8192];
        let length = journal.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        for part in [
            "COREDUMP_CGROUP\n",
            "/user-7.slice/session-3.scope\n",
            "COREDUMP_SLICE\n",
            "COREDUMP_OWNER_UID\n",
            "COREDUMP_PROC_LIMITS\n",
            "COREDUMP_PACKAGE_NAME\n",
            "1-2\n",
            "{\"/bin/evil\":{}}\n",
            "0:/dev/null\n3:/a\\u{a}b\n",
            MESSAGE_ID,
            "SIGSEGV\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("COREDUMP_PROC_MAPS"));
    }

    #[test]
    fn a_machine_without_a_journal_is_no_trouble() {
        let root = tempfile::tempdir().unwrap();
        announce(&Places::system(root.path()), &entry(&crash(), &handled()));
    }
}
