//! x
pub mod freeze;
