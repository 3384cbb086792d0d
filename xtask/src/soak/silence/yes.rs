//! After a yes: for each dialect, reports that are sent, killed on their way, taken back on their way; what the packets
//! said is held against what was agreed to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use foretrace_report::Preset;
use foretrace_report::receipt::{Answer, Consent, Protocol};
use foretrace_tests::server::Server;

use super::Stage;
use super::wire::{self, Agreement, Seen};
use crate::build::say;
use crate::interrupt;

/// Packets after which a report is on its way: a connection and a head.
const ON_ITS_WAY: usize = 12;

/// The time in which a sender is killed whose line is slow.
const SLOW: Duration = Duration::from_millis(800);

/// The time after which a connection that says nothing has said everything.
const GOODBYE: Duration = Duration::from_millis(120);

/// Answers yes for all reports, a share of them in each dialect.
///
/// # Errors
/// Anything on the wire that nobody agreed to.
pub fn prove(stage: &mut Stage, ids: &[String]) -> Result<()> {
    println!(
        "{:<10} {:>8} {:>6} {:>6} {:>10} {:>10}",
        "dialect", "reports", "whole", "cut", "questions", "bytes"
    );
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let share: Vec<&String> = ids.iter().skip(number).step_by(Protocol::ALL.len()).collect();
        say(&format!("yes, {} times, for {}", share.len(), protocol.name()));
        let receiver = Receiver::start(stage, protocol)?;
        let agreements = send(stage, protocol, &receiver, &share)?;
        let mut seen = Seen::default();
        for stream in stage.network.said()?.iter().filter(|stream| stream.port == receiver.port) {
            wire::check(stream, &agreements, &mut seen).with_context(|| protocol.name())?;
        }
        ensure!(seen.whole > 0, "{}: nothing arrived", protocol.name());
        println!(
            "{:<10} {:>8} {:>6} {:>6} {:>10} {:>10}",
            protocol.name(),
            share.len(),
            seen.whole,
            seen.cut,
            seen.questions,
            seen.bytes
        );
        stage.ports.push(receiver.port);
    }
    let said = stage.network.said()?;
    let stranger = said.iter().find(|stream| !stage.ports.contains(&stream.port));
    ensure!(stranger.is_none(), "somebody spoke to port {:?}", stranger.map(|stream| stream.port));
    let strangers = stage.network.strangers();
    ensure!(strangers == 0, "{strangers} packets that are no TCP on loopback");
    println!("nothing else was on any interface");
    Ok(())
}

fn send(
    stage: &mut Stage,
    protocol: Protocol,
    receiver: &Receiver,
    ids: &[&String],
) -> Result<Vec<Agreement>> {
    let settings = format!("[Upload]\nUrl={}\nProtocol={}\n", receiver.url, protocol.name());
    let mut agreements = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        interrupt::check()?;
        stage.world.configure(&settings)?;
        let before = quiet(stage);
        let preset = Preset::ALL[number % Preset::ALL.len()];
        let widest = preset.classes().is_subset(foretrace_report::wire::carried(protocol));
        let grant = if widest { preset } else { Preset(foretrace_report::Class::Summary) };
        stage.world.ask(&["consent", id, "--grant", grant.0.name()])?;
        agreements.push(agreement(stage, id, grant)?);
        ensure!(stage.network.packets() == before, "{id}: packets with the answer alone");
        match number % 4 {
            0 | 1 => stage.run(&["send", "--now", id])?,
            kind => {
                stage.world.configure(&format!("{settings}Rate=200K\n"))?;
                match kind {
                    2 => stage.killed(&["send", "--now", id], SLOW)?,
                    _ => taken_back_on_its_way(stage, id)?,
                }
            }
        }
    }
    stage.world.configure(&settings)?;
    // What was killed goes on, four at a time; what was taken back does not.
    stage.run(&["send", "--all", "--now"])?;
    Ok(agreements)
}

/// How many packets there were, once the last connection has said its goodbyes.
fn quiet(stage: &Stage) -> usize {
    let mut before = stage.network.packets();
    loop {
        thread::sleep(GOODBYE);
        match stage.network.packets() {
            same if same == before => return same,
            more => before = more,
        }
    }
}

fn agreement(stage: &Stage, id: &str, grant: Preset) -> Result<Agreement> {
    let folder = stage.world.root().join("var/lib/foretrace/reports/0").join(id);
    let consent: Consent = serde_json::from_slice(&fs::read(folder.join("consent.json"))?)?;
    let Answer::Granted(receipt) = consent.answer else { bail!("{id}: a yes that is none") };
    Agreement::new(fs::read(folder.join("outgoing.zip"))?, &receipt, grant.classes())
        .with_context(|| id.to_owned())
}

fn taken_back_on_its_way(stage: &Stage, id: &str) -> Result<()> {
    let before = stage.network.packets();
    let mut command = stage.world.foretrace();
    let quiet =
        command.args(["send", "--now", id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut sender = quiet.spawn()?;
    let began = Instant::now();
    while stage.network.packets() < before + ON_ITS_WAY
        && sender.try_wait()?.is_none()
        && began.elapsed() < SLOW * 5
    {
        thread::sleep(Duration::from_millis(2));
    }
    stage.run(&["consent", id, "--revoke"])?;
    sender.wait()?;
    Ok(())
}

/// A server of one dialect, inside of the network.
struct Receiver {
    url: String,
    port: u16,
    // Ends with the receiver.
    _ours: Option<Server>,
}

impl Receiver {
    fn start(stage: &Stage, protocol: Protocol) -> Result<Receiver> {
        if protocol == Protocol::Foretrace {
            let data = stage.world.work("server");
            let server = Server::start(&stage.world.program("foretrace-server"), "127.0.0.1:0", &data)?;
            let port = server.address.rsplit(':').next().context("no port")?.parse()?;
            return Ok(Receiver { url: format!("{}/reports", server.address), port, _ours: Some(server) });
        }
        let (listener, answer) = (TcpListener::bind("127.0.0.1:0")?, stored(protocol));
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream, answer));
            }
        });
        let url = match protocol {
            Protocol::Sentry => format!("http://key@{address}/1"),
            _ => format!("http://{address}/take"),
        };
        Ok(Receiver { url, port: address.port(), _ours: None })
    }
}

/// What a server of the dialect says of what it has stored.
fn stored(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Socorro => "CrashID=bp-7\n",
        Protocol::Faf => r#"{"result":true,"bthash":"bp-7"}"#,
        Protocol::Sentry => r#"{"id":"bp-7"}"#,
        Protocol::Otlp | Protocol::Foretrace => "{}",
    }
}

// Ends with the connection, or with a request that is none: the packets are what is looked at.
fn serve(stream: TcpStream, answer: &str) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 2 {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.insert(name.to_lowercase(), value.trim().to_owned());
            line.clear();
        }
        let length = headers.get("content-length")?.parse().ok()?;
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
}
