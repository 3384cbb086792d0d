//! Packets out of a pool: copied, believed only if nobody reused them meanwhile, put in order, counted.
//!
//! First the headers are looked at, then every packet is copied once, to where it stays: oldest first, so that on a ring
//! that is being written the reader keeps ahead of the writer who reuses the oldest.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Head, Memory, TRIES, halves};
use crate::layout::*;

/// A packet, as its header has it.
struct Packet {
    slot: u64,
    number: u64,
    begin: u64,
    before: u64,
    /// The commit word.
    commit: u64,
    /// Where it is, its descriptor, and how large it may be.
    cell: u64,
    word: u64,
    room: u64,
}

/// The packets of one slot, one behind the other.
struct Stream {
    bytes: Vec<u8>,
    /// How many of the bytes are packets; the rest is room.
    length: usize,
    /// Where each packet ends, and the time at which it begins.
    packets: Vec<(usize, u64)>,
    /// Events up to the last packet's end, by its own count.
    recorded: u64,
    /// Events in the packets.
    kept: u64,
    /// Packets that contradict the counts of those before them.
    contradictions: u64,
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

/// Packets that were no packets.
#[derive(Default)]
struct Damage {
    count: u64,
    example: &'static str,
}

impl Damage {
    fn note(&mut self, why: &'static str) {
        self.count += 1;
        self.example = why;
    }
}

/// Copies every packet that holds something, by slot and number. `spare` is memory to copy them into.
pub(super) fn collect<M: Memory + ?Sized>(
    memory: &M,
    head: &Head,
    spare: &mut dyn Iterator<Item = Vec<u8>>,
    problems: &mut Vec<String>,
) -> Packets {
    let mut damage = Damage::default();
    let mut packets = survey(memory, head, &mut damage);
    packets.sort_by_key(|packet| (packet.slot, packet.number));
    let all = packets.len();
    packets.dedup_by_key(|packet| (packet.slot, packet.number));
    if packets.len() < all {
        problems
            .push(format!("{} packets had the number of another one and were dropped", all - packets.len()));
    }
    let mut streams: BTreeMap<u64, Stream> = BTreeMap::new();
    for slot in packets.chunk_by(|one, next| one.slot == next.slot) {
        let room: u64 = slot.iter().map(|packet| packet.most().next_multiple_of(8)).sum();
        streams.insert(slot[0].slot, Stream::with_room(room as usize, spare.next().unwrap_or_default()));
    }
    for packet in oldest_first(packets) {
        if let Some(stream) = streams.get_mut(&packet.slot)
            && let Err(why) = stream.append(memory, head, &packet)
        {
            damage.note(why);
        }
    }
    if damage.count > 0 {
        problems.push(format!("{} packets were dropped; the last of them {}", damage.count, damage.example));
    }
    Packets(streams)
}

/// Reads the headers of all packets.
fn survey<M: Memory + ?Sized>(memory: &M, head: &Head, damage: &mut Damage) -> Vec<Packet> {
    let words = descriptors(memory, head);
    let looked: Vec<_> = (0..)
        .zip(&words)
        .filter(|(_, word)| matches!(**word & STATE, OPEN | PINNED | CLOSED))
        .map(|(cell, word)| (cell, Packet::look(memory, head, cell, *word)))
        .collect();
    // What was read means something only of packets that nobody has reused since.
    let now = descriptors(memory, head);
    let still = |cell: u64| words.get(cell as usize).zip(now.get(cell as usize)).is_some_and(is_same);
    let mut packets = Vec::with_capacity(looked.len());
    for (cell, packet) in looked {
        match packet {
            _ if !still(cell) => {}
            Ok(packet) => packets.push(packet),
            Err(why) => damage.note(why),
        }
    }
    packets
}

/// All descriptors.
fn descriptors<M: Memory + ?Sized>(memory: &M, head: &Head) -> Vec<u64> {
    let mut bytes = vec![0; (head.pool.count * 8) as usize];
    if !memory.copy(head.descriptors.at, &mut bytes) {
        return Vec::new();
    }
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect()
}

/// Whether a descriptor says that its packet is still the one that it was.
fn is_same((then, now): (&u64, &u64)) -> bool {
    then / GENERATION == now / GENERATION && now & STATE != BUSY
}

/// The order in which packets are copied: by the time at which they begin, but never before an earlier one of their slot.
fn oldest_first(packets: Vec<Packet>) -> impl Iterator<Item = Packet> {
    let (mut slot, mut latest) = (None, 0);
    let mut due: Vec<_> = packets
        .into_iter()
        .map(|packet| {
            latest = if slot == Some(packet.slot) { packet.begin.max(latest) } else { packet.begin };
            slot = Some(packet.slot);
            (latest, packet)
        })
        .collect();
    due.sort_by_key(|(due, _)| *due);
    due.into_iter().map(|(_, packet)| packet)
}

impl Packet {
    fn look<M: Memory + ?Sized>(
        memory: &M,
        head: &Head,
        cell: u64,
        word: u64,
    ) -> Result<Packet, &'static str> {
        let whole = word & WHOLE != 0;
        if whole && !cell.is_multiple_of(u64::from(BLOCK_CELLS)) {
            return Err("is a whole packet in the middle of a block");
        }
        let mut bytes = [0; PACKET_HEADER as usize];
        if !memory.copy(head.pool.item(cell), &mut bytes) {
            return Err("lies outside the ring");
        }
        let room = u64::from(if whole { BLOCK_SIZE } else { CELL_SIZE });
        Packet { slot: 0, number: 0, begin: 0, before: 0, commit: 0, cell, word, room }
            .with_header(head, &bytes)
    }

