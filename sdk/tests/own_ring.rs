//! A thread with a ring of its own keeps its history whatever its neighbours record, and gives the room back.

mod rings;

use foretrace::{event, own_ring};

const POOL: u64 = 1 << 20;
const QUIET: u64 = 1500;

/// Records at least so many times the pool. Answers how many events that were.
fn make_noise(times: u64) -> u64 {
    // Header and two numbers.
    let events = times * POOL / 24;
    for number in 0..events {
        event!(info, "noise", number = number, more = number);
    }
    events
}

fn kept(name: &str) -> (u64, Vec<u64>) {
    let snapshot = rings::snapshot();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    assert_eq!(snapshot.discarded, 0);
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(snapshot.recorded, snapshot.overwritten + trail.events.len() as u64);
    let events = trail.events.iter().filter(|event| trail.kind_of(event).name == name);
    (snapshot.recorded, events.map(|event| rings::number(event, 0)).collect())
}

#[test]
fn a_quiet_threads_history_survives_a_hundred_pools_of_noise() {
    assert!(foretrace::start_with(POOL));
    let (ready, silent) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let quiet = std::thread::spawn(move || {
        assert!(!own_ring(POOL), "more than a quarter");
        assert!(own_ring(64 << 10));
        assert!(!own_ring(64 << 10), "a thread has one");
        for number in 0..QUIET {
            event!(info, "quiet", number = number, more = number);
        }
        ready.0.send(()).unwrap();
        silent.1.recv().unwrap();
        // What it overwrites now is its own.
        for number in QUIET..10 * QUIET {
            event!(info, "quiet", number = number, more = number);
        }
    });
    ready.1.recv().unwrap();
    let mut noise = make_noise(50) + std::thread::spawn(|| make_noise(50)).join().unwrap();
    assert_eq!(kept("quiet"), (noise + QUIET, (0..QUIET).collect()), "all of the quiet thread's events");

    silent.0.send(()).unwrap();
    quiet.join().unwrap();
    let (recorded, events) = kept("quiet");
    assert_eq!((recorded, events.last()), (noise + 10 * QUIET, Some(&(10 * QUIET - 1))));
    assert!(events.len() as u64 >= (48 << 10) / 24, "{}", events.len());

    // Its room is everybody's again, for noise and for as many own rings as before.
    noise += make_noise(3);
    let (recorded, left) = kept("quiet");
    assert_eq!(recorded, noise + 10 * QUIET);
    assert!(
        left.len() < (16 << 10) / 24,
        "more than the packet that it left for the next thread: {}",
        left.len()
    );
    for _ in 0..20 {
        let again = std::thread::spawn(|| {
            assert!(own_ring(POOL / 4));
            event!(info, "again", number = 1_u64);
        });
        again.join().unwrap();
    }
    assert_eq!(kept("again").0, noise + 10 * QUIET + 20);
}
