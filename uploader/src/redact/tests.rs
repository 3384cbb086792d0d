//! What must not leave, planted in every place that a report has, and looked for in everything that does.

use std::io::Write as _;
use std::sync::LazyLock;

use foretrace_report::bundle::Limits;
use foretrace_report::schema::{
    Annotation, Frame, Kind, Losses, Package, Privacy, Program, Recorder, SCHEMA, Signal, Surroundings,
    System, Thread, Trust,
};
use foretrace_report::{Preset, ReportId};
use foretrace_ring::Trail;
use foretrace_ring::metadata::{
    Clock, ClockSource, EventDecl, FieldDecl, FieldKind, event_declaration, preamble,
};
use foretrace_ring::trail::{Level, Privacy as FieldPrivacy, Value};

use super::*;

const UUID: [u8; 16] = *b"0123456789abcdef";

/// Planted; each needle tells where it was.
const SECRETS: [&str; 12] = [
    "pw-in-environment",
    "pw-in-argument",
    "pw-in-title",
    "personal-in-event",
    "personal-in-annotation",
    "secret-in-annotation",
    "marianne",
    "mars-station",
    "4711471147114711",
    "bytes-of-somebody",
    "Marianne Muster",
    "/home/other",
];

fn metadata() -> String {
    let mut text = String::new();
    let clock = Clock {
        source: ClockSource::Monotonic,
        frequency: 1_000_000_000,
        offset_seconds: 0,
        offset_ticks: 0,
    };
    preamble(&mut text, &UUID, &clock).unwrap();
    let field = |name, kind, privacy| FieldDecl { name, kind, privacy };
    event_declaration(
        &mut text,
        &EventDecl {
            id: 1,
            provider: "shop",
            name: "paid",
            level: Level::Info,
            file: "/home/marianne/src/shop.rs",
            line: 7,
            fields: &[
                field("who", FieldKind::Text, FieldPrivacy::Personal),
                field("card", FieldKind::U64, FieldPrivacy::Personal),
                field("blob", FieldKind::Bytes, FieldPrivacy::Personal),
                field("file", FieldKind::Text, FieldPrivacy::Public),
                field("cents", FieldKind::U32, FieldPrivacy::Public),
                field("pin", FieldKind::Text, FieldPrivacy::Secret),
            ],
        },
    )
    .unwrap();
    text
}

/// A packet with one event, written by hand: it shares no code with the reader.
fn stream() -> Vec<u8> {
    let mut event = Vec::new();
    event.extend_from_slice(&1u16.to_le_bytes());
    event.extend_from_slice(&1000u64.to_le_bytes()[..6]);
    let sequence = |event: &mut Vec<u8>, bytes: &[u8]| {
        event.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        event.extend_from_slice(bytes);
    };
    sequence(&mut event, b"personal-in-event");
    event.extend_from_slice(&4_711_471_147_114_711u64.to_le_bytes());
    sequence(&mut event, b"bytes-of-somebody");
    sequence(&mut event, b"opened /home/marianne/bill.pdf on mars-station");
    event.extend_from_slice(&1999u32.to_le_bytes());
    event.push(0);
    let bits = ((96 + event.len()) * 8) as u32;
    let mut packet = Vec::new();
    packet.extend_from_slice(&0xC1FC_1FC1u32.to_le_bytes());
    packet.extend_from_slice(&UUID);
    packet.extend_from_slice(&0u32.to_le_bytes());
    for word in [0u64, 1000, 1000] {
        packet.extend_from_slice(&word.to_le_bytes());
    }
    packet.extend_from_slice(&bits.to_le_bytes());
    packet.extend_from_slice(&1u32.to_le_bytes());
    for word in [(96 + event.len() as u64).next_multiple_of(8) * 8, 0, 0, 0] {
        packet.extend_from_slice(&word.to_le_bytes());
    }
    packet.extend_from_slice(&0u32.to_le_bytes());
    packet.extend_from_slice(&42u32.to_le_bytes());
    packet.extend_from_slice(&event);
    packet.resize(packet.len().next_multiple_of(8), 0);
    packet
}

