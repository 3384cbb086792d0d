//! Packets out of a pool: copied, believed only if nobody reused them meanwhile, put in order, counted.
//!
//! All descriptors are read at one instant, and only what is a packet then is taken: the snapshot has no holes that the
//! ring had not. Closed packets come in runs of neighbours, each with one copy and one more look at the descriptors; on a
//! ring that is being written the oldest come first, so that the reader keeps ahead of the writer who reuses them.
//! What may still be written is copied last and alone, up to where it was committed before. Nothing else of a packet is
//! read twice, so that a header cannot change between a check and a use.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::slice;

use super::stream::{Packet, Stream};
use super::{Head, Memory, TRIES, halves};
use crate::layout::*;

/// Cells that are copied at once at most: small enough for the processor's cache, and to be copied before a writer has
/// come round.
const RUN: u64 = 64;

/// A part of the pool in which there is a packet.
struct Part {
    /// Its first cell and its descriptor.
    cell: u64,
    word: u64,
}

/// What was copied out of a pool.
pub(super) struct Packets(BTreeMap<u64, Stream>);

/// What all slots and packets say together.
pub(super) struct Counts {
    /// Events that were recorded.
    pub recorded: u64,
    /// Of these, events in the packets that were copied.
    pub kept: u64,
    /// Events that were not recorded.
    pub discarded: u64,
}

/// Copies every packet that holds something, by slot and number. `spare` is memory to copy them into.
pub(super) fn collect<M: Memory + ?Sized>(
    memory: &M,
    head: &Head,
    spare: Vec<Vec<u8>>,
    problems: &mut Vec<String>,
) -> Packets {
    let (closed, written): (Vec<Part>, Vec<Part>) =
        parts(memory, head).into_iter().partition(|part| part.word & STATE == CLOSED);
    let mut collection = Collection::new(memory, head, spare);
    let is_run = |one: &Part, next: &Part| one.end() == next.cell && one.cell / RUN == next.cell / RUN;
    for run in closed.chunk_by(is_run) {
        collection.copy(run, None);
    }
    for part in &written {
        // Before the events: what is copied behind it may be newer.
        let commit = memory.load(head.pool.item(part.cell) + PACKET_COMMIT);
        collection.copy(slice::from_ref(part), commit);
    }
    collection.into_packets(problems)
}

/// Where packets are: in the order of the pool, from the oldest on.
fn parts<M: Memory + ?Sized>(memory: &M, head: &Head) -> Vec<Part> {
    let is_packet = |part: &Part| matches!(part.word & STATE, OPEN | PINNED | CLOSED);
    let words = descriptors(memory, head, 0..head.pool.count);
    let mut parts: Vec<Part> =
        (0..).zip(words).map(|(cell, word)| Part { cell, word }).filter(is_packet).collect();
    // The ticket is at what is reused next.
    let next = memory.load(AT_TICKET).unwrap_or(0).checked_rem(head.pool.count).unwrap_or(0);
    let older = parts.partition_point(|part| part.cell < next);
    parts.rotate_left(older);
    parts
}

/// The descriptors of these cells.
fn descriptors<M: Memory + ?Sized>(memory: &M, head: &Head, cells: Range<u64>) -> Vec<u64> {
    let mut bytes = vec![0; ((cells.end - cells.start) * head.descriptors.each) as usize];
    if !memory.copy(head.descriptors.item(cells.start), &mut bytes) {
        return Vec::new();
    }
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect()
}

impl Part {
    /// The cell behind it. A whole packet that does not begin with its block is none, and takes no more than its cell.
    fn end(&self) -> u64 {
        let is_whole = self.word & WHOLE != 0 && self.begins_block();
        self.cell + u64::from(if is_whole { BLOCK_CELLS } else { 1 })
    }

    fn begins_block(&self) -> bool {
        self.cell.is_multiple_of(u64::from(BLOCK_CELLS))
    }

