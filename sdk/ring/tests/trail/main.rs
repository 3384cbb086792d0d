//! Decoding and rewriting trails: tables, properties over synthesised trails, damage, and babeltrace2 as the judge.
#![allow(clippy::unwrap_used)]

// Miri runs no other program.
#[cfg(not(miri))]
mod babeltrace;
mod synthesis;

use foretrace_ring::metadata::{
    Clock, ClockSource, EventDecl, FieldDecl, FieldKind, event_declaration, preamble,
};
use foretrace_ring::trail::{EventType, FieldType, Level, Privacy, Trail, Value, rewrite};
use proptest::prelude::*;
use synthesis::{PREAMBLE, Packet, Synthesis, UUID, Wire, declaration, synthesis};

const TICK_0: u64 = 1_700_000_000_100_000_000;

fn keep(_: &EventType, _: &FieldType, _: &Value) -> Option<Value> {
    None
}

fn value(wire: &Wire) -> Value {
    match wire.clone() {
        Wire::U8(v) => Value::Unsigned(v.into()),
        Wire::U16(v) => Value::Unsigned(v.into()),
        Wire::U32(v) => Value::Unsigned(v.into()),
        Wire::U64(v) => Value::Unsigned(v),
        Wire::I8(v) => Value::Signed(v.into()),
        Wire::I16(v) => Value::Signed(v.into()),
        Wire::I32(v) => Value::Signed(v.into()),
        Wire::I64(v) => Value::Signed(v),
        Wire::F32(v) => Value::Float(v.into()),
        Wire::F64(v) => Value::Float(v),
        Wire::Bool(v) => Value::Bool(v),
        Wire::Text(v) => Value::Text(v),
        Wire::Bytes(v) => Value::Bytes(v),
        Wire::Secret => Value::Withheld,
    }
}

fn one_of_each() -> Vec<Wire> {
    vec![
        Wire::U8(200),
        Wire::U16(60_000),
        Wire::U32(4_000_000_000),
        Wire::U64(u64::MAX),
        Wire::I8(-100),
        Wire::I16(-30_000),
        Wire::I32(-2_000_000_000),
        Wire::I64(i64::MIN),
        Wire::F32(1.5),
        Wire::F64(-0.1),
        Wire::Bool(true),
        Wire::Text("grün ✓".into()),
        Wire::Bytes(vec![0, 255, 7]),
        Wire::Secret,
    ]
}

fn decode_one(metadata: &str, stream: &[u8]) -> Trail {
    Trail::decode(metadata, &[("slot-0.ctf", stream)])
}

#[test]
fn the_preamble_is_the_text_that_was_agreed_on() {
    let clock = Clock {
        source: ClockSource::Tsc,
        frequency: 2_500_000_000,
        offset_seconds: 1_700_000_000,
        offset_ticks: 250_000_000,
    };
    let mut text = String::new();
    preamble(&mut text, &UUID, &clock).unwrap();
    assert_eq!(text, PREAMBLE);
}

#[test]
fn every_kind_of_field_comes_back() {
    let fields = one_of_each();
    let metadata = format!("{PREAMBLE}{}", declaration(3, "all", &fields, &[true]));
    let mut packet = Packet::new(1000, 42);
    packet.event(3, 2500, &fields);
    let trail = decode_one(&metadata, &packet.finish(100));
    assert_eq!(trail.problems, [""; 0]);
    let event = &trail.events[0];
    assert_eq!(event.values, fields.iter().map(value).collect::<Vec<_>>());
    assert_eq!((event.thread, event.time), (42, TICK_0 + 1000));
    let kind = trail.kind_of(event);
    assert_eq!((kind.provider.as_str(), kind.name.as_str(), kind.level), ("app::test", "all", Level::Info));
    assert_eq!(kind.fields[0], FieldType { name: "f0".into(), privacy: Privacy::Personal });
    assert_eq!(kind.fields[1].privacy, Privacy::Public);
    assert_eq!(kind.fields[13].privacy, Privacy::Secret);
}

