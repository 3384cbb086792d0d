//! babeltrace2 as the judge of what we write: it must read the same events, without one warning.

use std::fs;
use std::path::Path;
use std::process::Command;

use foretrace_ring::trail::{Trail, Value, rewrite};

use crate::synthesis::{PREAMBLE, Packet, Wire, declaration};
use crate::{keep, one_of_each};

/// What babeltrace2 prints of a trail: a line for each event. Panics when it is missing or has anything to complain of.
fn babeltrace2(metadata: &str, streams: &[Vec<u8>]) -> Vec<String> {
    let directory =
        std::env::temp_dir().join(format!("foretrace-babeltrace-{:?}", std::thread::current().id()));
    let directory = directory.with_extension(std::process::id().to_string());
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("metadata"), metadata).unwrap();
    for (n, stream) in streams.iter().enumerate() {
        fs::write(directory.join(format!("slot-{n}.ctf")), stream).unwrap();
    }
    let lines = print(&directory);
    fs::remove_dir_all(&directory).unwrap();
    lines
}

fn print(directory: &Path) -> Vec<String> {
    let output = Command::new("babeltrace2")
        .args(["--fields", "trace,loglevel,emf,callsite"])
        .arg(directory)
        .output()
        .expect("this test needs babeltrace2: install the package `babeltrace2`");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "babeltrace2 complains: {complaints}");
    String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
}

fn trail() -> (String, Vec<Vec<u8>>) {
    let fields = one_of_each();
    let mut metadata = format!("{PREAMBLE}{}", declaration(3, "all", &fields, &[true; 14]));
    metadata += &declaration(4, "none", &[], &[]);
    let mut streams = vec![];
    for instance in 0..3u64 {
        let mut stream = vec![];
        for sequence in 0..4u64 {
            let begin = 1_000_000 * sequence;
            let mut packet = Packet::new(begin, 50).numbered(instance, sequence, sequence * 50);
            packet.event(65534, begin, &[Wire::U32(51)]);
            for n in 0..25 {
                packet.event(3, begin + n * 100, &fields);
                packet.event(4, begin + n * 100 + 50, &[]);
            }
            stream.extend(packet.finish(sequence as usize * 1000));
        }
        streams.push(stream);
    }
    (metadata, streams)
}

#[test]
fn babeltrace2_prints_the_same_events() {
    let (metadata, streams) = trail();
    let lines = babeltrace2(&metadata, &streams);
    let named: Vec<_> = streams.iter().map(|bytes| ("s", bytes.as_slice())).collect();
    let decoded = Trail::decode(&metadata, &named);
    let events: Vec<_> = lines.iter().filter(|line| !line.contains("foretrace:thread")).collect();
    assert_eq!((events.len(), decoded.events.len()), (600, 600));
    assert_eq!(lines.len(), 600 + 12);
    let all = events.iter().find(|line| line.contains("app::test:all")).unwrap();
    for part in [
        "f0 = 200",
        "f3 = 18446744073709551615",
        "f7 = -9223372036854775808",
        "f8 = 1.5",
        "f9 = -0.1",
        "( \"true\" : container = 1 )",
        "f11 = \"grün ✓\"",
        "[0] = 0, [1] = 255, [2] = 7",
        "f13 = 0",
    ] {
        assert!(all.contains(part), "{part} is not in: {all}");
    }
}

#[test]
fn babeltrace2_reads_what_was_rewritten() {
    let (metadata, streams) = trail();
    let rewrite_all = |replace: &mut dyn FnMut(&Value) -> Option<Value>| -> Vec<Vec<u8>> {
        let one =
            |stream: &Vec<u8>| rewrite(&metadata, stream, &mut |_, _, value| replace(value)).unwrap().bytes;
        streams.iter().map(one).collect()
    };
    let longer = rewrite_all(&mut |value| match value {
        Value::Text(text) => Some(Value::Text(text.repeat(9))),
        _ => None,
    });
    let lines = babeltrace2(&metadata, &longer);
    assert_eq!(lines.len(), 612);
    assert_eq!(lines.iter().filter(|line| line.contains(&"grün ✓".repeat(9))).count(), 300);

    let shorter = rewrite_all(&mut |value| match value {
        Value::Text(_) => Some(Value::Text(String::new())),
        _ => None,
    });
    assert_eq!(babeltrace2(&metadata, &shorter).len(), 612);
}

#[test]
fn babeltrace2_reads_what_is_left_of_a_damaged_stream() {
    let (metadata, mut streams) = trail();
    streams.truncate(1);
    // The type of the third event of the first packet (a thread change, `all`, then this) becomes an unknown one.
    let third = streams[0].windows(2).enumerate().skip(96 + 16).find(|(at, id)| at % 8 == 0 && *id == [4, 0]);
    let (at, _) = third.unwrap();
    streams[0][at + 1] = 77;
    let rewritten = rewrite(&metadata, &streams[0], &mut keep).unwrap();
    assert_eq!(rewritten.problems.len(), 1);
    assert_eq!(babeltrace2(&metadata, &[rewritten.bytes]).len(), 204 - 49);
}
