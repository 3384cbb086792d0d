//! What turns a dying, failing or living process into a foretrace report.
//!
//! Two programs stand over this library: `foretrace-coredump`, which the kernel runs, and `foretrace-capture`, for
//! errors, panics, live snapshots and core files. Parsers here are pure functions over bytes and the [`memory::Memory`]
//! they are given; only `process` reads `/proc`. Every byte from a core, a process or a ring is hostile until it
//! has been checked, and a part that could not be had is a problem in the report, never a lost report.

pub mod assemble;
pub mod attachment;
pub mod backtrace;
pub mod capture;
pub mod container;
pub mod core;
pub mod elf;
pub mod follow;
pub mod handler;
mod hands;
pub mod import;
pub mod install;
pub mod journal;
pub mod live;
pub mod maps;
pub mod memory;
pub mod minidump;
pub mod module;
pub mod mounts;
pub mod numbers;
pub mod owner;
pub mod package;
pub mod process;
pub mod reported;
pub mod smaps;
pub mod stack;
pub mod successor;
pub mod surroundings;
pub mod symbol;
pub mod system;
pub mod trail;
pub mod unwind;
