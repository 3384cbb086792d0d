//! The container around a process: its engine and its name there.
//!
//! The control group's path comes first: who made the group named it. Files in the container's root directory are what
//! the container says of itself, and are read only where the process has a root or mounts of its own.

use foretrace_report::schema::{Container, Package};

use super::group_paths;

/// The files in which a container says what it is: podman, docker, flatpak, systemd-nspawn.
pub const CLAIMS: [&str; 5] = ["/run/.containerenv", "/.dockerenv", "/.flatpak-info", MANAGER, IDENTITY];
const MANAGER: &str = "/run/host/container-manager";
const IDENTITY: &str = "/run/host/container-uuid";

/// The container that a process's control groups name.
pub fn grouped(cgroup: &str) -> Option<Container> {
    group_paths(cgroup).find_map(of_path)
}

/// The container that one of [`CLAIMS`] names, and the package of a program that is shipped as such.
pub fn claimed(file: &str, content: &str) -> (Container, Option<Package>) {
    let value = |key: &str| {
        let line = content.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        let value = line.trim().trim_matches('"');
        (!value.is_empty()).then(|| value.to_owned())
    };
    match file {
        "/run/.containerenv" => (
            Container { id: value("id"), name: value("name"), image: value("image"), ..named("podman") },
            None,
        ),
        "/.flatpak-info" => {
            let name = value("name");
            let version =
                [value("branch"), value("app-commit").map(|commit| commit.chars().take(12).collect())];
            let version: Vec<String> = version.into_iter().flatten().collect();
            let package = name.clone().filter(|_| !version.is_empty());
            let package = package.map(|name| Package { name, version: version.join("@") });
            (
                Container { id: value("instance-id"), name, image: value("runtime"), ..named("flatpak") },
                package,
            )
        }
        MANAGER => (named(if content.trim() == "systemd-nspawn" { "nspawn" } else { "other" }), None),
        IDENTITY => (Container { id: Some(content.trim().to_owned()), ..named("nspawn") }, None),
        _ => (named("docker"), None),
    }
}

/// The snap that an executable's path lies in, and the file in which the snap says its version.
pub fn snap(exe: &str) -> Option<(Snap, String)> {
    // Distributions without /snap have snaps in a place of their own.
    let within = exe.strip_prefix("/var/lib/snapd").unwrap_or(exe).strip_prefix("/snap/")?;
    let mut names = within.split('/');
    let (name, revision) = (names.next()?, names.next()?);
    names.next().filter(|_| !name.is_empty() && !revision.is_empty())?;
    let top = exe.strip_suffix(within)?;
    let snap = Snap { name: name.to_owned(), revision: revision.to_owned() };
    Some((snap, format!("{top}{name}/{revision}/meta/snap.yaml")))
}

/// A snap by its name and the number of what is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snap {
    name: String,
    revision: String,
}

impl Snap {
    /// The container that a confined snap is.
    pub fn container(&self) -> Container {
        Container { name: Some(self.name.clone()), ..named("snap") }
    }

    /// The package, with the version that `said` has, the content of its `snap.yaml`.
    pub fn package(self, said: &str) -> Package {
        let version = said.lines().find_map(|line| line.strip_prefix("version:"));
        let version = version.map(|version| version.trim().trim_matches(['"', '\'']));
        let version = version.filter(|version| !version.is_empty()).map(str::to_owned);
        let version: Vec<String> = version.into_iter().chain([self.revision]).collect();
        Package { name: self.name, version: version.join("@") }
    }
}

fn named(engine: &str) -> Container {
    Container { engine: engine.to_owned(), ..Container::default() }
}

fn of_path(path: &str) -> Option<Container> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let kubernetes = names.iter().any(|name| name.starts_with("kubepods"));
    names.iter().enumerate().find_map(|(place, name)| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let before = place.checked_sub(1).and_then(|place| names.get(place)).copied().unwrap_or_default();
        let (engine, id) = match name.rsplit_once('-') {
            Some(("docker", id)) => ("docker", id),
            Some(("libpod", id)) => ("podman", id),
            Some(("cri-containerd" | "nerdctl", id)) => ("containerd", id),
            Some(("crio", id)) => ("cri-o", id),
            _ if before == "docker" => ("docker", name),
            _ if kubernetes && before.contains("pod") => ("kubernetes", name),
            _ => return of_name(name, before),
        };
        is_digest(id).then(|| Container {
            id: Some(id.to_owned()),
            ..named(if kubernetes { "kubernetes" } else { engine })
        })
    })
}