#[test]
fn what_is_declared_is_what_is_read() {
    let fields = [
        FieldDecl { name: "http.status", kind: FieldKind::U16, privacy: Privacy::Public },
        FieldDecl { name: "http_status", kind: FieldKind::Text, privacy: Privacy::Personal },
        FieldDecl { name: "_http_status_001_length", kind: FieldKind::U16, privacy: Privacy::Public },
        FieldDecl { name: "_http_status_length", kind: FieldKind::U16, privacy: Privacy::Public },
        FieldDecl { name: "", kind: FieldKind::Bytes, privacy: Privacy::Secret },
    ];
    let mut metadata = String::from(PREAMBLE);
    let (provider, name) = ("app::a:b", ":say \"hi\" \\ \n 1:2");
    let event = EventDecl {
        id: 9,
        provider,
        name,
        level: Level::Trace,
        file: "src/a:b.rs",
        line: 12,
        fields: &fields,
    };
    event_declaration(&mut metadata, &event).unwrap();
    let trail = decode_one(&metadata, &[]);
    assert_eq!(trail.problems, [""; 0]);
    let read = trail.types.last().unwrap();
    assert_eq!((read.provider.as_str(), read.name.as_str()), ("app::a_b", "_say \"hi\" \\ \u{fffd} 1:2"));
    assert_eq!((read.id, read.level, &read.location), (9, Level::Trace, &Some(("src/a:b.rs".into(), 12))));
    let names: Vec<_> = read.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(
        names,
        ["http_status", "http_status_001", "_http_status_001_length_001", "_http_status_length", "_"]
    );
    let classes: Vec<_> = read.fields.iter().map(|field| field.privacy).collect();
    use Privacy::{Personal, Public, Secret};
    assert_eq!(classes, [Public, Personal, Public, Public, Secret]);
}

#[test]
fn no_two_fields_of_an_event_share_a_name() {
    const FIELDS: usize = if cfg!(miri) { 9 } else { 100 };
    let fields = [FieldDecl { name: "same", kind: FieldKind::Text, privacy: Privacy::Public }; FIELDS];
    let mut metadata = String::from(PREAMBLE);
    let event =
        EventDecl { id: 9, provider: "p", name: "n", level: Level::Info, file: "", line: 0, fields: &fields };
    event_declaration(&mut metadata, &event).unwrap();
    let trail = decode_one(&metadata, &[]);
    assert_eq!(trail.problems, [""; 0]);
    let names: std::collections::BTreeSet<_> =
        trail.types.last().unwrap().fields.iter().map(|field| &field.name).collect();
    assert_eq!(names.len(), FIELDS.min(64));
}

#[test]
fn streams_are_merged_by_time_and_keep_their_own_order() {
    let metadata = format!("{PREAMBLE}{}", declaration(1, "n", &[Wire::U64(0)], &[]));
    let mut streams = vec![];
    for (instance, times) in [[10u64, 20, 20, 30], [5, 20, 20, 40]].iter().enumerate() {
        let mut packet = Packet::new(0, instance as u32);
        for (n, time) in times.iter().enumerate() {
            packet.event(1, time * 1000, &[Wire::U64((instance * 10 + n) as u64)]);
        }
        streams.push(packet.finish(0));
    }
    let trail = Trail::decode(&metadata, &[("a", &streams[0]), ("b", &streams[1])]);
    let order: Vec<_> = trail.events.iter().map(|event| event.values[0].clone()).collect();
    assert_eq!(order, [10, 0, 1, 2, 11, 12, 3, 13].map(Value::Unsigned));
}

#[test]
fn a_thread_change_counts_until_the_packet_ends_and_is_no_event() {
    let metadata = format!("{PREAMBLE}{}", declaration(1, "n", &[], &[]));
    let mut first = Packet::new(0, 7);
    first.event(1, 1, &[]);
    first.event(65534, 2, &[Wire::U32(8)]);
    first.event(1, 3, &[]);
    let mut second = Packet::new(4, 9);
    second.event(1, 4, &[]);
    let trail = decode_one(&metadata, &[first.finish(8), second.finish(0)].concat());
    assert_eq!(trail.events.iter().map(|event| event.thread).collect::<Vec<_>>(), [7, 8, 9]);
}