fn report() -> Report {
    let frame = |function: &str, module: &str| Frame {
        ip: "0x401000".into(),
        module: Some(module.into()),
        offset: None,
        build_id: Some("c0ffee".into()),
        function: Some(function.into()),
        file: Some("/home/marianne/src/shop.rs".into()),
        line: Some(12),
        inline: false,
        trust: Trust::Cfi,
    };
    let annotation =
        |key: &str, value: &str, privacy| Annotation { key: key.into(), value: value.into(), privacy };
    Report {
        schema: SCHEMA,
        id: ReportId::from_random([7; 16]),
        kind: Kind::Crash,
        time: "2026-01-01T00:00:00Z".into(),
        program: Program {
            name: "shop".into(),
            exe: Some("/home/marianne/bin/shop".into()),
            pid: 4242,
            package: Some(Package { name: "shop".into(), version: "1.2-3".into() }),
        },
        signal: Some(Signal {
            number: 11,
            name: "SIGSEGV".into(),
            code: Some(1),
            address: Some("0xdead0000".into()),
        }),
        comment: None,
        message: Some("Marianne Muster could not be charged".into()),
        system: System {
            os: "Debian GNU/Linux 12".into(),
            kernel: "6.1.0-mars-station".into(),
            arch: "x86_64".into(),
        },
        surroundings: Some(Surroundings { unit: Some("marianne.service".into()), ..Surroundings::default() }),
        threads: vec![Thread {
            tid: 4242,
            inner_tid: None,
            name: "worker of marianne".into(),
            crashed: true,
            frames: vec![
                frame("shop::charge", "/home/marianne/bin/shop"),
                frame("marianne", "/usr/lib/libc.so.6"),
            ],
        }],
        signature: "shop::charge | marianne".into(),
        annotations: vec![
            annotation("account", "personal-in-annotation", Privacy::Personal),
            annotation("token", "secret-in-annotation", Privacy::Secret),
            annotation("folder", "/home/other/orders", Privacy::Public),
        ],
        losses: Losses { recorded: 10, overwritten: 9, discarded: 1 },
        recorder: Some(Recorder { events: 10, bytes: 200, nanoseconds: 120 }),
        parts: vec![],
        problems: vec![
            Problem::new("package", "no package owns /home/marianne/bin/shop"),
            Problem::new("trail", "the ring of mars-station was cut"),
        ],
    }
}

fn parts() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (MINIDUMP, super::minidump::tests::dump()),
        ("trace/ring-4242/metadata", metadata().into_bytes()),
        ("trace/ring-4242/slot-0.ctf", stream()),
        ("process/environ", b"LANG=C\0PATH=/home/marianne/bin:/bin\0TOKEN=pw-in-environment\0LC_ALL=C\0PATHS=pw-in-environment\0".to_vec()),
        ("process/cmdline", b"/home/marianne/bin/shop\0--password\0pw-in-argument\0".to_vec()),
        ("process/maps", b"00400000-00401000 r-xp 0 08:01 7 /home/marianne/bin/shop\n".to_vec()),
        ("process/auxv", b"\x19\0\0\0\0\0\0\0marianne".to_vec()),
        ("system/os-release", b"NAME=Debian\n".to_vec()),
        ("logs/journal", b"Jan 01 mars-station shop[4242]: user marianne at /home/other/x\n".to_vec()),
        ("core.zst", b"a whole core".to_vec()),
    ]
}

fn bundle(parts: &[(&str, Vec<u8>)]) -> BundleReader<Cursor<Vec<u8>>> {
    let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
    parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
    BundleReader::open(writer.finish(report()).unwrap().0, Limits::default()).unwrap()
}

fn rules() -> Rules {
    static PATTERNS: LazyLock<Patterns> = LazyLock::new(Patterns::default);
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let names = Names::new(
        &list(&["/home/marianne"]),
        &list(&["marianne", "Marianne Muster"]),
        &list(&["mars-station", "mars-station.example.org"]),
    );
    Rules { environment: vec![], text: TextRules { names, patterns: PATTERNS.clone() }, comment: None }
}

fn salt() -> Salt {
    Salt::from_random([5; 32])
}

fn redacted(classes: ClassSet) -> Outgoing {
    redact(&mut bundle(&parts()), classes, &salt(), &rules()).unwrap()
}

/// Everything that would leave, unpacked, with the names of its parts.
fn contents(outgoing: &Outgoing) -> Vec<(String, Vec<u8>)> {
    let mut reader = BundleReader::open(Cursor::new(outgoing.bytes.clone()), Limits::default()).unwrap();
    let names = reader.names();
    names.into_iter().map(|name| (name.clone(), reader.part(&name).unwrap())).collect()
}

