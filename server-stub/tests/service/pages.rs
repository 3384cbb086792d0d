//! What a developer sees, and what a hostile report cannot make them see.

use foretrace_ring::metadata::FieldKind;
use foretrace_ring::trail::{Level, Privacy};
use serde_json::{Value, json};

use crate::server::Server;
use crate::submission::*;
use crate::trail::{CRASH, Kind, Packet, metadata, text};

const MILLISECOND: u64 = 1_000_000;

const KINDS: [Kind<'_>; 4] = [
    (
        "request",
        Level::Info,
        &[("number", FieldKind::U64, Privacy::Public), ("path", FieldKind::Text, Privacy::Public)],
    ),
    ("slow", Level::Warn, &[("milliseconds", FieldKind::U64, Privacy::Public)]),
    (
        "refused",
        Level::Error,
        &[("user", FieldKind::Text, Privacy::Personal), ("password", FieldKind::Text, Privacy::Secret)],
    ),
    ("tick", Level::Trace, &[]),
];

fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    (folder, server)
}

fn request(number: u64, path: &str) -> Vec<u8> {
    [&number.to_le_bytes()[..], &text(path)].concat()
}

/// 2,000 requests of thread 4321 in the last 4 s, a warning and an error near the end; 50 ticks of another thread.
fn streams() -> (Vec<u8>, Vec<u8>) {
    let mut busy = Packet::new(4321, CRASH - 4000 * MILLISECOND);
    for number in 0..1998 {
        busy.event(0, CRASH - (4000 - 2 * number) * MILLISECOND, &request(number, "/index"));
    }
    busy.event(1, CRASH - 3 * MILLISECOND, &77u64.to_le_bytes());
    busy.event(2, CRASH - MILLISECOND, &[text("pseudonym-5"), vec![0]].concat());
    let mut idle = Packet::new(4400, CRASH - 3000 * MILLISECOND);
    for number in 0..50 {
        idle.event(3, CRASH - (3000 - 50 * number) * MILLISECOND, &[]);
    }
    (busy.finish(), idle.finish())
}

fn send_with_trail(server: &Server, report: &Value) {
    let (busy, idle) = streams();
    let metadata = metadata(&KINDS);
    sent(
        server,
        report,
        &[
            ("trace/4321/metadata", metadata.as_bytes()),
            ("trace/4321/slot-0.ctf", &busy),
            ("trace/4321/slot-1.ctf", &idle),
        ],
    );
}

fn page(server: &Server, path: &str) -> String {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    answer.text()
}

#[test]
fn an_empty_server_says_what_to_do() {
    let (_folder, server) = server();
    let text = page(&server, "/");
    assert!(text.contains("No reports yet"));
    assert!(text.contains(&format!("Url=http://{}/reports", server.address)));
}

#[test]
fn a_report_shows_what_the_person_wrote_what_came_and_where_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let server = Server::start(folder.path());
    let comment = json!({"comment": "I clicked <b>twice</b>\nthen it was gone"});
    sent(&server, &report(1, comment), &[("logs/journal", b"a line\n")]);
    assert_eq!(server.end("-TERM"), Some(0));
    let marked = std::process::Command::new(env!("CARGO_BIN_EXE_foretrace-server"))
        .args([
            "mark",
            "--data",
            data,
            "--signature",
            "hello::work | main",
            "--fixed-in",
            "2.11-1",
            "--want",
            "stack",
        ])
        .status();
    assert!(marked.unwrap().success());
    let server = Server::start(folder.path());
    let text = page(&server, &format!("/report/{}", id(1)));
    let fixed = "Fixed in <strong>2.11-1</strong>.";
    for words in [
        "What the person wrote",
        "I clicked &lt;b&gt;twice&lt;/b&gt;",
        fixed,
        "no more than 'stack' is wanted",
        "<dt>Came with</dt><dd>summary, stack, logs</dd>",
        "<dt>Came as</dt><dd>a Socorro submission</dd>",
    ] {
        assert!(text.contains(words), "{words}");
    }
    let key = server.get(&format!("/api/report/{}", id(1))).json()["problem"].as_str().unwrap().to_owned();
    assert!(page(&server, &format!("/problem/{key}")).contains(fixed));
}

