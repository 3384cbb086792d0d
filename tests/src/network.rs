//! A network namespace in which every packet on every interface is seen, and what programs said in it over TCP.
//!
//! Owns the namespace of the thread that enters it, of its later threads and of whatever they start; packets; streams put
//! together from them. Reads no HTTP.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

/// Room for what comes while nobody reads.
const ROOM: usize = 64 << 20;
/// No packet is longer: loopback hands on what segmentation offload left whole.
const LONGEST: usize = 128 << 10;

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// The capture; it ends with the process.
pub struct Network {
    packets: Arc<Mutex<Vec<Vec<u8>>>>,
    socket: Arc<OwnedFd>,
    namespace: PathBuf,
}

/// What one connection's client said, as far as it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The port that it was said to.
    pub port: u16,
    /// The bytes in their order.
    pub bytes: Vec<u8>,
}

impl Network {
    /// Enters a namespace with a loopback interface and a way out that leads to nobody.
    ///
    /// # Errors
    /// Not root, or no `ip`.
    pub fn enter() -> Result<Network> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
        // Neighbours that introduce themselves are no packets of ours.
        for interfaces in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{interfaces}/disable_ipv6"), "1")?;
        }
        for arguments in [
            "link set lo up",
            "link add out type veth peer name nobody",
            "address add 192.0.2.1/24 dev out",
            "link set out up",
            "link set nobody up",
            "route add default via 192.0.2.2",
        ] {
            let status =
                Command::new("ip").args(arguments.split(' ')).status().context("ip, from iproute2")?;
            ensure!(status.success(), "ip {arguments}");
        }
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM)?;
        let packets = Arc::new(Mutex::new(Vec::new()));
        let (socket, heard) = (Arc::new(socket), Arc::clone(&packets));
        let ear = Arc::clone(&socket);
        thread::spawn(move || {
            loop {
                let _ = poll(
                    &mut [PollFd::new(std::os::fd::AsFd::as_fd(&*ear), PollFlags::POLLIN)],
                    PollTimeout::NONE,
                );
                drain(&ear, &heard);
            }
        });
        let namespace = format!("/proc/{}/ns/net", nix::unistd::gettid()).into();
        Ok(Network { packets, socket, namespace })
    }

    /// A file by which others enter it, as long as this thread lives.
    pub fn namespace(&self) -> &PathBuf {
        &self.namespace
    }

    /// How many packets there were so far, on all interfaces.
    pub fn packets(&self) -> usize {
        drain(&self.socket, &self.packets);
        self.lock().len()
    }

    /// What clients said over TCP, in the order of their connections.
    ///
    /// # Errors
    /// A packet in the middle was not seen.
    pub fn said(&self) -> Result<Vec<Stream>> {
        drain(&self.socket, &self.packets);
        streams(&self.lock())
    }

    /// How many packets were no TCP on loopback: a look-up of a name, or something for another machine.
    pub fn strangers(&self) -> usize {
        const HERE: u8 = 127;
        let near = |end: u32| end.to_be_bytes()[0] == HERE;
        let is_near = |packet: &Vec<u8>| {
            Segment::parse(packet).is_some_and(|segment| near(segment.from.0) && near(segment.to.0))
        };
        drain(&self.socket, &self.packets);
        self.lock().iter().filter(|packet| !is_near(packet)).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// One reader at a time, so that packets stay in order.
fn drain(socket: &OwnedFd, packets: &Mutex<Vec<Vec<u8>>>) {
    let mut packets = packets.lock().unwrap_or_else(PoisonError::into_inner);
    let mut packet = vec![0; LONGEST];
    loop {
        match recv(socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => packets.push(packet[..length].to_vec()),
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// A segment of TCP over IPv4.
struct Segment<'a> {
    from: (u32, u16),
    to: (u32, u16),
    number: u32,
    flags: u8,
    load: &'a [u8],
}

impl<'a> Segment<'a> {
    fn parse(packet: &'a [u8]) -> Option<Segment<'a>> {
        let short =
            |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let long =
            |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if short(packet, 12)? != 0x0800 {
            return None;
        }
        let ip = packet.get(ETHERNET..)?;
        if *ip.get(9)? != TCP {
            return None;
        }
        // What follows the datagram is padding.
        let ip = ip.get(..usize::from(short(ip, 2)?))?;
        let tcp = ip.get(usize::from(ip.first()? & 15) * 4..)?;
        Some(Segment {
            from: (long(ip, 12)?, short(tcp, 0)?),
            to: (long(ip, 16)?, short(tcp, 2)?),
            number: long(tcp, 4)?,
            flags: *tcp.get(13)?,
            load: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
        })
    }
}

/// A connection while it is put together.
struct Half {
    ends: ((u32, u16), (u32, u16)),
    first: u32,
    // By their distance from the first byte.
    pieces: BTreeMap<u32, Vec<u8>>,
}

/// Puts clients' halves of all connections together. Packets that are seen twice, as on loopback, count once.
fn streams(packets: &[Vec<u8>]) -> Result<Vec<Stream>> {
    let mut halves: Vec<Half> = Vec::new();
    for segment in packets.iter().filter_map(|packet| Segment::parse(packet)) {
        let ends = (segment.from, segment.to);
        let known = halves.iter_mut().rev().find(|half| half.ends == ends);
        if segment.flags & (SYN | ACK) == SYN {
            let first = segment.number.wrapping_add(1);
            if known.is_none_or(|half| half.first != first) {
                halves.push(Half { ends, first, pieces: BTreeMap::new() });
            }
        } else if let Some(half) = known.filter(|_| !segment.load.is_empty()) {
            let piece = half.pieces.entry(segment.number.wrapping_sub(half.first)).or_default();
            if segment.load.len() > piece.len() {
                *piece = segment.load.to_vec();
            }
        }
    }
    halves.into_iter().map(whole).collect()
}

fn whole(half: Half) -> Result<Stream> {
    let port = half.ends.1.1;
    let mut bytes: Vec<u8> = Vec::new();
    for (at, piece) in half.pieces {
        let at = at as usize;
        ensure!(
            at <= bytes.len(),
            "a packet to port {port} was not seen: {} bytes, then some from {at} on",
            bytes.len()
        );
        // What was sent again overlaps.
        if let Some(new) = piece.get(bytes.len() - at..) {
            bytes.extend_from_slice(new);
        }
    }
    Ok(Stream { port, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u16, number: u32, flags: u8, load: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 12];
        packet.extend([8, 0, 0x45, 0]);
        packet.extend((40 + load.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, TCP, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend(40_000u16.to_be_bytes());
        packet.extend(port.to_be_bytes());
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 0, 0, 5 << 4, flags, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(load);
        // Short frames are padded.
        packet.resize(packet.len().max(60), 0xAA);
        packet
    }

    #[test]
    fn a_stream_is_put_together_whatever_came_twice_late_or_around_the_numbers_end() {
        let first = u32::MAX - 3;
        let seen = [
            packet(80, first.wrapping_sub(1), SYN, b""),
            packet(80, first.wrapping_sub(1), SYN, b""),
            packet(80, first.wrapping_add(4), ACK, b"o, world"),
            packet(80, first, ACK, b"hel"),
            packet(80, first, ACK, b"hello"),
            packet(80, 7, SYN, b""),
            packet(80, 8, ACK, b"again"),
        ];
        let said: Vec<_> = streams(&seen).unwrap().into_iter().map(|stream| stream.bytes).collect();
        assert_eq!(said, [b"hello, world".to_vec(), b"again".to_vec()]);
    }

    #[test]
    fn a_gap_is_no_stream() {
        let seen = [packet(80, 0, SYN, b""), packet(80, 1, ACK, b"a"), packet(80, 3, ACK, b"c")];
        assert!(streams(&seen).unwrap_err().to_string().contains("not seen"));
    }
}
