//! Nothing leaves before a yes; what leaves is what was shown; and nothing else can be made to leave.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::server::Server;
use foretrace_tests::world::{Installed, built_programs};

/// A door before the real server that counts who comes.
struct Door {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Door {
    fn before(server: &Server) -> Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let behind = server.address.strip_prefix("http://").context("no http address")?.to_owned();
        thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                if let Ok(host) = TcpStream::connect(&behind) {
                    join(&guest, &host);
                }
            }
        });
        Ok(Door { address, connections })
    }

    fn opened(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Copies both ways until either side ends.
fn join(guest: &TcpStream, host: &TcpStream) {
    for (from, to) in [(guest, host), (host, guest)] {
        if let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) {
            thread::spawn(move || {
                let mut piece = [0; 65536];
                while let Ok(n @ 1..) = from.read(&mut piece) {
                    if to.write_all(&piece[..n]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

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

fn stored_reports(server: &Server) -> Result<usize> {
    let answer = http_get(&server.address, "/api/problems")?;
    let problems: serde_json::Value = serde_json::from_str(&answer)?;
    let rows =
        problems.as_array().or_else(|| problems["problems"].as_array()).context("no list of problems")?;
    Ok(rows.iter().filter_map(|row| row["count"].as_u64()).sum::<u64>() as usize)
}

fn http_get(address: &str, path: &str) -> Result<String> {
    let host = address.strip_prefix("http://").context("no http address")?;
    let mut connection = TcpStream::connect(host)?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
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
    ensure!(stored_reports(&scene.server)? == 1, "{} reports stored", stored_reports(&scene.server)?);
    // Asked again, there is nothing left to send.
    run(world.foretrace().args(["send", "--all"]))?;
    ensure!(stored_reports(&scene.server)? == 1, "a second copy was stored");
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
