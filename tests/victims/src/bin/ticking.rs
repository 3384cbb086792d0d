//! `ticking LEDGER`: records numbered events and notes them in its ledger until its input ends.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use foretrace::event;
use foretrace_victims::{Account, check};

static ENDED: AtomicBool = AtomicBool::new(false);

fn main() -> std::io::Result<()> {
    let ledger = std::env::args().nth(1).expect("ticking LEDGER");
    let ticker = thread::spawn(move || {
        let account = Account::open(&ledger, 0);
        let mut number = 0;
        while !ENDED.load(Ordering::Relaxed) {
            event!(info, "step", thread = 0u64, number = number, check = check(0, number));
            number += 1;
            account.note(number);
            thread::sleep(Duration::from_millis(1));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    ENDED.store(true, Ordering::Relaxed);
    ticker.join().expect("the ticker ended");
    Ok(())
}
