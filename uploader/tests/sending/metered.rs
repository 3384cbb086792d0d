//! Connections over which nothing goes by itself: a NetworkManager on a bus of the test's own says what they are.

use zbus::blocking::{Connection, connection::Builder};

use crate::desktop::Bus;
use crate::server::{Server, status};
use crate::world::{Said, World};

/// What NetworkManager says.
struct Manager {
    metered: u32,
    connectivity: u32,
}

#[zbus::interface(name = "org.freedesktop.NetworkManager")]
impl Manager {
    #[zbus(property)]
    fn metered(&self) -> u32 {
        self.metered
    }

    #[zbus(property)]
    fn connectivity(&self) -> u32 {
        self.connectivity
    }
}

fn manager(bus: &Bus, metered: u32, connectivity: u32) -> Connection {
    Builder::address(bus.address.as_str())
        .unwrap()
        .name("org.freedesktop.NetworkManager")
        .unwrap()
        .serve_at("/org/freedesktop/NetworkManager", Manager { metered, connectivity })
        .unwrap()
        .build()
        .unwrap()
}

/// A world whose far server is behind a proxy that refuses: whether anybody came is all that counts.
struct Far {
    world: World,
    proxy: Server,
    id: String,
}

impl Far {
    fn new(more: &str) -> Far {
        let proxy = Server::start(std::iter::repeat_n(status(503, "", ""), 9));
        let world =
            World::new(&format!("[Upload]\nProtocol=socorro\nUrl=https://crash.example.org/submit\n{more}"));
        let id = world.painter().short();
        world.done(&["consent", &id, "--grant", "trail"]);
        Far { world, proxy, id }
    }

    fn send(&self, bus: &str, more: &[&str]) -> Said {
        let mut command = self.world.command(&[&["send", &self.id], more].concat());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", bus).env_remove("NO_PROXY").env_remove("no_proxy");
        command.env("HTTPS_PROXY", format!("http://{}", self.proxy.address()));
        Said::from(command.output().unwrap())
    }
}

#[test]
fn a_metered_or_missing_network_makes_reports_wait_and_now_does_not() {
    let bus = Bus::start();
    for (metered, connectivity, words) in
        [(1, 4, "is metered"), (3, 4, "is metered"), (0, 1, "is offline"), (2, 2, "log in first")]
    {
        let far = Far::new("");
        let running = manager(&bus, metered, connectivity);
        let said = far.send(&bus.address, &[]);
        assert!(said.code == Some(1) && said.text.contains(words), "{said:?}");
        assert!(said.text.contains("--now"), "{said:?}");
        assert_eq!(far.proxy.connections(), 0, "{words}");
        let delivery = far.world.file(far.world.painter_id(), "delivery.json");
        assert!(!delivery.exists(), "it is due as soon as the network is another");
        far.send(&bus.address, &["--now"]);
        assert_eq!(far.proxy.connections(), 1, "{words}");
        running.close().unwrap();
    }
}

#[test]
fn a_good_network_an_allowed_one_and_one_that_nobody_knows_are_used() {
    let bus = Bus::start();
    for (metered, more) in [(2, ""), (4, ""), (0, ""), (1, "Metered=yes\n")] {
        let far = Far::new(more);
        let running = manager(&bus, metered, 4);
        far.send(&bus.address, &[]);
        assert_eq!(far.proxy.connections(), 1, "{metered} {more}");
        running.close().unwrap();
    }
    for bus in [bus.address.as_str(), "unix:path=/nonexistent/bus", "no address"] {
        let far = Far::new("");
        far.send(bus, &[]);
        assert_eq!(far.proxy.connections(), 1, "{bus}");
    }
}

#[test]
fn a_bus_that_says_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let far = Far::new("");
    let began = std::time::Instant::now();
    far.send(&format!("unix:path={}", path.display()), &[]);
    assert_eq!(far.proxy.connections(), 1);
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_server_on_this_machine_needs_no_network() {
    let bus = Bus::start();
    let _running = manager(&bus, 1, 1);
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let id = world.painter().short();
    world.done(&["consent", &id, "--grant", "trail"]);
    let mut command = world.command(&["send", &id]);
    let said = Said::from(command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address).output().unwrap());
    assert_eq!((said.code, server.connections()), (Some(0), 1), "{said:?}");
}

#[test]
fn status_says_what_a_report_waits_for_and_until_when() {
    let bus = Bus::start();
    let far = Far::new("");
    let status = |more: &[&str]| {
        let mut command = far.world.command(&[&["status"], more].concat());
        Said::from(command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address).output().unwrap()).text
    };
    assert!(status(&[]).contains("leaves with the next foretrace send"), "{}", status(&[]));
    let running = manager(&bus, 1, 4);
    far.send(&bus.address, &[]);
    assert!(status(&[]).contains("waits for another network"), "{}", status(&[]));
    assert!(status(&[]).contains("is metered"), "{}", status(&[]));
    assert!(
        status(&["--json"]).contains("\"network\":\"the connection is metered"),
        "{}",
        status(&["--json"])
    );
    running.close().unwrap();
    far.send(&bus.address, &["--now"]);
    let said = status(&[]);
    assert!(
        said.contains(&far.id) && said.contains("next attempt 20") && said.contains("cannot reach"),
        "{said}"
    );
}
