//! Whether this is a moment to send: what NetworkManager says of the connection, over D-Bus.
//!
//! Only asks. Where nobody can tell, the network is taken to be as good as any: a machine without NetworkManager sends.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zbus::blocking::Proxy;
use zbus::blocking::connection::Builder;
use zbus::blocking::fdo::DBusProxy;
use zbus::proxy::CacheProperties;

/// NetworkManager's name on the system's bus, its object and interface.
const NAME: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
/// A bus that does not answer by then is as good as none.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the connection. The numbers are NetworkManager's own.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// `NMMetered`
    metered: u32,
    /// `NMConnectivityState`
    connectivity: u32,
}

/// Why to wait for a better connection, as a sentence; none where there is no reason to. `metered` says that one paid
/// for by volume is good enough.
pub fn obstacle(metered: bool) -> Option<&'static str> {
    let (send, receive) = mpsc::channel();
    // A bus that takes connections and says nothing must not keep reports from leaving: the thread is left to itself.
    thread::spawn(move || send.send(ask()));
    receive.recv_timeout(PATIENCE).ok()?.ok().flatten().and_then(|state| state.obstacle(metered))
}

impl State {
    fn obstacle(self, metered: bool) -> Option<&'static str> {
        match (self.connectivity, self.metered) {
            (1, _) => Some("this machine is offline"),
            (2, _) => Some("the network wants somebody to log in first"),
            // Known, or guessed from the kind of the connection.
            (_, 1 | 3) if !metered => {
                Some("the connection is metered, and [Upload] Metered=yes would be needed")
            }
            _ => None,
        }
    }
}

fn ask() -> zbus::Result<Option<State>> {
    let bus = Builder::system()?.method_timeout(PATIENCE).build()?;
    if !DBusProxy::new(&bus)?.name_has_owner(NAME.try_into()?)? {
        return Ok(None);
    }
    let manager: Proxy<'_> = zbus::blocking::proxy::Builder::new(&bus)
        .destination(NAME)?
        .path(PATH)?
        .interface(NAME)?
        .cache_properties(CacheProperties::No)
        .build()?;
    // An old NetworkManager knows one of them only; nought means unknown.
    Ok(Some(State {
        metered: manager.get_property("Metered").unwrap_or(0),
        connectivity: manager.get_property("Connectivity").unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_bad_makes_a_report_wait() {
        for (connectivity, metered, allowed, waits) in [
            (0, 0, false, false),
            (4, 2, false, false),
            (4, 4, false, false),
            (4, 1, false, true),
            (4, 3, false, true),
            (4, 1, true, false),
            (1, 2, true, true),
            (2, 2, true, true),
            (3, 0, false, false),
            (99, 99, false, false),
        ] {
            let state = State { metered, connectivity };
            assert_eq!(state.obstacle(allowed).is_some(), waits, "{state:?} {allowed}");
        }
    }
}
