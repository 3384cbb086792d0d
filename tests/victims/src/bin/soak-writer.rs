//! `soak-writer LEDGER THREADS WORK DEATH [POOL]`: records numbered, checksummed events on every thread and notes each
//! one in a ledger that outlives it, until it dies. What `cargo xtask soak recorder` kills.
//!
//! The ledger's first eight words: the ring's descriptor + 1 (ours); bytes a second (theirs; 0 is full speed, [`PAUSE`]
//! is none); that somebody holds the ring (theirs); the pause's number (theirs). Behind them a lane of eight words for
//! each thread and nesting level: how many events it recorded, and in which pause the thread rests.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::env;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use foretrace::event;
use foretrace_victims::{check, crash_by_null_store};

/// Threads at most; a thread's handler at nesting level n has lane `n * THREADS + thread`.
const THREADS: u64 = 8;
const LEVELS: u64 = 4;
/// A thread without lanes.
const NOBODY: u64 = u64::MAX;
/// The rate at which nothing is recorded.
const PAUSE: u64 = u64::MAX;
const USAGE: &str = "soak-writer LEDGER THREADS steps|packets|churn|handlers \
    wait|payload:EVENT|handler:EVENT|nested:EVENT|too-deep:EVENT|last-words:MICROSECONDS [POOL]";

static LEDGER: AtomicU64 = AtomicU64::new(0);
/// How many handlers interrupt each other before the last one lets the process die.
static DEPTH: AtomicU64 = AtomicU64::new(0);
/// So many bytes of text, then memory that cannot be read.
static CLIFF: AtomicU64 = AtomicU64::new(0);
const TEXT: usize = 32 << 10;

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(NOBODY) };
    static HANDLERS: Cell<u64> = const { Cell::new(0) };
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let word = |n: usize| arguments.get(n).expect(USAGE).as_str();
    open_ledger(word(1));
    CLIFF.store(text_before_a_cliff() as u64, Ordering::Relaxed);
    let threads: u64 = word(2).parse().expect(USAGE);
    assert!((1..=THREADS).contains(&threads), "{USAGE}");
    // A dump of this process is of no use to anybody; 1 is what says so to files and to pipes.
    limit(libc::RLIMIT_CORE, 1);
    let started = match arguments.get(5) {
        Some(pool) => foretrace::start_with(pool.parse().expect(USAGE)),
        None => foretrace::start(),
    };
    assert!(started, "there is no ring");
    let descriptor = foretrace::descriptor().expect("there is a ring");
    header(0).store(descriptor as u64 + 1, Ordering::Release);

    let (work, death) = (word(3).to_owned(), word(4).to_owned());
    let handlers = work == "handlers";
    install(libc::SIGUSR1, libc::SA_RESTART);
    install(libc::SIGUSR2, libc::SA_RESTART);
    if death != "wait" {
        if !death.starts_with("payload") {
            install(libc::SIGSEGV, libc::SA_NODEFER | libc::SA_ONSTACK);
        }
        // Whoever dies by itself must not do so before its ring is held.
        while header(2).load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
    }
    let mut writers = Vec::new();
    for index in 0..threads {
        let (work, death) = (work.clone(), death.clone());
        writers.push(thread::spawn(move || write(index, &work, &death)));
    }
    match death.split_once(':') {
        Some(("last-words", microseconds)) => {
            thread::sleep(Duration::from_micros(microseconds.parse().expect(USAGE)));
            for writer in &writers {
                send(writer, libc::SIGSEGV);
            }
        }
        _ if handlers => loop {
            for writer in &writers {
                send(writer, libc::SIGUSR1);
                send(writer, libc::SIGUSR2);
            }
            thread::sleep(Duration::from_micros(20));
        },
        _ => {}
    }
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn write(index: u64, work: &str, death: &str) {
    let (death, when) = death.split_once(':').unwrap_or((death, "0"));
    use_alternate_stack();
    THREAD.set(index);
    let depth = match death {
        "payload" => Some(0),
        "handler" => Some(1),
        "nested" => Some(2),
        "too-deep" => Some(3),
        _ => None,
    };
    let dies_at = depth.filter(|_| index == 0).map(|depth| {
        DEPTH.store(depth, Ordering::Relaxed);
        when.parse::<u64>().expect(USAGE)
    });
    let mut pace = Pace { begun: Instant::now(), rate: 0, spent: 0 };
    for round in 0_u64.. {
        match work {
            "churn" => live_shortly(index, 1 + (round * 7 + index) % 40),
            "packets" => drop(record(index, if round.is_multiple_of(3) { 15_000 } else { 3000 })),
            _ => pace.spend(record(index, 27)),
        }
        if dies_at == Some(round) {
            fall(index);
            crash_by_null_store();
        }
    }
}

/// Records on a thread that ends at once.
fn live_shortly(index: u64, count: u64) {
    let body = move || {
        THREAD.set(index);
        for _ in 0..count {
            record(index, 27);
        }
    };
    let thread = thread::Builder::new().stack_size(64 << 10).spawn(body).expect("a thread");
    thread.join().expect("it ends");
}

