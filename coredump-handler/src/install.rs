//! Making this program the kernel's core-dump handler, and undoing it.
//!
//! What was there before is saved first and restored by `uninstall`, each setting only where its value is still the one
//! that was written here: another program may have taken its place meanwhile. Every value that is written is read
//! back.

mod mode;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use foretrace_store::Places;
use serde::{Deserialize, Serialize};

use crate::handler::SPECIFIERS;

pub use mode::Mode;

/// The kernel cuts core_pattern off behind so many bytes.
const LONGEST_PATTERN: usize = 127;
/// How many crashes are handled at once; with 16, half of a burst of crashes never reached a handler.
const PIPE_LIMIT: &str = "256";
/// Programs that changed their user reach the handler too; their reports are root's.
const SUID_DUMPABLE: &str = "2";
/// What the kernel has when nobody set anything.
const DEFAULTS: Values =
    Values { core_pattern: String::new(), core_pipe_limit: String::new(), suid_dumpable: String::new() };

const SAVED: &str = "installed.json";
const SOCKET: &str = "coredump.socket";
/// The kernel's socket addresses hold a path of so many bytes.
const LONGEST_SOCKET: usize = 107;

/// Why the handler could not be installed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A setting or file could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The pattern would be cut off.
    #[error(
        "the pattern would have {0} bytes and the kernel takes {LONGEST_PATTERN}: install the program under a shorter path"
    )]
    TooLong(usize),
    /// The path cannot stand in a pattern.
    #[error("{}: a path in core_pattern must be absolute, and without spaces", .0.display())]
    Path(PathBuf),
    /// The kernel knows no coredump socket.
    #[error("Linux {0} has no coredump socket (6.16 and later have it): use --mode pipe")]
    NoSocket(String),
    /// Crashes would be lost.
    #[error(
        "nobody answers {}: start `foretrace-coredump serve` first (with systemd: systemctl enable --now foretrace-coredump.socket)",
        .0.display()
    )]
    NobodyAnswers(PathBuf),
    /// Nothing to hand cores on to.
    #[error("there was no handler to chain to: core_pattern was '{0}'")]
    NothingToChain(String),
    /// The kernel did not keep what was written.
    #[error("{} is '{found}' after '{written}' was written", .path.display())]
    NotKept {
        /// Which setting.
        path: PathBuf,
        /// What was written.
        written: String,
        /// What is there.
        found: String,
    },
    /// The saved values cannot be understood.
    #[error("{}: {source}; set kernel.core_pattern by hand", .path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The kernel's settings that decide who handles crashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// `kernel.core_pattern`
    pub core_pattern: String,
    /// `kernel.core_pipe_limit`
    pub core_pipe_limit: String,
    /// `fs.suid_dumpable`
    pub suid_dumpable: String,
}

// What was there, and what was put there instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    before: Values,
    written: Values,
    // Whether the core is handed on to the handler in `before`.
    #[serde(default)]
    chain: bool,
    // Where the socket was written: the core_pattern while nobody answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

impl Saved {
    fn wrote(&self, pattern: &str) -> bool {
        pattern == self.written.core_pattern || self.fallback.as_deref() == Some(pattern)
    }
}

/// How things stand, as `status --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the kernel gives crashes to this program.
    pub installed: bool,
    /// How it does so now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether somebody answers the coredump socket.
    pub answered: bool,
    /// The settings as they are.
    pub settings: Values,
    /// The settings that `uninstall` would bring back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Values>,
    /// What keeps crashes from becoming reports, a sentence each.
    pub problems: Vec<String>,
}

/// What `uninstall` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The settings that were brought back.
    pub restored: Vec<String>,
    /// The settings that were left, because somebody else had changed them.
    pub left: Vec<String>,
}

/// The kernel's settings and the place where they are saved.
pub struct Installation<'a> {
    places: &'a Places,
    // `/proc/sys`, but in this file's tests.
    settings: PathBuf,
    program: PathBuf,
    // The kernel's.
    release: String,
}

