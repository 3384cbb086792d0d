//! Packets out of a pool: copied, believed only if nobody reused them meanwhile, put in order, counted.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Head, Memory, TRIES, halves};
use crate::layout::*;

/// A packet that was whole when it was copied.
pub(super) struct Packet {
    slot: u64,
    number: u64,
    begin: u64,
    before: u64,
    events: u64,
    /// Header and content, as long as the commit word said.
    bytes: Vec<u8>,
    /// Where it was, and whether somebody was writing it.
    cell: u64,
    generation: u64,
    open: bool,
}

/// What all slots and packets say together.
pub(super) struct Counts {
    /// Events that were recorded.
    pub recorded: u64,
    /// Of these, events in the packets that were copied.
    pub kept: u64,
    /// Events that were not recorded.
    pub discarded: u64,
}

/// What became of the attempt to copy a packet.
enum Copied {
    Whole(Packet),
    /// There is none.
    Nothing,
    /// Somebody is reusing it.
    Replaced,
    Damaged(&'static str),
}

/// Copies every packet that holds something, ordered by slot and number.
pub(super) fn collect<M: Memory + ?Sized>(
    memory: &M,
    head: &Head,
    problems: &mut Vec<String>,
) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut damaged = 0_u64;
    let mut example = "";
    let mut cell = 0;
    while cell < head.pool.count {
        match copy(memory, head, cell) {
            Copied::Whole(packet) => packets.push(packet),
            Copied::Nothing | Copied::Replaced => {}
            Copied::Damaged(why) => {
                damaged += 1;
                example = why;
            }
        }
        // Members of a whole packet say so themselves; stepping over them only saves looking.
        let first = cell.is_multiple_of(u64::from(BLOCK_CELLS));
        let whole = first && memory.load(head.descriptors.item(cell)).is_some_and(|word| word & WHOLE != 0);
        cell += if whole { u64::from(BLOCK_CELLS) } else { 1 };
    }
    // A packet that was open may have been closed since, and its successor be among those already copied: look again,
    // so that no gap opens between them.
    for packet in packets.iter_mut().filter(|packet| packet.open) {
        if let Copied::Whole(newer) = copy(memory, head, packet.cell)
            && newer.generation == packet.generation
        {
            *packet = newer;
        }
    }
    packets.sort_by_key(|packet| (packet.slot, packet.number));
    let all = packets.len();
    packets.dedup_by_key(|packet| (packet.slot, packet.number));
    if packets.len() < all {
        problems
            .push(format!("{} packets had the number of another one and were dropped", all - packets.len()));
    }
    if damaged > 0 {
        problems.push(format!("{damaged} packets were dropped; the last of them {example}"));
    }
    packets
}

/// Adds up what was recorded, kept and discarded.
pub(super) fn count<M: Memory + ?Sized>(memory: &M, head: &Head, packets: &[Packet]) -> Counts {
    let mut counts = Counts { recorded: 0, kept: 0, discarded: memory.load(AT_DISCARDED).unwrap_or(0) };
    let mut left = packets.iter().peekable();
    let used = memory.load(AT_USED_SLOTS).unwrap_or(0);
    for slot in 0..head.slots.count {
        let mut recorded = 0;
        if slot < used {
            recorded = recorded_by(memory, head, slot);
            let discarded = memory.load(head.slots.item(slot) + SLOT_DISCARDED).unwrap_or(0);
            counts.discarded = counts.discarded.saturating_add(discarded);
        }
        while let Some(packet) = left.next_if(|packet| packet.slot == slot) {
            // While threads go on writing, a packet may be newer than what its slot said a moment ago.
            recorded = recorded.max(packet.before.saturating_add(packet.events));
            counts.kept = counts.kept.saturating_add(packet.events);
        }
        counts.recorded = counts.recorded.saturating_add(recorded);
    }
    counts
}

/// One stream file for each slot, its packets patched to say what they now are.
pub(super) fn streams(packets: Vec<Packet>, problems: &mut Vec<String>) -> Vec<(String, Vec<u8>)> {
    let mut streams: Vec<(String, Vec<u8>)> = Vec::new();
    let mut contradictions = 0;
    let mut rest = packets.into_iter().filter(|packet| packet.bytes.len() as u64 > PACKET_HEADER).peekable();
    let mut slot = None;
    let mut reached = 0;
    while let Some(mut packet) = rest.next() {
        if slot != Some(packet.slot) {
            slot = Some(packet.slot);
            reached = 0;
            streams.push((format!("slot-{}.ctf", packet.slot), Vec::new()));
        }
        if packet.before < reached {
            contradictions += 1;
        }
        reached = packet.before.saturating_add(packet.events);
        let next = rest.peek().filter(|next| next.slot == packet.slot).map(|next| next.begin);
        packet.seal(next);
        if let Some((_, bytes)) = streams.last_mut() {
            bytes.extend_from_slice(&packet.bytes);
        }
    }
    if contradictions > 0 {
        problems.push(format!("{contradictions} packets contradict the counts of the packet before them"));
    }
    streams
}

