//! What the recorder's protocol asks of the machine, played: a clock that stands still, threads that are named, one ring.

/// A clock that stands still: every packet is as near as every other.
pub(crate) mod clock {
    use crate::words::Ring;

    pub(crate) fn ticks() -> u64 {
        1000
    }

    pub(crate) fn is_tsc() -> bool {
        true
    }

    pub(crate) fn refresh(_ring: Ring, _ticks: u64) {}
}

/// No alternate stacks; threads have the number of their state.
pub(crate) mod host {
    pub(crate) fn alternate_stack() -> Option<(bool, std::ops::Range<u64>)> {
        None
    }

    pub(crate) fn thread_id() -> u32 {
        std::ptr::from_ref(crate::thread::current()) as u32
    }
}

/// The one ring.
pub(crate) mod ring {
    use std::cell::Cell;

    pub(crate) use crate::words::Ring;

    thread_local! {
        static RING: Cell<Option<Ring>> = const { Cell::new(None) };
    }

    pub(crate) fn is_live() -> bool {
        live().is_some()
    }

    pub(crate) fn live() -> Option<Ring> {
        RING.get()
    }

    /// Makes a ring the one.
    pub(crate) fn begin(ring: Ring) {
        RING.set(Some(ring));
    }
}

/// Which thread's state is the calling thread's.
pub(crate) mod storage {
    use std::cell::Cell;

    use crate::thread::Thread;

    fn new() -> &'static Thread {
        // SAFETY: zeroes are a thread that has recorded nothing.
        Box::leak(Box::new(unsafe { std::mem::zeroed() }))
    }

    #[cfg(loom)]
    use loom::thread_local;
    #[cfg(not(loom))]
    use std::thread_local;

    thread_local! {
        static STATE: Cell<&'static Thread> = Cell::new(new());
    }

    pub(crate) fn current<'a>() -> &'a Thread {
        STATE.with(Cell::get)
    }

    /// From now on the caller is that thread.
    pub(crate) fn go_on_as(thread: &'static Thread) {
        STATE.with(|state| state.set(thread));
    }

    /// From now on the caller is a thread that has recorded nothing.
    #[cfg(not(loom))]
    pub(crate) fn become_another() {
        go_on_as(new());
    }

    pub(crate) fn stack_pointer() -> u64 {
        0
    }

    pub(crate) fn note_stack_pointer(_into: &Cell<u64>) {}

    pub(crate) fn watch() {}
}

/// Texts are not cut here.
pub(crate) mod field {
    pub(crate) fn cut(text: &str, most: usize) -> usize {
        text.len().min(most)
    }
}
