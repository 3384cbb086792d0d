//! `weight MEBIBYTES LEDGER crash|wait`: touches that much memory, notes the time (CLOCK_MONOTONIC, ns) in its ledger
//! entry, and faults at once or waits to be killed. For measurements.

use std::hint::black_box;
use std::time::Duration;

use foretrace_victims::{Account, crash_by_null_store, monotonic_nanoseconds};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "weight MEBIBYTES LEDGER crash|wait";
    let mebibytes: usize = arguments.get(1).and_then(|word| word.parse().ok()).expect(usage);
    let ledger = arguments.get(2).expect(usage);
    let crash = arguments.get(3).expect(usage) == "crash";
    let mut memory = vec![0_u8; mebibytes << 20];
    for (n, page) in memory.chunks_mut(4096).enumerate() {
        page[0] = n as u8 | 1;
    }
    black_box(&memory);
    let account = Account::open(ledger, 0);
    if crash {
        account.note(monotonic_nanoseconds());
        crash_by_null_store();
    }
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}
