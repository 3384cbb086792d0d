//! The sender killed at random instants, again and again: every report arrives, once where the server knows it again,
//! and counted as doubtful where it may have come twice.
//!
//! `FORETRACE_KILLS` makes it a proof instead of a test: `cargo xtask soak uploader`.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use foretrace_report::ReportId;
use foretrace_report::receipt::DeliveryState;

use crate::resume::{our_server, started};
use crate::server::Server;
use crate::world::{World, noise};

/// Kills of each test, unless told otherwise.
const KILLS: u64 = 15;

fn kills() -> u64 {
    std::env::var("FORETRACE_KILLS").map_or(KILLS, |number| number.parse().expect("a number of kills"))
}

/// What a run of kills left.
struct Survived {
    world: World,
    ids: Vec<ReportId>,
}

/// Kills `count` senders, each at an instant of its own, with a new report for each; then lets one end its work.
fn kill_senders(settings: &str, count: u64) -> Survived {
    let world = World::new(settings);
    // A standing answer: where no other was given, the killed process makes outgoing.zip and the receipt itself.
    world.done(&["consent", "--program", "painter", "--set", "always", "--max", "memory"]);
    let memory = noise(96 << 10);
    let add = |number: u64| world.numbered(number, "painter", &[("process/auxv", &memory)]);
    let mut ids = vec![add(0)];
    let whole = Instant::now();
    world.done(&["send", "--all", "--now"]);
    let mut longest = whole.elapsed();
    let attempts = |id: &ReportId| world.delivered(*id).map_or(0, |delivery| delivery.attempts);
    let (mut killed, mut ran, mut met, mut state) = (0, 0, 0, 7u64);
    // Until one kill at least has met a report on its way: else nothing is shown.
    while killed < count || met == 0 {
        ran += 1;
        assert!(ran < count * 20 + 100, "{killed} senders were killed, {met} with a report on its way");
        let id = add(ran);
        ids.push(id);
        if ran % 2 == 0 {
            world.done(&["consent", &id.to_string(), "--grant", "memory"]);
        }
        let before: Vec<u32> = ids.iter().map(attempts).collect();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let instant = longest.mul_f64((state >> 33) as f64 / (1u64 << 31) as f64);
        let mut command = world.command(&["send", "--all", "--now"]);
        let mut sender = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(instant);
        sender.kill().unwrap();
        let was_killed = sender.wait().unwrap().signal() == Some(9);
        killed += u64::from(was_killed);
        // More is pending after each kill, which takes longer; and less after each run that reached its end.
        longest = if was_killed { longest + longest / 50 } else { instant.max(Duration::from_millis(5)) };
        let on_its_way = |(id, before): (&ReportId, &u32)| {
            let now = world.delivered(*id);
            now.is_some_and(|now| now.attempts > *before && now.state != DeliveryState::Sent)
        };
        met += u64::from(was_killed && ids.iter().zip(&before).any(on_its_way));
    }
    world.done(&["send", "--all", "--now"]);
    println!("{killed} senders killed, {met} of them with a report on its way; {} reports", ids.len());
    for id in &ids {
        assert_eq!(world.delivery(*id).state, DeliveryState::Sent, "{id}");
    }
    Survived { world, ids }
}

#[test]
fn no_report_is_lost_or_stored_twice_at_our_server_however_often_the_sender_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(our_server());
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    let (_server, address) = started(&mut command);
    let settings = format!("[Upload]\nUrl=http://{address}/reports\nProtocol=foretrace\n");
    let survived = kill_senders(&settings, kills());
    let stored = page(&address, "/healthz");
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["reports"], survived.ids.len(), "each once");
    for id in &survived.ids {
        let page = page(&address, &format!("/api/report/{id}"));
        assert!(page.contains(&id.to_string()), "{id} is not there: {page}");
    }
}

#[test]
fn elsewhere_no_report_is_lost_and_every_repetition_was_announced_as_doubtful() {
    let server = Server::start([]);
    let survived = kill_senders(&format!("[Upload]\nProtocol=socorro\nUrl={}\n", server.url()), kills());
    all_arrived_and_repetitions_are_counted(&server, &survived.world, &survived.ids);
}

/// Whether a collector has each of these reports, no more often than its doubtful tries say.
pub fn all_arrived_and_repetitions_are_counted(server: &Server, world: &World, ids: &[ReportId]) {
    let mut arrived: BTreeMap<String, u32> = BTreeMap::new();
    for request in server.requests() {
        let id = request.head.split("boundary=foretrace-").nth(1).unwrap().lines().next().unwrap();
        *arrived.entry(id.to_owned()).or_default() += 1;
    }
    assert_eq!(arrived.len(), ids.len());
    let mut twice = 0;
    for id in ids {
        let (times, delivery) = (arrived[&id.to_string()], world.delivery(*id));
        assert!(times <= 1 + delivery.doubtful, "{id} came {times} times: {delivery:?}");
        twice += u32::from(times > 1);
    }
    println!("{twice} of {} reports came more than once, all of them counted", ids.len());
}

/// The body of a page.
fn page(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}
