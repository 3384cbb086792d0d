//! What the kernel runs when a process crashes: three processes with one duty each.
//!
//! ```text
//!   kernel ──core──▶ supervisor    holds the pipe, counts the time, publishes; parses five numbers
//!                     │       ▲
//!               forks │       │ how far it is, "let it go", "done"
//!                     ▼       │
//!        broker ◀──questions── worker    no rights, no names, no network; parses everything
//!          │  descriptors, bytes ▲
//!          └─────────────────────┘
//! ```
//!
//! Whatever happens to broker and worker, the supervisor lets the process go in time and writes a report of what it
//! has. A lost report is the only failure that is not forgiven.

mod arguments;
mod broker;
mod channel;
mod child;
mod group;
mod head;
mod last_words;
mod locker;
mod logs;
pub mod sandbox;
pub(crate) mod state;
mod supervisor;
mod worker;

pub use arguments::{Crash, SPECIFIERS, WrongArguments};
pub use supervisor::{Handled, handle};

/// A time of the kernel's, in whole seconds, as RFC 3339 in UTC.
fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Ends this process with its parent, and takes from it the way to gain rights by executing a file. A change of user
/// undoes the first, so it comes after that.
fn bind_to_parent() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::prctl::set_no_new_privs()
}
