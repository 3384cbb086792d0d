//! The last moment of a crashed process: from the end of collecting to its own end.
//!
//! While its first report is made it stands still a little longer. To give gigabytes back takes the kernel a processor
//! for hundreds of milliseconds, and a report that is made beside that waits for the other one. Whatever the worker
//! and the disk do, it is let go after [`longest`]. Never reads anything, and never decides what is needed of the process.

use std::fs::File;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use foretrace_store::slots::Slot;

use super::child;
use crate::journal;

/// How long a process of which nothing more is needed waits for its report: 10 ms, and what it takes to write down its
/// threads, however many there are said to be.
pub fn longest(threads: u32) -> Duration {
    const MOST: Duration = Duration::from_millis(40);
    (Duration::from_millis(10) + Duration::from_micros(30) * threads).min(MOST)
}

/// What keeps a crashed process from its end. Dropped, it lets it go.
pub struct Grip {
    /// The kernel's pipe or socket. Every other process that holds it has closed it long ago.
    pub input: Option<File>,
    /// Its user's share of those who are held.
    pub slot: Option<Slot>,
}

impl Drop for Grip {
    fn drop(&mut self) {
        drop(self.slot.take());
        drop(self.input.take());
        if let Err(error) = child::drop_input() {
            journal::log(&format!("the core's pipe could not be closed: {error}"));
        }
    }
}

/// Does `work`, and drops `grip` after it or at `until`, whichever comes first.
pub fn let_go_after<G: Send, T>(grip: G, until: Instant, work: impl FnOnce() -> T) -> T {
    let (working, worked) = mpsc::channel::<()>();
    let wait = move || {
        // Nothing is ever sent: the work's end closes the channel.
        let _ = worked.recv_timeout(until.saturating_duration_since(Instant::now()));
        drop(grip);
    };
    thread::scope(|scope| {
        // Where there can be no thread, the grip is dropped with what would have been its work.
        let _ = thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, wait);
        let result = work();
        drop(working);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Held<'a>(&'a AtomicBool);

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    // Whether it had been let go when the work, which takes so long, ended; and afterwards.
    fn let_go(until: Duration, work: Duration) -> (bool, bool) {
        let gone = AtomicBool::new(false);
        let during = let_go_after(Held(&gone), Instant::now() + until, || {
            thread::sleep(work);
            gone.load(Ordering::SeqCst)
        });
        (during, gone.load(Ordering::SeqCst))
    }

    #[test]
    fn a_process_with_threads_is_held_longer_but_not_for_as_many_as_it_says() {
        assert_eq!(longest(1), Duration::from_micros(10_030));
        assert_eq!(longest(500), Duration::from_millis(25));
        assert_eq!(longest(u32::MAX), Duration::from_millis(40));
    }

    #[test]
    fn a_process_is_held_until_the_work_is_done() {
        assert_eq!(let_go(Duration::from_secs(600), Duration::from_millis(20)), (false, true));
    }

    #[test]
    fn work_that_takes_too_long_holds_nobody() {
        assert_eq!(let_go(Duration::from_millis(20), Duration::from_secs(2)), (true, true));
    }
}