#[test]
fn a_reported_error_is_an_event() {
    let mut packet = Packet::new(0, 7);
    let frames = Wire::Bytes(0x1234_u64.to_le_bytes().to_vec());
    packet.event(65533, 1, &[Wire::U8(2), Wire::Text("no disk".into()), Wire::Text("a.rs:1".into()), frames]);
    let trail = decode_one(PREAMBLE, &packet.finish(0));
    assert_eq!(trail.kind_of(&trail.events[0]).name, "report");
    assert_eq!(trail.events[0].values[1], Value::Text("no disk".into()));
    assert_eq!(trail.events[0].values[3], Value::Bytes(vec![0x34, 0x12, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn the_48_bits_of_an_event_time_are_continued_from_the_packet() {
    let metadata = format!("{PREAMBLE}{}", declaration(1, "n", &[], &[]));
    let begin = (5u64 << 48) - 10;
    let mut packet = Packet::new(begin, 7);
    for later in [0, 9, 11, 1 << 46, (1 << 46) + (1 << 47) - 1] {
        packet.event(1, begin + later, &[]);
    }
    let trail = decode_one(&metadata, &packet.finish(0));
    let ticks = [0, 9, 11, 1 << 46, (1u64 << 46) + (1 << 47) - 1].map(|later| begin + later);
    let times = ticks.map(|tick| (u128::from(TICK_0) + u128::from(tick) * 2 / 5) as u64);
    assert_eq!(trail.events.iter().map(|event| event.time).collect::<Vec<_>>(), times);
}

/// Each row damages a stream of two packets with two events each; the second packet is whole.
#[test]
fn damage_costs_the_rest_of_its_packet_and_is_said() {
    let metadata = format!("{PREAMBLE}{}", declaration(1, "n", &[Wire::Text(String::new())], &[]));
    let stream = || {
        let mut first = Packet::new(1000, 7);
        first.event(1, 1000, &[Wire::Text("abcdef".into())]);
        first.event(1, 2000, &[Wire::Text("abcdef".into())]);
        let mut second = Packet::new(3000, 7);
        second.event(1, 3000, &[Wire::Text("x".into())]);
        second.event(1, 4000, &[Wire::Text("y".into())]);
        let first = first.finish(24);
        let length = first.len();
        ([first, second.finish(0)].concat(), length)
    };
    type Damage = fn(&mut Vec<u8>, usize);
    let rows: &[(&str, Damage, usize, &str)] = &[
        ("unknown id", |s, _| s[112] = 9, 3, "packet 1: event type 9 is not declared"),
        ("length beyond the content", |s, _| s[121] = 1, 3, "packet 1: an event of type 1 is longer"),
        ("time backwards", |s, _| s[114..120].fill(0), 3, "packet 1: time goes backwards"),
        (
            "content cut in a header",
            |s, _| s[48..50].copy_from_slice(&(115u16 * 8).to_le_bytes()),
            3,
            "packet 1",
        ),
        ("content beyond the packet", |s, _| s[51] = 1, 2, "packet 1: the size of its content"),
        ("content below the header", |s, _| s[48..52].fill(0), 2, "packet 1: the size of its content"),
        ("content of half bytes", |s, _| s[48] += 1, 2, "packet 1: the size of its content"),
        ("another trace", |s, _| s[4] = 99, 2, "packet 1: it belongs to another trace"),
        ("another stream class", |s, _| s[20] = 1, 2, "packet 1: it belongs to another trace"),
        ("no magic", |s, _| s[0] = 0, 0, "packet 1: what stands there is no packet"),
        ("size 0", |s, _| s[56..64].fill(0), 0, "packet 1: its size is impossible"),
        ("size of all", |s, _| s[56..64].fill(0xf8), 0, "packet 1: the file ends within it"),
        ("second begins early", |s, at| s[at + 32..at + 40].fill(0), 2, "packet 2: time goes backwards"),
        (
            "begins at the end of time",
            |s, at| s[at + 32..at + 40].fill(255),
            2,
            "packet 2: time goes backwards",
        ),
        ("cut in the second header", |s, at| s.truncate(at + 50), 2, "packet 2: the file ends within it"),
        ("cut in the second payload", |s, _| s.truncate(s.len() - 1), 2, "packet 2: the file ends within it"),
    ];
    for (what, damage, left, sentence) in rows {
        let (mut bytes, second) = stream();
        damage(&mut bytes, second);
        let trail = decode_one(&metadata, &bytes);
        assert_eq!(trail.events.len(), *left, "{what}: {:?}", trail.problems);
        assert_eq!(trail.problems.len(), 1, "{what}");
        assert!(
            trail.problems[0].starts_with(&format!("slot-0.ctf, {sentence}")),
            "{what}: {:?}",
            trail.problems
        );

        let rewritten = rewrite(&metadata, &bytes, &mut keep).unwrap();
        assert_eq!(rewritten.problems.len(), 1, "{what}");
        let again = decode_one(&metadata, &rewritten.bytes);
        assert_eq!((again.events, again.problems.len()), (trail.events, 0), "{what}");
    }
}

#[test]
fn metadata_of_another_layout_is_refused() {
    for (from, to, sentence) in [
        ("size = 48", "size = 40", "another layout"),
        ("uint64_t packet_size;", "uint32_t packet_size;", "another layout"),
        ("freq = 2500000000", "freq = 0", "no valid clock"),
        ("name = tsc", "name = sundial", "no valid clock"),
        ("00112233", "0011223", "no valid trace identity"),
        ("uuid = ", "guid = ", "no valid trace identity"),
    ] {
        let metadata = PREAMBLE.replacen(from, to, 1);
        let trail = decode_one(&metadata, b"never looked at");
        assert_eq!(trail.problems.len(), 1);
        assert!(trail.problems[0].contains(sentence), "{to}: {:?}", trail.problems);
        assert!(rewrite(&metadata, b"", &mut keep).is_err());
    }
    let other_env = PREAMBLE.replace("tracer_minor = 1", "tracer_minor = 2");
    assert_eq!(decode_one(&other_env, b"").problems, [""; 0]);
}

#[test]
fn a_damaged_declaration_costs_its_event_type_only() {
    let good = declaration(2, "good", &[Wire::U8(0)], &[]);
    for bad in [
        "event { name = \"app:bad",
        "event { name = \"app\"; id = 1; stream_id = 0; fields := struct { }; };",
        "event { name = \"app:bad\"; id = 70000; stream_id = 0; fields := struct { }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 1; fields := struct { }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 0; loglevel = 5; fields := struct { }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 0; fields := struct { uint128_t _x; }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 0; fields := struct { char8_t _x; }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 0; fields := struct { uint16_t __x_length; uint8_t _x[__x_length]; }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 0; fields := struct { uint16_t __x_length; char8_t _x[__y_length]; }; };",
        "event { name = \"app:bad\"; id = 1; stream_id = 0; fields := struct { }; }; event",
        &declaration(2, "good", &[], &[]).replace("id = 2", "id = 65534"),
        &declaration(1, "bad", &vec![Wire::U8(0); 65], &[]),
    ] {
        let trail = decode_one(&format!("{PREAMBLE}{bad}\n{good}"), b"");
        assert_eq!(trail.problems.len(), 1, "{bad}");
        assert_eq!(trail.types.last().unwrap().name, "good");
        assert_eq!(trail.types.len(), 3, "{bad}");
    }
}

#[test]
fn an_endless_list_of_problems_is_cut_short() {
    let mut metadata = String::from(PREAMBLE);
    const WRONG: usize = if cfg!(miri) { 110 } else { 1000 };
    for _ in 0..WRONG {
        metadata += "event { nonsense\n";
    }
    let problems = decode_one(&metadata, b"").problems;
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100], format!("and {} more problems like these", WRONG - 100));
}

#[test]
fn memory_is_bounded_whatever_the_events_declare() {
    let metadata = format!("{PREAMBLE}{}", declaration(1, "bomb", &vec![Wire::Secret; 64], &[]));
    let mut packet = Packet::new(0, 7);
    const EVENTS: u64 = if cfg!(miri) { 100 } else { 1000 };
    for n in 0..EVENTS {
        packet.event(1, n, &vec![Wire::Secret; 64]);
    }
    let stream = packet.finish(0);
    let trail = Trail::decode_within(100_000, &metadata, &[("a", &stream), ("b", &stream)]);
    assert!((10..100).contains(&trail.events.len()), "{}", trail.events.len());
    assert!(trail.problems[0].starts_with("a, packet 1: the trail holds more than is decoded at once"));
    assert_eq!(decode_one(&metadata, &stream).events.len() as u64, EVENTS);
}

#[test]
fn rewriting_leaves_no_byte_of_what_was_replaced() {
    let fields = [Wire::Text("alice@example.org".into()), Wire::U64(0x1122_3344_5566_7788), Wire::Secret];
    let metadata = format!("{PREAMBLE}{}", declaration(1, "login", &fields, &[true, true]));
    let mut packet = Packet::new(0, 7);
    const EVENTS: u64 = if cfg!(miri) { 5 } else { 100 };
    for n in 0..EVENTS {
        packet.event(1, n, &fields);
    }
    let mut stream = packet.finish(200);
    // Stale bytes: behind the content, in the padding before the second event, and where a secret should not be.
    let end = stream.len();
    stream[end - 40..end - 24].copy_from_slice(b"alice@example.or");
    let first_end = 96 + 8 + 2 + 17 + 8 + 1;
    assert_eq!(first_end % 8, 4);
    stream[first_end..first_end + 4].copy_from_slice(b"lice");
    stream[first_end - 1] = b'a';
    for pseudonym in ["person-3f", "a pseudonym that is a good deal longer than what it stands for"] {
        let rewritten = rewrite(&metadata, &stream, &mut |_, field, value| match (field.privacy, value) {
            (Privacy::Personal, Value::Text(_)) => Some(Value::Text(pseudonym.into())),
            (Privacy::Personal, Value::Unsigned(_)) => Some(Value::Unsigned(1)),
            _ => None,
        })
        .unwrap();
        assert_eq!((rewritten.replaced, rewritten.problems.len()), (2 * EVENTS, 0));
        for trace in [&b"lice"[..], &0x1122_3344_5566_7788u64.to_le_bytes()] {
            assert!(!rewritten.bytes.windows(trace.len()).any(|bytes| bytes == trace));
        }
        let trail = decode_one(&metadata, &rewritten.bytes);
        assert_eq!((trail.events.len() as u64, trail.problems.len()), (EVENTS, 0));
        let values = [Value::Text(pseudonym.into()), Value::Unsigned(1), Value::Withheld];
        assert!(trail.events.iter().all(|event| event.values == values));
    }
}

#[test]
fn a_replacement_of_the_wrong_kind_or_size_keeps_the_packet_readable() {
    let fields = one_of_each();
    let metadata = format!("{PREAMBLE}{}", declaration(3, "all", &fields, &[]));
    let mut packet = Packet::new(0, 42);
    packet.event(3, 1, &fields);
    let stream = packet.finish(0);
    // More than any field may have, but under Miri.
    const LONG: usize = if cfg!(miri) { 100 } else { 40_000 };
    for replacement in [
        Value::Withheld,
        Value::Text("é".repeat(LONG)),
        Value::Bytes(vec![1; 2 * LONG]),
        Value::Unsigned(u64::MAX),
        Value::Signed(-1),
        Value::Float(f64::NAN),
        Value::Bool(true),
    ] {
        let rewritten = rewrite(&metadata, &stream, &mut |_, _, _| Some(replacement.clone())).unwrap();
        assert_eq!(rewritten.replaced, 13);
        let trail = decode_one(&metadata, &rewritten.bytes);
        assert_eq!((trail.events.len(), trail.problems.len()), (1, 0));
    }
}

/// As many cases as usual, or what Miri has time for.
fn cases() -> ProptestConfig {
    if cfg!(miri) {
        ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() }
    } else {
        ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_synthesised_is_decoded(Synthesis { metadata, streams, expected } in synthesis()) {
        let named: Vec<_> = streams.iter().map(|bytes| ("s.ctf", bytes.as_slice())).collect();
        let trail = Trail::decode(&metadata, &named);
        prop_assert_eq!(&trail.problems, &Vec::<String>::new());
        let mut all: Vec<_> = expected.into_iter().flatten().collect();
        all.sort_by_key(|event| event.ticks * 2 / 5);
        prop_assert_eq!(trail.events.len(), all.len());
        for (read, made) in trail.events.iter().zip(&all) {
            prop_assert_eq!(read.time, TICK_0 + made.ticks * 2 / 5);
            prop_assert_eq!(read.thread, made.thread);
            prop_assert_eq!(trail.kind_of(read).id, made.id);
            prop_assert_eq!(&read.values, &made.fields.iter().map(value).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rewriting_nothing_changes_nothing(Synthesis { metadata, streams, .. } in synthesis()) {
        for stream in streams {
            let kept = rewrite(&metadata, &stream, &mut keep).unwrap();
            prop_assert_eq!((&kept.bytes, kept.replaced), (&stream, 0));
            let same = rewrite(&metadata, &stream, &mut |_, _, value| Some(value.clone())).unwrap();
            prop_assert_eq!(&same.bytes, &stream);
        }
    }

    #[test]
    fn damaged_trails_never_panic_and_rewrite_to_what_was_decoded(
        Synthesis { metadata, streams, .. } in synthesis(),
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
    ) {
        for mut stream in streams.into_iter().filter(|stream| !stream.is_empty()) {
            for (at, byte) in &hits {
                let at = at.index(stream.len());
                stream[at] = *byte;
            }
            let trail = decode_one(&metadata, &stream);
            let rewritten = rewrite(&metadata, &stream, &mut keep).unwrap();
            let again = decode_one(&metadata, &rewritten.bytes);
            prop_assert_eq!(&again.problems, &Vec::<String>::new());
            prop_assert_eq!(format!("{:?}", again.events), format!("{:?}", trail.events));
        }
    }

    #[test]
    fn damaged_metadata_never_panics(
        Synthesis { mut metadata, streams, .. } in synthesis(),
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), "[ -~\n]"), 1..6),
    ) {
        for (at, text) in &hits {
            let at = at.index(metadata.len());
            metadata.replace_range(at..at + 1, text);
        }
        for stream in &streams {
            let _ = decode_one(&metadata, stream);
            let _ = rewrite(&metadata, stream, &mut keep);
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in ".{0,400}") {
        let _ = decode_one(PREAMBLE, &bytes);
        let _ = decode_one(&text, &bytes);
        let _ = decode_one(&format!("{PREAMBLE}event {text}"), &bytes);
    }
}