    /// Whether a descriptor says that it is still the packet that it was.
    fn is_still(&self, now: u64) -> bool {
        self.word / GENERATION == now / GENERATION && now & STATE != BUSY
    }
}

/// Packets while they are being copied.
struct Collection<'a, M: ?Sized> {
    memory: &'a M,
    head: &'a Head,
    streams: BTreeMap<u64, Stream>,
    /// Memory for streams, the largest last.
    spare: Vec<Vec<u8>>,
    /// The slot of the last packet, which most likely is the next one's too.
    slot: u64,
    /// Packets that were no packets, and why the last of them was none.
    damaged: u64,
    damage: &'static str,
}

impl<'a, M: Memory + ?Sized> Collection<'a, M> {
    fn new(memory: &'a M, head: &'a Head, mut spare: Vec<Vec<u8>>) -> Self {
        spare.sort_by_key(Vec::capacity);
        Collection { memory, head, streams: BTreeMap::new(), spare, slot: 0, damaged: 0, damage: "" }
    }

    /// Copies packets that are neighbours. `commit` is the commit word of one that may still be written.
    fn copy(&mut self, parts: &[Part], commit: Option<u64>) {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return };
        let size = |cells: u64| (cells * self.head.pool.each) as usize;
        let at = self.head.pool.item(first.cell);
        // To where they stay, if they are of this slot.
        let slot = self.slot;
        let mut stream = self.stream(slot);
        let start = stream.end();
        let copied = self.memory.copy(at, stream.room(size(last.end() - first.cell)));
        if copied || parts.len() == 1 {
            // The copy means something only of packets that nobody has reused since.
            let now = descriptors(self.memory, self.head, first.cell..last.cell + 1);
            let is_still = |part: &&Part| {
                now.get((part.cell - first.cell) as usize).is_some_and(|now| part.is_still(*now))
            };
            for part in parts.iter().filter(is_still) {
                let at = start + size(part.cell - first.cell);
                let bytes = stream.copied(at..at + size(part.end() - part.cell));
                let packet =
                    if copied { look(self.head, part, bytes, commit) } else { Err("lies outside the ring") };
                match packet {
                    Ok(packet) if packet.slot == slot => stream.take(packet, at),
                    Ok(packet) => self.give(packet, &stream, at),
                    Err(why) => {
                        self.damaged += 1;
                        self.damage = why;
                    }
                }
            }
        }
        self.streams.insert(slot, stream);
        if !copied && parts.len() > 1 {
            // Memory that is missing costs what lies there.
            parts.iter().for_each(|part| self.copy(slice::from_ref(part), commit));
        }
    }

    /// Gives a packet that was copied to another slot's stream to its own.
    fn give(&mut self, packet: Packet, from: &Stream, at: usize) {
        self.slot = packet.slot;
        let mut stream = self.stream(packet.slot);
        from.give(packet, at, &mut stream);
        self.streams.insert(self.slot, stream);
    }

    /// Takes a slot's stream out.
    fn stream(&mut self, slot: u64) -> Stream {
        self.streams.remove(&slot).unwrap_or_else(|| Stream::within(self.spare.pop().unwrap_or_default()))
    }

    fn into_packets(mut self, problems: &mut Vec<String>) -> Packets {
        let twice: usize = self.streams.values_mut().map(Stream::sort).sum();
        if twice > 0 {
            problems.push(format!("{twice} packets had the number of another one and were dropped"));
        }
        if self.damaged > 0 {
            problems.push(format!("{} packets were dropped; the last of them {}", self.damaged, self.damage));
        }
        Packets(self.streams)
    }
}

