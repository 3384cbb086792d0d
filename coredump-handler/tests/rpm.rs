//! rpm's own database, made by rpm, read without it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use foretrace_capture::package::{self, Sum, rpm};

/// A root directory in which rpm has installed packages: so many files of their own in each, and one name that all have.
struct System(PathBuf);

const PACKAGES: [(&str, &str, usize); 3] = [
    ("shop", "Epoch: 2\nVersion: 1.4\nRelease: 7.el9", 700),
    ("till", "Version: 3\nRelease: 1", 40),
    ("empty", "Version: 0\nRelease: 0", 0),
];

impl System {
    /// Made once for all tests, which change nothing of it but for a file of their own.
    fn shared() -> &'static System {
        static SYSTEM: LazyLock<System> = LazyLock::new(System::new);
        &SYSTEM
    }

    fn new() -> System {
        let system = System(Path::new(env!("CARGO_TARGET_TMPDIR")).join("rpm"));
        // From an earlier run.
        let _ = fs::remove_dir_all(system.path());
        fs::create_dir_all(system.path()).unwrap();
        for (name, version, files) in PACKAGES {
            let mut spec = format!(
                "Name: {name}\n{version}\nSummary: x\nLicense: x\nBuildArch: noarch\n%description\nx\n%global __os_install_post %{{nil}}\n%install\n"
            );
            let mut listed = String::from("%files\n%defattr(-,root,root)\n");
            writeln!(spec, "mkdir -p %{{buildroot}}/usr/share/{name} %{{buildroot}}/usr/bin; cd %{{buildroot}}/usr/share/{name}").unwrap();
            if files > 0 {
                writeln!(spec, "for n in $(seq {files}); do echo {name} $n >file-$n; done\necho {name} >same\necho program >../../bin/{name}").unwrap();
                writeln!(listed, "/usr/share/{name}/*\n/usr/bin/{name}").unwrap();
            }
            let file = system.path().join(format!("{name}.spec"));
            fs::write(&file, spec + &listed).unwrap();
            let top = format!("_topdir {}/build", system.path().display());
            run(Command::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(&file));
            let built = fs::read_dir(system.path().join("build/RPMS/noarch"))
                .unwrap()
                .flatten()
                .map(|entry| entry.path());
            let built = built.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(name));
            run(system.rpm().args(["--nodeps", "-i"]).args(built));
        }
        system
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn rpm(&self) -> Command {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(self.path().join("root")).args(["--dbpath", "/var/lib/rpm"]);
        fs::create_dir_all(self.path().join("root")).unwrap();
        rpm
    }

    fn database(&self) -> File {
        File::open(self.path().join("root").join(rpm::PLACES[0])).unwrap()
    }
}

fn run(command: &mut Command) -> String {
    let done = command.output().expect("this test needs rpm");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn every_file_that_rpm_knows_is_its_packages_with_its_sum_and_no_other_is() {
    let system = System::shared();
    let known = run(system.rpm().args([
        "-qa",
        "--queryformat",
        "[%{FILENAMES} %{=NAME} %{=EPOCH} %{=VERSION}-%{=RELEASE} %{FILEDIGESTS}\n]",
    ]));
    let database = system.database();
    assert!(known.lines().count() > 700, "{known}");
    // All of the small packages', and every twentieth of the large one's.
    let picked = known.lines().enumerate().filter(|(n, line)| n % 20 == 0 || !line.contains("/shop/"));
    for (_, line) in picked {
        let [path, name, epoch, version, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
            // The package without files.
            continue;
        };
        let found = rpm::installed(&database, path).unwrap_or_else(|| panic!("{path} is not found"));
        let version = if epoch == "(none)" { version.to_owned() } else { format!("{epoch}:{version}") };
        assert_eq!((found.package.name.as_str(), found.package.version), (name, version), "{path}");
        assert_eq!(found.sum, Some(Sum::Sha256(digest.as_bytes().to_vec())), "{path}");
    }
    for path in ["/usr/share/shop/file-0", "/usr/bin/same", "/usr/share/other/same", "file-1", "/", ""] {
        assert_eq!(rpm::installed(&database, path), None, "{path}");
    }
    // The same program under the name that it has without a merged /usr.
    assert_eq!(rpm::installed(&database, "/bin/till").unwrap().package.version, "3-1");
}

#[test]
fn a_changed_file_of_rpms_is_modified_and_a_program_has_its_package() {
    let system = System::shared();
    let root = system.path().join("root");
    fs::write(root.join("usr/share/shop/file-7"), "changed").unwrap();
    let names = ["/usr/share/shop/file-6", "/usr/share/shop/file-7", "/usr/bin/till", "/usr/bin/none"];
    let open =
        |name: &str| File::open(root.join(&name[1..])).unwrap_or_else(|_| tempfile::tempfile().unwrap());
    let files: Vec<(String, File)> = names.iter().map(|name| ((*name).to_owned(), open(name))).collect();
    let compared = package::modified(&root, &files, Instant::now() + Duration::from_secs(60));
    assert_eq!((compared.modified, compared.left_out), (vec![names[1].to_owned()], 0));
    let found = package::find(&root, "/usr/bin/shop", None).unwrap();
    assert_eq!((found.name.as_str(), found.version.as_str()), ("shop", "2:1.4-7.el9"));
    let claim =
        package::Claim::find("/usr/bin/till", &mut |name| File::open(root.join(&name[1..])).ok()).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    assert_eq!(claim.clone().proved(&open("/usr/bin/till"), until).unwrap().name, "till");
    assert_eq!(claim.proved(&open("/usr/share/till/same"), until), None);
}

#[test]
fn a_damaged_database_ends_a_search_and_nothing_else() {
    let system = System::shared();
    let whole = fs::read(system.path().join("root").join(rpm::PLACES[0])).unwrap();
    let file = tempfile::tempfile().unwrap();
    // Of small numbers, as lengths, places and page numbers are.
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let (began, mut found) = (Instant::now(), 0);
    for round in 0..300 {
        file.set_len(0).unwrap();
        file.write_all_at(&whole, 0).unwrap();
        for _ in 0..1 + next(40) {
            // A page's beginning, where trees have their bones, or anywhere.
            let place =
                if next(2) == 0 { next(whole.len() / 4096) * 4096 + next(32) } else { next(whole.len()) };
            let value = [0, 1, 2, 5, 10, 13, 0x7f, 0x80, 0xff, next(256) as u8][next(10)];
            file.write_all_at(&[value], place as u64).unwrap();
        }
        if round % 5 == 0 {
            file.set_len(next(whole.len()) as u64).unwrap();
        }
        let path = format!("/usr/share/shop/file-{}", 1 + next(700));
        found += usize::from(rpm::installed(&file, &path).is_some());
    }
    // Most damage is elsewhere.
    assert!((60..300).contains(&found), "{found} of 300 were found");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
