//! A door before a real server that counts who comes: proof that nobody came before an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};

use crate::server::Server;

/// Hands every connection on to the server behind it.
pub struct Door {
    /// Such as `http://127.0.0.1:41234`.
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Door {
    /// A door on a free loopback port.
    ///
    /// # Errors
    /// A port that cannot be had.
    pub fn before(server: &Server) -> Result<Door> {
        Door::to(&server.address)
    }

    /// The same before any server at this address.
    ///
    /// # Errors
    /// As [`Door::before`].
    pub fn to(address: &str) -> Result<Door> {
        let behind = address.strip_prefix("http://").context("no http address")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                if let Ok(host) = TcpStream::connect(&behind) {
                    join(&guest, &host);
                }
            }
        });
        Ok(Door { address, connections })
    }

    /// How many connections there were so far.
    pub fn opened(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Copies both ways until either side ends.
fn join(guest: &TcpStream, host: &TcpStream) {
    for (from, to) in [(guest, host), (host, guest)] {
        if let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) {
            thread::spawn(move || {
                let mut piece = [0; 65536];
                while let Ok(n @ 1..) = from.read(&mut piece) {
                    if to.write_all(&piece[..n]).is_err() {
                        break;
                    }
                }
                // A side that is gone has nothing more to be told.
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    }
}
