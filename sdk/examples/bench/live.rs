//! Rings that are looked at: what of the pool is readable, what it weighs, and what looking costs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use foretrace_ring::layout::{AT_CELL_COUNT, CELL_SIZE, DEFAULT_POOL, Geometry};
use foretrace_ring::reader::{self, Memory, Snapshot};
use foretrace_ring::trail::Trail;

use crate::itself;
use crate::measure::{Bar, each, median, ratios, row};
use crate::single::numbers;

const ROUNDS: usize = 9;
const PROCESSES: usize = 300;
/// Header and number.
const BYTES_OF_A_NUMBER: u64 = 16;

/// A snapshot of this process's own ring.
pub fn mine() -> Snapshot {
    let descriptor = foretrace::descriptor().expect("there is a ring");
    let bytes = fs::read(format!("/proc/self/fd/{descriptor}")).expect("a ring can be read");
    reader::read(bytes.as_slice()).expect("the ring is one")
}

/// The trail of a snapshot.
pub fn trail(snapshot: &Snapshot) -> Trail {
    let streams: Vec<_> =
        snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    Trail::decode(&snapshot.metadata, &streams)
}

/// Resident memory of a ring in which there is one event.
pub fn memory() {
    let (mut pool, mut added) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let output = itself(&["idle"]).output().expect("this program runs itself");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut sizes = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        pool.push(sizes.next().expect("a size"));
        added.push(sizes.next().expect("a size"));
    }
    row("resident memory of an idle 4 MiB pool", "KiB", Bar::AtMost(300.0), &pool);
    row("resident memory that the first event adds to the process", "KiB", Bar::Open, &added);
    crowd();
}

