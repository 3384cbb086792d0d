//! What is taken, what is turned away, and with which words.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use foretrace_report::receipt::Protocol;
use foretrace_report::wire;
use serde_json::json;

use crate::server::{Answer, Server};
use crate::submission::*;

fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    (folder, server)
}

fn reports(server: &Server) -> u64 {
    server.get("/healthz").json()["reports"].as_u64().unwrap()
}

fn files(folder: &Path) -> usize {
    let is_folder = |entry: &fs::DirEntry| entry.path().is_dir();
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| if is_folder(&entry) { files(&entry.path()) } else { 1 }).sum()
}

fn crash_id(number: u8) -> String {
    let digits = id(number);
    format!(
        "CrashID=bp-{}-{}-{}-{}-{}\n",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}

#[test]
fn a_report_is_taken_and_comes_back_byte_by_byte() {
    let (_folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[("logs/kernel", b"a line\n")]);
    let answer = server.post(&[MULTIPART], &usual_body(&bundle));
    assert_eq!((answer.status, answer.text()), (200, crash_id(1)));
    assert!(server.get(&format!("/report/{}/bundle.zip", id(1))).body == bundle);
    assert_eq!(reports(&server), 1);
}

#[test]
fn what_our_own_client_sends_is_taken() {
    let (_folder, server) = server();
    let outgoing = bundle(&report(1, json!({})), &[("minidump.dmp", b"MDMP")]);
    let mut outgoing = std::io::Cursor::new(outgoing);
    let plan = wire::plan(Protocol::Socorro, &mut outgoing, "").unwrap();
    let body = gzip(&wire::assemble(&plan, &mut outgoing).unwrap());
    let answer = server.post(&[("Content-Type", &plan.content_type), GZIP], &body);
    assert_eq!((answer.status, answer.text()), (200, crash_id(1)));
    assert_eq!(server.get(&format!("/report/{}/minidump.dmp", id(1))).body, b"MDMP");
    assert_eq!(server.get(&format!("/api/report/{}", id(1))).json()["problems"], json!([]));
}

#[test]
fn annotations_may_be_fields_of_their_own() {
    let (_folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[]);
    let parts: [Part<'_>; 2] =
        [("ProductName", None, b"hello"), ("upload_file_foretrace", Some("outgoing.zip"), &bundle)];
    assert_eq!(server.post(&[MULTIPART], &body(&parts)).status, 200);
    assert_eq!(
        server.get(&format!("/api/report/{}", id(1))).json()["annotations"],
        json!({"ProductName": "hello"})
    );
}

#[test]
fn the_same_report_again_is_stored_once_and_answered_alike() {
    let (folder, server) = server();
    let first = bundle(&report(1, json!({})), &[]);
    assert_eq!(send(&server, &first).text(), crash_id(1));
    let kept = files(&folder.path().join("blobs"));
    assert_eq!(send(&server, &first).text(), crash_id(1));
    // The id decides, not the bytes.
    assert_eq!(send(&server, &bundle(&report(1, json!({"signature": "another"})), &[])).text(), crash_id(1));
    assert_eq!(reports(&server), 1);
    assert_eq!(files(&folder.path().join("blobs")), kept);
    assert_eq!(server.get("/api/problems").json()["problems"][0]["count"], 1);
}

#[test]
fn reports_with_one_signature_are_one_problem() {
    let (_folder, server) = server();
    for number in 1..=3 {
        let signature = if number == 3 { "other" } else { "same" };
        sent(&server, &report(number, json!({"signature": signature})), &[]);
    }
    let problems = server.get("/api/problems?sort=count").json();
    assert_eq!(problems["total"], 2);
    assert_eq!(problems["problems"][0]["signature"], "same");
    assert_eq!(problems["problems"][0]["count"], 2);
    assert_eq!(problems["problems"][0]["newest"], id(2));
}

#[test]
fn a_bundle_that_cannot_be_read_is_kept_and_says_why() {
    let (_folder, server) = server();
    let answer = server.post(&[MULTIPART], &usual_body(b"no zip at all"));
    assert_eq!(answer.status, 200);
    let again = server.post(&[MULTIPART], &usual_body(b"no zip at all"));
    assert_eq!(answer.text(), again.text());
    let problem = &server.get("/api/problems").json()["problems"][0];
    assert_eq!((problem["signature"].as_str(), problem["count"].as_u64()), (Some("unreadable"), Some(1)));
    let report = problem["newest"].as_str().unwrap();
    assert_eq!(server.get(&format!("/report/{report}/bundle.zip")).body, b"no zip at all");
    let page = server.get(&format!("/report/{report}"));
    assert_eq!(page.status, 200);
    assert!(page.text().contains("The bundle cannot be read"));
}

#[test]
fn a_minidump_alone_is_kept_as_other_reporters_send_it() {
    let (_folder, server) = server();
    let parts: [Part<'_>; 2] = [("prod", None, b"hello"), ("upload_file_minidump", Some("x.dmp"), b"MDMP")];
    assert_eq!(server.post(&[MULTIPART], &body(&parts)).status, 200);
    let problem = &server.get("/api/problems").json()["problems"][0];
    assert_eq!(problem["signature"], "unreadable");
    assert_eq!(problem["programs"], json!(["hello"]));
}

#[test]
fn what_will_never_be_taken_is_named() {
    let (folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[]);
    let file: Part<'_> = ("upload_file_foretrace", Some("outgoing.zip"), &bundle);
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Headers<'_>, Vec<u8>); 12] = [
        ("wrong_content_type", &[("Content-Type", "application/json")], usual_body(&bundle)),
        ("wrong_content_type", &[], usual_body(&bundle)),
        ("wrong_content_type", &[("Content-Type", "multipart/form-data")], usual_body(&bundle)),
        ("no_annotations", &[MULTIPART], body(&[file])),
        ("no_annotations", &[MULTIPART], body(&[])),
        ("no_report", &[MULTIPART], body(&[("extra", None, b"{\"a\": \"b\"}")])),
        ("has_json_and_kv", &[MULTIPART], body(&[("a", None, b"b"), ("extra", None, b"{}"), file])),
        ("invalid_json", &[MULTIPART], body(&[("extra", None, b"[1"), file])),
        ("invalid_json_value", &[MULTIPART], body(&[("extra", None, b"{\"a\": 1}"), file])),
        ("invalid_payload_structure", &[MULTIPART], body(&[("", None, b"b"), file])),
        ("bad_gzip", &[MULTIPART, GZIP], usual_body(&bundle)),
        ("bad_gzip", &[MULTIPART, GZIP], {
            let whole = gzip(&usual_body(&bundle));
            whole[..whole.len() / 2].to_vec()
        }),
    ];
    for (word, headers, body) in cases {
        let answer = server.post(headers, &body);
        assert_eq!(
            (answer.status, answer.text()),
            (400, format!("Discarded=malformed_{word}\n")),
            "{headers:?}"
        );
    }
    let unknown = server.post(&[MULTIPART, ("Content-Encoding", "zstd")], &usual_body(&bundle));
    assert_eq!(unknown.status, 415);
    assert_eq!(reports(&server), 0);
    assert_eq!(files(&folder.path().join("blobs")), 0);
}

#[test]
fn a_body_cut_at_any_place_is_malformed_and_leaves_nothing() {
    let (folder, server) = server();
    let whole = usual_body(&bundle(&report(1, json!({})), &[]));
    for end in (0..whole.len() - 2).step_by(61).chain([whole.len() - 4]) {
        let answer = server.post(&[MULTIPART], &whole[..end]);
        assert_eq!(answer.status, 400, "cut at {end}: {}", answer.text());
        assert!(answer.text().starts_with("Discarded=malformed_"));
    }
    assert_eq!(reports(&server), 0);
    assert_eq!(files(&folder.path().join("blobs")), 0);
}

#[test]
fn a_connection_that_breaks_leaves_nothing() {
    let (folder, server) = server();
    let body = usual_body(&vec![7; 5 << 20]);
    let head = format!(
        "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        MULTIPART.1,
        body.len()
    );
    server.cut_short(&[head.as_bytes(), &body[..4 << 20]].concat());
    let patience = Instant::now();
    while files(&folder.path().join("blobs")) > 0 {
        assert!(patience.elapsed() < Duration::from_secs(10), "an unfinished file stays behind");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(reports(&server), 0);
}

#[test]
fn a_length_that_is_not_told_is_malformed() {
    let (_folder, server) = server();
    let body = usual_body(&bundle(&report(1, json!({})), &[]));
    let mut request = format!(
        "POST /submit HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        MULTIPART.1,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = server.exchange(&request);
    assert_eq!((answer.status, answer.text().as_str()), (400, "Discarded=malformed_no_content_length\n"));
}

#[test]
fn a_body_that_is_too_large_is_refused_and_hears_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--max-body", "1M"]);
    let answer = server.post(&[MULTIPART], &usual_body(&vec![7; 3 << 20]));
    assert_eq!((answer.status, answer.text().as_str()), (413, "Discarded=too_large\n"));
    // As it comes in it is small enough; the limit is met in the middle of it.
    let unfolding = [noise(900_000), vec![0; 400_000]].concat();
    let answer = server.post(&[MULTIPART, GZIP], &gzip(&usual_body(&unfolding)));
    assert_eq!((answer.status, answer.text().as_str()), (413, "Discarded=too_large\n"));
    assert_eq!(server.post(&[MULTIPART, GZIP], &gzip(&usual_body(&noise(900_000)))).status, 200);
}

#[test]
fn a_gzip_bomb_is_refused_before_it_unfolds() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(folder.path(), &["--max-body", "2M"]);
    let bomb = gzip(&usual_body(&vec![0; 80 << 20]));
    assert!(bomb.len() < 1 << 20);
    let answer = server.post(&[MULTIPART, GZIP], &bomb);
    assert_eq!((answer.status, answer.text().as_str()), (413, "Discarded=too_large\n"));
    assert!(!server.ended());
    assert_eq!(files(&folder.path().join("blobs")), 0);
}

#[test]
fn annotations_beyond_reason_are_refused() {
    let (_folder, server) = server();
    let huge = body(&[("a", None, &vec![b'a'; 2 << 20])]);
    assert_eq!(server.post(&[MULTIPART], &huge).status, 413);
    let part: Part<'_> = ("a", None, b"b");
    let answer = server.post(&[MULTIPART], &body(&vec![part; 2000]));
    assert_eq!(answer.text(), "Discarded=malformed_too_many_parts\n");
}

#[test]
fn a_store_that_fails_asks_to_try_again_and_promises_nothing() {
    let (folder, server) = server();
    // A file where the directory for unfinished files was: no privilege helps against that.
    let unfinished = folder.path().join("blobs/tmp");
    fs::remove_dir(&unfinished).unwrap();
    fs::write(&unfinished, "").unwrap();
    let bundle = bundle(&report(1, json!({})), &[]);
    let answer = send(&server, &bundle);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("60")));
    assert_eq!(reports(&server), 0);

    fs::remove_file(&unfinished).unwrap();
    fs::create_dir(&unfinished).unwrap();
    assert_eq!(send(&server, &bundle).text(), crash_id(1));
    assert_eq!(reports(&server), 1);
}