impl<'a> Installation<'a> {
    /// The installation of `program` for the reports in `places`.
    pub fn new(places: &'a Places, program: &Path) -> Installation<'a> {
        let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
        Installation {
            places,
            settings: "/proc/sys".into(),
            program: program.to_path_buf(),
            release: release.unwrap_or_default(),
        }
    }

    /// The socket that `foretrace-coredump serve` answers.
    pub fn socket(&self) -> PathBuf {
        self.places.runtime().join(SOCKET)
    }

    /// The best that this kernel and machine offer: the socket where somebody answers it, else the pipe.
    pub fn best(&self) -> Mode {
        let offered = mode::socket_prefix(&self.release).is_some();
        if offered && mode::answers(&self.socket()) { Mode::Socket } else { Mode::Pipe }
    }

    /// The value of core_pattern that gives crashes to this program.
    ///
    /// # Errors
    /// A path that a pattern cannot hold, or a kernel without the mode.
    pub fn pattern(&self, mode: Mode) -> Result<String, InstallError> {
        match mode {
            Mode::Pipe => self.pipe_pattern(),
            Mode::Socket => self.socket_pattern(),
        }
    }

    fn socket_pattern(&self) -> Result<String, InstallError> {
        let prefix =
            mode::socket_prefix(&self.release).ok_or_else(|| InstallError::NoSocket(self.release.clone()))?;
        let socket = self.socket();
        let path = plain(&socket)?;
        let length = prefix.len() + path.len();
        if path.len() > LONGEST_SOCKET || length > LONGEST_PATTERN {
            return Err(InstallError::TooLong(length));
        }
        Ok(format!("{prefix}{path}"))
    }

    fn pipe_pattern(&self) -> Result<String, InstallError> {
        let mut pattern = format!("|{}", plain(&self.program)?);
        if self.places.root() != Path::new("/") {
            pattern.push_str(&format!(" --root {}", plain(self.places.root())?));
        }
        pattern.push(' ');
        pattern.push_str(SPECIFIERS);
        if pattern.len() > LONGEST_PATTERN {
            return Err(InstallError::TooLong(pattern.len()));
        }
        Ok(pattern)
    }

    /// Saves the settings and takes them over. Installing again keeps what was saved first. With `chain`
    /// the handler that was there before gets each core as well.
    ///
    /// # Errors
    /// A setting that cannot be written; those written before it are put back. No handler to chain to. A mode that the kernel does not have,
    /// or a socket that nobody answers.
    pub fn install(&self, mode: Mode, chain: bool) -> Result<Values, InstallError> {
        let core_pattern = self.pattern(mode)?;
        let fallback = match mode {
            Mode::Pipe => None,
            Mode::Socket if !mode::answers(&self.socket()) => {
                return Err(InstallError::NobodyAnswers(self.socket()));
            }
            Mode::Socket => Some(self.pipe_pattern()?),
        };
        let written =
            Values { core_pattern, core_pipe_limit: PIPE_LIMIT.into(), suid_dumpable: SUID_DUMPABLE.into() };
        let now = self.values()?;
        let before = match self.saved()? {
            Some(saved) if saved.wrote(&now.core_pattern) => saved.before,
            _ if now.core_pattern == written.core_pattern => DEFAULTS,
            _ => now.clone(),
        };
        if chain && !before.core_pattern.starts_with('|') {
            return Err(InstallError::NothingToChain(before.core_pattern));
        }
        self.save(&Saved { before, written: written.clone(), chain, fallback })?;
        for name in Name::ALL {
            if let Err(error) = self.write(name, name.of(&written)) {
                for name in Name::ALL {
                    // The first error is the one to report; what cannot be put back, `status` shows.
                    let _ = self.write(name, name.of(&now));
                }
                let _ = fs::remove_file(self.saved_path());
                return Err(error);
            }
        }
        Ok(written)
    }

    /// Puts back what was there, where the value is still the one that `install` wrote.
    ///
    /// # Errors
    /// A setting that cannot be written.
    pub fn uninstall(&self) -> Result<Removed, InstallError> {
        let mut removed = Removed { restored: Vec::new(), left: Vec::new() };
        let now = self.values()?;
        let Some(saved) = self.saved()? else { return Ok(removed) };
        for name in Name::ALL.into_iter().rev() {
            let before = match name.of(&saved.before) {
                "" => name.default(),
                before => before,
            };
            let ours = match name {
                Name::CorePattern => saved.wrote(&now.core_pattern),
                Name::CorePipeLimit | Name::SuidDumpable => name.of(&now) == name.of(&saved.written),
            };
            if ours {
                self.write(name, before)?;
                removed.restored.push(format!("{} = {before}", name.sysctl()));
            } else {
                removed.left.push(format!("{} = {}", name.sysctl(), name.of(&now)));
            }
        }
        fs::remove_file(self.saved_path()).map_err(|source| self.io(&self.saved_path(), source))?;
        Ok(removed)
    }

    /// Makes the kernel use the socket again, where it was told to and uses the pipe meanwhile. Whether it had to be.
    ///
    /// # Errors
    /// A setting that cannot be read or written.
    pub fn raise(&self) -> Result<bool, InstallError> {
        self.turn(|saved, fallback| (fallback, saved.written.core_pattern.clone()))
    }

    /// Makes the kernel use the pipe, where it uses the socket that nobody will answer any more. Whether it had to be.
    ///
    /// # Errors
    /// A setting that cannot be read or written.
    pub fn fall_back(&self) -> Result<bool, InstallError> {
        self.turn(|saved, fallback| (saved.written.core_pattern.clone(), fallback))
    }

    // Replaces one of our patterns by another, but nobody else's.
    fn turn(&self, change: impl Fn(&Saved, String) -> (String, String)) -> Result<bool, InstallError> {
        let Some(saved) = self.saved()? else { return Ok(false) };
        let Some(fallback) = saved.fallback.clone() else { return Ok(false) };
        let (from, to) = change(&saved, fallback);
        let due = self.read(Name::CorePattern)? == from;
        if due {
            self.write(Name::CorePattern, &to)?;
        }
        Ok(due)
    }

    /// How things stand.
    ///
    /// # Errors
    /// A setting that cannot be read.
    pub fn status(&self) -> Result<Status, InstallError> {
        let settings = self.values()?;
        let saved = self.saved()?;
        let own = format!("|{} ", self.program.display());
        let socket = self.socket().display().to_string();
        let mode = match settings.core_pattern.trim_start_matches('@') {
            path if path == socket && path != settings.core_pattern => Some(Mode::Socket),
            pattern if pattern.starts_with(&own) => Some(Mode::Pipe),
            _ => None,
        };
        let installed = mode.is_some();
        let answered = mode::answers(&self.socket());
        let mut problems = Vec::new();
        if mode == Some(Mode::Socket) && !answered {
            problems.push("nobody answers the coredump socket, so crashes are lost: start `foretrace-coredump serve`, or install with --mode pipe".into());
        }
        let fallen = saved.as_ref().and_then(|saved| saved.fallback.as_ref()) == Some(&settings.core_pattern);
        if fallen {
            problems.push("nobody answered the coredump socket, so crashes go through the pipe until `foretrace-coredump serve` is started".into());
        }
        if !installed {
            problems.push(match saved {
                Some(_) => "another program has taken core_pattern since the installation".into(),
                None => "the handler is not installed: run `foretrace-coredump install`".to_owned(),
            });
        } else if mode
            .and_then(|mode| self.pattern(mode).ok())
            .is_some_and(|pattern| pattern != settings.core_pattern)
        {
            problems.push("core_pattern runs this program with other arguments: install it again".into());
        }
        if mode == Some(Mode::Pipe) && settings.core_pipe_limit == "0" {
            problems.push("kernel.core_pipe_limit is 0: processes do not wait for the handler".into());
        }
        if installed && settings.suid_dumpable == "0" {
            problems.push("fs.suid_dumpable is 0: programs that change their user get no report".into());
        }
        Ok(Status { installed, mode, answered, settings, before: saved.map(|saved| saved.before), problems })
    }

    fn values(&self) -> Result<Values, InstallError> {
        Ok(Values {
            core_pattern: self.read(Name::CorePattern)?,
            core_pipe_limit: self.read(Name::CorePipeLimit)?,
            suid_dumpable: self.read(Name::SuidDumpable)?,
        })
    }

    fn read(&self, name: Name) -> Result<String, InstallError> {
        let path = self.settings.join(name.path());
        let value = fs::read(&path).map_err(|source| self.io(&path, source))?;
        Ok(String::from_utf8_lossy(&value).trim_end_matches('\n').to_owned())
    }

    fn write(&self, name: Name, value: &str) -> Result<(), InstallError> {
        let path = self.settings.join(name.path());
        fs::write(&path, format!("{value}\n")).map_err(|source| self.io(&path, source))?;
        let found = self.read(name)?;
        if found == value {
            Ok(())
        } else {
            Err(InstallError::NotKept { path, written: value.into(), found })
        }
    }

    fn saved_path(&self) -> PathBuf {
        self.places.state().join(SAVED)
    }

    fn saved(&self) -> Result<Option<Saved>, InstallError> {
        saved(self.saved_path())
    }

    // Whole or not at all: what was there before must survive a loss of power.
    fn save(&self, saved: &Saved) -> Result<(), InstallError> {
        let path = self.saved_path();
        let new = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.places.state())?;
            let mut file = fs::File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(saved)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| self.io(&path, source))
    }

    fn io(&self, path: &Path, source: io::Error) -> InstallError {
        InstallError::Io { path: path.to_path_buf(), source }
    }
}

