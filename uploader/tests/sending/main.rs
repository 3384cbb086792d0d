//! From an answer to the server, with the real command and real sockets: nothing leaves without a yes,
//! nothing but what was agreed to leaves after it, and every way in which a server can fail ends in a state
//! and a sentence.
#![allow(clippy::unwrap_used, reason = "a claim that cannot be checked has failed")]

mod agent;
mod at_rest;
mod desktop;
mod dialects;
mod forget;
mod killed;
mod late;
mod line;
mod metered;
mod power;
mod resume;
mod rules;
mod sealed;
mod server;
mod silence;
mod tls;
mod world;

use std::time::{Duration, Instant};

use foretrace_report::receipt::{Answer, Consent, DeliveryState};

use server::{Manner, Server, answer, status, stored};
use world::{MINIDUMP, World, noise};

/// The parts of a multipart body: name and content.
fn parts(body: &[u8], boundary: &str) -> Vec<(String, Vec<u8>)> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = body.strip_prefix(delimiter.as_bytes()).expect("a body begins with its boundary");
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let split = find(part, b"\r\n\r\n").unwrap();
        let head = String::from_utf8(part[..split].to_vec()).unwrap();
        let name = head.split("name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let content = &part[split + 4..];
        let end = find(content, format!("\r\n{delimiter}").as_bytes()).unwrap();
        parts.push((name, content[..end].to_vec()));
        rest = &content[end + 2 + delimiter.len()..];
    }
    assert_eq!(rest, b"--\r\n");
    parts
}

#[test]
fn nobody_is_connected_to_before_a_yes_and_exactly_one_report_arrives_after_it() {
    let server = Server::start([stored("bp-0123")]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    let short = id.short();
    let shown = world.path("preview.zip");
    for arguments in [
        vec!["list"],
        vec!["info", &short],
        vec!["preview", &short],
        vec!["preview", &short, "--grant", "trail", "-o", shown.to_str().unwrap()],
        vec!["status"],
        vec!["consent"],
        vec!["send", "--all"],
        vec!["send", "--now"],
        vec!["consent", &short, "--grant", "trail"],
    ] {
        world.done(&arguments);
    }
    assert_eq!(world.run(&["send", "ffff"]).code, Some(1));
    assert_eq!(server.connections(), 0);

    let said = world.done(&["send", &short]);
    assert!(said.text.contains("bp-0123"), "{said:?}");
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
    let request = &server.requests()[0];
    assert!(request.head.starts_with("post /submit http/1.1\r\n"), "{}", request.head);
    assert!(request.head.contains("content-encoding: gzip\r\n"));
    let boundary = format!("foretrace-{id}");
    assert!(request.head.contains(&format!("content-type: multipart/form-data; boundary={boundary}\r\n")));
    let parts = parts(&request.body, &boundary);
    let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["extra", "upload_file_foretrace"]);
    let outgoing = std::fs::read(world.file(id, "outgoing.zip")).unwrap();
    assert_eq!(parts[1].1, outgoing, "what arrived is outgoing.zip");
    assert_eq!(std::fs::read(shown).unwrap(), outgoing, "what was shown is what left");

    let delivery = world.delivery(id);
    assert_eq!((delivery.state, delivery.attempts, delivery.doubtful), (DeliveryState::Sent, 1, 0));
    assert_eq!(delivery.remote_id.as_deref(), Some("bp-0123"));
    world.done(&["send", &short]);
    world.done(&["send", "--all", "--now"]);
    assert_eq!(server.connections(), 1, "what was sent is not sent again");
    assert_eq!(world.run(&["consent", &short, "--grant", "memory"]).code, Some(1));
}

#[test]
fn a_minidump_leaves_only_with_memory() {
    for (grant, expected) in [("logs", None), ("memory", Some(MINIDUMP.to_vec()))] {
        let server = Server::start([]);
        let world = World::with_server(&server.url());
        let id = world.painter();
        world.done(&["consent", &id.short(), "--grant", grant]);
        world.done(&["send", &id.short()]);
        let parts = parts(&server.requests()[0].body, &format!("foretrace-{id}"));
        let minidump =
            parts.into_iter().find(|(name, _)| name == "upload_file_minidump").map(|(_, content)| content);
        assert_eq!(minidump, expected, "{grant}");
    }
}