#[test]
fn a_database_that_fails_half_way_keeps_nothing_of_the_report() {
    let (folder, server) = server();
    let database = rusqlite::Connection::open(folder.path().join("reports.sqlite")).unwrap();
    database.execute_batch("ALTER TABLE facets RENAME TO gone").unwrap();
    let bundle = bundle(&report(1, json!({})), &[]);
    assert_eq!(send(&server, &bundle).status, 503);
    assert_eq!(server.get(&format!("/report/{}", id(1))).status, 404);

    database.execute_batch("ALTER TABLE gone RENAME TO facets").unwrap();
    assert_eq!(send(&server, &bundle).text(), crash_id(1));
    assert_eq!(reports(&server), 1);
}

#[test]
fn a_bundle_that_unpacks_beyond_reason_is_kept_packed() {
    let (_folder, server) = server();
    let endless = bundle(&report(1, json!({"message": "a".repeat(17 << 20)})), &[]);
    assert!(endless.len() < 1 << 20);
    assert_eq!(send(&server, &endless).status, 200);
    let problem = &server.get("/api/problems").json()["problems"][0];
    let report_page = server.get(&format!("/report/{}", problem["newest"].as_str().unwrap()));
    assert!(report_page.text().contains("larger than allowed"));

    sent(
        &server,
        &report(2, json!({})),
        &[("trace/1/metadata", b"x"), ("trace/1/a.ctf", &vec![0; 17 << 20])],
    );
    let report_page = server.get(&format!("/report/{}", id(2)));
    assert!(report_page.text().contains("larger than 16 MiB"));
    assert!(report_page.text().contains("hello crashed"));
}

