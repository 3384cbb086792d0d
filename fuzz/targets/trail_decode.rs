//! Exported CTF from the network: decoding and rewriting never fail, and what was rewritten decodes to as many events.
//!
//! The input is metadata, a NUL, and stream files with a NUL-free header each: four bytes of length, then the bytes.
#![no_main]

use foretrace_ring::Trail;
use foretrace_ring::trail::{Value, rewrite};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let metadata = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let mut rest = parts.next().unwrap_or_default();
    let mut streams: Vec<(&str, &[u8])> = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(behind.len());
        let (stream, later) = behind.split_at(length);
        streams.push(("stream", stream));
        rest = later;
    }
    let trail = Trail::decode_within(16 << 20, &metadata, &streams);
    for event in &trail.events {
        assert_eq!(event.values.len(), trail.kind_of(event).fields.len(), "an event lacks values");
    }
    for (name, stream) in streams {
        let before = Trail::decode(&metadata, &[(name, stream)]);
        let Ok(rewritten) = rewrite(&metadata, stream, &mut |_, _, value| match value {
            Value::Text(text) => Some(Value::Text(text.chars().rev().take(40).collect())),
            _ => None,
        }) else {
            continue;
        };
        let after = Trail::decode(&metadata, &[(name, &rewritten.bytes)]);
        assert_eq!(before.events.len(), after.events.len(), "rewriting lost or made events");
    }
});
