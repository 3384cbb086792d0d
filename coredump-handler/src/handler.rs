//! What handles a crash, whether the kernel ran us or we answered its socket: three processes with one duty each.
//!
//! ```text
//!   kernel ──core──▶ supervisor    holds the pipe or socket, counts the time, publishes; parses five numbers
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
mod attempt;
mod broker;
mod calls;
mod chain;
pub(crate) mod channel;
pub(crate) mod child;
mod connection;
mod draft;
mod forward;
mod group;
mod head;
mod hold;
mod identity;
mod keep;
mod last_words;
mod least;
mod locker;
mod logs;
mod plain;
pub mod privileges;
pub mod sandbox;
mod serve;
mod share;
pub(crate) mod sockets;
pub(crate) mod state;
mod storm;
pub(crate) mod supervisor;
mod whole;
mod wishes;
mod witness;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};

use foretrace_report::ReportId;
use foretrace_report::schema::Problem;
use foretrace_report::text::escape;
use foretrace_store::Places;

use crate::journal;
use witness::Witness;

pub use arguments::{Crash, SPECIFIERS, WrongArguments};
pub use serve::serve;
pub use supervisor::Handled;

/// Makes a report of a crash whose core comes through the kernel's pipe. Whether there is one now; if not, the kernel's log
/// says why, for nobody sees a terminal.
pub fn respond_to_pipe(crash: &Crash) -> bool {
    match foretrace_store::random_id() {
        Ok(id) => {
            let _witness = Witness::post(crash, id);
            respond(crash, id, Vec::new())
        }
        Err(error) => fail(crash, &error.to_string()),
    }
}

// The same for the report `id`, wherever the core comes from.
fn respond(crash: &Crash, id: ReportId, problems: Vec<Problem>) -> bool {
    let handled = catch_unwind(AssertUnwindSafe(|| supervisor::handle(crash, id, problems)));
    let why = match handled {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "the handler itself failed".to_owned(),
    };
    fail(crash, &why)
}

fn fail(crash: &Crash, why: &str) -> bool {
    journal::lose(&Places::system(&crash.root), crash, why);
    eprintln!("foretrace-coredump: no report could be written: {}", escape(why));
    false
}

/// The time of a crash as RFC 3339 in UTC. The kernel gives whole seconds; how far into that second it was, our own
/// clock says, so that crashes of the same second keep their order.
fn moment(crash: &Crash) -> String {
    let second = jiff::Timestamp::from_second(crash.time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let passed = jiff::Timestamp::now().duration_since(second).as_millis().clamp(0, 999);
    let stamp = jiff::Timestamp::from_millisecond(second.as_millisecond() + passed as i64).unwrap_or(second);
    stamp.to_string()
}

/// Ends this process with its parent, and takes from it the way to gain rights by executing a file. A change of user
/// undoes the first, so it comes after that.
fn bind_to_parent() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::prctl::set_no_new_privs()
}
