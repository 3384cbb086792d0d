//! The host is never harmed: one claim a test, and each in a process of its own.
#![allow(unsafe_code, clippy::unwrap_used)]

mod apart;
mod clocks;
mod crowds;
mod descendants;
mod endings;
mod handlers;
mod limits;
mod strangers;

#[path = "../rings/mod.rs"]
mod rings;
