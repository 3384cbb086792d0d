//! The atomic operations that the ring's protocol is made of, in one place: `tests/protocol` compiles the same protocol
//! over operations that a model checker controls, or that a writer dies at.

pub(crate) use core::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};
