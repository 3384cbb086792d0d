//! Reports encrypted on their way to their users' shelves, by somebody who has none of the secret keys.
#![allow(clippy::unwrap_used, reason = "a claim that cannot be checked has failed")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use foretrace_report::ReportId;
use foretrace_store::{BUNDLE, Incoming, Key, Owner, Places, SEALED, Store, StoreError, StoreKind};
use nix::unistd::geteuid;

struct World {
    _root: tempfile::TempDir,
    places: Places,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/foretrace.conf"), "[Storage]\nEncrypt=yes\n").unwrap();
        World { places: Places::system(root.path()), _root: root }
    }

    fn publish(&self, n: u8, owner: Owner) -> (ReportId, PathBuf) {
        let incoming = Incoming::begin(&self.places, StoreKind::System).unwrap();
        incoming.bundle().unwrap().write_all(b"a secret that nobody else reads").unwrap();
        let id = ReportId::from_random([n; 16]);
        let published = incoming.publish(id, owner).unwrap();
        (id, published.path)
    }

    fn shelf(&self, owner: Owner) -> PathBuf {
        self.places.state().join("reports").join(owner.uid.to_string())
    }
}

#[test]
fn roots_handler_encrypts_to_the_key_on_a_users_shelf_and_root_cannot_open_it() {
    if !geteuid().is_root() {
        return;
    }
    let (world, elsewhere) = (World::new(), World::new());
    let owner = Owner { uid: 1234, gid: 1234 };
    // Nobody has said how to encrypt: the report is theirs, and plain.
    let (_, path) = world.publish(1, owner);
    assert!(path.join(BUNDLE).exists() && !path.join(SEALED).exists());
    let key = Key::create(&elsewhere.places, None).unwrap();
    let recipient = world.shelf(owner).join("recipient");
    fs::write(&recipient, key.recipient().to_string()).unwrap();
    fs::set_permissions(&recipient, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&recipient, Some(owner.uid), Some(owner.gid)).unwrap();
    let (id, path) = world.publish(2, owner);
    assert!(!path.join(BUNDLE).exists());
    let sealed = fs::read(path.join(SEALED)).unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut key.open(sealed.as_slice()).unwrap(), &mut plain).unwrap();
    assert_eq!(plain, "a secret that nobody else reads");
    let report = Store::open(&world.places).find(&id.to_string()).unwrap();
    assert!(matches!(report.content().err(), Some(StoreError::Sealed(why)) if why.contains("1234")));
    let mode = fs::metadata(path.join(SEALED)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_replaces_an_encrypted_report_is_encrypted_to_the_same_key() {
    let world = World::new();
    let key = Key::create(&world.places, None).unwrap();
    let owner = Owner::current();
    world.publish(1, owner);
    Store::open(&world.places).trust(&key.recipient()).unwrap();
    for (n, finished) in [(2, true), (3, false)] {
        let mut incoming = Incoming::begin(&world.places, StoreKind::System).unwrap();
        incoming.bundle().unwrap().write_all(b"a secret without names").unwrap();
        let revision = incoming.revision().unwrap();
        let published = incoming.publish(ReportId::from_random([n; 16]), owner).unwrap();
        revision.file().unwrap().write_all(b"a secret with names").unwrap();
        assert_eq!(fs::read_dir(world.places.state().join("incoming")).unwrap().count(), 1);
        if finished {
            revision.take(&published).unwrap();
        } else {
            drop(revision);
        }
        assert!(published.path.join(SEALED).exists() && !published.path.join(BUNDLE).exists());
        let mut plain = String::new();
        let sealed = fs::File::open(published.path.join(SEALED)).unwrap();
        std::io::Read::read_to_string(&mut key.open(sealed).unwrap(), &mut plain).unwrap();
        assert_eq!(plain, if finished { "a secret with names" } else { "a secret without names" });
        assert_eq!(fs::read_dir(world.places.state().join("incoming")).unwrap().count(), 0);
    }
}

#[test]
fn what_is_no_key_on_a_shelf_loses_no_report() {
    if !geteuid().is_root() {
        return;
    }
    let world = World::new();
    let owner = Owner { uid: 1234, gid: 1234 };
    world.publish(1, owner);
    let recipient = world.shelf(owner).join("recipient");
    let secret = world.places.state().join("root-only");
    fs::write(&secret, Key::create(&World::new().places, None).unwrap().recipient().to_string()).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for (n, put) in [
        (2, Box::new(|path: &PathBuf| fs::write(path, "age1nonsense").unwrap()) as Box<dyn Fn(&PathBuf)>),
        (3, Box::new(|path| fs::write(path, [0xff; 100_000]).unwrap())),
        (4, Box::new(|path| symlink(&secret, path).unwrap())),
        (5, Box::new(|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap())),
        (6, Box::new(|path| fs::create_dir(path).unwrap())),
    ] {
        put(&recipient);
        let (_, path) = world.publish(n, owner);
        assert!(path.join(BUNDLE).exists(), "{n}");
        fs::remove_file(&recipient).or_else(|_| fs::remove_dir(&recipient)).unwrap();
    }
}

#[test]
fn a_report_that_was_plain_is_encrypted_in_place_and_keeps_its_age() {
    let world = World::new();
    let (id, path) = world.publish(1, Owner::current());
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::open(path.join(BUNDLE)).unwrap().set_modified(long_ago).unwrap();
    let key = Key::create(&world.places, None).unwrap();
    let store = Store::open(&world.places);
    assert!(!store.is_trusted(&key.recipient()));
    store.trust(&key.recipient()).unwrap();
    assert!(store.is_trusted(&key.recipient()));
    store.find(&id.to_string()).unwrap().seal(&key.recipient()).unwrap();
    assert!(path.join(SEALED).exists() && !path.join(BUNDLE).exists());
    let report = Store::open(&world.places).find(&id.to_string()).unwrap();
    assert_eq!(report.modified().0, 1_700_000_000);
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut report.content().unwrap(), &mut plain).unwrap();
    assert_eq!(plain, "a secret that nobody else reads");
    report.remove().unwrap();
    assert!(!path.exists());
}