/// Records the lane's next event, with a text of less than `longest` bytes; answers its size.
fn record(lane: u64, longest: u64) -> u64 {
    let count = lane_word(lane);
    let number = count.load(Ordering::Relaxed);
    let length = (number * 31 % longest) as usize;
    let text = text(number as usize % 4096, length);
    event!(target: "soak", info, "step", lane = lane, number = number, text = text, check = check(lane, number));
    count.store(number + 1, Ordering::Release);
    34 + length as u64
}

/// Faults in the middle of copying a payload.
fn fall(lane: u64) {
    let text = text(TEXT - 100, 200);
    event!(target: "soak", info, "step", lane = lane, number = 0_u64, text = text, check = 0_u64);
}

/// What a thread has recorded since the rate was set.
struct Pace {
    begun: Instant,
    rate: u64,
    spent: u64,
}

impl Pace {
    /// Counts bytes, and waits until the rate allows for more.
    fn spend(&mut self, bytes: u64) {
        let mut rate = header(1).load(Ordering::Acquire);
        while rate == PAUSE {
            let pause = header(3).load(Ordering::Relaxed);
            header(lane_index(THREAD.get()) + 1).store(pause, Ordering::Release);
            thread::sleep(Duration::from_millis(1));
            rate = header(1).load(Ordering::Acquire);
        }
        if rate == 0 {
            return;
        }
        if rate != self.rate {
            *self = Pace { begun: Instant::now(), rate, spent: 0 };
        }
        self.spent += bytes;
        let due = Duration::from_nanos(self.spent.saturating_mul(1_000_000_000) / rate);
        let ahead = due.saturating_sub(self.begun.elapsed());
        if ahead > Duration::from_micros(200) {
            thread::sleep(ahead);
        }
    }
}

/// A signal's handler: records in its own lane. At SIGSEGV it lets the process die, or faults once more first.
extern "C" fn handle(signal: i32) {
    let thread = THREAD.get();
    match signal {
        libc::SIGUSR1 | libc::SIGUSR2 if thread == NOBODY => {}
        libc::SIGUSR1 => {
            record(THREADS + thread, 27);
        }
        libc::SIGUSR2 => {
            record(2 * THREADS + thread, 27);
        }
        _ if thread == NOBODY => die(),
        _ => {
            let depth = HANDLERS.get() + 1;
            HANDLERS.set(depth);
            let lane = depth.min(LEVELS - 1) * THREADS + thread;
            record(lane, 27);
            let wanted = DEPTH.load(Ordering::Relaxed);
            if depth < wanted {
                fall(lane);
            }
            die();
        }
    }
}

/// Lets SIGSEGV do what it does without a handler.
fn die() {
    // SAFETY: async-signal-safe, and a plain number.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    // Coming back would repeat a fault, but not a signal that somebody sent.
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGSEGV) };
}

fn use_alternate_stack() {
    let memory = Box::leak(vec![0_u8; 256 << 10].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: the memory is leaked, so it outlives the thread.
    unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
}

fn install(signal: i32, flags: i32) {
    // SAFETY: an all-zero sigaction is a valid value of that plain struct.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(i32) as usize;
    action.sa_flags = flags;
    // SAFETY: the action is initialised and its handler is an extern "C" function of one argument.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

fn send(writer: &thread::JoinHandle<()>, signal: i32) {
    // SAFETY: the thread never ends, and has not been joined.
    unsafe { libc::pthread_kill(writer.as_pthread_t(), signal) };
}

fn limit(which: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: reads the structure it is given.
    unsafe { libc::setrlimit(which, &raw const limit) };
}

/// The text of `length` bytes from `start` on.
fn text(start: usize, length: usize) -> &'static str {
    let base = CLIFF.load(Ordering::Relaxed) as *const u8;
    // SAFETY: ASCII that stays for ever, but for what `fall` asks of it on purpose.
    let bytes = unsafe { std::slice::from_raw_parts(base.wrapping_add(start), length) };
    // SAFETY: ASCII.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

fn text_before_a_cliff() -> *mut u8 {
    let (readable, all) = (libc::PROT_READ | libc::PROT_WRITE, TEXT + 4096);
    let base = map(all, readable, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    for at in 0..TEXT {
        // SAFETY: inside the mapping that was just made.
        unsafe { base.wrapping_add(at).write(b'a' + ((at * 7 + at / 26) % 26) as u8) };
    }
    // SAFETY: the last page of our own mapping.
    unsafe { libc::mprotect(base.wrapping_add(TEXT).cast(), 4096, libc::PROT_NONE) };
    base
}

fn open_ledger(path: &str) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the ledger exists");
    let base = map(4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd());
    LEDGER.store(base as u64, Ordering::Relaxed);
}

fn map(length: usize, protection: i32, flags: i32, descriptor: i32) -> *mut u8 {
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, descriptor, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    base.cast()
}

fn header(n: usize) -> &'static AtomicU64 {
    let base = LEDGER.load(Ordering::Relaxed) as *const AtomicU64;
    // SAFETY: a page that stays mapped; there are eight such words.
    unsafe { &*base.wrapping_add(n) }
}

fn lane_word(lane: u64) -> &'static AtomicU64 {
    header(lane_index(lane))
}

fn lane_index(lane: u64) -> usize {
    8 * (lane.min(LEVELS * THREADS - 1) as usize + 1)
}
