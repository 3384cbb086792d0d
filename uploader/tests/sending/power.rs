//! Power cuts while one or many reports are sent: the reports lie on a disk of their own, of which only what had reached it
//! by a random instant is left. (What handlers and answers were promised, `tests/tests/power.rs` proves.)

use std::process::{Command, Stdio};
use std::time::Instant;

use foretrace_report::ReportId;
use foretrace_report::receipt::DeliveryState;
use foretrace_tests::disk::Disk;

use crate::killed::all_arrived_and_repetitions_are_counted;
use crate::resume::{our_server, started};
use crate::server::Server;
use crate::world::{World, noise};

/// Cuts of each test.
const CUTS: u64 = 5;
/// More than what is each durable at once, and less.
const NEW: [u64; 2] = [10, 2];

/// What is left after the cuts.
struct Survived {
    // Dropped in this order: the disk lies in the folder, and the world on the disk.
    world: World,
    ids: Vec<ReportId>,
    _disk: Disk,
    _folder: tempfile::TempDir,
}

/// Cuts the power at random instants of a sending, each time with new reports; then lets one run end its work.
fn cut_power(settings: &str) -> Survived {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    let mut disk = Disk::new(folder.path().join("image"), place).unwrap();
    let world = World::within(disk.place(), settings);
    // The sender makes outgoing.zip and the receipt itself.
    world.done(&["consent", "--program", "painter", "--set", "always", "--max", "memory"]);
    let memory = noise(96 << 10);
    let mut ids = Vec::new();
    let mut add = |count: u64| {
        for _ in 0..count {
            ids.push(world.numbered(ids.len() as u64, "painter", &[("process/auxv", &memory)]));
        }
    };
    add(NEW[0]);
    let whole = Instant::now();
    world.done(&["send", "--all", "--now"]);
    let longest = whole.elapsed();
    let (mut cut, mut state) = (0, 7u64);
    for round in 0usize.. {
        if cut == CUTS {
            break;
        }
        assert!(round < 100, "{cut} cuts in {round} sendings");
        add(NEW[round % NEW.len()]);
        let mut command = world.command(&["send", "--all", "--now"]);
        let mut sender = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(longest.mul_f64((state >> 33) as f64 / (1u64 << 31) as f64));
        // Of one that has ended, what it has not made durable is lost.
        cut += u64::from(sender.try_wait().unwrap().is_none());
        disk.cut().unwrap();
        sender.kill().unwrap();
        sender.wait().unwrap();
        disk.come_back().unwrap();
    }
    world.done(&["send", "--all", "--now"]);
    for id in &ids {
        assert_eq!(world.delivery(*id).state, DeliveryState::Sent, "{id}");
    }
    println!("{cut} cuts; {} reports", ids.len());
    Survived { world, ids, _disk: disk, _folder: folder }
}

#[test]
fn no_power_cut_loses_a_report_or_has_our_server_store_it_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(our_server());
    let (_server, address) = started(command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.path()));
    let survived = cut_power(&format!("[Upload]\nUrl=http://{address}/reports\n"));
    let (status, health) = crate::sealed::page(&format!("http://{address}"), "/healthz");
    let health: serde_json::Value = serde_json::from_slice(&health).unwrap();
    assert_eq!((status, &health["reports"]), (200, &survived.ids.len().into()), "each once");
}

#[test]
fn elsewhere_every_repetition_after_a_power_cut_was_announced_as_doubtful() {
    let server = Server::start([]);
    let survived = cut_power(&format!("[Upload]\nProtocol=socorro\nUrl={}\n", server.url()));
    all_arrived_and_repetitions_are_counted(&server, &survived.world, &survived.ids);
}
