//! The layout of a foretrace ring and the reader that believes nothing of it.
//!
//! The recorder (`foretrace`) writes this layout; the handler, the person's command and the server read it or what
//! was exported from it. No dependencies, no files, no clocks: memory comes in through [`Memory`], packets, counts and
//! problems go out.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod layout;
pub mod metadata;
pub mod reader;
pub mod trail;

pub use reader::{Memory, RingError, Snapshot};
pub use trail::Trail;
