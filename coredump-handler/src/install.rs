//! Making this program the kernel's core-dump handler, and undoing it.
//!
//! What was there before is saved first and restored by `uninstall`, each setting only where its value is still the one
//! that was written here: another program may have taken its place meanwhile. Every value that is written is read
//! back.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use foretrace_store::Places;
use serde::{Deserialize, Serialize};

use crate::handler::SPECIFIERS;

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
}

/// How things stand, as `status --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the kernel runs this program.
    pub installed: bool,
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
}

impl<'a> Installation<'a> {
    /// The installation of `program` for the reports in `places`.
    pub fn new(places: &'a Places, program: &Path) -> Installation<'a> {
        Installation { places, settings: "/proc/sys".into(), program: program.to_path_buf() }
    }

    /// The value of core_pattern that makes the kernel run this program.
    ///
    /// # Errors
    /// A path that a pattern cannot hold.
    pub fn pattern(&self) -> Result<String, InstallError> {
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

    /// Saves the settings and takes them over. Installing again keeps what was saved first.
    ///
    /// # Errors
    /// A setting that cannot be written; those written before it are put back.
    pub fn install(&self) -> Result<Values, InstallError> {
        let written = Values {
            core_pattern: self.pattern()?,
            core_pipe_limit: PIPE_LIMIT.into(),
            suid_dumpable: SUID_DUMPABLE.into(),
        };
        let now = self.values()?;
        let before = match self.saved()? {
            Some(saved) if saved.written.core_pattern == now.core_pattern => saved.before,
            _ if now.core_pattern == written.core_pattern => DEFAULTS,
            _ => now.clone(),
        };
        self.save(&Saved { before, written: written.clone() })?;
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
            if name.of(&now) == name.of(&saved.written) {
                self.write(name, before)?;
                removed.restored.push(format!("{} = {before}", name.sysctl()));
            } else {
                removed.left.push(format!("{} = {}", name.sysctl(), name.of(&now)));
            }
        }
        fs::remove_file(self.saved_path()).map_err(|source| self.io(&self.saved_path(), source))?;
        Ok(removed)
    }

    /// How things stand.
    ///
    /// # Errors
    /// A setting that cannot be read.
    pub fn status(&self) -> Result<Status, InstallError> {
        let settings = self.values()?;
        let saved = self.saved()?;
        let own = format!("|{} ", self.program.display());
        let installed = settings.core_pattern.starts_with(&own);
        let mut problems = Vec::new();
        if !installed {
            problems.push(match saved {
                Some(_) => "another program has taken core_pattern since the installation".into(),
                None => "the handler is not installed: run `foretrace-coredump install`".to_owned(),
            });
        } else if self.pattern().is_ok_and(|pattern| pattern != settings.core_pattern) {
            problems.push("core_pattern runs this program with other arguments: install it again".into());
        }
        if installed && settings.core_pipe_limit == "0" {
            problems.push("kernel.core_pipe_limit is 0: processes do not wait for the handler".into());
        }
        if installed && settings.suid_dumpable == "0" {
            problems.push("fs.suid_dumpable is 0: programs that change their user get no report".into());
        }
        Ok(Status { installed, settings, before: saved.map(|saved| saved.before), problems })
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
        let path = self.saved_path();
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|source| InstallError::Saved { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io(&path, source)),
        }
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
mod tests {
    use super::*;

    struct Machine {
        root: tempfile::TempDir,
        places: Places,
    }

    impl Machine {
        fn new(pattern: &str) -> Machine {
            let root = tempfile::tempdir().unwrap();
            let places = Places::system(&root.path().join("r"));
            let machine = Machine { root, places };
            fs::create_dir_all(machine.settings().join("kernel")).unwrap();
            fs::create_dir_all(machine.settings().join("fs")).unwrap();
            machine.set("kernel/core_pattern", pattern);
            machine.set("kernel/core_pipe_limit", "16");
            machine.set("fs/suid_dumpable", "0");
            machine
        }

        fn settings(&self) -> PathBuf {
            self.root.path().join("sys")
        }

        fn set(&self, name: &str, value: &str) {
            fs::write(self.settings().join(name), format!("{value}\n")).unwrap();
        }

        fn value(&self, name: &str) -> String {
            fs::read_to_string(self.settings().join(name)).unwrap().trim_end().to_owned()
        }

        fn installation(&self) -> Installation<'_> {
            let program = PathBuf::from("/usr/lib/foretrace/foretrace-coredump");
            Installation { places: &self.places, settings: self.settings(), program }
        }
    }

    #[test]
    fn uninstall_brings_back_what_install_found() {
        let machine = Machine::new("|/usr/lib/systemd/systemd-coredump %P");
        let written = machine.installation().install().unwrap();
        assert!(written.core_pattern.ends_with("%P %u %g %s %t %c %h %d %F"));
        assert_eq!(machine.value("kernel/core_pattern"), written.core_pattern);
        assert_eq!(machine.value("kernel/core_pipe_limit"), "256");
        assert!(machine.installation().status().unwrap().installed);
        let removed = machine.installation().uninstall().unwrap();
        assert_eq!(removed.left, Vec::<String>::new());
        assert_eq!(machine.value("kernel/core_pattern"), "|/usr/lib/systemd/systemd-coredump %P");
        assert_eq!(machine.value("kernel/core_pipe_limit"), "16");
        assert_eq!(machine.value("fs/suid_dumpable"), "0");
    }

    #[test]
    fn installing_twice_does_not_forget_what_was_there_first() {
        let machine = Machine::new("core.%p");
        machine.installation().install().unwrap();
        machine.installation().install().unwrap();
        machine.installation().uninstall().unwrap();
        assert_eq!(machine.value("kernel/core_pattern"), "core.%p");
    }

    #[test]
    fn what_somebody_else_has_set_meanwhile_is_left_alone() {
        let machine = Machine::new("core");
        machine.installation().install().unwrap();
        machine.set("kernel/core_pattern", "|/other");
        let status = machine.installation().status().unwrap();
        assert!(!status.installed && !status.problems.is_empty());
        let removed = machine.installation().uninstall().unwrap();
        assert_eq!(removed.left, ["kernel.core_pattern = |/other"]);
        assert_eq!(machine.value("kernel/core_pattern"), "|/other");
        assert_eq!(machine.value("kernel/core_pipe_limit"), "16");
    }

    #[test]
    fn uninstalling_what_was_never_installed_changes_nothing() {
        let machine = Machine::new("core");
        let removed = machine.installation().uninstall().unwrap();
        assert_eq!(removed, Removed { restored: vec![], left: vec![] });
        assert_eq!(machine.value("kernel/core_pattern"), "core");
    }

    #[test]
    fn a_pattern_that_the_kernel_would_cut_or_split_is_refused() {
        let places = Places::system(Path::new("/"));
        let pattern = |program: &str| Installation::new(&places, Path::new(program)).pattern();
        assert!(matches!(pattern(&format!("/{}", "a".repeat(120))), Err(InstallError::TooLong(_))));
        for program in ["/a b/c", "/a%b", "relative", "/a\nb"] {
            assert!(matches!(pattern(program), Err(InstallError::Path(_))), "{program}");
        }
        assert_eq!(pattern("/h").unwrap(), "|/h %P %u %g %s %t %c %h %d %F");
    }

    #[test]
    fn a_setting_that_does_not_stay_is_an_error_and_the_others_are_put_back() {
        let machine = Machine::new("core");
        let path = machine.settings().join("kernel/core_pattern");
        fs::remove_file(&path).unwrap();
        // Reads as something else than what was written.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(machine.installation().install(), Err(InstallError::NotKept { .. })));
        assert_eq!(machine.value("kernel/core_pipe_limit"), "16");
        assert!(!machine.installation().saved_path().exists());
    }
}
