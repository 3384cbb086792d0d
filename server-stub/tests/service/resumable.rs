//! Resumable uploads, envelopes, questions and erasures, byte by byte over real sockets.

use foretrace_report::bundle::{ERASURE, hex};
use foretrace_report::wire::foretrace::metadata;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::server::{Answer, Server};
use crate::submission::*;

fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    (folder, server)
}

fn tus(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = vec![("Tus-Resumable", "1.0.0")];
    all.extend_from_slice(headers);
    server.request(method, path, &all, body)
}

fn described(bundle: &[u8]) -> String {
    metadata(&[("sha256", &hex(&Sha256::digest(bundle)))])
}

const STREAM: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// Announces an upload without any of it; returns its address.
fn announced(server: &Server, bundle: &[u8], description: &str) -> String {
    let length = bundle.len().to_string();
    let headers = [("Upload-Length", length.as_str()), ("Upload-Metadata", description)];
    let answer = tus(server, "POST", "/reports", &headers, b"");
    assert_eq!((answer.status, answer.header("upload-offset")), (201, Some("0")), "{}", answer.head);
    answer.header("location").unwrap().to_owned()
}

#[test]
fn an_upload_that_breaks_off_is_gone_on_with_also_after_a_restart() {
    let (folder, server) = server();
    let noise: Vec<u8> =
        (0..300_000u32).flat_map(|n| Sha256::digest(n.to_le_bytes())[..1].to_vec()).collect();
    let bundle = bundle(&report(1, json!({})), &[("minidump.dmp", &noise)]);
    let place = announced(&server, &bundle, &described(&bundle));
    let half = bundle.len() / 2;
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        bundle.len()
    );
    server.cut_short(&[head.as_bytes(), &bundle[..half]].concat());
    let offset =
        |server: &Server| tus(server, "HEAD", &place, &[], b"").header("upload-offset").map(str::to_owned);
    assert_eq!(offset(&server), Some(half.to_string()));
    assert_eq!(server.end("-KILL"), None);

    let server = Server::start(folder.path());
    assert_eq!(offset(&server), Some(half.to_string()));
    let at = half.to_string();
    assert_eq!(tus(&server, "PATCH", &place, &[("Upload-Offset", "3"), STREAM], b"x").status, 409);
    let answer = tus(&server, "PATCH", &place, &[("Upload-Offset", &at), STREAM], &bundle[half..]);
    assert_eq!((answer.status, answer.header("foretrace-report").is_some()), (204, true), "{}", answer.head);
    assert!(server.get(&format!("/report/{}/bundle.zip", id(1))).body == bundle);
    // Whoever missed the answer asks and hears that all of it is there.
    assert_eq!(offset(&server), Some(bundle.len().to_string()));
}

#[test]
fn a_report_may_come_along_with_its_announcement_and_is_kept_once() {
    let (_folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[]);
    let length = bundle.len().to_string();
    for _ in 0..2 {
        let described = described(&bundle);
        let headers = [("Upload-Length", length.as_str()), ("Upload-Metadata", described.as_str()), STREAM];
        let answer = tus(&server, "POST", "/reports", &headers, &bundle);
        assert_eq!((answer.status, answer.header("upload-offset")), (201, Some(length.as_str())));
    }
    assert_eq!(server.get("/healthz").json()["reports"], 1);
}

#[test]
fn a_damaged_upload_and_a_wrong_protocol_leave_nothing() {
    let (folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[]);
    let place = announced(&server, &bundle, &metadata(&[("sha256", &"0".repeat(64))]));
    let answer = tus(&server, "PATCH", &place, &[("Upload-Offset", "0"), STREAM], &bundle);
    assert_eq!(answer.status, 460);
    assert_eq!(tus(&server, "HEAD", &place, &[], b"").status, 404);
    let too_long = ("Upload-Length", "99999999999");
    for (method, path, headers, status) in [
        ("POST", "/reports", vec![], 412),
        ("POST", "/reports", vec![("Tus-Resumable", "0.2")], 412),
        ("POST", "/reports", vec![("Tus-Resumable", "1.0.0")], 400),
        ("POST", "/reports", vec![("Tus-Resumable", "1.0.0"), too_long], 413),
        ("PATCH", place.as_str(), vec![("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0")], 415),
        ("PATCH", "/reports/upload/../../etc", vec![("Tus-Resumable", "1.0.0"), STREAM], 404),
        ("OPTIONS", "/reports", vec![], 204),
    ] {
        assert_eq!(server.request(method, path, &headers, b"").status, status, "{method} {path} {headers:?}");
    }
    let more = announced(&server, &bundle, "");
    let longer = [&bundle[..], b"x"].concat();
    assert_eq!(tus(&server, "PATCH", &more, &[("Upload-Offset", "0"), STREAM], &longer).status, 400);
    assert_eq!(tus(&server, "DELETE", &more, &[], b"").status, 204);
    assert_eq!(server.get("/healthz").json()["reports"], 0);
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
}

