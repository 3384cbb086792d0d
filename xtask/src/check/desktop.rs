//! The desktop's question under a real notification daemon: dunst on an X server without a screen.
//!
//! In each language the question is shown and a picture of it kept for somebody to look at; a click on its text sends
//! nothing, and the action *Send*, chosen through the daemon's own menu, sends the report. Then a regular user's program
//! crashes under the installed handler, and everything from the kernel to the server happens by itself but that choice.

mod crash;
mod session;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::server::Server;
use foretrace_tests::world::built_programs;

use self::session::{Desktop, Running};
use super::sample;
use crate::build::{self, say};
use crate::setup;

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than anything that would be sent takes to arrive.
const SETTLED: Duration = Duration::from_secs(2);
/// The locales, and a word of each that the daemon's menu shows.
const LANGUAGES: [(&str, &str); 2] = [("C.UTF-8", "Send"), ("de_DE.UTF-8", "Senden")];

/// Asks in every language, and after a crash.
///
/// # Errors
/// A program that is missing, a question that is not shown, or an answer that comes to something else.
pub fn run() -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_CHECK_DESKTOP])?;
    if std::env::var_os("FORETRACE_BIN_DIR").is_none() {
        let packages =
            ["foretrace-capture", "foretrace-cli", "foretrace-server"].map(|name| ["--package", name]);
        build::cargo([&["build", "--release"], packages.as_flattened()].concat())?;
    }
    let pictures = build::release_folder().with_file_name("desktop");
    fs::create_dir_all(&pictures)?;
    for (locale, send) in LANGUAGES {
        let picture = pictures.join(locale).with_extension("png");
        ask(locale, send, &picture).with_context(|| locale.to_owned())?;
        say(&format!("{locale}: look at {}", picture.display()));
    }
    let picture = pictures.join("crash.png");
    crash::ask_after_one(&picture).context("after a crash")?;
    say(&format!("after a crash: look at {}", picture.display()));
    Ok(())
}

fn ask(locale: &str, send: &str, picture: &Path) -> Result<()> {
    let programs = built_programs()?;
    let world = tempfile::tempdir()?;
    let server =
        Server::start(&programs.join("foretrace-server"), "127.0.0.1:0", &world.path().join("server"))?;
    fs::create_dir(world.path().join("etc"))?;
    let settings = format!("[Upload]\nUrl={}/submit\nProtocol=socorro\n", server.address);
    fs::write(world.path().join("etc/foretrace.conf"), settings)?;
    let desktop = Desktop::start(&world.path().join("home"), send, None)?;
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
        desktop.choose()?;
        one_arrives(&server)?;
    }
    Ok(())
}

fn one_arrives(server: &Server) -> Result<()> {
    let began = Instant::now();
    while server.stored_reports()? == 0 {
        ensure!(began.elapsed() < PATIENCE, "the answer sent nothing");
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(server.stored_reports()? == 1, "{} reports arrived", server.stored_reports()?);
    Ok(())
}