#[test]
fn an_exact_set_leaves_exactly() {
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    assert_eq!(world.run(&["consent", &id.short(), "--only", "logs"]).code, Some(2));
    assert_eq!(world.run(&["consent", &id.short(), "--only", "summary,everything"]).code, Some(2));
    world.done(&["consent", &id.short(), "--only", "summary,logs"]);
    world.done(&["send", &id.short()]);
    let parts = parts(&server.requests()[0].body, &format!("foretrace-{id}"));
    let zip = std::io::Cursor::new(parts[1].1.clone());
    let mut sent = foretrace_report::bundle::BundleReader::open(zip, Default::default()).unwrap();
    assert_eq!(sent.names(), ["system/erasure", "logs/journal", "report.json"]);
    assert!(sent.report().unwrap().threads.is_empty());
}

#[test]
fn a_changed_byte_another_server_and_a_taken_back_answer_stop_it() {
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    let outgoing = world.file(id, "outgoing.zip");
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    let agreed = std::fs::read(&outgoing).unwrap();

    let mut changed = agreed.clone();
    changed[agreed.len() / 2] ^= 1;
    std::fs::write(&outgoing, changed).unwrap();
    let said = world.run(&["send", &id.short()]);
    assert_eq!(said.code, Some(1));
    assert!(said.text.contains("outgoing.zip has changed since it was agreed to"), "{said:?}");

    std::fs::remove_file(&outgoing).unwrap();
    assert!(world.run(&["send", &id.short()]).text.contains("is gone"));

    std::fs::write(&outgoing, &agreed).unwrap();
    let elsewhere = Server::start([]);
    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={}\n", elsewhere.url()));
    let said = world.run(&["send", &id.short()]);
    assert_eq!(said.code, Some(1));
    assert!(said.text.contains("the settings now name"), "{said:?}");

    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={}\n[Consent]\nMax=stack\n", server.url()));
    let said = world.run(&["send", &id.short()]);
    assert!(said.text.contains("nobody send more than 'stack'"), "{said:?}");

    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={}\n", server.url()));
    world.done(&["consent", &id.short(), "--revoke"]);
    assert!(!outgoing.exists());
    assert_eq!(world.run(&["send", &id.short()]).code, Some(1));
    world.done(&["send", "--all"]);
    assert_eq!(server.connections() + elsewhere.connections(), 0);
    assert!(!world.file(id, "delivery.json").exists(), "no attempt was made");

    world.done(&["consent", &id.short(), "--grant", "trail"]);
    world.done(&["send", &id.short()]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn another_reports_receipt_opens_nothing_alone_nor_with_the_bytes_that_it_is_for() {
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let (mine, theirs) = (world.report(1, "painter", &[]), world.report(2, "sculptor", &[]));
    for id in [mine, theirs] {
        world.done(&["consent", &id.short(), "--grant", "trail"]);
    }
    for name in ["consent.json", "outgoing.zip"] {
        std::fs::copy(world.file(theirs, name), world.file(mine, name)).unwrap();
        let said = world.run(&["send", &mine.short()]);
        assert!(said.code == Some(1) && said.text.contains("one for another report"), "{name}: {said:?}");
        assert_eq!(server.connections(), 0);
    }
    world.done(&["send", &theirs.short()]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn anything_but_this_machine_needs_https() {
    let world = World::with_server("http://crash.example.org/submit");
    let id = world.painter();
    let said = world.run(&["consent", &id.short(), "--grant", "trail"]);
    assert_eq!(said.code, Some(1));
    assert!(said.text.contains("plain http is for this machine only"), "{said:?}");
    world.set("");
    let said = world.run(&["consent", &id.short(), "--grant", "trail"]);
    assert!(said.text.contains("no server is set"), "{said:?}");
    assert!(!world.file(id, "consent.json").exists());
}

#[test]
fn a_refusal_is_final() {
    for (manner, words) in [
        (status(400, "", "Discarded=malformed_no_annotations"), "malformed_no_annotations"),
        (status(400, "", ""), "malformed"),
        (status(413, "", ""), "too large"),
        (status(200, "", "Discarded=throttled"), "'throttled'"),
        (status(403, "", "Discarded=rule_has_hang_id"), "rule_has_hang_id"),
    ] {
        let server = Server::start([manner]);
        let world = World::with_server(&server.url());
        let id = world.painter();
        world.done(&["consent", &id.short(), "--grant", "trail"]);
        let said = world.run(&["send", &id.short()]);
        assert_eq!(said.code, Some(1));
        assert!(said.text.contains(words), "{words}: {said:?}");
        let delivery = world.delivery(id);
        assert_eq!((delivery.state, delivery.doubtful, delivery.next), (DeliveryState::Refused, 0, None));
        assert_eq!(world.run(&["send", "--now", &id.short()]).code, Some(1));
        world.done(&["send", "--all", "--now"]);
        assert_eq!(server.connections(), 1, "{words}: it is not tried again");
        // A new answer is a new beginning.
        world.done(&["consent", &id.short(), "--grant", "summary"]);
        world.done(&["send", &id.short()]);
    }
}

#[test]
fn trouble_on_the_way_is_tried_again_and_doubt_is_counted() {
    for (manner, doubtful, words) in [
        (status(500, "", "oops"), 0, "status 500"),
        (status(503, "Retry-After: 7200\r\n", ""), 0, "status 503"),
        (status(429, "Retry-After: 7200\r\n", ""), 0, "too much to do"),
        (status(404, "", "<html>"), 0, "Url="),
        (status(200, "", "<html>welcome</html>"), 1, "not one of a crash server"),
        (status(307, "Location: https://elsewhere.example/\r\n", ""), 0, "https://elsewhere.example/"),
        (Manner::Answers("SSH-2.0-OpenSSH_9.2\r\n".into()), 1, "broke off"),
        (Manner::ClosesLate, 1, "broke off"),
    ] {
        let server = Server::start([manner, stored("bp-second")]);
        let world = World::with_server(&server.url());
        let id = world.painter();
        world.done(&["consent", &id.short(), "--grant", "trail"]);
        let said = world.run(&["send", &id.short()]);
        assert_eq!(said.code, Some(1));
        assert!(said.text.contains(words), "{words}: {said:?}");
        let delivery = world.delivery(id);
        assert_eq!((delivery.attempts, delivery.doubtful), (1, doubtful), "{words}");
        let state = if doubtful > 0 { DeliveryState::MaybeSent } else { DeliveryState::Pending };
        assert_eq!(delivery.state, state, "{words}");
        let wait: jiff::Timestamp = delivery.next.unwrap().parse().unwrap();
        let asked = said.text.contains("429") || said.text.contains("503");
        assert_eq!(wait > jiff::Timestamp::now() + jiff::SignedDuration::from_mins(100), asked, "{words}");

        assert_eq!(world.run(&["send", &id.short()]).code, Some(1), "it is not due");
        world.done(&["send", "--all"]);
        assert_eq!(server.connections(), 1);
        world.done(&["send", "--now", &id.short()]);
        let delivery = world.delivery(id);
        assert_eq!(
            (delivery.state, delivery.attempts, delivery.doubtful),
            (DeliveryState::Sent, 2, doubtful)
        );
        let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(bodies[0], bodies[1], "{words}: every try sends the same bytes");
    }
}

#[test]
fn a_server_that_closes_at_once_or_is_not_there_leaves_the_report_pending() {
    let server = Server::start([Manner::ClosesEarly]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    assert_eq!(world.run(&["send", &id.short()]).code, Some(1));
    assert_ne!(world.delivery(id).state, DeliveryState::Sent);

    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::with_server(&format!("http://{gone}/submit"));
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    let said = world.run(&["send", &id.short()]);
    assert!(said.text.contains("cannot reach 127.0.0.1"), "{said:?}");
    let delivery = world.delivery(id);
    assert_eq!((delivery.state, delivery.doubtful), (DeliveryState::Pending, 0), "nothing can have arrived");
}

#[test]
fn a_large_report_that_is_refused_half_way_ends_with_the_servers_answer() {
    let server = Server::start([Manner::AnswersEarly(answer(413, "Connection: close\r\n", ""))]);
    let world = World::with_server(&server.url());
    let memory = noise(8 << 20);
    let id = world.report(9, "painter", &[("process/auxv", &memory)]);
    world.done(&["consent", &id.short(), "--grant", "memory"]);
    let said = world.run(&["send", &id.short()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let delivery = world.delivery(id);
    assert_eq!((delivery.state, delivery.doubtful), (DeliveryState::Refused, 0), "{said:?}");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start([]);
    let server = Server::start([
        status(307, &format!("Location: {}\r\n", elsewhere.url()), ""),
        status(302, &format!("Location: {}\r\n", elsewhere.url()), ""),
    ]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    for _ in 0..2 {
        assert_eq!(world.run(&["send", "--now", &id.short()]).code, Some(1));
    }
    assert_eq!((server.connections(), elsewhere.connections()), (2, 0));
}

#[test]
fn a_sender_killed_in_the_middle_leaves_a_doubtful_try_and_the_report() {
    let server = Server::start([Manner::Stays(Duration::from_secs(30)), stored("bp-after")]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    let mut sender = world.command(&["send", &id.short()]).spawn().unwrap();
    server.wait_for(1);

    let said = world.run(&["send", &id.short(), "--now"]);
    assert_eq!(said.code, Some(1));
    assert!(said.text.contains("is sending just now"), "{said:?}");

    sender.kill().unwrap();
    sender.wait().unwrap();
    let delivery = world.delivery(id);
    assert_eq!((delivery.state, delivery.attempts, delivery.doubtful), (DeliveryState::MaybeSent, 1, 1));
    world.done(&["send", "--now", &id.short()]);
    assert_eq!(world.delivery(id).remote_id.as_deref(), Some("bp-after"));
}

#[test]
fn a_policy_answers_only_within_the_administrators_limit() {
    let server = Server::start([]);
    let url = server.url();
    let world = World::with_server(&url);
    let first = world.report(1, "painter", &[("minidump.dmp", b"MDMP")]);
    let second = world.report(2, "writer", &[]);
    world.done(&["consent", "--program", "painter", "--set", "always", "--max", "memory"]);
    world.done(&["consent", "--program", "writer", "--set", "never"]);
    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={url}\n[Consent]\nMax=stack\n"));
    world.done(&["send", "--all"]);
    assert_eq!(server.connections(), 1);
    let consent: Consent =
        serde_json::from_slice(&std::fs::read(world.file(first, "consent.json")).unwrap()).unwrap();
    let Answer::Granted(receipt) = consent.answer else { panic!("painter's report is sent by policy") };
    assert_eq!(receipt.classes.to_string(), "summary,stack");
    assert!(!world.file(second, "consent.json").exists());

    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={url}\n[Consent]\nDefault=never\nLock=yes\n"));
    let third = world.report(3, "painter", &[]);
    world.done(&["send", "--all"]);
    for arguments in [
        vec!["consent", "03", "--grant", "summary"],
        vec!["consent", "--program", "painter", "--set", "always"],
    ] {
        let said = world.run(&arguments);
        assert_eq!(said.code, Some(1));
        assert!(said.text.contains("administrator"), "{said:?}");
    }
    assert_eq!(server.connections(), 1);
    assert!(!world.file(third, "consent.json").exists());
    let said = world.done(&["consent"]);
    assert!(said.text.contains("painter: granted summary,stack"), "{said:?}");
}

#[test]
fn damaged_files_get_a_sentence_and_stop_only_their_report() {
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let broken = world.report(1, "painter", &[]);
    let whole = world.report(2, "painter", &[]);
    world.done(&["consent", &whole.short(), "--grant", "trail"]);
    world.done(&["consent", &broken.short(), "--grant", "trail"]);
    for (name, content) in [
        ("delivery.json", "[]"),
        ("consent.json", "{\"answer\":\"granted\"}"),
        ("consent.json", "\0\0"),
        ("salt", "short"),
    ] {
        std::fs::write(world.file(broken, name), content).unwrap();
        let said = match name {
            "salt" => world.run(&["preview", &broken.short()]),
            _ => world.run(&["send", &broken.short()]),
        };
        assert_eq!(said.code, Some(1), "{name}: {said:?}");
        assert!(said.text.contains(&format!("{name} is damaged")), "{name}: {said:?}");
        std::fs::remove_file(world.file(broken, name)).unwrap();
    }
    assert_eq!(server.connections(), 0);
    std::fs::write(world.file(broken, "consent.json"), "garbage").unwrap();
    let said = world.run(&["send", "--all"]);
    assert_eq!((said.code, server.connections()), (Some(1), 1), "{said:?}");
    assert_eq!(world.delivery(whole).state, DeliveryState::Sent);
}

#[test]
fn send_and_preview_speak_json() {
    let server = Server::start([status(429, "", ""), stored("bp-9")]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    let preview: serde_json::Value =
        serde_json::from_str(&world.done(&["preview", "--json", &id.short()]).text).unwrap();
    assert_eq!(preview["classes"], serde_json::json!(["summary", "stack", "trail", "logs", "memory"]));
    assert_eq!(preview["removed"]["home"], 1);
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    for (code, state) in [(1, "pending"), (0, "sent"), (0, "already-sent")] {
        let said = world.run(&["send", "--now", "--json", &id.short()]);
        assert_eq!(said.code, Some(code), "{said:?}");
        let line: serde_json::Value = serde_json::from_str(&said.text).unwrap();
        assert_eq!(
            (line["state"].as_str(), line["id"].as_str()),
            (Some(state), Some(id.to_string().as_str()))
        );
    }
}

#[test]
fn at_a_terminal_a_yes_sends_and_hanging_up_does_not() {
    for (typed, connections, words) in [
        (Some("s\n"), 1, "sent as bp-default"),
        (Some("summary\ns\n"), 1, "sent as bp-default"),
        (Some("l\n"), 0, "asked again"),
        (Some("n\n"), 0, "stays here"),
        (Some("v\n"), 0, "nothing of painter will be sent"),
        (Some("p\nl\n"), 0, "Would leave, with summary,stack,trail granted"),
        (Some("\u{4}"), 0, "No answer: nothing is sent"),
        (None, 0, "Do you want to send a report of it?"),
    ] {
        let server = Server::start([]);
        let world = World::with_server(&server.url());
        let id = world.painter();
        let shown = at_a_terminal(&world, &["send", &id.short()], typed, || server.connections() == 0);
        assert!(shown.contains(words), "{typed:?}: {words:?} is not in\n{shown}");
        assert_eq!(server.connections(), connections, "{typed:?}");
        assert_eq!(world.file(id, "outgoing.zip").exists(), connections == 1, "{typed:?}");
    }
}

#[test]
fn root_does_not_answer_for_others() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody else can put a report into another user's hands.
        return;
    }
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let id = world.handed_to(1000, "painter");
    for arguments in [
        vec!["consent", &id.short(), "--grant", "trail"],
        vec!["consent", &id.short(), "--deny"],
        vec!["send", &id.short()],
    ] {
        let said = world.run(&arguments);
        assert_eq!(said.code, Some(1));
        assert!(said.text.contains("belongs to the user with ID 1000"), "{said:?}");
    }
    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={}\n[Consent]\nDefault=always\n", server.url()));
    world.done(&["send", "--all"]);
    assert_eq!(server.connections(), 0);
}

/// Runs the command on a pseudo-terminal; types once the question is there, or hangs up. `quiet` must hold
/// until then.
fn at_a_terminal(world: &World, arguments: &[&str], typed: Option<&str>, quiet: impl Fn() -> bool) -> String {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let pty = nix::pty::openpty(None, None).unwrap();
    // A child that held the other end itself would never see it close.
    nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    let terminal = || std::process::Stdio::from(pty.slave.try_clone().unwrap());
    let mut child =
        world.command(arguments).stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().unwrap();
    drop(pty.slave);
    let mut master = Some(std::fs::File::from(pty.master));
    let mut shown = Vec::new();
    let started = Instant::now();
    let mut asked = false;
    while let Some(end) = &mut master {
        let left = Duration::from_secs(30).saturating_sub(started.elapsed());
        let mut waiting = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waiting, PollTimeout::try_from(left).unwrap()).unwrap();
        if ready == 0 {
            child.kill().unwrap();
            panic!("nothing more is shown than:\n{}", String::from_utf8_lossy(&shown));
        }
        let mut piece = [0; 4096];
        // Reading fails once the other end is closed.
        match end.read(&mut piece) {
            Ok(length) if length > 0 => shown.extend_from_slice(&piece[..length]),
            _ => break,
        }
        if !asked && String::from_utf8_lossy(&shown).contains("Your answer: ") {
            asked = true;
            assert!(quiet(), "nobody is connected to before the answer");
            match typed {
                Some(text) => end.write_all(text.as_bytes()).unwrap(),
                None => master = None,
            }
        }
    }
    assert!(asked, "{}", String::from_utf8_lossy(&shown));
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn nothing_leaves_while_a_rule_of_the_administrators_cannot_be_applied_and_everything_else_goes_on() {
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    world.set(&format!(
        "[Upload]\nProtocol=socorro\nUrl={}\n[Privacy]\nRedact=line\nRedact=(unclosed\n",
        server.url()
    ));
    for arguments in [&["preview", &id.short()][..], &["consent", &id.short(), "--grant", "logs"]] {
        let said = world.run(arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.text.contains("foretrace.conf:6: Redact=(unclosed") && said.text.contains("unclosed group"),
            "{said:?}"
        );
    }
    world.done(&["list"]);
    world.done(&["info", &id.short()]);
    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={}\n[Privacy]\nRedact=line\n", server.url()));
    assert!(world.done(&["preview", &id.short(), "--grant", "logs"]).text.contains("now <hidden>"));
    assert_eq!(server.connections(), 0);
}
