//! A line to a server that breaks: it hands bytes on, breaks each connection where it is told to, and counts what
//! clients sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// No head of a request is longer.
const HEAD: u64 = 1 << 10;

/// The line; it lives as long as the process.
pub struct Line {
    address: SocketAddr,
    seen: Arc<AtomicU64>,
    broken: Arc<AtomicU64>,
}

impl Line {
    /// A line to `server`, a host and a port. The first connections on which bodies flow break after as many bytes as
    /// `cuts` says, one after the other; all later ones are whole.
    ///
    /// # Errors
    /// A port that cannot be had.
    pub fn to(server: &str, cuts: Vec<u64>) -> io::Result<Line> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (seen, broken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let line =
            Line { address: listener.local_addr()?, seen: Arc::clone(&seen), broken: Arc::clone(&broken) };
        let server = server.to_owned();
        let cuts = Arc::new(Mutex::new(cuts.into_iter()));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let ends = TcpStream::connect(&server)
                    .and_then(|server| Ok((server.try_clone()?, client.try_clone()?, server)));
                // A server that is gone ends the client's connection as well.
                let Ok((answers, listens, server)) = ends else { continue };
                thread::spawn(move || carry(answers, listens, |_| false));
                let (seen, cuts, broken) = (Arc::clone(&seen), Arc::clone(&cuts), Arc::clone(&broken));
                let (mut carried, mut until) = (0, None);
                thread::spawn(move || {
                    carry(client, server, |bytes| {
                        let before = seen.fetch_add(bytes, Ordering::Relaxed);
                        carried += bytes;
                        // A request without a body takes no cut away from one with a body.
                        if carried <= HEAD {
                            return false;
                        }
                        let limit = *until.get_or_insert_with(|| {
                            let mut cuts = cuts.lock().unwrap_or_else(PoisonError::into_inner);
                            cuts.next().map_or(u64::MAX, |cut| before + cut)
                        });
                        let breaks = before + bytes > limit;
                        broken.fetch_add(u64::from(breaks), Ordering::Relaxed);
                        breaks
                    });
                });
            }
        });
        Ok(line)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that clients sent, whether they arrived or not.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// How often it broke.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut breaks: impl FnMut(u64) -> bool) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(read) if read > 0 => {
                let breaks = breaks(read as u64);
                if to.write_all(&buffer[..read]).is_err() || breaks {
                    break;
                }
            }
            _ => break,
        }
    }
    // They may be broken already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
