//! The packets of one slot, as they become a CTF stream file: one behind the other, in the order of their numbers, each
//! with its own size and last time.
//!
//! Knows no ring: what a packet says of itself was checked by whoever copied it.

use alloc::vec::Vec;
use core::ops::Range;

use crate::layout::*;

/// What a packet says of itself.
pub(super) struct Packet {
    pub slot: u64,
    pub number: u64,
    /// Its first and its last time.
    pub begin: u64,
    pub end: u64,
    /// Events in the slot's earlier packets, and in this one.
    pub before: u64,
    pub events: u64,
    /// Its commit word, which may be older than the one that was copied, and the bytes that this says there are.
    pub commit: u64,
    pub length: usize,
}

/// The packets of one slot.
pub(super) struct Stream {
    bytes: Vec<u8>,
    /// How many of the bytes are packets; the rest is room.
    length: usize,
    /// Each packet, and where it is: nowhere if it only says how many events there were before.
    packets: Vec<(Packet, Range<usize>)>,
    /// Events up to the last packet's end, by its own count.
    pub recorded: u64,
    /// Events in the packets.
    pub kept: u64,
    /// Packets that contradict the counts of those before them.
    pub contradictions: u64,
}

impl Stream {
    /// Without packets yet, in memory whose content does not matter.
    pub fn within(bytes: Vec<u8>) -> Stream {
        Stream { bytes, length: 0, packets: Vec::new(), recorded: 0, kept: 0, contradictions: 0 }
    }

    /// Where its packets end.
    pub fn end(&self) -> usize {
        self.length
    }

    /// So much room behind its packets.
    pub fn room(&mut self, size: usize) -> &mut [u8] {
        let end = self.length + size;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.length..end]
    }

    /// What was copied into its room.
    pub fn copied(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// Makes one of its own packets of what was copied to `at`, not before the end of the others.
    pub fn take(&mut self, packet: Packet, at: usize) {
        if at != self.length {
            self.bytes.copy_within(at..at + packet.length, self.length);
        }
        self.note(packet);
    }

    /// Gives another slot's stream a packet of that one's that was copied to `at`.
    pub fn give(&self, packet: Packet, at: usize, to: &mut Stream) {
        to.room(packet.length.next_multiple_of(8))[..packet.length]
            .copy_from_slice(&self.bytes[at..at + packet.length]);
        to.note(packet);
    }

    /// The packet lies behind the others.
    fn note(&mut self, packet: Packet) {
        let start = self.length;
        // One without events says how many there were before, and takes up no room.
        if packet.length > PACKET_HEADER as usize {
            let end = start + packet.length;
            self.length = end.next_multiple_of(8);
            self.bytes[end..self.length].fill(0);
            let bytes = &mut self.bytes[start..self.length];
            set(bytes, PACKET_COMMIT, packet.commit);
            set(bytes, PACKET_SIZE, bytes.len() as u64 * 8);
        }
        self.packets.push((packet, start..self.length));
    }

    /// Puts the packets in the order of their numbers, and counts. Answers how many had another one's number: these are
    /// gone.
    pub fn sort(&mut self) -> usize {
        self.packets.sort_by_key(|(packet, _)| packet.number);
        let all = self.packets.len();
        self.packets.dedup_by_key(|(packet, _)| packet.number);
        let mut end = 0;
        let in_order =
            self.packets.iter().all(|(_, place)| core::mem::replace(&mut end, place.end) == place.start);
        if !in_order || end < self.length {
            let mut ordered = Vec::with_capacity(self.length);
            for (_, place) in &mut self.packets {
                let start = ordered.len();
                ordered.extend_from_slice(&self.bytes[place.clone()]);
                *place = start..ordered.len();
            }
            self.length = ordered.len();
            self.bytes = ordered;
        }
        for (packet, place) in &self.packets {
            self.contradictions += u64::from(!place.is_empty() && packet.before < self.recorded);
            self.kept = self.kept.saturating_add(packet.events);
            self.recorded = self.recorded.max(packet.before.saturating_add(packet.events));
        }
        all - self.packets.len()
    }

    /// The bytes of all packets, each with a last time that can be.
    pub fn seal(mut self) -> Vec<u8> {
        self.bytes.truncate(self.length);
        self.packets.retain(|(_, place)| !place.is_empty());
        let after = self.packets.iter().skip(1).map(|(next, _)| next.begin).chain([NOT_ENDED]);
        for ((packet, place), after) in self.packets.iter().zip(after) {
            let latest = if after > packet.begin { after } else { NOT_ENDED };
            if packet.end <= packet.begin || packet.end > latest {
                set(&mut self.bytes[place.clone()], PACKET_END, latest);
            }
        }
        self.bytes
    }
}

/// Sets a word of a packet.
fn set(packet: &mut [u8], at: u64, word: u64) {
    let at = at as usize;
    packet[at..at + 8].copy_from_slice(&word.to_le_bytes());
}
