//! A session bus of its own with somebody on it who shows notifications, and answers as the test says.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zbus::blocking::{Connection, connection::Builder};
use zbus::zvariant::OwnedValue;

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A notification as it arrived.
#[derive(Clone, Debug)]
pub struct Shown {
    pub id: u32,
    pub title: String,
    pub body: String,
    /// Names and labels, in turn.
    pub actions: Vec<String>,
}

/// A bus on which nobody is started by a call: the machine's own notifications stay out of it.
const CONFIGURATION: &str = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
    <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
    </busconfig>"#;

/// A session bus; it ends with the test.
pub struct Bus {
    daemon: Child,
    _configuration: tempfile::NamedTempFile,
    pub address: String,
}

impl Bus {
    pub fn start() -> Bus {
        let mut configuration = tempfile::NamedTempFile::new().unwrap();
        configuration.write_all(CONFIGURATION.as_bytes()).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", configuration.path().display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon, from the package dbus-daemon");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Bus { daemon, _configuration: configuration, address: address.trim().to_owned() }
    }

    pub fn connect(&self) -> Connection {
        Builder::address(self.address.as_str()).unwrap().build().unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Shows notifications: keeps them for the test.
pub struct Shower {
    connection: Connection,
    shown: Arc<Mutex<Vec<Shown>>>,
    closed: Arc<Mutex<Vec<u32>>>,
}

struct Notifications {
    capabilities: Vec<&'static str>,
    shown: Arc<Mutex<Vec<Shown>>>,
    closed: Arc<Mutex<Vec<u32>>>,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    fn get_capabilities(&self) -> Vec<String> {
        self.capabilities.iter().map(|one| (*one).to_owned()).collect()
    }

    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        _app: String,
        _replaces: u32,
        _icon: String,
        title: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        let mut shown = self.shown.lock().unwrap();
        let id = 100 + shown.len() as u32;
        shown.push(Shown { id, title, body, actions });
        id
    }

    fn close_notification(&self, id: u32) {
        self.closed.lock().unwrap().push(id);
    }
}

impl Shower {
    pub fn on(bus: &Bus, capabilities: &[&'static str]) -> Shower {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(Mutex::new(Vec::new()));
        let served = Notifications {
            capabilities: capabilities.to_vec(),
            shown: Arc::clone(&shown),
            closed: Arc::clone(&closed),
        };
        let connection = Builder::address(bus.address.as_str())
            .unwrap()
            .name(NAME)
            .unwrap()
            .serve_at(PATH, served)
            .unwrap()
            .build()
            .unwrap();
        Shower { connection, shown, closed }
    }

    pub fn shown(&self) -> Vec<Shown> {
        self.shown.lock().unwrap().clone()
    }

    /// The `number`th notification, from 1 on, once it is there.
    pub fn wait_for(&self, number: usize) -> Shown {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(shown) = self.shown().get(number - 1) {
                return shown.clone();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no notification {number}: {:?}", self.shown());
    }

    /// What the agent took down.
    pub fn closed(&self) -> Vec<u32> {
        self.closed.lock().unwrap().clone()
    }

    pub fn press(&self, id: u32, action: &str) {
        signal(&self.connection, "ActionInvoked", &(id, action));
    }

    pub fn close(&self, id: u32, why: u32) {
        signal(&self.connection, "NotificationClosed", &(id, why));
    }

    /// Whoever shows notifications dies.
    pub fn die(self) {
        self.connection.close().unwrap();
    }
}

/// A signal as `connection` can send it, whoever that is.
pub fn signal(
    connection: &Connection,
    name: &str,
    body: &(impl serde::Serialize + zbus::zvariant::DynamicType),
) {
    connection.emit_signal(None::<&str>, PATH, NAME, name, body).unwrap();
}
