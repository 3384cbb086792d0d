//! The crashed process's threads as the report has them, made one at a time while it is written.

use foretrace_report::schema::{Problem, Thread};
use serde::{Serialize, Serializer};

use super::collect::Held;
use crate::backtrace;
use crate::numbers::Numbers;
use crate::symbol::Detail;

/// All of them, the crashed one first.
pub(super) struct Threads<'h> {
    source: Source<'h>,
    numbers: &'h Numbers,
}

enum Source<'h> {
    Walked(backtrace::Threads<'h>),
    // Without the core's notes nobody knows who crashed.
    Names(&'h [(i32, String)]),
}

impl<'h> Threads<'h> {
    pub(super) fn of(held: &'h Held, detail: Detail) -> Threads<'h> {
        let head = held.head.as_ref().filter(|head| !head.threads.is_empty());
        let source = match head.zip(held.modules.as_ref()) {
            Some((head, modules)) => {
                let (names, walks) = (&held.names, &held.walks);
                Source::Walked(backtrace::Threads::new(head, names, modules, walks, true, detail))
            }
            None => Source::Names(&held.names),
        };
        Threads { source, numbers: &held.numbers }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Thread> + '_> {
        let named =
            |(tid, name): &(i32, String)| Thread { tid: *tid, name: name.clone(), ..Thread::default() };
        match &self.source {
            Source::Walked(threads) => Box::new(threads.iter().map(|thread| self.numbered(thread))),
            Source::Names(names) => Box::new(names.iter().map(move |one| self.numbered(named(one)))),
        }
    }

    /// What is wrong with their backtraces.
    pub(super) fn problems(&self) -> Vec<Problem> {
        match &self.source {
            Source::Walked(threads) => threads.problems(),
            Source::Names(_) => Vec::new(),
        }
    }

    fn numbered(&self, mut thread: Thread) -> Thread {
        self.numbers.note(std::slice::from_mut(&mut thread));
        thread
    }
}

impl Serialize for Threads<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
