//! Uploads that are cut, and gone on with: the real command over a line to `foretrace-server` that breaks.
//! `cargo xtask check servers` does the same with the reference `@tus/server`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use foretrace_report::receipt::DeliveryState;
use foretrace_tests::line::Line;

use crate::world::{World, noise};

/// A process that ends with the test.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server that tells its address in its first line.
pub fn started(command: &mut Command) -> (Running, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit("http://").next().unwrap().to_owned();
    (Running(child), address)
}

/// Where cargo puts programs: beside the command under test.
pub fn our_server() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_foretrace")).parent().unwrap().to_owned();
    let server = folder.join("foretrace-server");
    assert!(server.exists(), "build it first: cargo build --package foretrace-server");
    server
}

/// Sends a report of `size` bytes over a line that breaks `count` times; returns what went over the line in all, and
/// the length of `outgoing.zip`.
fn sent_through_cuts(server: &str, path: &str, size: usize, count: u64) -> (u64, u64) {
    // Offsets without a pattern: from headers only to two thirds of a fair share.
    let share = size as u64 / count;
    let mut state = 7u64;
    let cuts = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % (share * 4 / 3).max(1)
    });
    let line = Line::to(server, cuts.take(usize::try_from(count).unwrap()).collect()).unwrap();
    let world =
        World::new(&format!("[Upload]\nUrl=http://{}{path}\nProtocol=foretrace\nAsk=no\n", line.address()));
    let memory = noise(size);
    let id = world.report(9, "painter", &[("core/0", &memory)]);
    world.done(&["consent", &id.short(), "--grant", "everything"]);
    let mut runs = 0;
    while world.run(&["send", "--now", &id.short()]).code != Some(0) {
        runs += 1;
        assert!(runs < count + 10, "it never arrives: {:?}", world.delivery(id));
    }
    let delivery = world.delivery(id);
    assert_eq!(delivery.state, DeliveryState::Sent);
    assert!(line.broken() >= count * 9 / 10, "the line was cut as often as that");
    let length = std::fs::metadata(world.file(id, "outgoing.zip")).unwrap().len();
    (line.seen(), length)
}

#[test]
fn an_upload_cut_many_times_arrives_and_little_is_sent_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(our_server());
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    let (_server, address) = started(&mut command);
    let (seen, length) = sent_through_cuts(&address, "/reports", 24 << 20, 100);
    let twice = seen.saturating_sub(length) as f64 / length as f64;
    println!("100 cuts of {length} bytes: {:.2} % sent twice, headers included", twice * 100.0);
    assert!(twice <= 0.05, "{seen} bytes for {length}");
}
