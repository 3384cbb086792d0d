//! Nothing leaves before a yes; what leaves is what was shown; and nothing else can be made to leave.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::door::Door;
use foretrace_tests::server::Server;
use foretrace_tests::world::{Installed, built_programs};

struct Scene {
    world: Installed,
    server: Server,
    door: Door,
    id: String,
}

fn crashed_till_with_a_server() -> Result<Scene> {
    let world = Installed::new()?;
    let server = Server::start(&world.program("foretrace-server"), "127.0.0.1:0", &world.work("server"))?;
    let door = Door::before(&server)?;
    world.configure(&format!("[Upload]\nUrl={}/submit\nProtocol=socorro\n", door.address))?;
    let id = world.crash(&mut Command::new(built_programs()?.join("till")))?;
    Ok(Scene { world, server, door, id })
}

#[test]
fn the_server_sees_no_connection_before_consent_and_exactly_one_report_after_it() -> Result<()> {
    let scene = crashed_till_with_a_server()?;
    let (world, id) = (&scene.world, scene.id.as_str());
    world.list()?;
    world.info(id)?;
    world.ask(&["status"])?;
    world.ask(&["preview", id, "-o", &world.work("preview.zip").display().to_string()])?;
    // Without a terminal nobody can say yes: sending without an answer sends nothing.
    run(world.foretrace().args(["send", id]))?;
    run(world.foretrace().args(["send", "--all"]))?;
    ensure!(scene.door.opened() == 0, "{} connections before consent", scene.door.opened());
    world.ask(&["consent", id, "--grant", "trail"])?;
    ensure!(scene.door.opened() == 0, "the answer alone opened a connection");
    world.ask(&["send", id])?;
    ensure!(scene.door.opened() == 1, "{} connections for one report", scene.door.opened());
    ensure!(scene.server.stored_reports()? == 1, "{} reports stored", scene.server.stored_reports()?);
    // Asked again, there is nothing left to send.
    run(world.foretrace().args(["send", "--all"]))?;
    ensure!(scene.server.stored_reports()? == 1, "a second copy was stored");
    let row = &world.list()?[0];
    ensure!(row["delivery"] == "sent", "{row}");
    Ok(())
}

#[test]
fn preview_shows_the_very_bytes_of_outgoing_zip() -> Result<()> {
    let scene = crashed_till_with_a_server()?;
    let (world, id) = (&scene.world, scene.id.as_str());
    for grant in ["summary", "trail", "memory"] {
        let shown = world.work("preview.zip");
        world.ask(&["preview", id, "--grant", grant, "-o", &shown.display().to_string()])?;
        world.ask(&["consent", id, "--grant", grant])?;
        ensure!(fs::read(&shown)? == fs::read(outgoing(&scene))?, "{grant}: other bytes than the preview's");
    }
    Ok(())
}

#[test]
fn with_one_byte_changed_send_refuses() -> Result<()> {
    let scene = crashed_till_with_a_server()?;
    let (world, id) = (&scene.world, scene.id.as_str());
    world.ask(&["consent", id, "--grant", "trail"])?;
    let mut bytes = fs::read(outgoing(&scene))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(outgoing(&scene), bytes)?;
    let refused = run(world.foretrace().args(["send", id]))?;
    ensure!(!refused.status.success(), "send ended with success: {refused}");
    let said = refused.text() + &refused.errors();
    ensure!(said.contains("changed since it was agreed to"), "not a word of why: {refused}");
    ensure!(scene.door.opened() == 0, "a connection was opened for changed bytes");
    Ok(())
}

#[test]
fn what_was_personal_or_secret_does_not_leave_with_the_trail() -> Result<()> {
    let scene = crashed_till_with_a_server()?;
    let (world, id) = (&scene.world, scene.id.as_str());
    let local = foretrace_tests::evidence::Evidence::open(world, id)?;
    ensure!(local.holds(b"customer-3@example.org").is_some(), "the personal field was not recorded at all");
    ensure!(!local.trail.events.is_empty(), "no events");
    for part in local.parts.iter().filter(|(name, _)| name.starts_with("trace/")) {
        ensure!(
            !part.1.windows(9).any(|window| window == b"4000-1234"),
            "the secret was recorded in {}",
            part.0
        );
    }
    world.ask(&["consent", id, "--grant", "logs"])?;
    let leaving = foretrace_tests::evidence::Evidence::read(&outgoing(&scene))?;
    for secret in ["customer-3@example.org", "@example.org", "4000-1234", "Ada Lovelace"] {
        ensure!(
            leaving.holds(secret.as_bytes()).is_none(),
            "{secret} leaves in {:?}",
            leaving.holds(secret.as_bytes())
        );
    }
    ensure!(leaving.events("order").len() == local.events("order").len(), "redaction lost events");
    ensure!(leaving.crashed_functions() == local.crashed_functions(), "redaction changed the backtrace");
    ensure!(
        leaving.parts.iter().all(|(name, _)| name != "minidump.dmp"),
        "a minidump leaves without 'memory'"
    );
    Ok(())
}

fn outgoing(scene: &Scene) -> std::path::PathBuf {
    scene.world.root().join("var/lib/foretrace/reports/0").join(&scene.id).join("outgoing.zip")
}
