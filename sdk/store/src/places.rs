//! Where everything lies: state, run-time files and settings, for the system and for one user.
//!
//! Only names; nothing is created or opened here.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

/// The paths that foretrace uses, all below one root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
    user_state: PathBuf,
    user_settings: PathBuf,
    user_runtime: Option<PathBuf>,
}

impl Places {
    /// The places below `root`, or below `$FORETRACE_ROOT` or `/` where none is given, for the user of this process.
    pub fn from_environment(root: Option<&Path>) -> Places {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = root.map(Path::to_path_buf).or_else(|| set("FORETRACE_ROOT").map(PathBuf::from));
        let user = geteuid();
        // A root shell often keeps the variables of the user it was opened by. Root's files stay out of their home.
        let variable = |name: &str| if user.is_root() { None } else { set(name) };
        let home = || User::from_uid(user).ok().flatten().map(|user| user.dir);
        let mut places = Places::resolve(root.as_deref().unwrap_or(Path::new("/")), &variable, home);
        if places.user_runtime.is_none() {
            // A job without a session must find the lock that the session's commands take.
            let usual = places.root.join(format!("run/user/{user}"));
            places.user_runtime =
                std::fs::metadata(&usual).is_ok_and(|it| it.uid() == user.as_raw()).then_some(usual);
        }
        places
    }

    /// The places below `root` without a look at the environment: for a handler that the kernel started.
    pub fn system(root: &Path) -> Places {
        Places::resolve(root, &|_| None, || Some(PathBuf::from("/root")))
    }

    fn resolve(
        root: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
        home: impl FnOnce() -> Option<PathBuf>,
    ) -> Places {
        // The base directory specification: relative paths in these variables are ignored.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME").or_else(home).unwrap_or_else(|| PathBuf::from("/"));
        let user_state = absolute("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        let user_settings = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Places {
            user_state: below(root, &user_state).join("foretrace"),
            user_settings: below(root, &user_settings).join("foretrace"),
            user_runtime: absolute("XDG_RUNTIME_DIR").map(|path| below(root, &path)),
            root: root.to_path_buf(),
        }
    }

    /// The root directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The system's state: its reports and what is being written.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/foretrace")
    }

    /// The system's run-time files.
    pub fn runtime(&self) -> PathBuf {
        self.root.join("run/foretrace")
    }

    /// This user's own state: reports made without the system package, standing answers.
    pub fn user_state(&self) -> PathBuf {
        self.user_state.clone()
    }

    /// The socket that starts a user's agent, where their session has one.
    pub fn agent_socket(&self, uid: u32) -> PathBuf {
        self.root.join(format!("run/user/{uid}/foretrace-agent.sock"))
    }

    /// The secret half of this user's key.
    pub fn identity(&self) -> PathBuf {
        self.user_settings.join("identity")
    }

    /// The public half of that key, for everybody who asks this user.
    pub fn public_identity(&self) -> PathBuf {
        self.user_settings.join("identity.pub")
    }

    /// This user's run-time directory, where the session has one.
    pub fn user_runtime(&self) -> Option<PathBuf> {
        self.user_runtime.clone()
    }

    /// The administrator's main settings file.
    pub fn main_settings(&self) -> PathBuf {
        self.root.join("etc/foretrace.conf")
    }

    /// The directories with settings fragments; a name in a later one replaces the same name in an earlier one.
    pub fn settings_directories(&self) -> [PathBuf; 3] {
        ["usr/lib/foretrace.conf.d", "run/foretrace.conf.d", "etc/foretrace.conf.d"]
            .map(|path| self.root.join(path))
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &str, variables: &[(&str, &str)]) -> Places {
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        Places::resolve(Path::new(root), &variable, || Some(PathBuf::from("/home/fallback")))
    }

    #[test]
    fn everything_lies_below_the_root_that_was_given() {
        let places =
            places("/tmp/r", &[("XDG_STATE_HOME", "/home/a/state"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        let mut all = vec![
            places.state(),
            places.runtime(),
            places.user_state(),
            places.identity(),
            places.public_identity(),
            places.main_settings(),
        ];
        all.extend(places.user_runtime());
        all.extend(places.settings_directories());
        assert!(all.iter().all(|path| path.starts_with("/tmp/r")), "{all:?}");
        assert_eq!(places.user_state(), Path::new("/tmp/r/home/a/state/foretrace"));
    }

    #[test]
    fn a_relative_state_directory_in_the_environment_is_ignored() {
        let relative = places("/", &[("XDG_STATE_HOME", "state"), ("HOME", "/home/a")]);
        assert_eq!(relative.user_state(), Path::new("/home/a/.local/state/foretrace"));
        assert_eq!(places("/", &[]).user_state(), Path::new("/home/fallback/.local/state/foretrace"));
    }
}
