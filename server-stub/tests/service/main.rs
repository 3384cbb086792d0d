//! The server as a process, spoken to over loopback in hand-written HTTP.

mod intake;
mod pages;
mod server;
mod submission;
mod trail;