#[test]
fn a_report_shows_what_happened_where_and_what_led_to_it() {
    let (_folder, server) = server();
    let losses = json!({"recorded": 800_000, "overwritten": 797_950, "discarded": 0});
    let notes = json!([{"key": "document", "value": "letter.odt", "privacy": "public"}]);
    send_with_trail(
        &server,
        &report(
            1,
            json!({"losses": losses, "annotations": notes,
        "problems": [{"part": "logs", "what": "There is no journal here."}]}),
        ),
    );
    let text = page(&server, &format!("/report/{}", id(1)));
    for words in [
        "hello crashed",
        "It used memory that it may not use, at address 0x0 (SIGSEGV) in hello::work (main.rs:12).",
        "hello 2.10-3",
        "Debian GNU/Linux 12 (bookworm)",
        "2,050 of 800,000 events kept. 797,950 older ones were replaced by newer ones.",
        "There is no journal here.",
        "letter.odt",
        "class=\"lane\"",
        "aria-label=\"Thread 4321: 2,000 events, 1 error, 1 warning\"",
        "aria-label=\"Thread 4400: 50 events, 0 errors, 0 warnings\"",
        "pseudonym-5",
        "withheld",
        "milliseconds",
        "recorded at src/net.rs:41",
        "trace/4321/slot-0.ctf",
    ] {
        assert!(text.contains(words), "{words}");
    }
    // The last 500 events of 2,050, then the way to the others.
    assert_eq!(text.matches("<span class=\"level\">").count(), 500);
    assert!(text.contains(&format!("/report/{}/trail?level=trace", id(1))));
}

#[test]
fn the_trail_can_be_narrowed_and_turned_page_by_page() {
    let (_folder, server) = server();
    send_with_trail(&server, &report(1, json!({})));
    let rows = |query: &str| {
        page(&server, &format!("/report/{}{query}", id(1))).matches("<span class=\"level\">").count()
    };
    assert_eq!((rows("?level=error"), rows("?level=warn"), rows("?level=nonsense")), (1, 2, 500));
    assert_eq!((rows("/trail"), rows("/trail?page=3"), rows("/trail?page=4")), (1000, 50, 0));
    assert_eq!(rows("/trail?level=info&page=2"), 1000);
    let lanes = |last: &str| {
        page(&server, &format!("/report/{}?last={last}", id(1))).matches("class=\"lane\"").count()
    };
    assert_eq!((lanes("5s"), lanes("10ms"), lanes("all")), (2, 1, 2));
}

#[test]
fn a_guessed_frame_is_marked_as_one() {
    let (_folder, server) = server();
    let threads = json!([{"tid": 1, "crashed": true, "frames": [
        {"ip": "0x1", "function": "f", "trust": "context"}, {"ip": "0x2", "function": "g", "trust": "scan"},
        {"ip": "0x3", "function": null, "trust": "signal"}, {"ip": "0x77", "function": null, "trust": "frame-pointer"}]}]);
    sent(&server, &report(1, json!({"threads": threads})), &[]);
    let text = page(&server, &format!("/report/{}", id(1)));
    assert!(text.contains("<span class=\"badge guess\">guess</span>"));
    assert!(
        text.contains("signal handler called") && text.contains("0x77") && text.contains("by frame pointer")
    );
}

#[test]
fn all_threads_are_there_and_the_crashed_one_is_open() {
    let (_folder, server) = server();
    let thread = |tid: i32| {
        json!({"tid": tid, "name": format!("worker-{tid}"), "crashed": tid == 3,
            "frames": [{"ip": "0x1", "function": format!("function_{tid}"), "trust": "context"}]})
    };
    sent(&server, &report(1, json!({"threads": [thread(1), thread(2), thread(3)]})), &[]);
    let text = page(&server, &format!("/report/{}", id(1)));
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}"));
    assert!(at("worker-3") < at("2 other threads") && at("2 other threads") < at("worker-1"));
    assert_eq!(text.matches("<details class=\"thread\" open>").count(), 1);
    assert!(text.contains("<code>function_1</code>") && text.contains("<code>function_2</code>"));
}

