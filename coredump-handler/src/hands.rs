//! Two pieces of work at once, where a second processor and a thread can be had.
//!
//! Used where a report of a large program is made for somebody who waits. The handler's worker may start no thread: there,
//! and wherever the system has none left, one piece is done after the other.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does both, `other` here. `one` is begun by whoever is free first.
pub(crate) fn both<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    let waiting = Mutex::new(Some(one));
    let begin = || waiting.lock().unwrap_or_else(PoisonError::into_inner).take().map(|one| one());
    thread::scope(|scope| {
        let helper = thread::Builder::new().spawn_scoped(scope, begin);
        let other = other();
        let one = begin().or_else(|| helper.ok()?.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (one.expect("whoever took it has done it or panicked"), other)
    })
}

/// Does `work` on all items, in no order.
pub(crate) fn each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let some = || std::iter::from_fn(next).map(&work).collect::<Vec<R>>();
    let (mut done, more) = both(some, some);
    done.extend(more);
    done
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_pieces_of_work_are_done_at_once() {
        // Each waits for the other to have begun.
        let ((to_other, from_one), (to_one, from_other)) = (channel(), channel());
        let meet = |to: std::sync::mpsc::Sender<()>, from: std::sync::mpsc::Receiver<()>| {
            move || to.send(()).is_ok() && from.recv_timeout(Duration::from_secs(10)).is_ok()
        };
        assert_eq!(both(meet(to_other, from_other), meet(to_one, from_one)), (true, true));
    }

    #[test]
    fn every_item_is_done_once() {
        let mut done = each((0..1000).collect(), |n: u32| n * 2);
        done.sort_unstable();
        assert!(done.iter().copied().eq((0..1000).map(|n| n * 2)));
    }

    #[test]
    fn a_panic_comes_to_whoever_asked() {
        for fails in 0..2 {
            let work = |n: usize| assert_ne!(n, fails);
            assert!(catch_unwind(AssertUnwindSafe(|| each(vec![0, 1], work))).is_err());
        }
    }
}
