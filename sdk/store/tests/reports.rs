//! Reports from begin to removal, on a real file system, among names that somebody hostile has put there.
#![allow(clippy::unwrap_used, reason = "a claim that cannot be checked has failed")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use foretrace_report::ReportId;
use foretrace_report::bundle::BundleWriter;
use foretrace_store::{
    BUNDLE, CONSENT, FindError, Incoming, OUTGOING, Owner, Places, Published, ReportDir, Store, StoreError,
    StoreKind,
};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

struct World {
    root: tempfile::TempDir,
    places: Places,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        // Other users must be able to reach what is theirs below it.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        World { places: Places::system(root.path()), root }
    }

    fn state(&self, below: &str) -> PathBuf {
        self.places.state().join(below)
    }

    fn shelf(&self) -> PathBuf {
        self.state("reports").join(geteuid().to_string())
    }

    fn begin(&self) -> Incoming {
        Incoming::begin(&self.places, StoreKind::System).unwrap()
    }

    fn publish(&self, id: ReportId, owner: Owner) -> Result<Published, StoreError> {
        let incoming = self.begin();
        fill(&incoming, id);
        incoming.publish(id, owner)
    }

    fn report(&self, id: ReportId) -> ReportDir {
        self.publish(id, Owner::current()).unwrap();
        Store::open(&self.places).find(&id.to_string()).unwrap()
    }

    fn listed(&self) -> Vec<ReportId> {
        Store::open(&self.places).reports().reports.iter().map(ReportDir::id).collect()
    }

    fn building(&self) -> usize {
        fs::read_dir(self.state("incoming")).unwrap().count()
    }
}

fn id(n: u8) -> ReportId {
    ReportId::from_random([n; 16])
}