// Those that have names instead of digests.
fn of_name(name: &str, before: &str) -> Option<Container> {
    let (engine, id) = if let Some(id) = name.strip_prefix("lxc.payload.") {
        ("lxc", id)
    } else if matches!(before, "lxc" | "lxc.payload") {
        ("lxc", name)
    } else if let Some(id) = name.strip_prefix("machine-") {
        ("nspawn", id)
    } else {
        ("nspawn", name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service")?)
    };
    // A machine's name is escaped as systemd escapes names.
    (!id.is_empty()).then(|| Container { id: Some(id.replace("\\x2d", "-")), ..named(engine) })
}

fn is_digest(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_control_group_names_engine_and_container() {
        for (path, expected) in [
            (format!("/docker/{ID}"), Some(("docker", ID))),
            (format!("/system.slice/docker-{ID}.scope"), Some(("docker", ID))),
            (
                format!("/user.slice/user-1.slice/user@1.service/user.slice/libpod-{ID}.scope/container"),
                Some(("podman", ID)),
            ),
            (format!("/libpod_parent/libpod-{ID}"), Some(("podman", ID))),
            (format!("/system.slice/libpod-conmon-{ID}.scope"), None),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod9.slice/cri-containerd-{ID}.scope"
                ),
                Some(("kubernetes", ID)),
            ),
            (format!("/kubepods/burstable/pod12-3/{ID}"), Some(("kubernetes", ID))),
            ("/lxc.payload.web/system.slice/a.service".into(), Some(("lxc", "web"))),
            ("/lxc/web".into(), Some(("lxc", "web"))),
            ("/machine.slice/machine-my\\x2dbox.scope/payload".into(), Some(("nspawn", "my-box"))),
            ("/machine.slice/systemd-nspawn@box.service/payload".into(), Some(("nspawn", "box"))),
            ("/system.slice/docker.service".into(), None),
            ("/system.slice/docker-short.scope".into(), None),
            ("/".into(), None),
        ] {
            let found = grouped(&format!("0::{path}\n"));
            let found =
                found.as_ref().map(|found| (found.engine.as_str(), found.id.as_deref().unwrap_or("")));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn any_hierarchy_may_name_it() {
        assert_eq!(grouped(&format!("4:memory:/docker/{ID}\n0::/\n")).unwrap().engine, "docker");
    }

    #[test]
    fn a_containers_own_files_are_its_word() {
        let text =
            "engine=\"podman-4.3.1\"\nname=\"web\"\nid=\"ab12\"\nimage=\"docker.io/library/debian:12\"\n";
        let (container, package) = claimed("/run/.containerenv", text);
        assert_eq!((container.engine.as_str(), container.name.as_deref()), ("podman", Some("web")));
        assert_eq!((container.id.as_deref(), package), (Some("ab12"), None));
        assert_eq!(claimed("/run/.containerenv", "").0, named("podman"));
        assert_eq!(claimed("/.dockerenv", "").0, named("docker"));
        assert_eq!(claimed(MANAGER, "systemd-nspawn\n").0, named("nspawn"));
        assert_eq!(claimed(IDENTITY, "ab-12\n").0, Container { id: Some("ab-12".into()), ..named("nspawn") });
    }

    #[test]
    fn a_flatpak_and_a_snap_are_packages() {
        let text = "[Application]\nname=org.example.App\nruntime=runtime/org.example.Platform/x86_64/45\n\n\
            [Instance]\ninstance-id=4711\nbranch=stable\napp-commit=0123456789abcdef\n";
        let (container, package) = claimed("/.flatpak-info", text);
        assert_eq!((container.engine.as_str(), container.id.as_deref()), ("flatpak", Some("4711")));
        let package = package.unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("org.example.App", "stable@0123456789ab")
        );
        for top in ["/snap", "/var/lib/snapd/snap"] {
            let (snap, file) = snap(&format!("{top}/hello/42/bin/hello")).unwrap();
            assert_eq!(file, format!("{top}/hello/42/meta/snap.yaml"));
            assert_eq!(snap.container(), Container { name: Some("hello".into()), ..named("snap") });
            let said = "name: hello\nversion: '2.10'\napps:\n  hello:\n    version: 3\n";
            assert_eq!(snap.clone().package(said).version, "2.10@42");
            assert_eq!(snap.package("apps:\n  version: 3\n").version, "42");
        }
        for other in ["/snap/hello", "/snap/bin/hello", "/usr/bin/snap", "/snap//1/x"] {
            assert!(snap(other).is_none(), "{other}");
        }
    }
}
