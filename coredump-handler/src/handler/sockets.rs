//! Where a process's sockets led: its descriptors joined, by inode, with the kernel's tables of its network namespace.
//! Pure: bytes in, text out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foretrace_report::text::escape;

const SOCKET: &str = "socket:[";

/// Whether a process has sockets: its tables are those of its whole network namespace, and may be long.
pub fn has_any(descriptors: &[u8]) -> bool {
    descriptors.windows(SOCKET.len()).any(|window| window == SOCKET.as_bytes())
}

/// One line for each descriptor that is a socket whose addresses are known: its number, the protocol, its own address,
/// the other side's, and the state. `descriptors` and `tables` are the parts of those names.
pub fn sockets(descriptors: &[u8], tables: &[u8]) -> Vec<u8> {
    let mut known: HashMap<u64, String> = HashMap::new();
    for table in tables.split(|byte| *byte == 0) {
        let table = String::from_utf8_lossy(table);
        let Some((kind, rows)) = table.split_once('\t') else { continue };
        // The first line names the columns.
        for row in rows.lines().skip(1) {
            let found = if kind == "unix" { local(row) } else { internet(kind, row) };
            known.extend(found.filter(|(inode, _)| *inode != 0));
        }
    }
    let mut listing = String::new();
    for record in descriptors.split(|byte| *byte == 0) {
        let record = String::from_utf8_lossy(record);
        let Some((number, target)) = record.split_once('\t') else { continue };
        let inode = target.strip_prefix(SOCKET).and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        if let Some(what) = inode.and_then(|inode: u64| known.get(&inode)) {
            listing.push_str(&format!("{} {what}\n", escape(number)));
        }
    }
    listing.into_bytes()
}

// 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 …
fn internet(kind: &str, row: &str) -> Option<(u64, String)> {
    let mut fields = row.split_whitespace().skip(1);
    let (own, other, state) = (address(fields.next()?)?, address(fields.next()?)?, fields.next()?);
    let inode = fields.nth(5)?.parse().ok()?;
    let other = if other.port() == 0 { String::new() } else { format!(" -> {other}") };
    let state = if kind.starts_with("tcp") { format!(" {}", state_name(state)) } else { String::new() };
    Some((inode, format!("{} {own}{other}{state}", escape(kind))))
}

// 0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a socket
fn local(row: &str) -> Option<(u64, String)> {
    let mut fields = row.splitn(8, ' ').map(str::trim);
    let kind = match fields.nth(4)? {
        "0001" => "stream",
        "0002" => "datagram",
        "0005" => "packets",
        _ => "other",
    };
    let state = if fields.next()? == "01" { "" } else { " connected" };
    let rest = row.splitn(7, ' ').nth(6)?.trim_start();
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = if path.is_empty() { "(unnamed)".to_owned() } else { escape(path).to_string() };
    Some((inode.parse().ok()?, format!("unix {kind} {path}{state}")))
}

// Each word of four bytes as this machine keeps it, in hex, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let host = match host.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(words.concat()).for_each(|(byte, from)| *byte = from);
            let host = Ipv6Addr::from(bytes);
            host.to_ipv4_mapped().map_or(IpAddr::from(host), IpAddr::from)
        }
        _ => return None,
    };
    Some(SocketAddr::new(host, port))
}

fn state_name(state: &str) -> &'static str {
    const NAMES: [&str; 12] = [
        "established",
        "syn-sent",
        "syn-received",
        "fin-wait-1",
        "fin-wait-2",
        "time-wait",
        "closed",
        "close-wait",
        "last-ack",
        "listening",
        "closing",
        "new",
    ];
    let number = usize::from_str_radix(state, 16).unwrap_or_default();
    number.checked_sub(1).and_then(|place| NAMES.get(place)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "tcp\t  sl  local rem st\n   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0  1000        0 41 1\n   1: 0100007F:1F90 0200007F:0016 01 0:0 00:0 0 0 0 42 1\n\0\
        tcp6\thead\n 0: 00000000000000000000000001000000:0050 0000000000000000FFFF00000100007F:C350 01 0:0 00:0 0 0 0 43 1\n\0\
        udp\thead\n 7: 00000000:0044 00000000:0000 07 0:0 00:0 0 0 0 44 2\ntorn\n 8: xx:yy\n\0\
        unix\tNum RefCount\n0000000000000000: 00000002 00000000 00010000 0001 01    45 /run/a socket\n0000000000000000: 00000003 00000000 00000000 0002 03 46\n\0";

    #[test]
    fn descriptors_are_joined_with_their_addresses_and_strangers_sockets_are_left_out() {
        let descriptors = b"0\t/dev/null\x003\tsocket:[41]\x004\tsocket:[43]\x005\tsocket:[44]\x006\tsocket:[45]\x007\tsocket:[46]\x008\tsocket:[99]\x009\tsocket:[0]\0";
        let listing = String::from_utf8(sockets(descriptors, TABLES.as_bytes())).unwrap();
        let expected = "3 tcp 127.0.0.1:8080 listening\n4 tcp6 [::1]:80 -> 127.0.0.1:50000 established\n\
            5 udp 0.0.0.0:68\n6 unix stream /run/a socket\n7 unix datagram (unnamed) connected\n";
        assert_eq!(listing, expected);
    }

    #[test]
    fn a_sockets_name_cannot_add_a_line() {
        let tables = "unix\thead\n0: 2 0 0 0001 01 5 /run/a\u{1b}[31m\u{b}b\n\0";
        let listing = String::from_utf8(sockets(b"3\tsocket:[5]\0", tables.as_bytes())).unwrap();
        assert_eq!(listing.lines().count(), 1);
        assert!(!listing.contains('\u{1b}') && !listing.contains('\u{b}'), "{listing:?}");
    }
}
