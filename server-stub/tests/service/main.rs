//! The server as a process, spoken to over loopback in hand-written HTTP.
#![allow(clippy::unwrap_used, reason = "a claim that cannot be checked has failed")]

mod intake;
mod killed;
mod limits;
mod pages;
mod resumable;
mod server;
mod submission;
mod trail;
