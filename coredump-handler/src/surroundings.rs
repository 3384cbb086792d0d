//! What surrounded a process, from what the kernel says of it. Pure: bytes in, facts out.
//!
//! Names of services and containers come from the control group's path, which nobody can write but who made the group;
//! what a container's own files say is taken for its word. Nothing is opened here.

mod container;
mod namespaces;
mod pressure;
mod unit;

use foretrace_report::schema::Surroundings;

use crate::process::innermost_pid;

pub use container::{CLAIMS, claimed, grouped, snap};
pub use namespaces::apart;
pub use pressure::pressure;
pub use unit::{Unit, is_unit_name};

/// What the kernel's files `cgroup` and `status` of a process say, and its listing of namespaces. `pid` is its number on
/// the host.
pub fn seen(cgroup: &str, namespaces: &[u8], status: &[u8], pid: i32) -> Surroundings {
    let Unit { unit, user_unit, slice, session, .. } = group_path(cgroup).map(Unit::of).unwrap_or_default();
    Surroundings {
        unit,
        user_unit,
        slice,
        session,
        container: grouped(cgroup),
        namespaces: apart(namespaces),
        inner_pid: innermost_pid(status).filter(|inner| i32::try_from(*inner) != Ok(pid)),
        ..Surroundings::default()
    }
}

/// The name that a file has within a root directory, where the kernel shows it from outside with the directory before it.
pub fn path_inside<'a>(path: &'a str, root: &str) -> &'a str {
    let inside = path.strip_prefix(root.trim_end_matches('/')).filter(|rest| rest.starts_with('/'));
    inside.unwrap_or(path)
}

/// The path of a process's control group: the unified hierarchy's, else systemd's own of the old ones. `cgroup` is the
/// file of that name in `/proc`.
pub fn group_path(cgroup: &str) -> Option<&str> {
    let unified = path_in(cgroup, "");
    unified.filter(|path| *path != "/").or_else(|| path_in(cgroup, "name=systemd")).or(unified)
}

/// The path of a process's control group in the hierarchy of `controller`; that of the unified one has no name.
pub fn path_in<'a>(cgroup: &'a str, controller: &str) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// Every path that a process's control groups have.
fn group_paths(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_loses_the_root_directory_alone() {
        assert_eq!(path_inside("/jail/usr/bin/x", "/jail"), "/usr/bin/x");
        assert_eq!(path_inside("/jailed/usr/bin/x", "/jail"), "/jailed/usr/bin/x");
        assert_eq!(path_inside("/usr/bin/x", "/"), "/usr/bin/x");
        assert_eq!(path_inside("/usr/bin/x", ""), "/usr/bin/x");
        assert_eq!(path_inside("/jail", "/jail"), "/jail");
    }

    #[test]
    fn the_unified_hierarchys_path_is_taken_unless_only_systemds_says_something() {
        assert_eq!(group_path("1:name=systemd:/a\n0::/b\n"), Some("/b"));
        assert_eq!(group_path("1:name=systemd:/a\n0::/\n"), Some("/a"));
        assert_eq!(group_path("4:memory:/x\n0::/\n"), Some("/"));
        assert_eq!(group_path("0::/with:colon\n"), Some("/with:colon"));
        assert_eq!(group_path("nonsense"), None);
        assert_eq!(path_in("3:cpu,memory:/x\n0::/\n", "memory"), Some("/x"));
    }
}