#[test]
fn a_hundred_senders_at_once_are_all_heard() {
    let (_folder, server) = server();
    std::thread::scope(|scope| {
        for number in 0..100 {
            let server = &server;
            scope.spawn(move || {
                let bundle = bundle(&report(number, json!({"signature": format!("f{}", number % 7)})), &[]);
                assert_eq!(send(server, &bundle).text(), crash_id(number));
            });
        }
    });
    assert_eq!(reports(&server), 100);
    let problems = server.get("/api/problems").json();
    assert_eq!(problems["total"], 7);
    let counts = problems["problems"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 100);
}

#[test]
fn the_same_report_from_many_senders_at_once_counts_once() {
    let (_folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[]);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(send(&server, &bundle).text(), crash_id(1)));
        }
    });
    assert_eq!(reports(&server), 1);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let bundle = bundle(&report(1, json!({})), &[]);
    assert_eq!(send(&server, &bundle).status, 200);
    server.end("-KILL");
    let server = Server::start(folder.path());
    assert_eq!(reports(&server), 1);
    assert!(server.get(&format!("/report/{}/bundle.zip", id(1))).body == bundle);
    assert_eq!(send(&server, &bundle).text(), crash_id(1));
    assert_eq!(reports(&server), 1);
}

#[test]
fn a_request_under_way_is_finished_when_the_server_is_told_to_end() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path());
        let body = usual_body(&bundle(&report(1, json!({})), &[]));
        let head = format!(
            "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            MULTIPART.1,
            body.len()
        );
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(&[head.as_bytes(), &body[..100]].concat()).unwrap();
        // The connection must have been accepted; the answer to another one says that it was.
        assert_eq!(server.get("/healthz").status, 200);
        server.signal(signal);
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(&body[100..]).unwrap();
        assert_eq!(Answer::read(stream).text(), crash_id(1));
        assert_eq!(server.end("-0"), Some(0));
        assert_eq!(reports(&Server::start(folder.path())), 1);
    }
}

#[test]
fn a_second_server_on_the_same_data_says_so() {
    let (folder, _server) = server();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_foretrace-server"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another foretrace-server"));
}

// Bytes that no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
