//! The server killed while it receives, again and again: whatever it has acknowledged is there afterwards, byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use foretrace_report::ReportId;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::server::Server;
use crate::submission::*;

const ROUNDS: u8 = 8;
const SENDERS: u8 = 4;

/// What one sender knows: reports that were acknowledged, and how many were not.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<(String, Vec<u8>)>,
    unanswered: usize,
}

/// Sends new reports, in both dialects by turns, until nobody answers any more.
fn send_until_nobody_answers(
    address: &str,
    (round, sender): (u8, u8),
    noise: &[u8],
    acknowledged: &AtomicU64,
) -> Sent {
    let mut sent = Sent::default();
    for number in 0..=u8::MAX {
        let mut bytes = [round; 16];
        bytes[..2].copy_from_slice(&[sender, number]);
        let id = ReportId::from_random(bytes).to_string();
        // No two have the same content, so that each is a file of its own.
        let part = [noise, id.as_bytes()].concat();
        let bundle = bundle(&report(1, json!({"id": id})), &[("minidump.dmp", &part)]);
        let request = if number % 2 == 0 { announcement(&bundle) } else { submission(&bundle) };
        match answered(address, &request) {
            Some(true) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                sent.acknowledged.push((id, bundle));
            }
            Some(false) => panic!("{id} was refused"),
            None => {
                sent.unanswered += 1;
                return sent;
            }
        }
    }
    sent
}

fn announcement(bundle: &[u8]) -> Vec<u8> {
    let length = bundle.len();
    let head = format!(
        "POST /reports HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\nUpload-Length: {length}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), bundle].concat()
}

fn submission(bundle: &[u8]) -> Vec<u8> {
    let body = usual_body(bundle);
    let head = format!(
        "POST /submit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}: {}\r\nContent-Length: {}\r\n\r\n",
        MULTIPART.0,
        MULTIPART.1,
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Whether the server said that it has the report; none where it said nothing.
fn answered(address: &str, request: &[u8]) -> Option<bool> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    stream.write_all(request).ok()?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).ok()?;
    Some(matches!(&status, b"HTTP/1.1 200" | b"HTTP/1.1 201"))
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_server_is_killed_while_it_receives() {
    let folder = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..2_000u32).flat_map(|n| Sha256::digest(n.to_le_bytes()).to_vec()).collect();
    let (mut kept, mut unanswered) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let server = Server::start(folder.path());
        let (address, acknowledged) = (server.address.clone(), AtomicU64::new(0));
        let sent: Vec<Sent> = thread::scope(|scope| {
            let (address, acknowledged, noise) = (&address, &acknowledged, &noise);
            let send = |sender| {
                scope.spawn(move || send_until_nobody_answers(address, (round, sender), noise, acknowledged))
            };
            let senders: Vec<_> = (0..SENDERS).map(send).collect();
            // Some instant while it works, on a busy machine too.
            while acknowledged.load(Ordering::Relaxed) < 4 + u64::from(round) {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_micros(1_700 * u64::from(round)));
            assert_eq!(server.end("-KILL"), None);
            senders.into_iter().map(|sender| sender.join().unwrap()).collect()
        });
        for sent in sent {
            kept.extend(sent.acknowledged);
            unanswered += sent.unanswered;
        }
    }
    println!("{} reports acknowledged, {unanswered} on their way when the server was killed", kept.len());
    assert!(unanswered > 0);
    let server = Server::start(folder.path());
    for (id, bundle) in &kept {
        assert!(server.get(&format!("/report/{id}/bundle.zip")).body == *bundle, "{id} is not what was sent");
    }
    let there = server.get("/healthz").json()["reports"].as_u64().unwrap();
    let most = (kept.len() + unanswered) as u64;
    assert!((kept.len() as u64..=most).contains(&there), "{there} reports, {} acknowledged", kept.len());
}
