//! Real programs crash under gdb, gdb writes their cores, and our backtraces must equal gdb's frame for frame.
//!
//! Needs gdb, gcc and xz. Every victim is a program of its own, compiled here. `cargo xtask check gdb` does the same
//! with more of them, on the kernel's own cores.

#![allow(clippy::unwrap_used, reason = "a victim that cannot be prepared fails its test")]

mod crash;
mod hostile;
mod symbols;
mod walks;
