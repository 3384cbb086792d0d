//! `[Privacy] Recipient=`: what leaves is encrypted to a key that the server does not have, and Debian's age opens it.

use std::path::Path;
use std::process::Command;

use foretrace_report::bundle::hex;
use foretrace_report::receipt::{Answer, Consent, Receipt};
use foretrace_report::wire::foretrace::SEALED_MARK;
use sha2::{Digest, Sha256};

use crate::resume::{Running, our_server, started};
use crate::server::Server;
use crate::world::World;

/// A key pair of Debian's age: the file with the secret half, and the public half.
fn key(world: &World, name: &str) -> (std::path::PathBuf, String) {
    let path = world.path(name);
    let made =
        Command::new("age-keygen").arg("-o").arg(&path).output().expect("age-keygen, from the package age");
    assert!(made.status.success());
    let text = std::fs::read_to_string(&path).unwrap();
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    (path, public)
}

/// What Debian's age makes of an encrypted file.
pub fn opened(identity: &Path, sealed: &Path) -> Vec<u8> {
    let done =
        Command::new("age").args(["--decrypt", "--identity"]).arg(identity).arg(sealed).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn settings(world: &World, url: &str, protocol: &str, recipient: &str) {
    world.set(&format!("[Upload]\nUrl={url}\nProtocol={protocol}\n[Privacy]\nRecipient={recipient}\n"));
}

fn granted(world: &World) -> Receipt {
    let json = std::fs::read(world.file(world.painter_id(), "consent.json")).unwrap();
    let consent: Consent = serde_json::from_slice(&json).unwrap();
    assert!(consent.question.is_none(), "a question would tell the server in plain");
    match consent.answer {
        Answer::Granted(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

/// A `foretrace-server` with its data in the world.
pub fn real_server(world: &World) -> (Running, String) {
    let mut command = Command::new(our_server());
    let (running, address) =
        started(command.args(["--listen", "127.0.0.1:0", "--data"]).arg(world.path("data")));
    (running, format!("http://{address}"))
}

/// What the server says at an address: status and body.
pub fn page(address: &str, path: &str) -> (u16, Vec<u8>) {
    use std::io::{Read, Write};
    let host = address.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_off(split + 4);
    (status, if head.to_lowercase().contains("transfer-encoding: chunked") { unchunked(&body) } else { body })
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
    whole
}

/// The files below a folder, with their contents.
pub fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path(), std::fs::read(entry.path()).unwrap())),
        }
    }
    found
}

#[test]
fn what_leaves_is_encrypted_after_the_preview_and_only_the_recipient_opens_it() {
    let world = World::new("");
    let (identity, recipient) = key(&world, "developer");
    let (_server, address) = real_server(&world);
    settings(&world, &format!("{address}/reports"), "foretrace", &recipient);
    let id = world.painter();
    let short = id.short();
    let shown = world.path("preview.zip");
    let said = world.done(&["preview", &short, "--grant", "trail", "-o", shown.to_str().unwrap()]);
    assert!(said.text.contains(&format!("encrypted to {recipient}")), "{said:?}");
    assert!(said.text.contains("outgoing.zip.age"), "{said:?}");
    world.done(&["consent", &short, "--grant", "trail"]);
    let plain = std::fs::read(&shown).unwrap();
    assert!(!world.file(id, "outgoing.zip").exists(), "the plain bytes stay beside the encrypted ones");
    let held = std::fs::read(world.file(id, "outgoing.zip.age")).unwrap();
    let receipt = granted(&world);
    let sealed = receipt.sealed.expect("the second digest");
    assert_eq!(receipt.outgoing_sha256, hex(&Sha256::digest(&plain)), "what was shown");
    assert_eq!(
        (sealed.sha256, sealed.bytes),
        (hex(&Sha256::digest(&held)), held.len() as u64),
        "what leaves"
    );
    assert_eq!(receipt.destination.recipient, Some(recipient));

    world.done(&["send", &short]);
    let (status, body) = page(&address, &format!("/report/{id}"));
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(status == 200 && text.contains("An encrypted report"), "{status} {text}");
    assert!(!text.contains("painter"), "the server knows the program");
    let (_, arrived) = page(&address, &format!("/report/{id}/bundle.zip"));
    assert_eq!(arrived, held);
    let arrived_at = world.path("arrived.zip.age");
    std::fs::write(&arrived_at, &arrived).unwrap();
    assert_eq!(opened(&identity, &arrived_at), plain, "Debian's age gives what the preview showed");
    for (path, content) in files(&world.path("data")) {
        assert!(!content.windows(7).any(|window| window == b"painter"), "{}", path.display());
    }
    // The token whose digest went beside it erases what the server cannot read.
    let said = world.done(&["forget", &short]);
    assert!(said.text.contains("erased from this machine and at"), "{said:?}");
    assert_eq!(page(&address, &format!("/report/{id}")).0, 404);
}

