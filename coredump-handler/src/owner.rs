//! Whose report it is: decided from what the kernel says, and from nothing that a process could have made up.
//!
//! The crashed user gets a report only of a process that held nothing which that user may not see. Whatever is in
//! doubt belongs to root. Pure: the evidence is collected elsewhere.

use foretrace_store::Owner;

/// The user IDs of people: neither system services nor dynamic users nor nobody.
const REGULAR: std::ops::RangeInclusive<u32> = 1000..=60_000;

/// What the auxiliary vector says of the process's credentials when it began its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Whether the program was set-uid, set-gid or had capabilities of its file.
    pub secure: bool,
    /// The real user.
    pub uid: u32,
    /// The effective user.
    pub euid: u32,
    /// The real group.
    pub gid: u32,
    /// The effective group.
    pub egid: u32,
}

impl Credentials {
    /// Reads them from the auxiliary vector's bytes: pairs of 8-byte numbers. `None` where one is missing.
    pub fn from_auxv(vector: &[u8]) -> Option<Credentials> {
        const AT_UID: u64 = 11;
        const AT_EUID: u64 = 12;
        const AT_GID: u64 = 13;
        const AT_EGID: u64 = 14;
        const AT_SECURE: u64 = 23;
        let (words, _) = vector.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let value = |key: u64| {
            let pair = pairs.iter().find(|pair| u64::from_le_bytes(pair[0]) == key)?;
            Some(u64::from_le_bytes(pair[1]))
        };
        let id = |key| u32::try_from(value(key)?).ok();
        Some(Credentials {
            secure: value(AT_SECURE)? != 0,
            uid: id(AT_UID)?,
            euid: id(AT_EUID)?,
            gid: id(AT_GID)?,
            egid: id(AT_EGID)?,
        })
    }
}

/// Whether a process of `uid` and `gid` is one that began as them, held nothing that they may not see, and may be dumped
/// by them.
pub fn is_plain(uid: u32, gid: u32, dumpable: u32, credentials: Option<Credentials>) -> bool {
    let own = |began: Credentials| {
        !began.secure && (began.uid, began.euid) == (uid, uid) && (began.gid, began.egid) == (gid, gid)
    };
    dumpable == 1 && credentials.is_some_and(own)
}

/// The owner of the report about a process of `uid` and `gid` with the kernel's `dumpable`.
///
/// Where the process began as another user than it ended as, it may hold what the first one knew: root's.
pub fn owner(uid: u32, gid: u32, dumpable: u32, credentials: Option<Credentials>) -> Owner {
    let own = credentials.is_some_and(|began| {
        !began.secure && began.uid == began.euid && began.gid == began.egid && began.uid == uid
    });
    if dumpable == 1 && own && REGULAR.contains(&uid) { Owner { uid, gid } } else { Owner::ROOT }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Credentials = Credentials { secure: false, uid: 1000, euid: 1000, gid: 1000, egid: 1000 };

    #[test]
    fn a_plain_program_of_a_person_is_that_persons() {
        assert_eq!(owner(1000, 1000, 1, Some(USER)), Owner { uid: 1000, gid: 1000 });
    }

    #[test]
    fn whatever_is_in_doubt_is_roots() {
        let cases = [
            ("not dumpable", 1000, 0, Some(USER)),
            ("dumpable by root alone", 1000, 2, Some(USER)),
            ("set-uid", 1000, 1, Some(Credentials { secure: true, ..USER })),
            ("another effective user", 1000, 1, Some(Credentials { euid: 0, ..USER })),
            ("another effective group", 1000, 1, Some(Credentials { egid: 42, ..USER })),
            ("began as root", 1000, 1, Some(Credentials { uid: 0, euid: 0, ..USER })),
            ("unknown credentials", 1000, 1, None),
            ("root", 0, 1, Some(Credentials { uid: 0, euid: 0, gid: 0, egid: 0, secure: false })),
            ("a service", 33, 1, Some(Credentials { uid: 33, euid: 33, ..USER })),
            ("a dynamic user", 61_200, 1, Some(Credentials { uid: 61_200, euid: 61_200, ..USER })),
            ("nobody", 65_534, 1, Some(Credentials { uid: 65_534, euid: 65_534, ..USER })),
        ];
        for (what, uid, dumpable, credentials) in cases {
            assert_eq!(owner(uid, 1000, dumpable, credentials), Owner::ROOT, "{what}");
        }
    }

    #[test]
    fn a_core_in_the_open_is_only_for_what_its_user_may_see() {
        assert!(is_plain(1000, 1000, 1, Some(USER)));
        let root = Credentials { uid: 0, euid: 0, gid: 0, egid: 0, secure: false };
        assert!(is_plain(0, 0, 1, Some(root)));
        for (uid, gid, dumpable, credentials) in [
            (1000, 1000, 2, Some(USER)),
            (1000, 1000, 1, None),
            (1000, 1000, 1, Some(Credentials { secure: true, ..USER })),
            (1000, 1000, 1, Some(Credentials { euid: 0, ..USER })),
            (1000, 1000, 1, Some(Credentials { egid: 4, ..USER })),
            (1000, 1001, 1, Some(USER)),
            (1000, 1000, 1, Some(root)),
        ] {
            assert!(!is_plain(uid, gid, dumpable, credentials), "{uid} {gid} {dumpable} {credentials:?}");
        }
    }

    #[test]
    fn credentials_come_from_the_vectors_fixed_pairs() {
        let pairs: [(u64, u64); 6] = [(6, 4096), (11, 1), (12, 2), (13, 3), (14, 4), (23, 1)];
        let bytes: Vec<u8> =
            pairs.iter().flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()].concat()).collect();
        let read = Credentials::from_auxv(&bytes).unwrap();
        assert_eq!((read.secure, read.uid, read.euid, read.gid, read.egid), (true, 1, 2, 3, 4));
        assert_eq!(Credentials::from_auxv(&bytes[..bytes.len() - 16]), None);
        assert_eq!(Credentials::from_auxv(b"short"), None);
    }
}