    /// The same packet with what a header says, or why that is none.
    fn with_header(&self, head: &Head, bytes: &[u8]) -> Result<Packet, &'static str> {
        let field = |offset: u64| bytes.load(offset).unwrap_or(0);
        if field(0) as u32 != PACKET_MAGIC || bytes.get(4..20) != Some(&head.uuid) || (field(16) >> 32) != 0 {
            return Err("does not begin as a packet of this ring");
        }
        if field(PACKET_SLOT) >= head.slots.count {
            return Err("names a writer slot that is not there");
        }
        Ok(Packet {
            slot: field(PACKET_SLOT),
            number: field(PACKET_NUMBER),
            begin: field(PACKET_BEGIN),
            before: field(PACKET_BEFORE),
            commit: field(PACKET_COMMIT),
            ..*self
        })
    }

    /// Whether another reading of it says the same of what never changes.
    fn agrees(&self, other: &Packet) -> bool {
        let fixed = |packet: &Packet| (packet.slot, packet.number, packet.begin, packet.before);
        fixed(self) == fixed(other)
    }

    /// How many bytes it may have when it is copied.
    fn most(&self) -> u64 {
        if self.word & STATE == OPEN { self.room } else { (u64::from(self.commit as u32) / 8).min(self.room) }
    }
}

impl Stream {
    fn with_room(room: usize, spare: Vec<u8>) -> Stream {
        let mut bytes = spare;
        if bytes.capacity() < room {
            // Zeroed by whoever gives the memory, and only where it is used.
            bytes = vec![0; room];
        }
        bytes.resize(room, 0);
        Stream { bytes, length: 0, packets: Vec::new(), recorded: 0, kept: 0, contradictions: 0 }
    }

    /// Copies a packet behind the others. One that somebody reuses meanwhile is none.
    fn append<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        head: &Head,
        packet: &Packet,
    ) -> Result<(), &'static str> {
        let copied = self.copy(memory, head, packet);
        // The words of the copy mean something only if the packet is still the one whose header was read.
        let now = memory.load(head.descriptors.item(packet.cell));
        if !now.is_some_and(|now| is_same((&packet.word, &now))) {
            return Ok(());
        }
        let (end, events) = copied?;
        let &Packet { begin, before, .. } = packet;
        let reached = before.saturating_add(events);
        self.kept = self.kept.saturating_add(events);
        // One without events says how many there were before, and takes up no room.
        if (end - self.length) as u64 > PACKET_HEADER {
            self.contradictions += u64::from(before < self.recorded);
            self.length = end.next_multiple_of(8);
            self.bytes[end..self.length].fill(0);
            self.packets.push((self.length, begin));
        }
        self.recorded = self.recorded.max(reached);
        Ok(())
    }

    /// Copies its bytes up to the commit word's content size: where they end, and how many events they are.
    fn copy<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        head: &Head,
        packet: &Packet,
    ) -> Result<(usize, u64), &'static str> {
        let at = head.pool.item(packet.cell);
        let commit = match packet.word & STATE {
            // It may have grown, and its successor be among those that were looked at.
            OPEN => memory.load(at + PACKET_COMMIT).ok_or("lies outside the ring")?,
            _ => packet.commit,
        };
        let (content, events) = halves(commit);
        let length = u64::from(content) / 8;
        if !content.is_multiple_of(8) || length < PACKET_HEADER || length > packet.room {
            return Err("has an impossible size");
        }
        let (start, end) = (self.length, self.length + length as usize);
        let into = self.bytes.get_mut(start..end).ok_or("has an impossible size")?;
        if !memory.copy(at, into) {
            return Err("lies outside the ring");
        }
        // Only a forged ring changes a header whose descriptor stays.
        if !packet.with_header(head, into)?.agrees(packet) {
            return Err("changed its header while it was read");
        }
        // The copy's own commit word may be newer than what was copied behind it.
        self.set(start, PACKET_COMMIT, commit);
        Ok((end, u64::from(events)))
    }

    /// Makes each packet say its own size and its last time.
    fn seal(&mut self) {
        let mut start = 0;
        for index in 0..self.packets.len() {
            let (end, begin) = self.packets[index];
            let next = self.packets.get(index + 1).map(|(_, next)| *next);
            let latest = next.filter(|next| *next > begin).unwrap_or(NOT_ENDED);
            let last = self.bytes[start..end].load(PACKET_END).unwrap_or(NOT_ENDED);
            self.set(start, PACKET_END, if last <= begin || last > latest { latest } else { last });
            self.set(start, PACKET_SIZE, (end - start) as u64 * 8);
            start = end;
        }
    }

    fn set(&mut self, packet: usize, at: u64, word: u64) {
        let at = packet + at as usize;
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
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
        for (slot, mut stream) in self.0 {
            contradictions += stream.contradictions;
            stream.seal();
            stream.bytes.truncate(stream.length);
            if !stream.bytes.is_empty() {
                streams.push((format!("slot-{slot}.ctf"), stream.bytes));
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
