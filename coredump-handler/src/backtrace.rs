//! Backtraces of all threads, from registers and copied stacks: what a report's `threads` and `signature` are made of.
//!
//! Used by every road to a report. Reads no process that runs: stacks were copied, images were opened.

use foretrace_report::schema::{Problem, Thread};

use crate::core::CoreHead;
use crate::memory::{Copied, Memory};
use crate::module::Modules;
use crate::stack::Stack;
use crate::symbol::Symbolizer;
use crate::unwind::Unwinder;

/// Problems about single threads; what exceeds it is only counted.
const PROBLEM_LIMIT: usize = 8;

/// The backtraces of all threads in the order of `head`, the first one marked as crashed where `crashed` says so. What
/// was not copied is read from `behind`: nothing, or a core file.
pub fn threads(
    head: &CoreHead,
    names: &[(i32, String)],
    modules: &Modules,
    stacks: &[Stack],
    behind: &dyn Memory,
    crashed: bool,
) -> (Vec<Thread>, Vec<Problem>) {
    let copies = stacks.iter().map(|stack| (stack.start, stack.bytes.as_slice())).collect();
    let memory = Copied::new(copies, behind);
    let mut unwinder = Unwinder::new(modules);
    let mut symbolizer = Symbolizer::new(modules);
    let mut problems = Vec::new();
    let mut threads = Vec::with_capacity(head.threads.len());
    for (index, thread) in head.threads.iter().enumerate() {
        let walk = unwinder.walk(&thread.registers, &memory);
        problems.extend(walk.problem(thread.tid));
        threads.push(Thread {
            tid: thread.tid,
            name: names
                .iter()
                .find(|(tid, _)| *tid == thread.tid)
                .map(|named| named.1.clone())
                .unwrap_or_default(),
            crashed: crashed && index == 0,
            frames: symbolizer.frames(&walk.steps),
            inner_tid: None,
        });
    }
    if problems.len() > PROBLEM_LIMIT {
        let more = problems.len() - PROBLEM_LIMIT;
        problems.truncate(PROBLEM_LIMIT);
        problems.push(Problem::new("threads", format!("{more} more threads have incomplete backtraces")));
    }
    (threads, problems)
}
