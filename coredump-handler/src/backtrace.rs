//! Backtraces of all threads, from registers and copied stacks: what a report's `threads` and `signature` are made of.
//!
//! Used by every road to a report. Reads no process that runs: stacks were copied, images were opened.

use std::collections::HashMap;

use foretrace_report::schema::{Frame, Problem, Thread, Trust};

use crate::core::CoreHead;
use crate::memory::{Copied, Memory};
use crate::module::Modules;
use crate::stack::Stack;
use crate::symbol::{self, Detail, Symbolizer};
use crate::unwind::{Step, Unwinder, Walk};

/// Problems about single threads; what exceeds it is only counted.
const PROBLEM_LIMIT: usize = 8;

/// Walks all threads in the order of `head`. What was not copied is read from `behind`: nothing, or a core file.
pub fn walks(head: &CoreHead, modules: &Modules, stacks: &[Stack], behind: &dyn Memory) -> Vec<Walk> {
    let copies = stacks.iter().map(|stack| (stack.start, stack.bytes.as_slice())).collect();
    let memory = Copied::new(copies, behind);
    let mut unwinder = Unwinder::new(modules);
    head.threads.iter().map(|thread| unwinder.walk(&thread.registers, &memory)).collect()
}

/// The threads with what was found on their walks, named. Each is made when it is asked for: thousands of them are tens of
/// megabytes, walks a tenth of that.
pub struct Threads<'a> {
    head: &'a CoreHead,
    names: HashMap<i32, &'a str>,
    walks: &'a [Walk],
    symbolizer: Symbolizer<'a>,
    crashed: bool,
}

impl<'a> Threads<'a> {
    /// The threads of `head`; the first one marked as crashed where `crashed` says so.
    pub fn new(
        head: &'a CoreHead,
        names: &'a [(i32, String)],
        modules: &'a Modules,
        walks: &'a [Walk],
        crashed: bool,
        detail: Detail,
    ) -> Threads<'a> {
        let symbolizer = Symbolizer::new(modules, walks.iter().flat_map(|walk| &walk.steps), detail);
        let names = names.iter().map(|(tid, name)| (*tid, name.as_str())).collect();
        Threads { head, names, walks, symbolizer, crashed }
    }

    /// One after another, in the core's order.
    pub fn iter(&self) -> impl Iterator<Item = Thread> + '_ {
        self.head.threads.iter().zip(self.walks).enumerate().map(|(index, (thread, walk))| Thread {
            tid: thread.tid,
            name: self.names.get(&thread.tid).copied().unwrap_or_default().to_owned(),
            crashed: self.crashed && index == 0,
            frames: self.symbolizer.frames(&walk.steps),
            inner_tid: None,
        })
    }

    /// What is wrong with their backtraces.
    pub fn problems(&self) -> Vec<Problem> {
        let walks = self.head.threads.iter().zip(self.walks);
        let mut problems: Vec<Problem> =
            walks.filter_map(|(thread, walk)| walk.problem(thread.tid)).collect();
        if problems.len() > PROBLEM_LIMIT {
            let more = problems.len() - PROBLEM_LIMIT;
            problems.truncate(PROBLEM_LIMIT);
            let what = format!("{more} more threads have incomplete backtraces");
            problems.push(Problem::new("threads", what));
        }
        problems
    }
}

/// A backtrace that the program noted itself when it panicked, as return addresses. `true`: what the panic's own
/// machinery called could be told apart, and was left out.
pub fn stated(addresses: &[u64], modules: &Modules) -> (Vec<Frame>, bool) {
    let step = |ip: &u64| Step { ip: *ip, trust: Trust::Stated, lookup: ip.wrapping_sub(1) };
    let steps: Vec<Step> = addresses.iter().map(step).collect();
    let mut frames = symbol::symbolize(&steps, modules);
    let is_entry = |frame: &Frame| frame.function.as_deref().is_some_and(enters_a_panic);
    // The innermost one: a panic may be on its way through a destructor when the next begins.
    let entry = frames.iter().position(is_entry);
    if let Some(entry) = entry {
        frames.drain(..=entry);
    }
    (frames, entry.is_some())
}

// Where the standard library is entered: all that is farther in is its own, and the hooks.
fn enters_a_panic(function: &str) -> bool {
    let plain = function.split('<').next().unwrap_or(function).trim_end_matches("::");
    matches!(
        plain.trim_start_matches("__rustc::"),
        "rust_begin_unwind" | "std::panicking::panic_handler" | "std::panicking::begin_panic"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_address_in_no_module_is_kept_as_an_address() {
        let (frames, named) = stated(&[0x10, 0, u64::MAX], &Modules::default());
        let shown: Vec<_> = frames.iter().map(|frame| (frame.ip.as_str(), frame.module.as_deref())).collect();
        assert_eq!(shown, [("0x10", None), ("0x0", None), ("0xffffffffffffffff", None)]);
        assert!(!named && frames.iter().all(|frame| frame.trust == Trust::Stated));
    }

    #[test]
    fn a_panic_is_entered_under_each_name_that_its_entry_has_had() {
        for name in ["__rustc::rust_begin_unwind", "std::panicking::begin_panic::<&str>"] {
            assert!(enters_a_panic(name), "{name}");
        }
        for name in ["std::panicking::begin_panic_handler::{{closure}}", "core::panicking::panic_fmt", "f<T>"]
        {
            assert!(!enters_a_panic(name), "{name}");
        }
    }
}
