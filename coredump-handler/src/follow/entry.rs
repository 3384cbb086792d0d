//! What systemd-coredump says of an entry: by the file's name, its attributes, and whom it lets read it.
//!
//! Owns the forms in which these are written; pure. All of it began as words of a process that crashed: only numbers that
//! are numbers are believed, and text stays text.

use foretrace_report::ReportId;
use foretrace_store::Owner;
use sha2::{Digest, Sha256};

use crate::owner::{Credentials, owner};

/// The attributes that are read, without their common beginning.
pub const ATTRIBUTES: [&str; 6] = ["pid", "uid", "gid", "signal", "timestamp", "comm"];
/// What all of them begin with.
pub const PREFIX: &str = "user.coredump.";
/// The attribute with the executable's path.
pub const EXECUTABLE: &str = "user.coredump.exe";
/// The attribute with the file's access control list.
pub const ACCESS: &str = "system.posix_acl_access";

/// How an entry is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As zstd.
    Zstd,
    /// As xz.
    Xz,
    /// As lz4 frames.
    Lz4,
}

/// One crash as systemd-coredump kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file's name.
    pub name: String,
    /// How the file is compressed.
    pub packing: Packing,
    /// The crashed thread's name.
    pub comm: String,
    /// The executable's path.
    pub exe: Option<String>,
    /// The real user.
    pub uid: u32,
    /// The real group, where the attributes have it.
    pub gid: Option<u32>,
    /// The boot's ID, in 32 hex digits.
    pub boot: String,
    /// The process, as the host numbers it.
    pub pid: i32,
    /// The signal, where the attributes have it.
    pub signal: Option<i32>,
    /// When, in microseconds since 1970.
    pub time: u64,
    /// Whether the user may read the core anyway.
    pub open_to_user: bool,
}

impl Entry {
    /// The entry of this name: `core.COMM.UID.BOOT.PID.TIME`, and how it is compressed. `None`: it is no entry's.
    pub fn named(name: &str) -> Option<Entry> {
        let packings = [(".zst", Packing::Zstd), (".xz", Packing::Xz), (".lz4", Packing::Lz4)];
        let (stem, packing) = packings
            .into_iter()
            .find_map(|(end, packing)| Some((name.strip_suffix(end)?, packing)))
            .unwrap_or((name, Packing::Plain));
        if name.len() > 255 || name.chars().any(char::is_control) {
            return None;
        }
        let mut fields = stem.strip_prefix("core.")?.rsplitn(5, '.');
        let (time, pid) = (number(fields.next()?)?, number(fields.next()?)?);
        let boot = fields.next()?;
        let uid = number(fields.next()?)?;
        let comm = fields.next()?;
        let hex = boot.len() == 32 && boot.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| Entry {
            name: name.into(),
            packing,
            comm: comm.into(),
            exe: None,
            uid,
            gid: None,
            boot: boot.into(),
            pid,
            signal: None,
            time: microseconds(time),
            open_to_user: false,
        })
    }

    /// Takes one of [`ATTRIBUTES`]. One that is not what it should be changes nothing.
    pub fn take(&mut self, attribute: &str, value: &[u8]) {
        let Ok(text) = std::str::from_utf8(value) else { return };
        match attribute {
            "pid" => self.pid = number(text).unwrap_or(self.pid),
            "uid" => self.uid = number(text).unwrap_or(self.uid),
            "gid" => self.gid = number(text),
            "signal" => self.signal = number(text),
            "timestamp" => self.time = number(text).map_or(self.time, microseconds),
            "comm" if !text.is_empty() => self.comm = text.into(),
            _ => {}
        }
    }

    /// The report's name: always the same for the same entry, and nobody's who does not know the entry's.
    pub fn report_id(&self) -> ReportId {
        let digest = Sha256::digest(self.name.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        ReportId::from_random(bytes)
    }

    /// Whose the report is. The entry does not say whether the process was dumpable, so its user gets the report only if
    /// systemd-coredump lets that user read the core, and the core's own credentials say the same.
    pub fn owner(&self, credentials: Option<Credentials>) -> Owner {
        match self.gid.filter(|_| self.open_to_user) {
            Some(gid) => owner(self.uid, gid, 1, credentials),
            None => Owner::ROOT,
        }
    }
}

// Older versions write seconds.
fn microseconds(time: u64) -> u64 {
    const NO_SECONDS: u64 = 100_000_000_000;
    if time < NO_SECONDS { time * 1_000_000 } else { time }
}

