//! What a snapshot of `soak-writer`'s ring must say, whatever happened to the writer.
//!
//! Takes the packets apart by itself, from the drawing: the product's decoder is not asked whether the product's
//! reader is right. Touches no process and no file.

use std::collections::BTreeSet;

use foretrace_ring::Snapshot;

/// Threads of a writer at most.
pub const THREADS: usize = 8;
/// Lanes: one for each thread and for each nesting level of its handlers.
pub const LANES: usize = 4 * THREADS;

/// What is in a snapshot, after every event was checked.
pub struct Evidence {
    /// The numbers that each lane's events have, ascending.
    pub lanes: Vec<Vec<u64>>,
    /// Events.
    pub events: u64,
    /// Handlers' events in a slot of their own: what they interrupted was a recording.
    pub nested: u64,
}

/// What an event's number is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Its place in its lane: threads come and go, handlers interrupt.
    OfLane,
    /// Its place in its writer slot too: every gap shows exactly.
    OfSlot,
}

/// Takes a snapshot apart.
///
/// # Errors
/// The first thing that is wrong, in a sentence.
pub fn examine(snapshot: &Snapshot, numbers: Numbers) -> Result<Evidence, String> {
    if let Some(problem) = snapshot.problems.first() {
        return Err(format!("the reader complains: {problem}"));
    }
    let ids = step_ids(&snapshot.metadata);
    let mut evidence = Evidence { lanes: vec![Vec::new(); LANES], events: 0, nested: 0 };
    for (name, stream) in &snapshot.streams {
        let mut rest = stream.as_slice();
        let mut reached = 0;
        let (mut threads, mut handlers) = (0, 0);
        while !rest.is_empty() {
            let size = word(rest, 56).ok_or("a packet is cut")? as usize / 8;
            let (packet, later) = rest.split_at_checked(size).ok_or("a packet is longer than its stream")?;
            rest = later;
            let found = packet_events(packet, &ids).map_err(|why| format!("{name}: {why}"))?;
            let before = word(packet, 80).unwrap_or(0);
            if before < reached {
                return Err(format!(
                    "{name}: a packet begins at event {before}, the one before ended at {reached}"
                ));
            }
            reached = before + found.len() as u64;
            evidence.events += found.len() as u64;
            for (place, (lane, number)) in (before..).zip(found) {
                if numbers == Numbers::OfSlot && number != place {
                    return Err(format!(
                        "{name}: event {number} of lane {lane} is event {place} of its slot"
                    ));
                }
                *(if lane < THREADS { &mut threads } else { &mut handlers }) += 1;
                evidence.lanes[lane].push(number);
            }
        }
        if threads == 0 {
            evidence.nested += handlers;
        }
    }
    for (lane, numbers) in evidence.lanes.iter_mut().enumerate() {
        numbers.sort();
        if let Some(twice) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("event {} of lane {lane} is there twice", twice[0]));
        }
    }
    let all = snapshot.overwritten + evidence.events;
    if snapshot.recorded != all {
        return Err(format!("{} recorded, {all} are there or overwritten", snapshot.recorded));
    }
    Ok(evidence)
}

/// The events of a packet as (lane, number), every one of them checked.
///
/// # Errors
/// The first thing that is wrong: a torn packet.
pub fn packet_events(packet: &[u8], ids: &BTreeSet<u16>) -> Result<Vec<(usize, u64)>, String> {
    let sizes = word(packet, 48).ok_or("a packet is cut")?;
    let content = (sizes as u32 / 8) as usize;
    let content = packet.get(..content).ok_or("a packet's content is longer than it")?;
    let stated = sizes >> 32;
    let begin = word(packet, 32).unwrap_or(0);
    let mut time = begin & TIME;
    let mut found = Vec::new();
    let mut last = [None; LANES];
    let mut at = 96_usize;
    while at < content.len() {
        let event = &content[at..];
        let header = word(event, 0).ok_or("an event is cut")?;
        let (id, now) = (header as u16, header >> 16);
        if now.wrapping_sub(time) & TIME > TIME / 2 {
            return Err(format!("time goes backwards at byte {at}"));
        }
        time = now;
        let length = if id == THREAD_CHANGE {
            12
        } else if ids.contains(&id) {
            let (lane, number, length) = step(event).ok_or(format!("a torn event at byte {at}"))?;
            if last[lane].replace(number).is_some_and(|last| last >= number) {
                return Err(format!("the numbers of lane {lane} go backwards at byte {at}"));
            }
            found.push((lane, number));
            length
        } else {
            return Err(format!("an event of unknown type {id} at byte {at}"));
        };
        at += (length + 7) & !7;
    }
    if found.len() as u64 != stated {
        return Err(format!("a packet says it has {stated} events and has {}", found.len()));
    }
    Ok(found)
}

/// The event type's numbers: threads that reached it at the same instant may each have declared it.
pub fn step_ids(metadata: &str) -> BTreeSet<u16> {
    metadata
        .lines()
        .filter_map(|line| line.strip_prefix("event { name = \"soak:step\"; id = "))
        .filter_map(|rest| rest.split(';').next()?.parse().ok())
        .collect()
}

/// Holds a dead (or silent) writer's ring against its ledger: every noted event was recorded, and at most one more,
/// whose note was never written. The last event of each lane that `keeps` its last is there; without that promise are
/// threads that ended and handlers whose events share a thread's packets, which age like all others.
///
/// # Errors
/// The first thing that is wrong.
pub fn compare(
    evidence: &Evidence,
    recorded: u64,
    noted: &[u64],
    keeps: impl Fn(usize) -> bool,
) -> Result<(), String> {
    let (mut least, mut most) = (0, 0);
    for (lane, (numbers, noted)) in evidence.lanes.iter().zip(noted).enumerate() {
        let reached = numbers.last().map_or(0, |last| last + 1);
        let seen = if keeps(lane) { reached } else { reached.max(*noted) };
        if seen != *noted && seen != noted + 1 {
            return Err(format!(
                "lane {lane} noted {noted} events, of which the first {reached} can be seen"
            ));
        }
        least += seen;
        // An event that was not noted and cannot be seen may have been recorded nevertheless.
        most += if keeps(lane) { seen } else { noted + 1 };
    }
    if !(least..=most).contains(&recorded) {
        return Err(format!("{recorded} recorded, the lanes' last events say {least} to {most}"));
    }
    Ok(())
}

const TIME: u64 = (1 << 48) - 1;
const THREAD_CHANGE: u16 = 0xfffe;
/// The writer's texts are parts of one text that is known by heart; where they begin depends on the number.
const STARTS: u64 = 4096;

/// Lane, number and length of an event whose text and checksum hold.
fn step(event: &[u8]) -> Option<(usize, u64, usize)> {
    let (lane, number) = (word(event, 8)?, word(event, 16)?);
    let length = usize::from(u16::from_le_bytes(event.get(24..26)?.try_into().ok()?));
    let text = event.get(26..26 + length)?;
    let sum = word(event, 26 + length)?;
    let start = (number % STARTS) as usize;
    let whole = sum == check(lane, number)
        && text.iter().zip(start..).all(|(byte, at)| *byte == b'a' + ((at * 7 + at / 26) % 26) as u8);
    (whole && lane < LANES as u64).then_some((lane as usize, number, 34 + length))
}

/// As in the victims' `check`.
fn check(lane: u64, number: u64) -> u64 {
    (number ^ lane.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
