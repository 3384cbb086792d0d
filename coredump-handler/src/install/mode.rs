//! The two ways in which the kernel reaches the handler, and which of them a kernel offers.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the kernel reaches the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The kernel starts the handler for each crash and writes the core to its standard input.
    #[default]
    Pipe,
    /// The kernel connects to a socket that `foretrace-coredump serve` answers.
    Socket,
}

impl Mode {
    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Pipe => "pipe",
            Mode::Socket => "socket",
        }
    }
}

/// What core_pattern must begin with so that the kernel of this release connects to a socket; none where it cannot.
///
/// From 6.17 on it asks first what is wanted, in 6.16 it sends the core at once. Older ones would take the pattern for
/// a file name.
pub fn socket_prefix(release: &str) -> Option<&'static str> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next()?.ok()?, numbers.next()?.ok()?) {
        version if version >= (6, 17) => Some("@@"),
        (6, 16) => Some("@"),
        _ => None,
    }
}

/// Whether somebody answers at a coredump socket: whoever connects without a crash is let in and shown out again.
pub fn answers(socket: &Path) -> bool {
    const PATIENCE: Duration = Duration::from_secs(3);
    let ask = || -> io::Result<usize> {
        let mut connection = UnixStream::connect(socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.read(&mut [0])
    };
    ask().is_ok_and(|read| read == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_asked_only_for_what_its_release_has() {
        for (release, prefix) in [
            ("6.18.44-fc", Some("@@")),
            ("6.17.0", Some("@@")),
            ("7.0-rc1", Some("@@")),
            ("6.16.3-arch1", Some("@")),
            ("6.1.0-37-amd64", None),
            ("5.10.0", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(socket_prefix(release), prefix, "{release}");
        }
    }

    #[test]
    fn a_socket_that_nobody_holds_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(!answers(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(answers(&path));
        server.join().unwrap();
        assert!(!answers(&path));
    }
}
