//! A world of its own for one test: a root directory under which the product keeps everything, the programs under
//! test at a short path (a core_pattern holds 127 bytes), and the handler installed in the real kernel.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{self, Finished};
use crate::machine::KernelSettings;

/// How long a report may take: the handler's own limit and some air for a busy machine.
const REPORT_LIMIT: Duration = Duration::from_secs(20);

/// A root directory and the programs that work in it.
pub struct World {
    folder: TempDir,
}

impl World {
    /// A world without a handler.
    ///
    /// # Errors
    /// A temporary directory that cannot be made, or programs that were not built.
    pub fn new() -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("ft").tempdir().context("cannot make a temporary directory")?;
        // The sandboxed worker and other users' programs must reach what is theirs below it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        for directory in ["bin", "root", "work"] {
            fs::create_dir(folder.path().join(directory))?;
        }
        fs::set_permissions(folder.path().join("work"), fs::Permissions::from_mode(0o1777))?;
        let world = World { folder };
        for program in ["foretrace", "foretrace-coredump", "foretrace-capture", "foretrace-server"] {
            let built = built_programs()?.join(program);
            fs::copy(&built, world.program(program)).with_context(|| {
                format!("cannot copy {}; build first: cargo xtask test does", built.display())
            })?;
        }
        Ok(world)
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A place for a test's own files, writable for everyone.
    pub fn work(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// A program under test, by name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join("bin").join(name)
    }

    /// Writes the settings file.
    ///
    /// # Errors
    /// A write that failed.
    pub fn configure(&self, settings: &str) -> Result<()> {
        fs::create_dir_all(self.root().join("etc"))?;
        fs::write(self.root().join("etc/foretrace.conf"), settings).context("cannot write the settings")
    }

    /// A `foretrace` command in this world.
    pub fn foretrace(&self) -> Command {
        let mut command = Command::new(self.program("foretrace"));
        command
            .env("FORETRACE_ROOT", self.root())
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C")
            .env_remove("XDG_STATE_HOME");
        command
    }

    /// A `foretrace-coredump` command in this world.
    pub fn coredump(&self) -> Command {
        let mut command = Command::new(self.program("foretrace-coredump"));
        command.env("FORETRACE_ROOT", self.root());
        command
    }

    /// Runs `foretrace` with `arguments` and expects exit code 0.
    ///
    /// # Errors
    /// Any other end.
    pub fn ask(&self, arguments: &[&str]) -> Result<Finished> {
        command::run(self.foretrace().args(arguments))?.success()
    }

    /// The rows of `foretrace list --json`, newest first.
    ///
    /// # Errors
    /// A list that fails or is no JSON.
    pub fn list(&self) -> Result<Vec<Value>> {
        let listed = command::run(self.foretrace().args(["list", "--json"]))?;
        // No match is exit code 1 and an empty list.
        match listed.status.code() {
            Some(0 | 1) => {}
            _ => bail!("list failed: {listed}"),
        }
        listed
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).context("list --json printed no JSON"))
            .collect()
    }

    /// `foretrace info ID --json`.
    ///
    /// # Errors
    /// An unreadable report.
    pub fn info(&self, id: &str) -> Result<Value> {
        serde_json::from_slice(&self.ask(&["info", id, "--json"])?.stdout)
            .context("info --json printed no JSON")
    }

    /// The bytes of one part of a report.
    ///
    /// # Errors
    /// A part that is not there.
    pub fn part(&self, id: &str, name: &str) -> Result<Vec<u8>> {
        let file = self.work("part");
        command::run(self.foretrace().args(["dump", id, "--part", name, "-o"]).arg(&file))?.success()?;
        let content = fs::read(&file)?;
        fs::remove_file(file)?;
        Ok(content)
    }

    /// The IDs of all reports.
    ///
    /// # Errors
    /// As [`World::list`].
    pub fn ids(&self) -> Result<HashSet<String>> {
        Ok(self.list()?.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until there is a report that is not in `known` and its maker is done with it; returns its ID.
    ///
    /// # Errors
    /// None after 20 s, or one that is still added to 20 s later.
    pub fn wait_for_new_report(&self, known: &HashSet<String>) -> Result<String> {
        let began = Instant::now();
        loop {
            if let Some(id) = self.ids()?.difference(known).next() {
                self.wait_until_finished(id)?;
                return Ok(id.clone());
            }
            if began.elapsed() > REPORT_LIMIT {
                bail!("no new report after {REPORT_LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_until_finished(&self, id: &str) -> Result<()> {
        let began = Instant::now();
        while !self.is_finished(id) {
            ensure!(began.elapsed() < REPORT_LIMIT, "{id} is not finished after {REPORT_LIMIT:?}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether the maker of a report is done with it: it is published before that, and until then its directory is locked.
    pub fn is_finished(&self, id: &str) -> bool {
        let shelves = fs::read_dir(self.root().join("var/lib/foretrace/reports"));
        let reports = shelves.into_iter().flatten().flatten().map(|shelf| shelf.path().join(id));
        reports.filter_map(|report| File::open(report).ok()).all(|report| report.try_lock_shared().is_ok())
    }

    /// Waits until nothing of the handler runs any more: after its report it still keeps the store to its limits.
    ///
    /// # Errors
    /// Something runs 20 s later.
    pub fn wait_for_handlers(&self) -> Result<()> {
        let began = Instant::now();
        let program = self.program("foretrace-coredump");
        let runs = |entry: std::io::Result<fs::DirEntry>| {
            let exe = entry.and_then(|entry| fs::read_link(entry.path().join("exe")));
            exe.is_ok_and(|exe| exe == program)
        };
        while fs::read_dir("/proc")?.any(runs) {
            ensure!(began.elapsed() < REPORT_LIMIT, "a handler still runs after {REPORT_LIMIT:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for the first report.
    ///
    /// # Errors
    /// As [`World::wait_for_new_report`].
    pub fn wait_for_report(&self) -> Result<String> {
        self.wait_for_new_report(&HashSet::new())
    }
}

/// How the kernel reaches the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It runs it.
    Pipe,
    /// It connects to a server's socket.
    Socket,
}

/// A world whose handler gets the kernel's crashes. Dropping it puts the machine's settings back.
pub struct Installed {
    // Dropped first: no handler may start in a world that is being removed.
    kernel: KernelSettings,
    acceptor: Option<Acceptor>,
    world: World,
}

impl Installed {
    /// Takes the machine's settings and lets the product install itself.
    ///
    /// # Errors
    /// Not root, or an installation that fails.
    pub fn new() -> Result<Self> {
        Installed::through(Mode::Pipe)
    }

    /// The same through the pipe or the socket.
    ///
    /// # Errors
    /// As [`Installed::new`], or a server that does not start.
    pub fn through(mode: Mode) -> Result<Self> {
        let mut kernel = KernelSettings::take()?;
        let world = World::new()?;
        kernel.watch(world.folder.path())?;
        let (acceptor, name) = match mode {
            Mode::Pipe => (None, "pipe"),
            Mode::Socket => (Some(Acceptor::start(&world)?), "socket"),
        };
        command::run(world.coredump().args(["install", "--mode", name]))?
            .success()
            .context("the handler does not install itself")?;
        Ok(Installed { kernel, acceptor, world })
    }

    /// The server of the coredump socket.
    ///
    /// # Errors
    /// This world uses the pipe.
    pub fn acceptor(&mut self) -> Result<&mut Acceptor> {
        self.acceptor.as_mut().context("no acceptor in this world")
    }

    /// The settings that are held.
    pub fn kernel(&self) -> &KernelSettings {
        &self.kernel
    }

    /// Gives the machine's settings back and keeps the reports.
    pub fn uninstall(self) -> World {
        self.world
    }

    /// Runs a program that is expected to crash, and returns its report's ID once its handler is done with it.
    ///
    /// # Errors
    /// A program that does not crash, or no report.
    pub fn crash(&self, victim: &mut Command) -> Result<String> {
        let known = self.ids()?;
        let ended = command::run(victim)?;
        if ended.status.success() || std::os::unix::process::ExitStatusExt::signal(&ended.status).is_none() {
            bail!("the victim did not crash: {ended}");
        }
        self.wait_for_new_report(&known)
    }
}

/// A running `foretrace-coredump serve`. Dropping it ends it.
pub struct Acceptor(Child);

impl Acceptor {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(world: &World) -> Result<Self> {
        Acceptor::from_command(world.coredump().arg("serve"))
    }

    /// The same with a command of the test's own.
    ///
    /// # Errors
    /// It does not start.
    pub fn from_command(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let acceptor = Acceptor(child);
        let answering = said.map_while(Result::ok).any(|line| line.starts_with("answering "));
        ensure!(answering, "foretrace-coredump serve does not answer");
        Ok(acceptor)
    }

    /// The process that holds the socket.
    pub fn keeper(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.0.wait()?)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // It has ended already where the test ended it.
        let _ = kill(self.keeper(), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl std::ops::Deref for Installed {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// Where `cargo build --release --workspace` put the programs: beside the running test, or in `FORETRACE_BIN_DIR`.
///
/// # Errors
/// A test that does not run from a target directory.
pub fn built_programs() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("FORETRACE_BIN_DIR") {
        return Ok(folder.into());
    }
    let this = env::current_exe()?;
    let target = this
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .with_context(|| format!("{} runs outside a target directory", this.display()))?;
    Ok(target.join("release"))
}

/// The checkout's top folder.
pub fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