#[test]
fn a_large_encrypted_report_arrives_through_a_resumable_upload() {
    let world = World::new("");
    let (identity, recipient) = key(&world, "developer");
    let (_server, address) = real_server(&world);
    settings(&world, &format!("{address}/reports"), "foretrace", &recipient);
    let noise = crate::world::noise(5 << 20);
    let id = world.report(7, "painter", &[("logs/journal", &noise)]);
    world.done(&["consent", &id.short(), "--grant", "logs"]);
    world.done(&["send", &id.short()]);
    let (_, arrived) = page(&address, &format!("/report/{id}/bundle.zip"));
    assert!(arrived.starts_with(SEALED_MARK) && arrived.len() > 4 << 20, "{}", arrived.len());
    let arrived_at = world.path("arrived.zip.age");
    std::fs::write(&arrived_at, &arrived).unwrap();
    assert!(opened(&identity, &arrived_at).starts_with(b"PK"));
}

#[test]
fn another_recipient_none_or_changed_bytes_are_not_what_was_agreed_to() {
    let server = Server::start([]);
    let world = World::new("");
    let (_, agreed) = key(&world, "first");
    let (_, other) = key(&world, "second");
    let short = world.painter().short();
    settings(&world, &server.url(), "foretrace", &agreed);
    world.done(&["consent", &short, "--grant", "trail"]);
    let held = world.file(world.painter_id(), "outgoing.zip.age");
    let bytes = std::fs::read(&held).unwrap();
    for recipient in [other.as_str(), ""] {
        settings(&world, &server.url(), "foretrace", recipient);
        let said = world.run(&["send", &short]);
        assert!(said.code == Some(1) && said.text.contains("[Privacy] Recipient="), "{said:?}");
    }
    settings(&world, &server.url(), "foretrace", &agreed);
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    std::fs::write(&held, changed).unwrap();
    let said = world.run(&["send", &short]);
    assert!(said.code == Some(1) && said.text.contains("changed since it was agreed to"), "{said:?}");
    // A yes for plain bytes is none for encrypted ones.
    settings(&world, &server.url(), "foretrace", "");
    world.done(&["consent", &short, "--grant", "trail"]);
    assert!(!held.exists());
    settings(&world, &server.url(), "foretrace", &agreed);
    assert_eq!(world.run(&["send", &short]).code, Some(1));
    assert_eq!(server.connections(), 0);
}

#[test]
fn nothing_leaves_in_plain_where_a_recipient_cannot_be_used_and_everything_else_goes_on() {
    let server = Server::start([]);
    let world = World::new("");
    let (_, good) = key(&world, "developer");
    let short = world.painter().short();
    for (protocol, recipient, words) in [
        ("socorro", good.as_str(), "only Protocol=foretrace carries encrypted reports"),
        ("otlp", good.as_str(), "only Protocol=foretrace"),
        ("foretrace", "age1nonsense", "nothing leaves until it is corrected"),
    ] {
        settings(&world, &server.url(), protocol, recipient);
        for command in [vec!["preview", &short], vec!["consent", &short, "--grant", "trail"]] {
            let said = world.run(&command);
            assert!(said.code == Some(1) && said.text.contains(words), "{said:?}");
            assert!(said.text.contains("foretrace.conf:5"), "{said:?}");
        }
        world.done(&["list"]);
        world.done(&["info", &short]);
    }
    assert!(world.done(&["status"]).text.contains("foretrace.conf:5"));
    assert_eq!(server.connections(), 0);
}
