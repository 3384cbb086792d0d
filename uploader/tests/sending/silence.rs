//! Silence, proved by a packet capture: whatever is asked, refused, put off, taken back or killed, not one packet is on
//! any interface before a yes. With crashes of real programs, and what is on the wire after a yes: `cargo xtask soak
//! silence`.

use std::process::Command;
use std::time::Duration;

use foretrace_report::ReportId;
use foretrace_tests::network::Network;

use crate::agent::Agent;
use crate::desktop::{Bus, Shower};
use crate::server::{Server, stored};
use crate::world::World;

/// Reports that nobody says yes to; each meets another of the fates below in turn.
const REPORTS: u8 = 20;

/// Starts a command and kills it after `wait`.
fn killed(mut command: Command, wait: Duration) {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(wait);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn not_one_packet_is_on_any_interface_before_a_yes() {
    let network = Network::enter().unwrap();
    let server = Server::start([stored("bp-0123"), stored("bp-0124")]);
    let world = World::with_server(&server.url());
    let all: Vec<ReportId> = (1..=REPORTS)
        .map(|number| world.report(number, "painter", &[("logs/journal", b"a line\n")]))
        .collect();
    for (number, id) in all.iter().enumerate() {
        let short = id.to_string();
        match number % 5 {
            0 => drop(world.run(&["send", &short, "--now"])),
            1 => drop(world.done(&["consent", &short, "--deny"])),
            2 => {
                world.done(&["consent", &short, "--grant", "memory"]);
                world.done(&["consent", &short, "--revoke"]);
            }
            // Killed at some step of answering: whatever the answer is then, it was no sending.
            3 => {
                let wait = Duration::from_millis(number as u64 * 20);
                killed(world.command(&["consent", &short, "--grant", "trail"]), wait);
                killed(world.command(&["consent", &short, "--revoke"]), wait);
                let _ = world.run(&["consent", &short, "--deny"]);
            }
            _ => drop(world.done(&["preview", &short])),
        }
    }
    // The desktop: no notifications, put off, expired, gone, killed. A local bus is no network.
    let bus = Bus::start();
    let agent = |arguments: &[&str]| {
        let arguments = [&["agent"], arguments].concat();
        Agent::start(world.command(&arguments).env("DBUS_SESSION_BUS_ADDRESS", &bus.address))
    };
    assert_eq!(agent(&["--once"]).end(), Some(0));
    let desktop = Shower::on(&bus, &["actions"]);
    let mut waiting = agent(&["--once"]);
    for number in 1..=8 {
        let question = desktop.wait_for(number);
        match number % 2 {
            0 => desktop.press(question.id, "later"),
            _ => desktop.close(question.id, 1),
        }
    }
    assert_eq!(waiting.end(), Some(0));
    drop(agent(&[]));
    for arguments in [
        vec!["list"],
        vec!["status"],
        vec!["status", "--login"],
        vec!["consent"],
        vec!["send", "--all", "--now"],
    ] {
        let _ = world.run(&arguments);
    }
    assert_eq!((network.packets(), server.connections()), (0, 0));

    // And the capture does see packets: one yes, one report.
    world.done(&["consent", &all[0].to_string(), "--grant", "trail"]);
    assert_eq!(network.packets(), 0, "the answer alone");
    world.done(&["send", &all[0].to_string()]);
    let packets = network.packets();
    assert!(packets > 5);
    assert_eq!(server.connections(), 1);
    world.run(&["send", "--all", "--now"]);
    assert_eq!((network.packets(), server.connections()), (packets, 1), "nothing else was agreed to");
}