impl Packet {
    /// Makes the copy say its own size and its last time; `next` is when the stream's next packet begins.
    fn seal(&mut self, next: Option<u64>) {
        let padded = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(padded, 0);
        let end = self.bytes[..].load(PACKET_END).unwrap_or(NOT_ENDED);
        let latest = next.filter(|next| *next > self.begin).unwrap_or(NOT_ENDED);
        let end = if end <= self.begin || end > latest { latest } else { end };
        self.set(PACKET_END, end);
        self.set(PACKET_SIZE, padded as u64 * 8);
    }

    fn set(&mut self, at: u64, word: u64) {
        let at = at as usize;
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
}

fn copy<M: Memory + ?Sized>(memory: &M, head: &Head, cell: u64) -> Copied {
    let descriptor = head.descriptors.item(cell);
    let Some(word) = memory.load(descriptor) else { return Copied::Nothing };
    match word & STATE {
        OPEN | PINNED | CLOSED => {}
        BUSY => return Copied::Replaced,
        _ => return Copied::Nothing,
    }
    let at = head.pool.item(cell);
    let room = if word & WHOLE == 0 { CELL_SIZE } else { BLOCK_SIZE };
    let copied = copy_content(
        memory,
        at,
        u64::from(room),
        word & WHOLE != 0 && !cell.is_multiple_of(u64::from(BLOCK_CELLS)),
    );
    // The words of the copy mean something only if the packet is still the one whose commit word was read.
    let same = memory
        .load(descriptor)
        .is_some_and(|now| now / GENERATION == word / GENERATION && now & STATE != BUSY);
    if !same {
        return Copied::Replaced;
    }
    let (bytes, events) = match copied {
        Ok(copied) => copied,
        Err(why) => return Copied::Damaged(why),
    };
    let field = |offset: u64| bytes[..].load(offset).unwrap_or(0);
    if field(0) as u32 != PACKET_MAGIC || bytes[4..20] != head.uuid || (field(16) >> 32) != 0 {
        return Copied::Damaged("does not begin as a packet of this ring");
    }
    let slot = field(24);
    if slot >= head.slots.count {
        return Copied::Damaged("names a writer slot that is not there");
    }
    Copied::Whole(Packet {
        slot,
        number: field(PACKET_NUMBER),
        begin: field(PACKET_BEGIN),
        before: field(PACKET_BEFORE),
        events,
        cell,
        generation: word / GENERATION,
        open: word & STATE == OPEN,
        bytes,
    })
}

/// The packet's bytes up to its commit word's content size, and its events.
fn copy_content<M: Memory + ?Sized>(
    memory: &M,
    at: u64,
    room: u64,
    misplaced: bool,
) -> Result<(Vec<u8>, u64), &'static str> {
    if misplaced {
        return Err("is a whole packet in the middle of a block");
    }
    let commit = memory.load(at + PACKET_COMMIT).ok_or("lies outside the ring")?;
    let (content, events) = halves(commit);
    let length = u64::from(content) / 8;
    if !content.is_multiple_of(8) || length < PACKET_HEADER || length > room {
        return Err("has an impossible size");
    }
    let mut bytes = vec![0; length as usize];
    if !memory.copy(at, &mut bytes) {
        return Err("lies outside the ring");
    }
    // The copy's own commit word may be newer than what was copied behind it.
    bytes[PACKET_COMMIT as usize..PACKET_COMMIT as usize + 8].copy_from_slice(&commit.to_le_bytes());
    Ok((bytes, u64::from(events)))
}

/// Every event that was ever recorded through a slot, exact at whatever instant its thread stopped.
fn recorded_by<M: Memory + ?Sized>(memory: &M, head: &Head, slot: u64) -> u64 {
    let at = head.slots.item(slot);
    let load = |offset: u64| memory.load(offset).unwrap_or(0);
    for _ in 0..TRIES {
        let current = load(at + SLOT_CURRENT);
        let total = match current.checked_sub(1) {
            None => load(at + SLOT_BEFORE),
            Some(cell) if cell < head.pool.count => {
                let packet = head.pool.item(cell);
                let descriptor = load(head.descriptors.item(cell));
                let total = load(packet + PACKET_BEFORE).saturating_add(load(packet + PACKET_COMMIT) >> 32);
                if load(head.descriptors.item(cell)) / GENERATION != descriptor / GENERATION {
                    continue;
                }
                total
            }
            Some(_) => return 0,
        };
        if load(at + SLOT_CURRENT) == current {
            return total;
        }
    }
    0
}