/// What a packet says of itself, or why it is none.
fn look(head: &Head, part: &Part, bytes: &[u8], commit: Option<u64>) -> Result<Packet, &'static str> {
    if part.word & WHOLE != 0 && !part.begins_block() {
        return Err("is a whole packet in the middle of a block");
    }
    let field = |offset: u64| bytes.load(offset).unwrap_or(0);
    if field(0) as u32 != PACKET_MAGIC || bytes.get(4..20) != Some(&head.uuid) || field(16) >> 32 != 0 {
        return Err("does not begin as a packet of this ring");
    }
    if field(PACKET_SLOT) >= head.slots.count {
        return Err("names a writer slot that is not there");
    }
    let commit = commit.unwrap_or(field(PACKET_COMMIT));
    let (content, events) = halves(commit);
    let length = content as usize / 8;
    if !content.is_multiple_of(8) || !(PACKET_HEADER as usize..=bytes.len()).contains(&length) {
        return Err("has an impossible size");
    }
    Ok(Packet {
        slot: field(PACKET_SLOT),
        number: field(PACKET_NUMBER),
        begin: field(PACKET_BEGIN),
        end: field(PACKET_END),
        before: field(PACKET_BEFORE),
        events: u64::from(events),
        commit,
        length,
    })
}

impl Packets {
    /// Adds up what was recorded, kept and discarded.
    pub fn count<M: Memory + ?Sized>(&self, memory: &M, head: &Head) -> Counts {
        let mut counts = Counts { recorded: 0, kept: 0, discarded: memory.load(AT_DISCARDED).unwrap_or(0) };
        let used = memory.load(AT_USED_SLOTS).unwrap_or(0);
        for slot in 0..head.slots.count {
            let mut recorded = 0;
            if slot < used {
                recorded = recorded_by(memory, head, slot);
                let discarded = memory.load(head.slots.item(slot) + SLOT_DISCARDED).unwrap_or(0);
                counts.discarded = counts.discarded.saturating_add(discarded);
            }
            if let Some(stream) = self.0.get(&slot) {
                // While threads go on writing, a packet may be newer than what its slot said a moment ago.
                recorded = recorded.max(stream.recorded);
                counts.kept = counts.kept.saturating_add(stream.kept);
            }
            counts.recorded = counts.recorded.saturating_add(recorded);
        }
        counts
    }

    /// One stream file for each slot, its packets patched to say what they now are.
    pub fn into_streams(self, problems: &mut Vec<String>) -> Vec<(String, Vec<u8>)> {
        let mut contradictions = 0;
        let mut streams = Vec::with_capacity(self.0.len());
        for (slot, stream) in self.0 {
            contradictions += stream.contradictions;
            let bytes = stream.seal();
            if !bytes.is_empty() {
                streams.push((format!("slot-{slot}.ctf"), bytes));
            }
        }
        if contradictions > 0 {
            problems
                .push(format!("{contradictions} packets contradict the counts of the packet before them"));
        }
        streams
    }
}

/// Every event that was ever recorded through a slot, exact at whatever instant its thread stopped.
fn recorded_by<M: Memory + ?Sized>(memory: &M, head: &Head, slot: u64) -> u64 {
    let at = head.slots.item(slot);
    let load = |offset: u64| memory.load(offset).unwrap_or(0);
    // What was true a moment ago: all there is of a thread that changes packets faster than they can be looked at.
    let mut least = 0;
    for _ in 0..TRIES {
        let current = load(at + SLOT_CURRENT);
        let total = match current.checked_sub(1) {
            None => load(at + SLOT_BEFORE),
            Some(cell) if cell < head.pool.count => {
                let packet = head.pool.item(cell);
                let descriptor = load(head.descriptors.item(cell));
                let total = load(packet + PACKET_BEFORE).saturating_add(load(packet + PACKET_COMMIT) >> 32);
                let owner = load(packet + PACKET_SLOT);
                if load(head.descriptors.item(cell)) / GENERATION != descriptor / GENERATION {
                    continue;
                }
                if owner == slot && descriptor & STATE != BUSY {
                    least = total.max(least);
                }
                total
            }
            Some(_) => return 0,
        };
        if load(at + SLOT_CURRENT) == current {
            return total;
        }
    }
    least
}