#[test]
fn a_problem_counts_versions_systems_and_days() {
    let (_folder, server) = server();
    for number in 1..=3 {
        let version = if number == 3 { "3.0" } else { "2.10-3" };
        let program = json!({"name": "hello", "pid": 1, "package": {"name": "hello", "version": version}});
        sent(&server, &report(number, json!({"program": program})), &[]);
    }
    let front = page(&server, "/");
    assert!(
        front.contains("hello::work | main") && front.contains("1 problem") && front.contains("3 reports")
    );
    let key = server.get("/api/problems").json()["problems"][0]["key"].as_str().unwrap().to_owned();
    let text = page(&server, &format!("/problem/{key}"));
    assert!(text.contains("3 reports in the last 30 days"));
    assert!(text.contains("<span class=\"value\">2.10-3</span><span class=\"number\">2</span>"));
    assert!(text.contains("<span class=\"value\">3.0</span><span class=\"number\">1</span>"));
    assert_eq!(text.matches("class=\"id\" href=\"/report/").count(), 3);
}

#[test]
fn problems_are_found_by_words_and_reports_by_any_of_their_names() {
    let (_folder, server) = server();
    sent(&server, &report(1, json!({"signature": "alpha"})), &[]);
    sent(&server, &report(2, json!({"signature": "beta"})), &[]);
    let found = page(&server, "/?q=ALPH");
    assert!(found.contains("alpha") && !found.contains("beta"));
    assert!(page(&server, "/?q=nothing").contains("Nothing here has these words"));
    let uuid = "bp-02020202-0202-0202-0202-020202020202";
    for path in [format!("/?q={uuid}"), format!("/report/{uuid}")] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 303);
        assert_eq!(answer.header("location"), Some(format!("/report/{}", id(2)).as_str()));
    }
}

#[test]
fn many_problems_are_shown_page_by_page() {
    let (_folder, server) = server();
    for number in 0..60 {
        sent(&server, &report(number, json!({"signature": format!("f{number}")})), &[]);
    }
    let rows = |path: &str| page(&server, path).matches("<th class=\"signature\"").count();
    assert_eq!((rows("/"), rows("/?page=2"), rows("/?page=99"), rows("/?page=0")), (50, 10, 0, 50));
}

