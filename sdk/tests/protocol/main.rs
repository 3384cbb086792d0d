//! The ring's protocol under a microscope: the recorder's own files, compiled over atomics that stop at every operation.
//!
//! `slot`, `pool`, `writer`, `annotation`, `entry`, `thread` and `words` are the very sources of the recorder; the reader is the
//! product's. What they ask of the machine (clock, thread-local storage, mapping) is played here. Two kinds of proof:
//!
//! - `instants`, in every test run: at each single atomic operation of a recording the thread dies, jumps away, or is
//!   interrupted by a handler that records.
//! - `interleavings`, under `RUSTFLAGS="--cfg loom"` (`cargo xtask check loom`): loom explores the interleavings of
//!   threads, and the stale values that the memory model lets each load return.
#![allow(unsafe_code, clippy::unwrap_used)]

mod atomic;
mod machine;
mod model;

#[cfg(not(loom))]
mod instants;
#[cfg(loom)]
mod interleavings;

use machine::{clock, field, host, ring, storage};

/// The recorder's own files. What of them no proof calls is dead here alone.
#[allow(dead_code, missing_docs, unused_imports)]
#[path = "../../src"]
mod recorder {
    pub mod annotation;
    pub mod entry;
    pub mod own;
    pub mod pool;
    pub mod slot;
    pub mod thread;
    pub mod words;
    pub mod writer;
}

use recorder::{entry, own, pool, slot, thread, words, writer};