/// The core_pattern of the handler that gets each core as well: where installing said so, or `chain`.
pub fn previous(places: &Places, chain: bool) -> Option<String> {
    let saved = saved(places.state().join(SAVED)).ok().flatten()?;
    Some(saved.before.core_pattern).filter(|pattern| (chain || saved.chain) && pattern.starts_with('|'))
}

fn saved(path: PathBuf) -> Result<Option<Saved>, InstallError> {
    match fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(|source| InstallError::Saved { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InstallError::Io { path, source }),
    }
}

#[derive(Clone, Copy)]
enum Name {
    CorePipeLimit,
    SuidDumpable,
    CorePattern,
}

impl Name {
    // In the order of installing: the kernel warns of a suid_dumpable of 2 without a pipe in the pattern.
    const ALL: [Name; 3] = [Name::CorePipeLimit, Name::CorePattern, Name::SuidDumpable];

    fn path(self) -> &'static str {
        match self {
            Name::CorePattern => "kernel/core_pattern",
            Name::CorePipeLimit => "kernel/core_pipe_limit",
            Name::SuidDumpable => "fs/suid_dumpable",
        }
    }

    fn sysctl(self) -> String {
        self.path().replace('/', ".")
    }

    fn of(self, values: &Values) -> &str {
        match self {
            Name::CorePattern => &values.core_pattern,
            Name::CorePipeLimit => &values.core_pipe_limit,
            Name::SuidDumpable => &values.suid_dumpable,
        }
    }

    fn default(self) -> &'static str {
        match self {
            Name::CorePattern => "core",
            Name::CorePipeLimit | Name::SuidDumpable => "0",
        }
    }
}

// The kernel splits the pattern at spaces and replaces what follows a percent sign.
fn plain(path: &Path) -> Result<&str, InstallError> {
    let bad = |text: &&str| text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '%');
    path.to_str()
        .filter(|text| text.starts_with('/') && !bad(text))
        .ok_or_else(|| InstallError::Path(path.into()))
}

#[cfg(test)]
mod tests;
