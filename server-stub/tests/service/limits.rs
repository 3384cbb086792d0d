//! What a stranger's connection may take up: time to say what it wants, and a place among others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::Server;

fn connected(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What comes until the server closes, and how long that took.
fn until_closed(mut stream: &TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server closes before the client gives up");
    (String::from_utf8_lossy(&bytes).into_owned(), began.elapsed())
}

#[test]
fn a_head_that_never_ends_and_an_idle_connection_are_closed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--idle", "1"]);
    let mut slow = connected(&server);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let mut idle = connected(&server);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (_, took) = until_closed(&slow);
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(10), "{took:?}");
    let (answer, _) = until_closed(&idle);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.get("/healthz").status, 200, "others are served");
}

#[test]
fn one_connection_too_many_waits_for_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--connections", "2", "--idle", "20"]);
    let hold = || {
        let mut stream = connected(&server);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    let (first, _second) = (hold(), hold());
    let mut third = connected(&server);
    third.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(third.read(&mut [0; 1]).is_err(), "nobody answers while both places are taken");
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (answer, _) = until_closed(&third);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
