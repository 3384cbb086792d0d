//! What comes after a report was sent: a comment, and the wish to have all of it erased, at a real `foretrace-server`.

use foretrace_report::ReportId;
use foretrace_report::receipt::{Phase, Receipt};

use crate::resume::Running;
use crate::sealed::{files, page, real_server};
use crate::server::{Server, status};
use crate::world::World;

struct Sent {
    world: World,
    server: Running,
    address: String,
    id: ReportId,
}

fn sent() -> Sent {
    let world = World::new("");
    let (server, address) = real_server(&world);
    world.set(&format!("[Upload]\nUrl={address}/reports\nProtocol=foretrace\n"));
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    world.done(&["send", &id.short()]);
    Sent { world, server, address, id }
}

fn kept(world: &World) -> usize {
    files(&world.path("data/blobs")).len()
}

#[test]
fn forget_erases_here_and_there_and_a_second_one_says_that_there_is_nothing() {
    let Sent { world, server: _server, address, id } = sent();
    let report = format!("/report/{id}");
    assert_eq!((page(&address, &report).0, kept(&world)), (200, 1));
    let said = world.done(&["forget", &id.short()]);
    assert!(said.text.contains("is erased from this machine and at http://"), "{said:?}");
    assert_eq!((page(&address, &report).0, kept(&world)), (404, 0), "page and file are gone");
    assert!(!world.directory(id).exists());
    let problems = page(&address, "/api/problems").1;
    assert!(String::from_utf8_lossy(&problems).contains("\"total\":0"), "its count is gone");
    let said = world.run(&["forget", &id.short()]);
    assert!(said.code == Some(1) && said.text.contains("no report's ID starts with"), "{said:?}");
}

#[test]
fn a_report_that_was_forgotten_does_not_come_back_from_another_copy_of_it() {
    let Sent { world, server: _server, address, id } = sent();
    let copy = world.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["bundle.zip", "consent.json", "outgoing.zip", "salt"] {
        std::fs::copy(world.file(id, name), copy.join(name)).unwrap();
    }
    world.done(&["forget", &id.short()]);
    std::fs::rename(&copy, world.directory(id)).unwrap();
    let said = world.run(&["send", &id.short()]);
    assert!(said.code == Some(1) && said.text.contains("refused"), "{said:?}");
    assert_eq!(page(&address, &format!("/report/{id}")).0, 404);
    // And its erasure is a thing of the past: asked again, the server says that it is gone.
    world.done(&["forget", &id.short()]);
}

#[test]
fn reports_are_kept_for_thirty_days_unless_told_otherwise() {
    let world = World::new("");
    let day = std::time::Duration::from_secs(86_400);
    let aged = |number: u8, days: u32| {
        let id = world.report(number, "painter", &[]);
        let bundle = std::fs::File::open(world.file(id, "bundle.zip")).unwrap();
        bundle.set_modified(std::time::SystemTime::now() - day * days).unwrap();
        id
    };
    let (young, old) = (aged(1, 29), aged(2, 31));
    world.done(&["vacuum"]);
    assert!(world.directory(young).exists() && !world.directory(old).exists());
    world.set("[Storage]\nMaxAge=4w\n");
    world.done(&["vacuum"]);
    assert!(!world.directory(young).exists());
}

#[test]
fn a_comment_after_sending_has_a_receipt_of_its_own_and_stands_on_the_reports_page() {
    let Sent { world, server: _server, address, id } = sent();
    let short = id.short();
    let words = "It was the <b>mouse</b>, twice.";
    let said = world.done(&["comment", &short, words]);
    assert!(said.text.contains("was sent to http://"), "{said:?}");
    let receipt: Receipt =
        serde_json::from_slice(&std::fs::read(world.file(id, "comment.json")).unwrap()).unwrap();
    assert_eq!((receipt.phase, receipt.report), (Phase::Comment, id));
    assert_eq!((receipt.body[0].name.as_str(), receipt.body[0].bytes), ("comment", words.len() as u64));
    let shown = || String::from_utf8(page(&address, &format!("/report/{id}")).1).unwrap();
    assert!(shown().contains("It was the &lt;b&gt;mouse&lt;/b&gt;, twice."), "{}", shown());
    // The same words are one comment, others another.
    world.done(&["comment", &short, words]);
    world.done(&["comment", &short, "And once more."]);
    let text = shown();
    assert_eq!((text.matches("mouse").count(), text.matches("And once more.").count()), (1, 1), "{text}");
    assert!(world.done(&["comment", &short]).text.contains("And once more."));
    assert_eq!(world.run(&["comment", &short, "--remove"]).code, Some(1));
    assert_eq!(world.run(&["comment", &short, &"x".repeat(2001)]).code, Some(2));
    world.done(&["forget", &short]);
    assert_eq!(world.run(&["comment", &short, "too late"]).code, Some(1));
}

#[test]
fn only_who_has_the_token_comments_and_what_does_not_arrive_is_said() {
    let Sent { world, server, address, id } = sent();
    let host = address.strip_prefix("http://").unwrap();
    for (authorization, status) in [("Bearer 00", 404), ("Basic x", 401)] {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /reports/{id}/comment HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: {authorization}\r\nContent-Length: 2\r\n\r\nhi"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    drop(server);
    let said = world.run(&["comment", &id.short(), "nobody hears this"]);
    assert!(said.code == Some(1) && said.text.contains("was not sent, and is not kept"), "{said:?}");
    assert!(world.done(&["comment", &id.short()]).text.contains("No comment yet"));
}

#[test]
fn other_dialects_take_no_later_comment_and_nobody_is_connected_to() {
    let server = Server::start([]);
    let world = World::new(&format!("[Upload]\nUrl={}\nProtocol=socorro\n", server.url()));
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    world.done(&["send", &id.short()]);
    let said = world.run(&["comment", &id.short(), "words"]);
    assert!(said.code == Some(1) && said.text.contains("takes no later comment"), "{said:?}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_yes_ends_after_its_time_and_a_clock_that_jumps_only_asks_again() {
    let server = Server::start([status(503, "", "")]);
    let settings =
        |more: &str| format!("[Upload]\nUrl={}\nProtocol=socorro\n[Consent]\n{more}", server.url());
    let world = World::new(&settings("Expires=1s\n"));
    let id = world.painter();
    let short = id.short();
    world.done(&["consent", &short, "--grant", "trail"]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let said = world.run(&["send", &short]);
    assert!(said.code == Some(1) && said.text.contains("the agreement to send it ended on"), "{said:?}");
    assert_eq!(server.connections(), 0);
    // A receipt from a time that has not come is as good as it says it is; one that says nothing legible is over.
    world.set(&settings(""));
    world.done(&["consent", &short, "--grant", "trail"]);
    let path = world.file(id, "consent.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let expires = text.split("\"expires\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for (end, passes) in [("1999-01-01T00:00:00Z", false), ("soon", false), ("2999-01-01T00:00:00Z", true)] {
        std::fs::write(&path, text.replace(&expires, end)).unwrap();
        let said = world.run(&["send", "--now", &short]);
        assert_eq!(said.text.contains("ended on"), !passes, "{said:?}");
        assert_eq!(server.connections(), usize::from(passes), "{end}");
    }
    // What a rule agreed to is agreed to anew.
    let world = World::new(&settings("Default=always\nExpires=1s\n"));
    let id = world.painter();
    world.run(&["consent", &id.short(), "--grant", "stack"]);
    std::fs::remove_file(world.file(id, "consent.json")).unwrap();
    world.done(&["send", &id.short()]);
}