fn fill(incoming: &Incoming, id: ReportId) {
    let json = format!(
        r#"{{"schema":1,"id":"{id}","kind":"crash","time":"2026-01-01T00:00:00Z","program":{{"name":"a","pid":1}}}}"#
    );
    let writer = BundleWriter::new(incoming.bundle().unwrap());
    writer.finish(serde_json::from_str(&json).unwrap()).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_published_report_is_found_whole_and_its_owners_alone() {
    let world = World::new();
    let published = world.publish(id(1), Owner::current()).unwrap();
    assert!(published.fallback.is_none());
    assert_eq!(published.path, world.shelf().join(id(1).to_string()));
    assert_eq!(mode(&world.state("reports")), 0o711);
    assert_eq!(mode(&world.state("incoming")), 0o700);
    assert_eq!(mode(&world.shelf()), 0o700);
    assert_eq!(mode(&published.path), 0o700);
    assert_eq!(mode(&published.path.join(BUNDLE)), 0o600);
    let found = Store::open(&world.places).find("0101").unwrap();
    assert_eq!(found.report().unwrap().id, id(1));
    assert_eq!(world.building(), 0);
}

#[test]
fn an_abandoned_report_leaves_nothing_behind() {
    let world = World::new();
    let incoming = world.begin();
    fill(&incoming, id(1));
    assert_eq!(world.building(), 1);
    drop(incoming);
    assert_eq!(world.building(), 0);
    assert!(world.listed().is_empty());
}

#[test]
fn what_a_dead_writer_left_is_swept_and_a_living_writers_work_is_not() {
    let world = World::new();
    let living = world.begin();
    fill(&living, id(1));
    let dead = world.state("incoming").join("dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join(BUNDLE), "half").unwrap();
    drop(world.begin());
    assert!(!dead.exists());
    living.publish(id(1), Owner::current()).unwrap();
    assert_eq!(world.listed(), [id(1)]);
}

#[test]
fn a_report_never_replaces_one_of_the_same_name() {
    let world = World::new();
    world.publish(id(1), Owner::current()).unwrap();
    assert!(world.publish(id(1), Owner::current()).is_err());
    assert_eq!(world.building(), 0);
    assert_eq!(world.listed(), [id(1)]);
}

#[test]
fn a_link_in_place_of_a_users_directory_is_not_followed() {
    let world = World::new();
    let elsewhere = world.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir_all(world.state("reports")).unwrap();
    symlink(&elsewhere, world.shelf()).unwrap();
    assert!(world.publish(id(1), Owner::current()).is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(world.building(), 0);
}

#[test]
fn a_store_that_others_may_write_to_is_closed_before_it_is_used() {
    let world = World::new();
    world.publish(id(1), Owner::current()).unwrap();
    for directory in [world.places.state(), world.state("incoming"), world.state("reports")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    }
    world.publish(id(2), Owner::current()).unwrap();
    assert_eq!(mode(&world.places.state()), 0o755);
    assert_eq!((mode(&world.state("incoming")), mode(&world.state("reports"))), (0o700, 0o711));
}

#[test]
fn directories_made_before_with_wrong_modes_are_closed_again() {
    let world = World::new();
    fs::create_dir_all(world.shelf()).unwrap();
    fs::create_dir_all(world.state("incoming")).unwrap();
    for directory in [world.shelf(), world.state("incoming"), world.state("reports")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.publish(id(1), Owner::current()).unwrap();
    assert_eq!((mode(&world.shelf()), mode(&world.state("incoming"))), (0o700, 0o700));
    assert_eq!(mode(&world.state("reports")), 0o711);
}

#[test]
fn an_id_may_be_shortened_until_it_is_ambiguous() {
    let world = World::new();
    let (a, b) = ("ab".repeat(16), format!("abac{}", "0".repeat(28)));
    for id in [&a, &b] {
        world.publish(id.parse().unwrap(), Owner::current()).unwrap();
    }
    let store = Store::open(&world.places);
    assert_eq!(store.find("ABAB").unwrap().id().to_string(), a);
    assert_eq!(store.find("abac0000-0000").unwrap().id().to_string(), b);
    assert!(matches!(store.find("aba"), Err(FindError::Ambiguous(_, ids)) if ids.len() == 2));
    assert!(matches!(store.find("b"), Err(FindError::None(_))));
    for word in ["", "../../etc", "xyz", &"a".repeat(33)] {
        assert!(matches!(store.find(word), Err(FindError::NotAnId(_))), "{word}");
    }
}

#[test]
fn names_that_are_no_reports_are_no_reports() {
    let world = World::new();
    world.publish(id(1), Owner::current()).unwrap();
    for name in ["..x", "lost+found", "01010101", &"AB".repeat(16)] {
        fs::create_dir(world.shelf().join(name)).unwrap();
    }
    fs::write(world.shelf().join(id(2).to_string()), "a file").unwrap();
    symlink("/etc", world.shelf().join(id(3).to_string())).unwrap();
    fs::create_dir(world.shelf().join(id(4).to_string())).unwrap();
    let listing = Store::open(&world.places).reports();
    assert_eq!(listing.reports.len(), 1);
    // The file, the link and the directory without a bundle.
    assert_eq!(listing.problems.len(), 3, "{:?}", listing.problems);
}

#[test]
fn newer_reports_come_first() {
    let world = World::new();
    for n in [3, 1, 2] {
        let path = world.publish(id(n), Owner::current()).unwrap().path.join(BUNDLE);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n) * 1000);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(world.listed(), [id(3), id(2), id(1)]);
}

#[test]
fn newer_reports_come_first_within_a_second_too() {
    let world = World::new();
    for n in [2, 3, 1] {
        let path = world.publish(id(n), Owner::current()).unwrap().path.join(BUNDLE);
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1000, u32::from(n) * 1000);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(world.listed(), [id(3), id(2), id(1)]);
}

#[test]
fn an_answer_that_is_a_link_a_pipe_a_directory_or_endless_is_not_read() {
    let world = World::new();
    let report = world.report(id(1));
    let consent = report.path().join(CONSENT);
    assert!(matches!(report.read(CONSENT), Ok(None)));
    symlink("/etc/passwd", &consent).unwrap();
    assert!(matches!(report.read(CONSENT), Err(StoreError::Untrusted { .. })));
    fs::remove_file(&consent).unwrap();
    mkfifo(&consent, Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(report.read(CONSENT), Err(StoreError::Untrusted { .. })));
    fs::remove_file(&consent).unwrap();
    fs::create_dir(&consent).unwrap();
    assert!(matches!(report.read(CONSENT), Err(StoreError::Untrusted { .. })));
    fs::remove_dir(&consent).unwrap();
    fs::File::create(&consent).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(report.read(CONSENT), Err(StoreError::TooLarge { .. })));
}

#[test]
fn writing_an_answer_replaces_a_link_and_leaves_its_target_alone() {
    let world = World::new();
    let report = world.report(id(1));
    let target = world.root.path().join("target");
    fs::write(&target, "before").unwrap();
    symlink(&target, report.path().join(CONSENT)).unwrap();
    symlink(&target, report.path().join(".consent.json.new")).unwrap();
    report.write_atomically(CONSENT, b"{}").unwrap();
    assert_eq!(report.read(CONSENT).unwrap().unwrap(), b"{}");
    assert_eq!(fs::read(&target).unwrap(), b"before");
    assert_eq!(fs::read_dir(report.path()).unwrap().count(), 2);
    report.remove_file(CONSENT).unwrap();
    report.remove_file(CONSENT).unwrap();
    assert!(report.read(CONSENT).unwrap().is_none());
}

#[test]
fn only_the_files_of_a_report_directory_can_be_named() {
    let world = World::new();
    let report = world.report(id(1));
    for name in [BUNDLE, "../x", "/etc/passwd", "", "consent.json/"] {
        assert!(matches!(report.write_atomically(name, b""), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(report.read(name), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(report.remove_file(name), Err(StoreError::Name(_))), "{name}");
    }
}

#[test]
fn removing_a_report_removes_links_and_not_what_they_point_to() {
    let world = World::new();
    let report = world.report(id(1));
    let elsewhere = world.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("kept"), "").unwrap();
    symlink(&elsewhere, report.path().join("link")).unwrap();
    fs::create_dir_all(report.path().join("deep/er")).unwrap();
    fs::write(report.path().join("deep/er/file"), "").unwrap();
    report.write_atomically(OUTGOING, b"bytes").unwrap();
    let path = report.path();
    report.remove().unwrap();
    assert!(!path.exists());
    assert!(elsewhere.join("kept").exists());
}

#[test]
fn a_damaged_bundle_is_an_error_and_not_a_panic() {
    let world = World::new();
    let report = world.report(id(1));
    let bundle = report.path().join(BUNDLE);
    let whole = fs::read(&bundle).unwrap();
    for content in [&b""[..], b"PK", &whole[..whole.len() / 2], &whole[3..]] {
        fs::write(&bundle, content).unwrap();
        assert!(matches!(report.report(), Err(StoreError::Bundle(_))));
    }
    fs::remove_file(&bundle).unwrap();
    symlink("/etc/passwd", &bundle).unwrap();
    assert!(matches!(report.bundle_file(), Err(StoreError::Untrusted { .. })));
}

/// What only root can try: giving reports away. Without root there is nobody to give them to.
mod as_root {
    use super::*;

    const USER: Owner = Owner { uid: 61_234, gid: 61_234 };

    fn world() -> Option<World> {
        geteuid().is_root().then(World::new)
    }

    #[test]
    fn a_users_report_is_theirs_and_root_reads_it_without_being_able_to_answer() {
        let Some(world) = world() else { return };
        let path = world.publish(id(1), USER).unwrap().path;
        for file in [path.clone(), path.join(BUNDLE), world.state("reports/61234")] {
            assert_eq!(fs::metadata(&file).unwrap().uid(), USER.uid, "{}", file.display());
        }
        let report = Store::open(&world.places).find("0101").unwrap();
        assert!(report.is_foreign());
        assert_eq!(report.report().unwrap().id, id(1));
        assert_eq!(world.listed(), [id(1)]);
        assert!(matches!(report.write_atomically(CONSENT, b"{}"), Err(StoreError::Foreign(61_234))));
        assert!(matches!(report.clone().remove(), Err(StoreError::Foreign(61_234))));
        assert!(report.read(CONSENT).unwrap().is_none());
    }

    #[test]
    fn root_cannot_be_led_to_read_what_the_user_could_not() {
        let Some(world) = world() else { return };
        let path = world.publish(id(1), USER).unwrap().path;
        let report = Store::open(&world.places).find("0101").unwrap();
        let secret = world.root.path().join("secret");
        fs::write(&secret, "root's").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, path.join(CONSENT)).unwrap();
        assert!(report.read(CONSENT).is_err());
        fs::remove_file(path.join(CONSENT)).unwrap();
        // A hard link, as a kernel without protected_hardlinks would allow it.
        fs::hard_link(&secret, path.join(CONSENT)).unwrap();
        assert!(report.read(CONSENT).is_err());
        fs::remove_file(path.join(CONSENT)).unwrap();
        mkfifo(&path.join(CONSENT), Mode::from_bits_truncate(0o600)).unwrap();
        std::os::unix::fs::chown(path.join(CONSENT), Some(USER.uid), None).unwrap();
        assert!(report.read(CONSENT).is_err());
    }

    #[test]
    fn a_report_that_cannot_be_given_to_its_user_becomes_roots() {
        let Some(world) = world() else { return };
        fs::create_dir_all(world.state("reports")).unwrap();
        fs::write(world.state("reports/61234"), "in the way").unwrap();
        let published = world.publish(id(1), USER).unwrap();
        assert_eq!(published.owner, Owner::ROOT);
        assert!(published.fallback.is_some());
        assert_eq!(fs::metadata(published.path.join(BUNDLE)).unwrap().uid(), 0);
    }

    #[test]
    fn a_store_that_belongs_to_somebody_else_is_not_used() {
        let Some(world) = world() else { return };
        world.publish(id(1), Owner::current()).unwrap();
        for directory in [world.places.state(), world.state("incoming")] {
            std::os::unix::fs::chown(&directory, Some(USER.uid), None).unwrap();
            let refused = Incoming::begin(&world.places, StoreKind::System);
            assert!(matches!(refused, Err(StoreError::Untrusted { .. })), "{}", directory.display());
            std::os::unix::fs::chown(&directory, Some(0), None).unwrap();
        }
    }

    #[test]
    fn another_users_directory_under_a_users_number_is_not_used() {
        let Some(world) = world() else { return };
        let taken = world.state("reports/61234");
        fs::create_dir_all(&taken).unwrap();
        std::os::unix::fs::chown(&taken, Some(61_999), Some(61_999)).unwrap();
        assert_eq!(world.publish(id(1), USER).unwrap().owner, Owner::ROOT);
        assert_eq!(fs::read_dir(&taken).unwrap().count(), 0);
        assert!(!Store::open(&world.places).problems().is_empty());
    }
}

#[test]
fn a_store_that_does_not_exist_is_empty() {
    let world = World::new();
    let listing = Store::open(&world.places).reports();
    assert!(listing.reports.is_empty() && listing.problems.is_empty());
    assert!(Store::open(&world.places).problems().is_empty());
}

#[test]
fn a_users_own_store_is_merged_with_the_systems() {
    let world = World::new();
    world.publish(id(1), Owner::current()).unwrap();
    let incoming = Incoming::begin(&world.places, StoreKind::User).unwrap();
    fill(&incoming, id(2));
    let path = incoming.publish(id(2), Owner::current()).unwrap().path;
    assert!(path.starts_with(world.places.user_state()));
    assert_eq!(mode(&world.places.user_state()), 0o700);
    let mut listed = world.listed();
    listed.sort();
    assert_eq!(listed, [id(1), id(2)]);
}

#[test]
fn a_bundle_handle_writes_to_the_report_and_nowhere_else() {
    let world = World::new();
    let incoming = world.begin();
    incoming.bundle().unwrap().write_all(b"not a zip").unwrap();
    let path = incoming.publish(id(1), Owner::current()).unwrap().path;
    assert_eq!(fs::read(path.join(BUNDLE)).unwrap(), b"not a zip");
}

#[test]
fn a_knock_reaches_a_users_socket_with_that_users_rights_and_waits_for_nobody() {
    if !geteuid().is_root() {
        return;
    }
    let world = World::new();
    let owner = Owner { uid: 1234, gid: 1234 };
    let socket = world.places.agent_socket(owner.uid);
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let began = std::time::Instant::now();
    // Nobody is there, or something that is no socket.
    foretrace_store::knock(&world.places, owner);
    mkfifo(&socket, Mode::S_IRWXU).unwrap();
    foretrace_store::knock(&world.places, owner);
    fs::remove_file(&socket).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    foretrace_store::knock(&world.places, owner);
    let (visitor, _) = listener.accept().unwrap();
    let peer = nix::sys::socket::getsockopt(&visitor, nix::sys::socket::sockopt::PeerCredentials).unwrap();
    assert_eq!((peer.uid(), peer.gid()), (owner.uid, owner.gid));
    // A socket whose owner takes nobody in.
    (0..300).for_each(|_| foretrace_store::knock(&world.places, owner));
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn who_reads_a_report_that_is_still_added_to_gets_what_replaces_it() {
    let world = World::new();
    let mut incoming = world.begin();
    fill(&incoming, id(1));
    let revision = incoming.revision().unwrap();
    let published = incoming.publish(id(1), Owner::current()).unwrap();
    let path = &published.path;
    assert!(path.join(BUNDLE).exists(), "it is there at once");
    let report = Store::open(&world.places).find(&id(1).to_string()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut report.bundle_file().unwrap(), &mut content).unwrap();
        content
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!reader.is_finished(), "nobody waited");
    revision.file().unwrap().write_all(b"with names").unwrap();
    revision.take(&published).unwrap();
    assert_eq!(reader.join().unwrap(), b"with names");
    assert_eq!(world.building(), 0);
}

#[test]
fn a_revision_that_is_never_made_leaves_the_report_and_nothing_else() {
    let world = World::new();
    let mut incoming = world.begin();
    incoming.bundle().unwrap().write_all(b"as published").unwrap();
    let revision = incoming.revision().unwrap();
    let path = incoming.publish(id(1), Owner::current()).unwrap().path;
    drop(revision);
    assert_eq!(fs::read(path.join(BUNDLE)).unwrap(), b"as published");
    assert_eq!(world.building(), 0);
    // What a dead handler leaves the next one clears away; what a living one holds stays.
    let mut living = world.begin();
    let held = living.revision().unwrap();
    fs::write(world.state("incoming").join("0123.zip"), "half").unwrap();
    drop(world.begin());
    assert_eq!(world.building(), 2);
    held.file().unwrap();
}

#[test]
fn a_revision_replaces_a_link_that_its_user_has_put_there_and_follows_it_nowhere() {
    let world = World::new();
    let elsewhere = world.state("elsewhere");
    let mut incoming = world.begin();
    fill(&incoming, id(1));
    let revision = incoming.revision().unwrap();
    let published = incoming.publish(id(1), Owner::current()).unwrap();
    let path = &published.path;
    fs::write(&elsewhere, "precious").unwrap();
    fs::remove_file(path.join(BUNDLE)).unwrap();
    symlink(&elsewhere, path.join(BUNDLE)).unwrap();
    revision.file().unwrap().write_all(b"with names").unwrap();
    revision.take(&published).unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
    assert_eq!(fs::read(path.join(BUNDLE)).unwrap(), b"with names");
}