fn part(outgoing: &Outgoing, name: &str) -> Vec<u8> {
    contents(outgoing).into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[test]
fn nothing_planted_leaves_whatever_is_granted() {
    for preset in Preset::ALL {
        let outgoing = redacted(preset.classes());
        for (name, content) in contents(&outgoing) {
            // The function that is called like the user survives; so do the numbers of the auxiliary vector.
            let text = String::from_utf8_lossy(&content)
                .replace("\"function\": \"marianne\"", "")
                .replace("| marianne", "");
            let content = if name == "process/auxv" { Vec::new() } else { text.into_bytes() };
            for secret in SECRETS {
                assert!(
                    !holds(&content, secret.as_bytes()),
                    "{secret} leaves in {name} with {}",
                    preset.classes()
                );
            }
            let card = 4_711_471_147_114_711u64.to_le_bytes();
            assert!(!holds(&content, &card), "a personal number leaves in {name}");
        }
    }
}

#[test]
fn what_was_not_granted_is_not_there() {
    for classes in (0..32u8).map(|bits| {
        let wider = Class::ALL.into_iter().skip(1).enumerate();
        wider
            .filter(|(n, _)| bits >> n & 1 == 1)
            .map(|(_, class)| class)
            .collect::<ClassSet>()
            .with(Class::Summary)
    }) {
        let outgoing = redacted(classes);
        for (name, _) in contents(&outgoing) {
            assert!(classes.contains(class_of(&name).unwrap()), "{name} leaves with {classes}");
        }
        let report: Report = serde_json::from_slice(&part(&outgoing, REPORT)).unwrap();
        let stack = classes.contains(Class::Stack);
        assert_eq!(!report.threads.is_empty(), stack, "{classes}");
        assert_eq!(report.signal.unwrap().address.is_some(), stack, "{classes}");
        let trail = classes.contains(Class::Trail);
        assert_eq!(report.message.is_some(), trail, "{classes}");
        assert_eq!(!report.annotations.is_empty(), trail, "{classes}");
        assert_eq!(report.losses == Losses::default(), !trail, "{classes}");
        assert_eq!(report.problems.iter().any(|problem| problem.part == "trail"), trail, "{classes}");
        assert_eq!(report.parts, outgoing.report.parts);
        // The digest of the token that erases it comes on top.
        let whole = parts().len() + 2;
        let stays = outgoing.withheld.iter().filter(|part| class_of(&part.name).is_some()).count();
        assert_eq!(
            contents(&outgoing).len() + stays,
            whole,
            "every part leaves or is accounted for: {classes}"
        );
    }
}

#[test]
fn backtrace_names_package_and_signature_survive() {
    let report = redacted(Preset::USUAL.classes()).report;
    let functions: Vec<_> =
        report.threads[0].frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert_eq!(functions, ["shop::charge", "marianne"]);
    assert_eq!(report.signature, "shop::charge | marianne");
    assert_eq!(report.program.package.unwrap().version, "1.2-3");
    assert_eq!(report.threads[0].frames[0].module.as_deref(), Some("~/bin/shop"));
    assert_eq!(report.threads[0].frames[1].module.as_deref(), Some("/usr/lib/libc.so.6"));
    assert_eq!(report.threads[0].name, "worker of <user>");
}

#[test]
fn the_trail_stays_readable_and_its_public_values_stay() {
    let outgoing = redacted(Preset::USUAL.classes());
    let metadata = String::from_utf8(part(&outgoing, "trace/ring-4242/metadata")).unwrap();
    let stream = part(&outgoing, "trace/ring-4242/slot-0.ctf");
    let trail = Trail::decode(&metadata, &[("slot-0.ctf", &stream)]);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(trail.events.len(), 1);
    let values = &trail.events[0].values;
    assert_eq!(values[0], Value::Text(salt().text("personal-in-event")));
    assert_eq!(values[3], Value::Text("opened ~/bill.pdf on <host>".into()));
    assert_eq!(values[4], Value::Unsigned(1999));
    let kind = trail.kind_of(&trail.events[0]);
    assert_eq!(kind.location, Some(("~/src/shop.rs".into(), 7)));
}

#[test]
fn environment_and_arguments_leave_only_as_far_as_the_list_says() {
    let outgoing = redacted(Preset(Class::Memory).classes());
    assert_eq!(part(&outgoing, "process/environ"), b"LANG=C\0PATH=~/bin:/bin\0LC_ALL=C\0");
    assert_eq!(part(&outgoing, "process/cmdline"), b"~/bin/shop");
    assert_eq!((outgoing.removed.of(Rule::Environment), outgoing.removed.of(Rule::Arguments)), (3, 2));
    let more = Rules { environment: vec!["TOK*".into(), "*".into()], ..rules() };
    let outgoing = redact(&mut bundle(&parts()), Preset(Class::Memory).classes(), &salt(), &more).unwrap();
    assert_eq!(part(&outgoing, "process/environ"), b"LANG=C\0PATH=~/bin:/bin\0TOKEN=<password>\0LC_ALL=C\0");
}

#[test]
fn what_leaves_holds_the_digest_of_the_token_that_erases_it_and_not_the_token() {
    let forged = [(ERASURE, b"forged".to_vec())];
    let outgoing = redact(&mut bundle(&forged), Preset(Class::Summary).classes(), &salt(), &rules()).unwrap();
    let token = salt().erasure_token();
    let digest = foretrace_report::bundle::hex(&<sha2::Sha256 as sha2::Digest>::digest(&token));
    assert_eq!(part(&outgoing, ERASURE), digest.as_bytes());
    assert!(contents(&outgoing).iter().all(|(_, content)| !holds(content, token.as_bytes())));
    assert_ne!(token, Salt::from_random([6; 32]).erasure_token());
}

#[test]
fn a_minidump_that_cannot_be_understood_stays_here_with_a_problem() {
    let parts = [(MINIDUMP, b"MDMP\xff\0\0secret".to_vec()), ("logs/kmsg", b"fine".to_vec())];
    let outgoing = redact(&mut bundle(&parts), Preset(Class::Memory).classes(), &salt(), &rules()).unwrap();
    assert!(contents(&outgoing).iter().all(|(name, _)| name != MINIDUMP));
    assert!(outgoing.withheld.iter().any(|part| part.name == MINIDUMP));
    assert!(outgoing.report.problems.iter().any(|problem| problem.part == MINIDUMP));
    assert_eq!(part(&outgoing, "logs/kmsg"), b"fine");
}

#[test]
fn the_auxiliary_vector_stays_pairs_of_numbers() {
    let outgoing = redacted(Preset(Class::Memory).classes());
    assert_eq!(part(&outgoing, "process/auxv"), b"\x19\0\0\0\0\0\0\0marianne");
}

#[test]
fn a_title_written_over_the_arguments_keeps_its_first_word() {
    let parts = [("process/cmdline", b"sshd: marianne pw-in-title [priv]\0".to_vec())];
    let outgoing = redact(&mut bundle(&parts), Preset(Class::Memory).classes(), &salt(), &rules()).unwrap();
    assert_eq!(part(&outgoing, "process/cmdline"), b"sshd:");
}

#[test]
fn the_same_report_grant_and_salt_give_the_same_bytes() {
    let classes = Preset(Class::Memory).classes();
    assert_eq!(redacted(classes).bytes, redacted(classes).bytes);
    let other = redact(&mut bundle(&parts()), classes, &Salt::from_random([6; 32]), &rules()).unwrap();
    assert_ne!(redacted(classes).bytes, other.bytes);
}

#[test]
fn a_trail_that_cannot_be_understood_stays_here_with_a_problem() {
    let garbled = metadata().replace("uint32_t stream_id", "uint16_t stream_id").into_bytes();
    for broken in [Some(garbled), Some(b"\xff\xfe".to_vec()), None] {
        let mut parts = parts();
        parts.retain(|(name, _)| *name != "trace/ring-4242/metadata");
        parts.extend(broken.map(|content| ("trace/ring-4242/metadata", content)));
        let outgoing = redact(&mut bundle(&parts), Preset::USUAL.classes(), &salt(), &rules()).unwrap();
        assert!(contents(&outgoing).iter().all(|(name, _)| !name.starts_with("trace/")));
        assert!(outgoing.report.problems.iter().any(|problem| problem.part == "trace/ring-4242"));
    }
}

#[test]
fn a_damaged_part_stays_here_and_the_rest_leaves() {
    let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    writer.add("logs/journal", &noise).unwrap();
    writer.add("logs/kmsg", b"fine").unwrap();
    let mut zip = writer.finish(report()).unwrap().0.into_inner();
    (&mut zip[200..]).write_all(&[0xff; 64]).unwrap();
    let mut reader = BundleReader::open(Cursor::new(zip), Limits::default()).unwrap();
    let outgoing = redact(&mut reader, Preset(Class::Logs).classes(), &salt(), &rules()).unwrap();
    assert_eq!(part(&outgoing, "logs/kmsg"), b"fine");
    assert!(outgoing.report.problems.iter().any(|problem| problem.part == "logs/journal"));
    assert!(contents(&outgoing).iter().all(|(name, _)| name != "logs/journal"));
}
