//! Every dialect over real sockets: what arrives is what `outgoing.zip` makes, byte by byte, and nothing beyond the grant.

use std::io::Cursor;

use foretrace_report::receipt::{Answer, Consent, DeliveryState, Protocol};
use foretrace_report::{Preset, wire};

use crate::server::{Manner, Server, status};
use crate::world::World;

const PARTS: [(&str, &[u8]); 4] = [
    ("minidump.dmp", b"MDMP PLANTED-MEMORY"),
    ("process/maps", b"PLANTED-PROCESS\n"),
    ("logs/journal", b"PLANTED-LOGS\n"),
    ("system/os-release", b"ID=debian\n"),
];

fn url(protocol: Protocol, server: &Server) -> String {
    match protocol {
        Protocol::Sentry => format!("http://key@{}/1", server.address()),
        _ => format!("http://{}/take", server.address()),
    }
}

/// What a server of this dialect says of a report that it has stored.
fn content(protocol: Protocol) -> Manner {
    match protocol {
        Protocol::Foretrace => {
            status(201, "Location: /take/7\r\nUpload-Offset: 999999999\r\nForetrace-Report: bp-7\r\n", "")
        }
        Protocol::Socorro => status(200, "", "CrashID=bp-7\n"),
        Protocol::Sentry => status(200, "", r#"{"id":"bp-7"}"#),
        Protocol::Faf => status(202, "", r#"{"result":true,"bthash":"bp-7"}"#),
        Protocol::Otlp => status(200, "", "{}"),
    }
}

fn world(protocol: Protocol, server: &Server, further: &str) -> World {
    let url = url(protocol, server);
    World::new(&format!("[Upload]\nUrl={url}\nProtocol={}\nAsk=no\n{further}", protocol.name()))
}

#[test]
fn what_arrives_is_what_outgoing_makes_and_nothing_beyond_the_grant() {
    for protocol in Protocol::ALL {
        for preset in &Preset::ALL[..5] {
            let server = Server::start([content(protocol)]);
            let world = world(protocol, &server, "");
            let id = world.report(3, "painter", &PARTS);
            world.done(&["consent", &id.short(), "--grant", preset.0.name()]);
            let said = world.done(&["send", &id.short()]);
            let what = format!("{} {}", protocol.name(), preset.0);
            assert_eq!(world.delivery(id).state, DeliveryState::Sent, "{what}: {said:?}");
            let requests = server.requests();
            assert_eq!(requests.len(), 1, "{what}");

            let consent = std::fs::read(world.file(id, "consent.json")).unwrap();
            let consent: Consent = serde_json::from_slice(&consent).unwrap();
            let Answer::Granted(receipt) = consent.answer else { panic!("granted") };
            assert!(
                receipt.classes.is_subset(preset.classes().intersection(wire::carried(protocol))),
                "{what}"
            );
            assert!(receipt.body.iter().all(|part| part.classes.is_subset(receipt.classes)), "{what}");

            let mut outgoing = Cursor::new(std::fs::read(world.file(id, "outgoing.zip")).unwrap());
            let mut plan = wire::plan(protocol, &mut outgoing, &receipt.outgoing_sha256).unwrap();
            if protocol == Protocol::Foretrace {
                // Its description travels as a header.
                let (_, described) = wire::made(&plan).next().unwrap();
                let described = String::from_utf8_lossy(described).to_lowercase();
                assert!(requests[0].head.contains(&format!("upload-metadata: {described}\r\n")), "{what}");
                plan.pieces.remove(0);
                plan.framing.remove(0);
            }
            let rebuilt = wire::assemble(&plan, &mut outgoing).unwrap();
            assert!(requests[0].body == rebuilt, "{what}: the body is not what outgoing.zip makes");
            // The planted words, in the clear and in whatever outgoing.zip holds of the body.
            let mut reader =
                foretrace_report::bundle::BundleReader::open(&mut outgoing, Default::default()).unwrap();
            let mut seen = rebuilt;
            for name in reader.names() {
                seen.extend(reader.part(&name).unwrap());
            }
            let seen = String::from_utf8_lossy(&seen).into_owned();
            for (word, class) in [
                ("PLANTED-LOGS", foretrace_report::Class::Logs),
                ("PLANTED-PROCESS", foretrace_report::Class::Memory),
                ("PLANTED-MEMORY", foretrace_report::Class::Memory),
            ] {
                assert!(!seen.contains(word) || receipt.classes.contains(class), "{what}: {word}");
            }
        }
    }
}

#[test]
fn each_dialect_says_what_it_cannot_carry() {
    for (protocol, missing) in
        [(Protocol::Faf, "trail"), (Protocol::Otlp, "memory"), (Protocol::Sentry, "core")]
    {
        let server = Server::start([]);
        let world = world(protocol, &server, "");
        let id = world.report(3, "painter", &PARTS);
        let said = world.done(&["preview", &id.short()]);
        let granted = said.text.lines().next().unwrap().to_owned();
        assert!(granted.contains("summary,stack") && !granted.contains(missing), "{granted}");
    }
}

#[test]
fn a_server_that_asks_for_a_pause_is_left_alone_by_all_reports() {
    for limits in ["Retry-After: 3600\r\n", "X-Sentry-Rate-Limits: 3600:error:key\r\n"] {
        let pause = status(429, limits, "");
        let server = Server::start(vec![pause; 4]);
        let world = world(Protocol::Sentry, &server, "");
        let ids: Vec<_> = (1..=12).map(|number| world.report(number, "painter", &[])).collect();
        ids.iter().for_each(|id| drop(world.done(&["consent", &id.short(), "--grant", "summary"])));
        world.run(&["send", "--all"]);
        assert!(server.requests().len() <= 4, "one for each worker at most: {}", server.requests().len());
        for id in ids {
            let next: jiff::Timestamp = world.delivery(id).next.unwrap().parse().unwrap();
            assert!(next > jiff::Timestamp::now() + jiff::SignedDuration::from_mins(50), "{limits}");
        }
    }
}

#[test]
fn the_question_goes_first_and_its_answer_is_obeyed() {
    let reply = |body: &str| status(200, "", body);
    let question = || World::new("");
    // Stop: nothing but the question leaves.
    let server = Server::start([reply(r#"{"answer":"stop","fixed_in":"2.3.1"}"#)]);
    let world = question();
    world.set(&format!("[Upload]\nUrl={}\nProtocol=foretrace\n", url(Protocol::Foretrace, &server)));
    let id = world.report(3, "painter", &PARTS);
    world.done(&["consent", &id.short(), "--grant", "memory"]);
    assert_eq!(server.connections(), 0);
    let said = world.run(&["send", &id.short()]);
    assert!(said.text.contains("fixed in 2.3.1: update?"), "{said:?}");
    // From now on it stands with every report of the same problem.
    let other = world.report(9, "painter", &[]).short();
    assert_eq!(world.done(&["list"]).text.matches("fixed in 2.3.1: update?").count(), 2);
    assert_eq!(world.done(&["list", "--json"]).text.matches(r#""fixed_in":"2.3.1""#).count(), 2);
    assert!(world.done(&["info", &other]).text.contains("in 2.3.1: update?"));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].head.starts_with("post /take/question http/1.1"), "{}", requests[0].head);
    let asked: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(
        asked.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["schema", "kind", "program", "signature"]
    );
    assert_eq!(world.delivery(id).state, DeliveryState::Refused);

    // Less: what leaves is made anew, of fewer classes.
    let send = r#"{"answer":"send","classes":["summary","stack"]}"#;
    let server = Server::start([reply(send), content(Protocol::Foretrace)]);
    let world = question();
    world.set(&format!("[Upload]\nUrl={}\nProtocol=foretrace\n", url(Protocol::Foretrace, &server)));
    let id = world.report(3, "painter", &PARTS);
    world.done(&["consent", &id.short(), "--grant", "memory"]);
    world.done(&["send", &id.short()]);
    let body = server.requests()[1].body.clone();
    let mut sent =
        foretrace_report::bundle::BundleReader::open(Cursor::new(body), Default::default()).unwrap();
    assert!(
        !sent.names().iter().any(|name| name.contains("minidump") || name.contains("logs")),
        "{:?}",
        sent.names()
    );
    assert_eq!(sent.report().unwrap().threads.len(), 1);
}

#[test]
fn without_a_protocol_it_is_ours_and_a_server_that_does_not_speak_it_costs_no_report() {
    for (refusal, words) in
        [(400, "status 400"), (404, "status 404"), (405, "status 405"), (501, "status 501")]
    {
        let server = Server::start([status(refusal, "", ""), content(Protocol::Foretrace)]);
        let address = url(Protocol::Foretrace, &server);
        let world = World::new(&format!("[Upload]\nUrl={address}\nAsk=no\n"));
        let id = world.painter();
        world.done(&["consent", &id.short(), "--grant", "trail"]);
        let said = world.run(&["send", &id.short()]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.text.contains(words) && said.text.contains("check [Upload] Url= and Protocol="),
            "{said:?}"
        );
        assert!(
            server.requests()[0].head.contains("tus-resumable: 1.0.0\r\n"),
            "{}",
            server.requests()[0].head
        );
        let delivery = world.delivery(id);
        assert_eq!((delivery.state, delivery.doubtful), (DeliveryState::Pending, 0), "{refusal}");
        world.done(&["send", "--now", &id.short()]);
    }
}
