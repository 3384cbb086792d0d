//! The person's command, as a person meets it: what it prints, what it refuses, and how it ends.
#![allow(clippy::unwrap_used, reason = "a claim that cannot be checked has failed")]

mod export;
mod reading;
mod tidying;
mod world;