// Digits alone: `+5` is no number here.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether an access control list, as [`ACCESS`] holds it, lets this user read by name.
pub fn lets_read(list: &[u8], user: u32) -> bool {
    const VERSION: [u8; 4] = [2, 0, 0, 0];
    const NAMED_USER: u16 = 2;
    const MASK: u16 = 16;
    const READ: u16 = 4;
    let Some(entries) = list.strip_prefix(&VERSION) else { return false };
    let (entries, rest) = entries.as_chunks::<8>();
    let entry = |[a, b, c, d, id @ ..]: [u8; 8]| {
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]) & READ != 0, u32::from_le_bytes(id))
    };
    let mut entries = entries.iter().copied().map(entry);
    let named = entries.clone().any(|(tag, reads, id)| tag == NAMED_USER && id == user && reads);
    rest.is_empty() && named && entries.any(|(tag, reads, _)| tag == MASK && reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_name_says_what_crashed_even_where_the_command_has_dots() {
        let entry = Entry::named(&format!("core.a.b\\x20c.1000.{BOOT}.4711.1700000000000000.zst")).unwrap();
        assert_eq!((entry.comm.as_str(), entry.uid, entry.pid), ("a.b\\x20c", 1000, 4711));
        assert_eq!((entry.time, entry.packing), (1_700_000_000_000_000, Packing::Zstd));
        let entry = Entry::named(&format!("core.x.0.{BOOT}.1.1700000000")).unwrap();
        assert_eq!((entry.time, entry.packing), (1_700_000_000_000_000, Packing::Plain));
    }

    #[test]
    fn other_names_are_no_entries() {
        let long = format!("core.{}.0.{BOOT}.1.1", "x".repeat(300));
        let none = [
            "core",
            "core.1234",
            ".#core.x.0.b.1.1",
            "core.x.0.nothex.1.1",
            &format!("core.x.-1.{BOOT}.1.1"),
            &format!("core.x.0.{BOOT}.99999999999.1"),
            &format!("core.x.0.{BOOT}.1.+1"),
            &format!("core.x\n.0.{BOOT}.1.1"),
            &long,
        ];
        for name in none {
            assert_eq!(Entry::named(name), None, "{name}");
        }
    }

    #[test]
    fn attributes_are_believed_where_they_are_what_they_should_be() {
        let name = format!("core.x.1000.{BOOT}.1.1700000000000000");
        let mut entry = Entry::named(&name).unwrap();
        for (attribute, value) in [
            ("pid", "-7"),
            ("uid", "root"),
            ("signal", "11 "),
            ("timestamp", ""),
            ("comm", ""),
            ("exe", "/x"),
        ] {
            entry.take(attribute, value.as_bytes());
        }
        entry.take("comm", b"\xff");
        assert_eq!(entry, Entry::named(&name).unwrap());
        entry.take("gid", b"100");
        entry.take("signal", b"6");
        assert_eq!((entry.gid, entry.signal), (Some(100), Some(6)));
    }

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, rights, id) in entries {
            bytes.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn only_who_may_read_the_core_gets_its_report() {
        let own = Credentials { secure: false, uid: 1000, euid: 1000, gid: 1000, egid: 1000 };
        let mut entry = Entry::named(&format!("core.x.1000.{BOOT}.1.1")).unwrap();
        entry.gid = Some(1000);
        assert_eq!(entry.owner(Some(own)), Owner::ROOT, "no access control list");
        entry.open_to_user = true;
        assert_eq!(entry.owner(Some(own)), Owner { uid: 1000, gid: 1000 });
        assert_eq!(entry.owner(None), Owner::ROOT, "no credentials in the core");
        assert_eq!(entry.owner(Some(Credentials { secure: true, ..own })), Owner::ROOT);
        entry.gid = None;
        assert_eq!(entry.owner(Some(own)), Owner::ROOT, "no group");
    }

    #[test]
    fn a_list_is_read_with_its_mask() {
        let usual = [(1, 6, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
        assert!(lets_read(&list(&usual), 1000));
        assert!(!lets_read(&list(&usual), 1001));
        assert!(!lets_read(&list(&[(2, 4, 1000), (16, 0, u32::MAX)]), 1000), "masked");
        assert!(!lets_read(&list(&[(2, 0, 1000), (16, 4, u32::MAX)]), 1000), "no reading");
        assert!(!lets_read(&list(&usual)[..20], 1000), "cut");
        assert!(!lets_read(b"", 1000));
    }
}