#[test]
fn hostile_texts_are_never_unescaped() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;\u{202e}txt\u{1b}[31m\r\n";
    let (_folder, server) = server();
    let frame = json!({"ip": EVIL, "module": EVIL, "build_id": EVIL, "function": EVIL, "file": EVIL, "line": 1,
        "trust": "cfi"});
    let nameless = json!({"ip": EVIL, "function": null, "trust": "cfi"});
    let thread =
        |crashed: bool| json!({"tid": 1, "name": EVIL, "crashed": crashed, "frames": [frame, nameless]});
    let hostile = json!({
        "schema": 1, "id": id(1), "kind": "panic", "time": EVIL, "message": EVIL, "signature": EVIL,
        "program": {"name": EVIL, "exe": EVIL, "pid": 1, "package": {"name": EVIL, "version": EVIL}},
        "signal": {"number": 11, "name": EVIL, "code": 1, "address": EVIL},
        "system": {"os": EVIL, "kernel": EVIL, "arch": EVIL},
        "threads": [thread(true), thread(false)],
        "annotations": [{"key": EVIL, "value": EVIL, "privacy": "public"},
            {"key": EVIL, "value": EVIL, "privacy": "personal"}],
        "problems": [{"part": EVIL, "what": EVIL}],
    });
    let kinds: [Kind<'_>; 1] = [(EVIL, Level::Info, &[("name", FieldKind::Text, Privacy::Public)])];
    let mut packet = Packet::new(1, CRASH);
    packet.event(0, CRASH, &text(EVIL));
    let (metadata, packet) = (metadata(&kinds), packet.finish());
    let bundle = bundle(&hostile, &[("trace/1/metadata", metadata.as_bytes()), ("trace/1/a.ctf", &packet)]);
    let extra = json!({"ProductName": EVIL, EVIL: EVIL}).to_string();
    let parts: [Part<'_>; 3] = [
        ("extra", None, extra.as_bytes()),
        ("upload_file_foretrace", Some("<script>"), &bundle),
        ("<script>alert(1)</script>\u{202e}", Some("x"), b"x"),
    ];
    assert_eq!(server.post(&[MULTIPART], &body(&parts)).status, 200);
    // The same without a readable bundle shows what the sender wrote.
    let parts: [Part<'_>; 2] = [("extra", None, extra.as_bytes()), ("upload_file_minidump", Some("x"), b"x")];
    assert_eq!(server.post(&[MULTIPART], &body(&parts)).status, 200);

    let problems = server.get("/api/problems").json()["problems"].clone();
    let unreadable =
        problems.as_array().unwrap().iter().find(|row| row["signature"] == "unreadable").unwrap();
    let problem =
        problems.as_array().unwrap().iter().find(|row| row["newest"] == json!(id(1))).unwrap()["key"].clone();
    let query = "%3Cscript%3Ealert(1)%3C/script%3E%22%E2%80%AE";
    let report_page = page(&server, &format!("/report/{}", id(1)));
    // All of it is there to be read, the event too.
    assert!(report_page.matches("&lt;script&gt;").count() > 30);
    assert!(report_page.contains("<svg class=\"lane\""));
    for text in [
        report_page,
        page(&server, &format!("/report/{}/trail", id(1))),
        page(&server, &format!("/report/{}", unreadable["newest"].as_str().unwrap())),
        page(&server, &format!("/problem/{}", problem.as_str().unwrap())),
        page(&server, "/"),
        page(&server, &format!("/?q={query}")),
        page(&server, &format!("/report/{}?level={query}&last={query}", id(1))),
        server.get(&format!("/{query}")).text(),
        server.get(&format!("/report/{query}")).text(),
    ] {
        assert!(!text.contains("<script") && !text.contains("<img src=x"));
        assert!(!text.contains("onerror=y>\""), "an attribute was left");
        assert!(!text.contains(['\u{202e}', '\u{1b}', '\r']));
    }
}

#[test]
fn every_answer_forbids_what_a_report_could_try() {
    let (_folder, server) = server();
    sent(&server, &report(1, json!({})), &[]);
    for path in [
        "/",
        "/nothing",
        "/style.css",
        "/api/problems",
        &format!("/report/{}", id(1)),
        &format!("/report/{}/bundle.zip", id(1)),
    ] {
        let answer = server.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let bundle = server.get(&format!("/report/{}/bundle.zip", id(1)));
    assert!(bundle.header("content-disposition").unwrap().starts_with("attachment;"));
}

#[test]
fn what_is_not_there_is_a_sentence_and_not_an_empty_page() {
    let (_folder, server) = server();
    for path in [
        "/nothing",
        "/report/x",
        &format!("/report/{}", id(9)),
        "/problem/x",
        "/report/../../etc/passwd",
        &format!("/report/{}/bundle.zip", id(9)),
        &format!("/report/{}/trail", id(9)),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("There is no"), "{path}");
    }
    assert_eq!(server.get(&format!("/api/report/{}", id(9))).status, 404);
}

#[test]
fn a_trail_that_is_damaged_leaves_the_rest_of_the_page() {
    let (_folder, server) = server();
    let (mut busy, _) = streams();
    busy.truncate(1000);
    sent(
        &server,
        &report(1, json!({})),
        &[
            ("trace/1/metadata", b"no metadata \xff"),
            ("trace/1/a.ctf", &busy),
            ("trace/2/metadata", metadata(&KINDS).as_bytes()),
            ("trace/2/a.ctf", &busy),
            ("trace/3/b.ctf", b"no packet"),
        ],
    );
    let text = page(&server, &format!("/report/{}", id(1)));
    assert!(text.contains("hello::work"));
    let problems = server.get(&format!("/api/report/{}", id(1))).json()["problems"].clone();
    assert!(problems.as_array().unwrap().iter().filter(|problem| problem["part"] == "trail").count() >= 3);
}

#[test]
fn the_trails_of_two_rings_are_one() {
    let (_folder, server) = server();
    let ring = |thread: u32, late: u64| {
        let mut packet = Packet::new(thread, CRASH - 10 * MILLISECOND);
        packet.event(3, CRASH - 5 * MILLISECOND + late, &[]);
        packet.finish()
    };
    let metadata = metadata(&KINDS);
    sent(
        &server,
        &report(1, json!({})),
        &[
            ("trace/1/metadata", metadata.as_bytes()),
            ("trace/1/a.ctf", &ring(1, MILLISECOND)),
            ("trace/2/metadata", metadata.as_bytes()),
            ("trace/2/a.ctf", &ring(2, 0)),
        ],
    );
    let api = server.get(&format!("/api/report/{}", id(1))).json();
    assert_eq!(api["trail"], json!({"events": 2, "rings": 2}));
    let text = page(&server, &format!("/report/{}/trail", id(1)));
    assert!(text.find("−4 ms").unwrap() < text.find("−5 ms").unwrap());
}
