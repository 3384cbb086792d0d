//! The socket through which a service manager starts the agent: whoever knocks says nothing, and is told nothing.
//!
//! A knock means that there may be something to ask about. It is heard at once where the agent is started by it, and with the
//! next look where it runs already.

use std::os::unix::net::UnixListener;

/// The socket that the service manager handed over, where it did.
pub struct Door(Option<UnixListener>);

impl Door {
    /// Takes it over. One that cannot be used is none: the agent looks by itself.
    pub fn taken() -> Door {
        let listener = listenfd::ListenFd::from_env().take_unix_listener(0).ok().flatten();
        Door(listener.filter(|listener| listener.set_nonblocking(true).is_ok()))
    }

    /// Lets everybody go who has knocked: one who is left standing would have the agent started again and again.
    pub fn answer(&self) {
        while self.0.as_ref().is_some_and(|listener| listener.accept().is_ok()) {}
    }
}