#[test]
fn an_envelope_of_ours_is_the_bundle_and_one_of_others_becomes_a_report() {
    let (_folder, server) = server();
    let bundle = bundle(&report(1, json!({})), &[("minidump.dmp", b"MDMP")]);
    let mut outgoing = std::io::Cursor::new(bundle.clone());
    let plan =
        foretrace_report::wire::plan(foretrace_report::receipt::Protocol::Sentry, &mut outgoing, "").unwrap();
    let body = gzip(&foretrace_report::wire::assemble(&plan, &mut outgoing).unwrap());
    let post =
        |body: &[u8], headers: &[(&str, &str)]| server.request("POST", "/api/1/envelope/", headers, body);
    let answer = post(&body, &[GZIP]);
    assert_eq!((answer.status, answer.json()), (200, json!({"id": id(1)})));
    assert!(server.get(&format!("/report/{}/bundle.zip", id(1))).body == bundle);
    assert_eq!(server.get(&format!("/report/{}/minidump.dmp", id(1))).body, b"MDMP");

    let event = json!({"level": "fatal", "exception": {"values": [{"type": "E", "stacktrace": {"frames": [
        {"function": "main"}, {"function": "paint"}]}}]}});
    let envelope = format!("{}\n{}\n{event}\n", json!({"event_id": id(2)}), json!({"type": "event"}));
    assert_eq!(post(envelope.as_bytes(), &[]).json(), json!({"id": id(2)}));
    assert_eq!(server.get(&format!("/api/report/{}", id(2))).json()["signature"], "paint");
    assert_eq!(post(b"{}\n{\"type\":\"session\"}\n{}\n", &[]).json(), json!({}));
    assert_eq!(post(b"nonsense", &[]).status, 400);
    assert_eq!(server.get("/healthz").json()["reports"], 2);
}

#[test]
fn a_question_is_answered_with_what_was_marked_beside_the_running_server() {
    let (folder, server) = server();
    let question =
        json!({"schema": 1, "kind": "crash", "program": "hello", "signature": "hello::work | main"});
    let asked = || server.request("POST", "/reports/question", &[], question.to_string().as_bytes()).json();
    assert_eq!(asked(), json!({"answer": "send"}));
    let mark = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_foretrace-server"));
        command
            .args(["mark", "--signature", "hello::work | main", "--data"])
            .arg(folder.path())
            .args(arguments);
        command.output().unwrap().status.success()
    };
    assert!(mark(&["--fixed-in", "2.3.1", "--want", "stack"]));
    assert_eq!(asked(), json!({"answer": "send", "classes": ["summary", "stack"], "fixed_in": "2.3.1"}));
    assert!(mark(&["--want", "stop"]));
    assert_eq!(asked(), json!({"answer": "stop", "fixed_in": "2.3.1"}));
    assert!(!mark(&["--want", "everything and more"]));
    assert_eq!(server.request("POST", "/reports/question", &[], b"{}").status, 400);
}

#[test]
fn a_report_is_erased_with_its_token_only_and_does_not_come_back() {
    let (folder, server) = server();
    let digest = hex(&Sha256::digest("the token"));
    let bundle = bundle(&report(1, json!({})), &[(ERASURE, digest.as_bytes())]);
    assert_eq!(send(&server, &bundle).status, 200);
    let erase = |server: &Server, token: &str| {
        let token = format!("Bearer {token}");
        server.request("DELETE", &format!("/reports/{}", id(1)), &[("Authorization", &token)], b"").status
    };
    assert_eq!(erase(&server, "another"), 404);
    assert_eq!(server.request("DELETE", &format!("/reports/{}", id(1)), &[], b"").status, 401);
    assert_eq!(erase(&server, "the token"), 204);
    assert_eq!(server.get(&format!("/report/{}", id(1))).status, 404);
    assert_eq!(server.get("/api/problems").json()["total"], 0);
    let answer = send(&server, &bundle);
    assert_eq!((answer.status, answer.text().as_str()), (410, "Discarded=erased\n"));
    assert_eq!(server.end("-KILL"), None);
    let server = Server::start(folder.path());
    assert_eq!(erase(&server, "the token"), 204, "asked again after a restart");
    let files = |path: std::path::PathBuf| {
        std::fs::read_dir(path)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|shard| std::fs::read_dir(shard.path()).unwrap().count())
            .sum::<usize>()
    };
    assert_eq!(files(folder.path().join("blobs")), 0, "no file is left");
}
