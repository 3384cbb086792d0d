//! A panic that ends in an abort is one report: what the ring's last events say about the crashed thread.
//!
//! Pure. Only the newest packets of each stream are decoded; a panic hook runs just before the abort.

use foretrace_ring::Snapshot;
use foretrace_ring::layout::{PACKET_SIZE, REPORT_PANIC};

use super::arguments::Crash;
use crate::reported;

/// How long before the crash a panic may have been reported.
const NANOSECONDS: u64 = 10_000_000_000;
/// How many of each stream's packets are looked at.
const PACKETS: usize = 3;

/// The message of the panic that ended `thread`, if its abort was one's end.
pub fn of_panic<'a>(
    crash: &Crash,
    thread: u32,
    snapshots: impl Iterator<Item = &'a Snapshot>,
) -> Option<String> {
    if crash.signal != libc::SIGABRT {
        return None;
    }
    let crashed = u64::try_from(crash.time).ok()?.checked_mul(1_000_000_000)?;
    snapshots.filter_map(|snapshot| panic_in(snapshot, thread, crashed)).last()
}

fn panic_in(snapshot: &Snapshot, thread: u32, crashed: u64) -> Option<String> {
    let streams = snapshot.streams.iter().map(|(name, content)| (name.clone(), newest(content).to_vec()));
    let end = Snapshot { streams: streams.collect(), ..emptied(snapshot) };
    let said = reported::last(&end, Some(thread))?;
    // The kernel's time is in whole seconds, cut off.
    let recent = said.time >= crashed.saturating_sub(NANOSECONDS);
    (said.kind == u64::from(REPORT_PANIC) && recent).then(|| match said.sentence() {
        sentence if sentence.is_empty() => "a panic without a message".to_owned(),
        sentence => sentence,
    })
}

fn emptied(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        owner: snapshot.owner,
        metadata: snapshot.metadata.clone(),
        streams: Vec::new(),
        annotations: Vec::new(),
        attachments: Vec::new(),
        recorded: 0,
        overwritten: 0,
        discarded: 0,
        clock_cost: 0,
        problems: Vec::new(),
    }
}

// The newest packets at a stream's end: a packet says its own size, in bits.
fn newest(stream: &[u8]) -> &[u8] {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(size) = packet_size(stream, at) {
        starts.push(at);
        at += size;
    }
    let first = starts.len().saturating_sub(PACKETS);
    &stream[starts.get(first).copied().unwrap_or(0)..]
}

fn packet_size(stream: &[u8], at: usize) -> Option<usize> {
    let here = at + PACKET_SIZE as usize;
    let bits = stream.get(here..here + 8)?;
    let bytes = usize::try_from(u64::from_le_bytes(bits.try_into().ok()?) / 8).ok()?;
    (bytes > PACKET_SIZE as usize && bytes <= stream.len() - at).then_some(bytes)
}
