//! A desktop without a screen: an X server, a message bus and a notification daemon, as root or as a user.
//!
//! Knows nothing of reports.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run as run_command;

use super::PATIENCE;

/// A picture of a question has its letters' shades; an empty screen has one.
const SHADES: u32 = 8;
/// A bus on which nobody is started by a call: the machine's own notifications stay out of it.
const BUS: &str = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
    <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
    </busconfig>"#;

/// A program that runs until it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// It is not there.
    pub fn start(command: &mut Command) -> Result<Running> {
        let name = command.get_program().display().to_string();
        Ok(Running(command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An X server, a bus, and dunst on both: a user's, or root's.
pub struct Desktop {
    display: String,
    bus: String,
    home: PathBuf,
    user: Option<u32>,
    // In the order in which they end.
    _programs: [Running; 3],
}

impl Desktop {
    /// Starts it with a new home; its menu always chooses `choice`.
    ///
    /// # Errors
    /// A program that is not there or does not start.
    pub fn start(home: &Path, choice: &str, user: Option<u32>) -> Result<Desktop> {
        fs::create_dir(home)?;
        chown(home, user, user)?;
        let menu = home.join("menu");
        // dunst gives its menu a line for each action, and takes back the chosen one.
        fs::write(&menu, format!("#!/bin/sh\nexec grep -m 1 '^#{choice} '\n"))?;
        fs::set_permissions(&menu, fs::Permissions::from_mode(0o755))?;
        let settings = home.join("dunstrc");
        fs::write(&settings, format!("[global]\ndmenu = {}\n", menu.display()))?;

        let mut screen = Command::new("Xvfb");
        screen
            .args(["-displayfd", "1", "-screen", "0", "1280x720x24", "-nolisten", "tcp"])
            .stderr(Stdio::null());
        let (screen, number) = first_line(seat(&mut screen, user))?;
        let rules = home.join("bus.conf");
        fs::write(&rules, BUS)?;
        let mut bus = bus_daemon(home, user)?;
        bus.arg(format!("--config-file={}", rules.display())).stderr(Stdio::null());
        bus.args(["--nofork", "--nopidfile", "--print-address"]);
        let (bus, address) = first_line(&mut bus)?;
        let display = format!(":{number}");
        let mut daemon = command(Path::new("dunst"), (&display, &address, home), user);
        let daemon = Running::start(daemon.arg("-config").arg(settings).stderr(Stdio::null()))?;
        Ok(Desktop { display, bus: address, home: home.into(), user, _programs: [daemon, bus, screen] })
    }

    /// A program that runs on this desktop.
    pub fn command(&self, program: &Path) -> Command {
        command(program, (&self.display, &self.bus, &self.home), self.user)
    }

    /// Chooses in the daemon's own menu.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn choose(&self) -> Result<()> {
        run_command(self.command(Path::new("dunstctl")).arg("context"))?.success().map(drop)
    }

    /// Waits until so many questions are shown.
    ///
    /// # Errors
    /// They are not, in time.
    pub fn wait_for_questions(&self, wanted: usize) -> Result<()> {
        let began = Instant::now();
        loop {
            let said = run_command(self.command(Path::new("dunstctl")).args(["count", "displayed"]))?;
            if said.status.success() && said.text().trim() == wanted.to_string() {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "not {wanted} questions, but: {said}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Takes a picture of where questions are.
    ///
    /// # Errors
    /// Nothing is to be seen, or it cannot be kept.
    pub fn picture(&self, file: &Path) -> Result<()> {
        let own = self.home.join("picture.png");
        let mut shot = self.command(Path::new("import"));
        run_command(shot.args(["-window", "root", "-crop", "700x360+580+0"]).arg(&own))?.success()?;
        fs::copy(&own, file)?;
        let shades =
            run_command(Command::new("identify").args(["-format", "%k"]).arg(file))?.success()?.text();
        let shades: u32 = shades.trim().parse().context("identify counts no colours")?;
        ensure!(shades > SHADES, "nothing is to be seen: {shades} colours");
        Ok(())
    }

    /// Clicks on the middle of the question.
    ///
    /// # Errors
    /// There is none.
    pub fn click(&self) -> Result<()> {
        let tool = || self.command(Path::new("xdotool"));
        let found =
            run_command(tool().args(["search", "--onlyvisible", "--class", "Dunst"]))?.success()?.text();
        let window = found.lines().next().context("dunst has no window")?;
        run_command(tool().args(["mousemove", "--window", window, "100", "40", "click", "1"]))?.success()?;
        Ok(())
    }
}

/// The bus of a user, who need not be one of this machine's: the daemon believes nobody whom it does not find among those.
fn bus_daemon(home: &Path, user: Option<u32>) -> Result<Command> {
    const AMONG_OTHERS: &str = r#"mount --bind "$0" /etc/passwd && exec setpriv --clear-groups "$@""#;
    let Some(user) = user else { return Ok(Command::new("dbus-daemon")) };
    let known = home.join("passwd");
    let line = format!("foretrace-check:x:{user}:{user}::{}:/bin/sh\n", home.display());
    fs::write(&known, fs::read_to_string("/etc/passwd")? + &line)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", AMONG_OTHERS]).arg(known);
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "dbus-daemon".to_owned()]);
    Ok(command)
}

fn command(program: &Path, (display, bus, home): (&str, &str, &Path), user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command.env("DISPLAY", display).env("DBUS_SESSION_BUS_ADDRESS", bus).env("HOME", home);
    command.env("XDG_RUNTIME_DIR", home).env_remove("WAYLAND_DISPLAY").env_remove("XDG_STATE_HOME");
    seat(&mut command, user);
    command
}

/// Lets a program run as a user.
fn seat(command: &mut Command, user: Option<u32>) -> &mut Command {
    match user {
        Some(user) => command.uid(user).gid(user),
        None => command,
    }
}

/// Starts a program that says in its first line where it is to be found.
fn first_line(command: &mut Command) -> Result<(Running, String)> {
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
    ensure!(!line.trim().is_empty(), "{} does not start", command.get_program().display());
    Ok((running, line.trim().to_owned()))
}
