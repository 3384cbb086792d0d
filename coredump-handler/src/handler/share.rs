//! What one user's crashes may have of the handler: a quarter of the slots, and a few whole reports of each kind.
//!
//! Decided by the supervisor, once for each crash, whatever its workers say. Errs towards a report.

use foretrace_report::ReportId;
use foretrace_report::schema::Problem;
use foretrace_store::settings::Storage;
use foretrace_store::slots::{self, Slot};
use foretrace_store::{Admission, Candidate, CrashKey, Owner, Places, lost};

use crate::journal;

const PIPE_LIMIT: &str = "/proc/sys/kernel/core_pipe_limit";
/// What `install` sets.
const USUAL_LIMIT: u32 = 256;

/// A crash's part in its user's share.
#[derive(Default)]
pub struct Share {
    // Held until the process is let go.
    slot: Option<Slot>,
    // What it has in common with others, and whether it becomes a report.
    decided: Option<(CrashKey, bool)>,
}

impl Share {
    /// Whether `uid` may have another crash in hand. Where that cannot be found out, it may.
    pub fn take_slot(&mut self, places: &Places, uid: u32) -> bool {
        let taken = slots::take(places, uid, slots_of_a_user());
        let room = !matches!(taken, Ok(None));
        self.slot = taken.ok().flatten();
        room
    }

    /// Gives the slot away, for as long as the process is not let go.
    pub fn hand_over(&mut self) -> Option<Slot> {
        self.slot.take()
    }

    /// Whether a crash becomes a report of its own; otherwise it has been counted.
    pub fn is_wanted(
        &mut self,
        key: CrashKey,
        (id, owner, time): (ReportId, Owner, &str),
        (places, storage): (&Places, &Storage),
        problems: &mut Vec<Problem>,
    ) -> bool {
        let mut decide = || {
            let now = jiff::Timestamp::now().as_second();
            let candidate = Candidate { key, id, owner, time, now };
            match foretrace_store::admit(places, storage, &candidate) {
                Ok(admission) => admission == Admission::Whole,
                Err(error) => {
                    let what = format!("whether this is one of many crashes could not be found out: {error}");
                    problems.push(Problem::new("handler", what));
                    true
                }
            }
        };
        self.decided.get_or_insert_with(|| (key, decide())).1
    }

    /// The crash is a report now.
    pub fn settle(&self, places: &Places, id: ReportId, owner: Owner) {
        if let Some((key, _)) = self.decided {
            // Without it the report counts as one that is still being written, for a while.
            let _ = foretrace_store::settle(places, key, id, owner);
        }
    }
}

/// Notes how many crashes never reached a handler, before the kernel's log forgets it. Not after every crash: the log
/// is long.
pub fn add_up_lost(places: &Places) {
    const PAUSE: i64 = 2;
    if let Err(error) = lost::look(places, jiff::Timestamp::now().as_second(), PAUSE) {
        journal::log(&format!("lost crashes could not be added up: {error}"));
    }
}

/// A quarter of the handlers that the kernel runs at once.
pub fn slots_of_a_user() -> u32 {
    let limit = std::fs::read_to_string(PIPE_LIMIT).unwrap_or_default();
    let limit = limit.trim().parse().ok().filter(|limit| *limit > 0).unwrap_or(USUAL_LIMIT);
    (limit / 4).max(1)
}