/// What many processes that live at the same time and have recorded one event each add to the machine's memory.
fn crowd() {
    let start = || {
        let mut command = itself(&["idle"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        child.expect("this program runs itself")
    };
    let mut processes: Vec<Child> = (0..PROCESSES).map(|_| start()).collect();
    let (mut rings, mut added) = (vec![], vec![]);
    for process in &mut processes {
        let mut said = String::new();
        let mut output = BufReader::new(process.stdout.as_mut().expect("piped"));
        output.read_line(&mut said).expect("a process says its sizes");
        let mut sizes = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        rings.push(sizes.next().expect("a size"));
        added.push(sizes.next().expect("a size"));
    }
    for mut process in processes {
        drop(process.stdin.take());
        process.wait().expect("a process that ends with its input");
    }
    let most = Geometry::of_pool(DEFAULT_POOL).size as f64 / 1024.0;
    row("300 processes, an event each: added to each", "KiB", Bar::AtMost(most), &added);
    row(
        "300 processes, an event each: all rings together",
        "MiB",
        Bar::Open,
        &[rings.iter().sum::<f64>() / 1024.0],
    );
    row("a 4 MiB ring, when all of it is used", "KiB", Bar::Open, &[most]);
}

/// Records one event and prints the KiB that are resident of the ring, and those that the process has more than before.
/// Ends when its input does.
pub fn idle() {
    // Whatever the looking itself needs is there before.
    resident("Rss:", "/proc/self/smaps");
    let before = resident("Rss:", "/proc/self/smaps_rollup");
    numbers(1);
    let after = resident("Rss:", "/proc/self/smaps_rollup");
    let maps = fs::read_to_string("/proc/self/smaps").expect("/proc is there");
    let ring = maps.split("/memfd:foretrace").nth(1).expect("the ring is mapped");
    println!("{} {}", size_after("Rss:", ring), after.saturating_sub(before));
    std::io::stdin().lines().for_each(drop);
}

fn resident(what: &str, file: &str) -> u64 {
    size_after(what, &fs::read_to_string(file).expect("/proc is there"))
}

fn size_after(what: &str, text: &str) -> u64 {
    let rest = text.split(what).nth(1).unwrap_or("");
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a size in KiB")
}

/// Records in `threads` threads until the input ends. Prints its ring's descriptor, and for every line of input what an
/// event has cost since the last one.
pub fn write(threads: usize) {
    static COSTS: Mutex<Vec<f64>> = Mutex::new(Vec::new());
    for _ in 0..threads {
        thread::spawn(|| {
            loop {
                let cost = each(100_000, numbers);
                COSTS.lock().expect("nobody panics with it").push(cost);
            }
        });
    }
    // Until the ring is full.
    while COSTS.lock().expect("nobody panics with it").len() < 4 + threads {
        thread::sleep(Duration::from_millis(5));
    }
    println!("{}", foretrace::descriptor().expect("there is a ring"));
    for _ in std::io::stdin().lines() {
        let costs = std::mem::take(&mut *COSTS.lock().expect("nobody panics with it"));
        println!("{:.4}", median(&costs));
    }
}

/// Another process that records all the time.
struct Writer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    ring: Live,
}

impl Writer {
    fn start(threads: usize, pool: &str) -> Writer {
        let mut command = itself(&["write", &threads.to_string()]);
        command.env("FORETRACE_SIZE", pool);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program runs itself");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the writer says where its ring is");
        let path = format!("/proc/{}/fd/{}", child.id(), line.trim());
        let file = File::open(path).expect("the writer's ring can be opened");
        let size = file.metadata().expect("the ring has a size").len();
        Writer { child, input, output, ring: Live { file, size } }
    }

    fn pool(&self) -> u64 {
        u64::from(self.ring.load(AT_CELL_COUNT).expect("the header is there") as u32) * u64::from(CELL_SIZE)
    }

    /// What an event has cost it since it was last asked.
    fn cost(&mut self) -> f64 {
        self.input.write_all(b"\n").expect("the writer listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the writer answers");
        line.trim().parse().expect("nanoseconds")
    }

    #[allow(unsafe_code)]
    fn signal(&self, signal: i32) {
        // SAFETY: our own child, which nobody has waited for yet.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Stops all its threads where they are.
    #[allow(unsafe_code)]
    fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: writes the integer it is given.
        unsafe { libc::waitpid(self.child.id() as i32, &mut status, libc::WUNTRACED) };
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Its end is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A ring that is being written, read in the way that a crash handler can: nothing that its owner does to the memory
/// harms the reader.
struct Live {
    file: File,
    size: u64,
}

impl Memory for Live {
    fn size(&self) -> u64 {
        self.size
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, offset).ok().map(|()| u64::from_le_bytes(word))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        self.file.read_exact_at(into, offset).is_ok()
    }
}

/// What of the pool holds readable events at random instants, at which all threads are stopped.
pub fn instants() {
    for threads in [1, 2, 8] {
        let writer = Writer::start(threads, "4M");
        let share: Vec<f64> = (0..30_u64)
            .map(|instant| {
                thread::sleep(Duration::from_micros(3_000 + instant * 7_919 % 10_000));
                writer.stop();
                let snapshot = reader::read(&writer.ring).expect("the ring is one");
                writer.signal(libc::SIGCONT);
                let bytes = (snapshot.recorded - snapshot.overwritten) * BYTES_OF_A_NUMBER;
                bytes as f64 / writer.pool() as f64
            })
            .collect();
        let name = format!("share of the pool that holds readable events, {threads} threads");
        row(&format!("{name}, 30 instants"), "of 1", Bar::Open, &share);
        let least = share.iter().copied().fold(1.0, f64::min);
        row(&format!("{name}, the least of them"), "of 1", Bar::AtLeast(0.95), &[least]);
    }
}

/// What a snapshot of another process's ring costs, and what it costs the other process.
pub fn snapshots() {
    for (pool, most, meanwhile) in
        [("4M", Bar::Open, Bar::Open), ("64M", Bar::AtMost(2.0), Bar::AtMost(1.05))]
    {
        snapshots_of(pool, most, meanwhile);
    }
}

fn snapshots_of(pool: &str, most: Bar, most_meanwhile: Bar) {
    let mut writer = Writer::start(1, pool);
    let from = vec![1_u8; writer.pool() as usize];
    let mut to = vec![2_u8; from.len()];
    let (mut taken, mut copied, mut quiet, mut meanwhile) = (vec![], vec![], vec![], vec![]);
    let (mut first, mut fresh) = (vec![], vec![]);
    let mut former = Some(reader::read(&writer.ring).expect("the ring is one"));
    for _ in 0..ROUNDS {
        writer.cost();
        thread::sleep(Duration::from_millis(150));
        quiet.push(writer.cost());
        let (mut snapshots, mut copies) = (vec![], vec![]);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(150) {
            let before = former.take().expect("there is one");
            snapshots.push(each(1, |_| former = reader::read_again(&writer.ring, before).ok()) / 1e3);
        }
        meanwhile.push(writer.cost());
        for _ in 0..snapshots.len() {
            copies.push(each(1, |_| std::hint::black_box(&mut to).copy_from_slice(&from)) / 1e3);
        }
        first.push(each(1, |_| drop(std::hint::black_box(reader::read(&writer.ring)))) / 1e3);
        fresh.push(each(1, |_| drop(std::hint::black_box(from.clone()))) / 1e3);
        taken.push(median(&snapshots));
        copied.push(median(&copies));
    }
    let name = format!("another process's snapshot of a live {}iB pool", pool.replace('M', " M"));
    row(&name, "µs", Bar::Open, &taken);
    row(&format!("{name} ÷ memcpy of it"), "×", most, &ratios(&taken, &copied));
    let what = format!("{name} into fresh memory ÷ memcpy into fresh memory");
    row(&what, "×", Bar::Open, &ratios(&first, &fresh));
    let what =
        format!("event while another process takes snapshots of {}iB ÷ without", pool.replace('M', " M"));
    row(&what, "×", most_meanwhile, &ratios(&meanwhile, &quiet));
}
