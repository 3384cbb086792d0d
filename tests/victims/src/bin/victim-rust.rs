//! `victim-rust DEATH LEDGER [THREADS EVENTS [busy]]`: every thread records EVENTS numbered events and notes each in
//! the ledger; when all are done (with `busy`: when it is done itself, and all others still record), thread 0 dies.

use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use foretrace::event;
use foretrace_victims::{Account, Death, check, survive_on_alternate_stack};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "victim-rust null|abort|stack-overflow|in-handler LEDGER [THREADS EVENTS [busy]]";
    let death = arguments.get(1).and_then(|word| Death::from_argument(word)).expect(usage);
    let ledger = arguments.get(2).expect(usage);
    let number = |n: usize, default: u64| arguments.get(n).map_or(default, |word| word.parse().expect(usage));
    let (threads, events) = (number(3, 4), number(4, 200_000));
    let busy = arguments.get(5).is_some_and(|word| word == "busy");
    let everyone = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for index in 1..threads {
            let everyone = &everyone;
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .stack_size(256 << 10)
                .spawn_scoped(scope, move || {
                    let account = Account::open(ledger, index as usize);
                    if busy {
                        record(&account, index, 0..1);
                        everyone.wait();
                        record(&account, index, 1..u64::MAX);
                    }
                    record(&account, index, 0..events);
                    everyone.wait();
                    loop {
                        thread::sleep(Duration::from_secs(60));
                    }
                })
                .expect("a thread can be started");
        }
        let account = Account::open(ledger, 0);
        if busy {
            everyone.wait();
        }
        record(&account, 0, 0..events);
        if !busy {
            everyone.wait();
        }
        if death == Death::StackOverflow {
            survive_on_alternate_stack();
        }
        death.die()
    })
}

fn record(account: &Account, thread: u64, events: Range<u64>) {
    for number in events {
        event!(info, "step", thread = thread, number = number, check = check(thread, number));
        account.note(number + 1);
    }
}
