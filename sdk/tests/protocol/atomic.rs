//! Atomics that the proofs control: the recorder's files use these as they use the machine's.
//!
//! A word lies in the model ring's memory like any other. Under loom those words that threads race for have a twin that
//! loom controls, found by address; every other word never changes while threads race, or belongs to one thread.

use std::cell::Cell;
use std::sync::atomic as real;

pub(crate) use real::Ordering;

/// A word of the model ring.
#[repr(transparent)]
pub(crate) struct AtomicU64(real::AtomicU64);

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    static THEN: Cell<fn()> = const { Cell::new(|| {}) };
    static RELAXED: Cell<bool> = const { Cell::new(false) };
}

/// Lets `operations` go by, and calls `then` in the place between them and the next one.
#[cfg(not(loom))]
pub(crate) fn interrupt_after(operations: u64, then: fn()) {
    THEN.set(then);
    LEFT.set(operations);
}

/// Takes an interruption back. True: it has happened.
#[cfg(not(loom))]
pub(crate) fn was_interrupted() -> bool {
    LEFT.replace(u64::MAX) == u64::MAX
}

/// The control of the proofs: from now on no operation of this model is ordered.
#[cfg(loom)]
pub(crate) fn forget_order(forget: bool) {
    RELAXED.set(forget);
}

fn pass() {
    match LEFT.get() {
        u64::MAX => {}
        0 => {
            LEFT.set(u64::MAX);
            THEN.get()();
        }
        left => LEFT.set(left - 1),
    }
}

fn ordered(order: Ordering) -> Ordering {
    if RELAXED.get() { Ordering::Relaxed } else { order }
}

macro_rules! on_word {
    ($word:expr, $operation:ident ( $($argument:expr),* )) => {{
        #[cfg(loom)]
        if let Some(twin) = twins::of($word) {
            return twin.$operation($($argument),*);
        }
        $word.0.$operation($($argument),*)
    }};
}

impl AtomicU64 {
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        on_word!(self, load(ordered(order)))
    }

    pub(crate) fn store(&self, word: u64, order: Ordering) {
        pass();
        self.keep(word, order);
        // What a thread keeps to itself may not know of it yet.
        pass();
    }

    fn keep(&self, word: u64, order: Ordering) {
        on_word!(self, store(word, ordered(order)))
    }

    pub(crate) fn fetch_add(&self, more: u64, order: Ordering) -> u64 {
        pass();
        on_word!(self, fetch_add(more, ordered(order)))
    }

    pub(crate) fn fetch_sub(&self, less: u64, order: Ordering) -> u64 {
        pass();
        on_word!(self, fetch_sub(less, ordered(order)))
    }

    pub(crate) fn compare_exchange(
        &self,
        seen: u64,
        new: u64,
        order: Ordering,
        otherwise: Ordering,
    ) -> Result<u64, u64> {
        pass();
        on_word!(self, compare_exchange(seen, new, ordered(order), ordered(otherwise)))
    }

    // A failure out of nothing would only be another round.
    pub(crate) fn compare_exchange_weak(
        &self,
        seen: u64,
        new: u64,
        order: Ordering,
        otherwise: Ordering,
    ) -> Result<u64, u64> {
        self.compare_exchange(seen, new, order, otherwise)
    }

    pub(crate) fn fetch_update(
        &self,
        order: Ordering,
        otherwise: Ordering,
        mut next: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        let mut seen = self.load(otherwise);
        while let Some(new) = next(seen) {
            match self.compare_exchange(seen, new, order, otherwise) {
                Err(now) => seen = now,
                done => return done,
            }
        }
        Err(seen)
    }
}

pub(crate) fn fence(order: Ordering) {
    pass();
    if !RELAXED.get() {
        #[cfg(loom)]
        return loom::sync::atomic::fence(order);
        #[cfg(not(loom))]
        real::fence(order);
    }
}

/// What the compiler must not move, the hardware of one thread does not: an instant like any other.
pub(crate) fn compiler_fence(_order: Ordering) {
    pass();
}

/// The words that loom controls.
#[cfg(loom)]
pub(crate) mod twins {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::rc::Rc;

    use loom::sync::atomic::AtomicU64 as Controlled;

    use super::{AtomicU64, real};

    thread_local! {
        static TWINS: RefCell<HashMap<usize, Rc<Controlled>>> = RefCell::default();
    }

    /// Forgets those of the last execution.
    pub(crate) fn clear() {
        TWINS.with_borrow_mut(HashMap::clear);
    }

    /// From now on loom controls this word.
    pub(crate) fn control(word: &AtomicU64) {
        let twin = Rc::new(Controlled::new(word.0.load(real::Ordering::Relaxed)));
        TWINS.with_borrow_mut(|twins| twins.insert(address(word), twin));
    }

    pub(super) fn of(word: &AtomicU64) -> Option<Rc<Controlled>> {
        TWINS.with_borrow(|twins| twins.get(&address(word)).cloned())
    }

    fn address(word: &AtomicU64) -> usize {
        std::ptr::from_ref(word) as usize
    }
}
