//! The desktop's question under a real notification daemon: dunst on an X server without a screen.
//!
//! In each language the question is shown and a picture of it kept for somebody to look at; a click on its text sends
//! nothing, and the action *Send*, chosen through the daemon's own menu, sends the report.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run as run_command;
use foretrace_tests::server::Server;

use super::sample;
use crate::build::{self, say};
use crate::setup;

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than anything that would be sent takes to arrive.
const SETTLED: Duration = Duration::from_secs(2);
/// A picture of a question has its letters' shades; an empty screen has one.
const SHADES: u32 = 8;
/// The locales, and a word of each that the daemon's menu shows.
const LANGUAGES: [(&str, &str); 2] = [("C.UTF-8", "Send"), ("de_DE.UTF-8", "Senden")];

/// A bus on which nobody is started by a call: the machine's own notifications stay out of it.
const BUS: &str = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
    <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
    </busconfig>"#;

/// Asks in every language.
///
/// # Errors
/// A program that is missing, a question that is not shown, or an answer that comes to something else.
pub fn run() -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_CHECK_DESKTOP])?;
    build::cargo(["build", "--package", "foretrace-cli", "--package", "foretrace-server"])?;
    let pictures = build::release_folder().with_file_name("desktop");
    fs::create_dir_all(&pictures)?;
    for (locale, send) in LANGUAGES {
        let picture = pictures.join(locale).with_extension("png");
        ask(locale, send, &picture).with_context(|| locale.to_owned())?;
        say(&format!("{locale}: look at {}", picture.display()));
    }
    Ok(())
}

fn ask(locale: &str, send: &str, picture: &Path) -> Result<()> {
    let programs = build::release_folder().with_file_name("debug");
    let world = tempfile::tempdir()?;
    let server =
        Server::start(&programs.join("foretrace-server"), "127.0.0.1:0", &world.path().join("server"))?;
    fs::create_dir(world.path().join("etc"))?;
    let settings = format!("[Upload]\nUrl={}/submit\nProtocol=socorro\n", server.address);
    fs::write(world.path().join("etc/foretrace.conf"), settings)?;
    let desktop = Desktop::start(world.path(), send)?;
    let agent = || {
        let mut command = desktop.command(&programs.join("foretrace"));
        command.arg("--root").arg(world.path()).arg("agent").env("LC_ALL", locale);
        Running::start(&mut command)
    };

    sample::publish(world.path(), "painter", &[])?;
    {
        let _agent = agent()?;
        desktop.wait_for_questions(1)?;
        thread::sleep(SETTLED);
        desktop.picture(picture)?;
        ensure!(server.stored_reports()? == 0, "a question alone sent something");
        say("a click on the text");
        desktop.click()?;
        desktop.wait_for_questions(0)?;
        thread::sleep(SETTLED);
        ensure!(server.stored_reports()? == 0, "a click on the text sent something");
    }
    {
        let _agent = agent()?;
        desktop.wait_for_questions(1)?;
        say(&format!("'{send}' in the daemon's menu"));
        run_command(desktop.command(Path::new("dunstctl")).arg("context"))?.success()?;
        let began = Instant::now();
        while server.stored_reports()? == 0 {
            ensure!(began.elapsed() < PATIENCE, "the answer sent nothing");
            thread::sleep(Duration::from_millis(100));
        }
        ensure!(server.stored_reports()? == 1, "{} reports arrived", server.stored_reports()?);
    }
    Ok(())
}

/// A program that runs until it is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Running> {
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

/// An X server, a bus, and dunst on both.
struct Desktop {
    display: String,
    bus: String,
    home: PathBuf,
    // In the order in which they end.
    _programs: [Running; 3],
}

impl Desktop {
    /// Starts it; its menu always chooses `choice`.
    fn start(folder: &Path, choice: &str) -> Result<Desktop> {
        let home = folder.join("home");
        fs::create_dir(&home)?;
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
        let (screen, number) = first_line(&mut screen)?;
        let rules = home.join("bus.conf");
        fs::write(&rules, BUS)?;
        let mut bus = Command::new("dbus-daemon");
        bus.arg(format!("--config-file={}", rules.display())).stderr(Stdio::null());
        let (bus, address) = first_line(bus.args(["--nofork", "--nopidfile", "--print-address"]))?;
        let mut daemon = Command::new("dunst");
        daemon.arg("-config").arg(settings).stderr(Stdio::null());
        let display = format!(":{number}");
        equip(&mut daemon, &display, &address, &home);
        let daemon = Running::start(&mut daemon)?;
        Ok(Desktop { display, bus: address, home, _programs: [daemon, bus, screen] })
    }

    /// A program that runs on this desktop.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        equip(&mut command, &self.display, &self.bus, &self.home);
        command
    }

    fn wait_for_questions(&self, wanted: usize) -> Result<()> {
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

    fn picture(&self, file: &Path) -> Result<()> {
        let mut shot = self.command(Path::new("import"));
        run_command(shot.args(["-window", "root", "-crop", "700x360+580+0"]).arg(file))?.success()?;
        let shades =
            run_command(Command::new("identify").args(["-format", "%k"]).arg(file))?.success()?.text();
        let shades: u32 = shades.trim().parse().context("identify counts no colours")?;
        ensure!(shades > SHADES, "nothing is to be seen: {shades} colours");
        Ok(())
    }

    /// Clicks on the middle of the question.
    fn click(&self) -> Result<()> {
        let tool = || self.command(Path::new("xdotool"));
        let found =
            run_command(tool().args(["search", "--onlyvisible", "--class", "Dunst"]))?.success()?.text();
        let window = found.lines().next().context("dunst has no window")?;
        run_command(tool().args(["mousemove", "--window", window, "100", "40", "click", "1"]))?.success()?;
        Ok(())
    }
}

fn equip(command: &mut Command, display: &str, bus: &str, home: &Path) {
    command.env("DISPLAY", display).env("DBUS_SESSION_BUS_ADDRESS", bus).env("HOME", home);
    command.env("XDG_RUNTIME_DIR", home).env_remove("WAYLAND_DISPLAY").env_remove("XDG_STATE_HOME");
}

/// Starts a program that says in its first line where it is to be found.
fn first_line(command: &mut Command) -> Result<(Running, String)> {
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
    ensure!(!line.trim().is_empty(), "{} does not start", command.get_program().display());
    Ok((running, line.trim().to_owned()))
}
