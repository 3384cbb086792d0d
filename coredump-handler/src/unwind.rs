//! From a thread's registers to its call stack.
//!
//! Owns the order in which a caller is looked for, and what each way is worth: call frame information; the kernel's
//! signal frame; the frame-pointer chain; at last a scan of the stack for return addresses. Crosses signal handlers, also
//! from a `sigaltstack` back to the stack that overflowed. Never names a function (that is [`crate::symbol`]), and never
//! believes what it walks over: a stack, its unwind tables and their programs are a crashed or hostile process's, so every
//! walk is bounded in steps, in expressions and in guesses, and every circle is noticed.
//!
//! A walk keeps the [`INNERMOST`] frames where the crash is and the [`OUTERMOST`] frames where the thread began; of a
//! runaway recursion's hundred thousand frames between them only the number is kept.
//!
//! What is the machine's own is in [`machine`]: x86-64, i386 and aarch64.

mod cfi;
mod guess;
mod machine;
mod stack;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use foretrace_report::schema::{Problem, Trust};

use crate::core::Registers;
use crate::memory::Memory;
use crate::module::Modules;
use cfi::{Rules, Tables};
use guess::Guess;
use machine::{Machine, Values};
use stack::Stack;

/// How many frames are kept from the innermost on.
pub const INNERMOST: usize = 256;
/// How many more are kept before the outermost.
pub const OUTERMOST: usize = 64;
/// 8 MiB of the smallest frames.
const STEP_LIMIT: u64 = 8 << 20 >> 4;
/// For all threads together: what a hostile process may cost.
const TOTAL_LIMIT: u64 = 4 << 20;
/// A walk that had to guess this often has lost its way.
const GUESS_LIMIT: usize = 32;
/// Rules that are kept by address. Recursion and waiting threads need few.
const RULES_LIMIT: usize = 1 << 16;

/// One frame of a call stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instruction pointer: in an outer frame the return address.
    pub ip: u64,
    /// How the frame was found.
    pub trust: Trust,
    /// The address that stands for the running instruction: `ip` itself, or one less where `ip` is a return address,
    /// which may already belong to another line or function.
    pub lookup: u64,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// At the thread's first function.
    Outermost,
    /// No caller could be found.
    Lost,
    /// The stack leads back into itself.
    Circle,
    /// There are more frames than anybody walks.
    Limit,
}

/// A walk's frames, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// At most [`INNERMOST`] and [`OUTERMOST`].
    pub steps: Vec<Step>,
    /// How many frames between these two were left out.
    pub left_out: u64,
    /// Why there are no more.
    pub end: End,
}

impl Walk {
    /// What a reader of the backtrace must know about it.
    pub fn problem(&self, tid: i32) -> Option<Problem> {
        let mut what = String::new();
        if self.left_out > 0 {
            what = format!("{} frames after the {INNERMOST} innermost were left out", self.left_out);
        }
        let end = match self.end {
            End::Outermost => "",
            End::Lost => "its backtrace ends early: no caller could be found",
            End::Circle => "its backtrace ends early: the stack leads back into itself",
            End::Limit => "its backtrace ends early: there are too many frames",
        };
        if !what.is_empty() && !end.is_empty() {
            what.push_str("; ");
        }
        what.push_str(end);
        (!what.is_empty()).then(|| Problem::new("threads", format!("thread {tid}: {what}")))
    }
}

/// Walks one thread. For more than one use an [`Unwinder`], which remembers what it has read.
pub fn unwind(registers: &Registers, modules: &Modules, memory: &dyn Memory) -> Vec<Step> {
    Unwinder::new(modules).walk(registers, memory).steps
}

/// Walks the threads of one process.
pub struct Unwinder<'m> {
    modules: &'m Modules,
    // By module base.
    tables: HashMap<u64, Tables<'m>>,
    // By lookup address; None where there are no rules.
    rules: HashMap<u64, Option<Rc<Rules<'m>>>>,
    left: u64,
}

// How the way to a caller ended.
#[allow(clippy::large_enum_variant, reason = "it never leaves the walk's own stack")]
enum Caller {
    Found { values: Values, trust: Trust, exact: bool },
    None,
    Unknown,
}

impl<'m> Unwinder<'m> {
    /// An unwinder for the process that `modules` were found in.
    pub fn new(modules: &'m Modules) -> Self {
        Unwinder { modules, tables: HashMap::new(), rules: HashMap::new(), left: TOTAL_LIMIT }
    }

    /// Walks the thread with these registers.
    pub fn walk(&mut self, registers: &Registers, memory: &dyn Memory) -> Walk {
        let (machine, mut values) = machine::of(registers);
        let stack = Stack::new(memory, machine.class);
        let guess = Guess { machine, modules: self.modules, stack: &stack };
        let mut kept = Kept::default();
        let mut trust = Trust::Context;
        let mut exact = true;
        let mut guesses = 0;
        let mut circle = Circle::default();
        let end = loop {
            let (Some(ip), Some(sp)) = (values[machine.pc], values[machine.sp]) else { break End::Lost };
            if kept.count >= STEP_LIMIT || self.left == 0 {
                // Where a thread was costs nothing, also when other threads have used up what may be spent.
                if kept.count == 0 {
                    kept.push(Step { ip, trust, lookup: ip });
                }
                break End::Limit;
            }
            if circle.closes(ip, sp) {
                break End::Circle;
            }
            let lookup = if exact { ip } else { ip.wrapping_sub(1) };
            let rules = self.rules_at(lookup, machine);
            self.left = self.left.saturating_sub(rules.as_ref().map_or(1, |rules| rules.cost));
            let trampoline = match &rules {
                Some(rules) => rules.signal,
                None => guess.is_signal_return(ip),
            };
            kept.push(Step { ip, trust: if trampoline { Trust::Signal } else { trust }, lookup });
            let caller = match rules {
                Some(rules) => cfi::apply(&rules, &values, exact, &stack),
                None if trampoline => guess.interrupted(ip, sp),
                None => Caller::Unknown,
            };
            let caller = match caller {
                Caller::Unknown => guess.caller(&values, exact),
                Caller::Found { values: next, exact: false, .. } if !self.is_code(next[machine.pc]) => {
                    guess.beyond(&next)
                }
                known => known,
            };
            match caller {
                Caller::Found { trust: Trust::Scan, .. } if guesses == GUESS_LIMIT => break End::Lost,
                Caller::Found { values: next, trust: found, exact: next_exact } => {
                    // A zero return address is how many runtimes mark the first frame.
                    if next[machine.pc] == Some(0) && !next_exact {
                        break End::Outermost;
                    }
                    guesses += usize::from(found == Trust::Scan);
                    (values, trust, exact) = (next, found, next_exact);
                }
                Caller::None => break End::Outermost,
                Caller::Unknown => break End::Lost,
            }
        };
        let (steps, left_out) = kept.into_steps();
        Walk { steps, left_out, end }
    }

    // Whether a return address can be one; 0 marks the first frame. What a smashed stack holds is not believed. A signal
    // handler's may be the first of a page.
    fn is_code(&self, address: Option<u64>) -> bool {
        let follows = |back: u64| self.modules.is_executable(back.wrapping_sub(1));
        address.is_some_and(|back| back == 0 || follows(back) || self.modules.is_executable(back))
    }

    fn rules_at(&mut self, lookup: u64, machine: &'static Machine) -> Option<Rc<Rules<'m>>> {
        if let Some(known) = self.rules.get(&lookup) {
            return known.clone();
        }
        let found = self.modules.find(lookup).and_then(|module| {
            let tables = self.tables.entry(module.base).or_insert_with(|| Tables::new(module, machine));
            tables.rules(module.relative(lookup)).map(Rc::new)
        });
        if self.rules.len() >= RULES_LIMIT {
            self.rules.clear();
        }
        self.rules.insert(lookup, found.clone());
        found
    }
}

// Keeps both ends of a walk.
#[derive(Default)]
struct Kept {
    count: u64,
    inner: Vec<Step>,
    outer: VecDeque<Step>,
}

impl Kept {
    fn push(&mut self, step: Step) {
        self.count += 1;
        if self.inner.len() < INNERMOST {
            self.inner.push(step);
            return;
        }
        if self.outer.len() == OUTERMOST {
            self.outer.pop_front();
        }
        self.outer.push_back(step);
    }

    fn into_steps(self) -> (Vec<Step>, u64) {
        let mut steps = self.inner;
        steps.extend(self.outer);
        let left_out = self.count - steps.len() as u64;
        (steps, left_out)
    }
}

// Notices that a walk came to where it was before, however long the way round (Brent).
#[derive(Default)]
struct Circle {
    mark: Option<(u64, u64)>,
    steps: u64,
    limit: u64,
}

impl Circle {
    fn closes(&mut self, ip: u64, sp: u64) -> bool {
        if self.mark == Some((ip, sp)) {
            return true;
        }
        self.steps += 1;
        if self.steps > self.limit {
            self.mark = Some((ip, sp));
            self.limit = self.limit.saturating_mul(2).max(1);
            self.steps = 0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::X86_64;
    use crate::memory::Nothing;

    fn step(ip: u64) -> Step {
        Step { ip, trust: Trust::Cfi, lookup: ip }
    }

    #[test]
    fn a_runaway_recursion_keeps_both_its_ends() {
        let mut kept = Kept::default();
        (0..1000).for_each(|ip| kept.push(step(ip)));
        let (steps, left_out) = kept.into_steps();
        assert_eq!((steps.len(), left_out), (INNERMOST + OUTERMOST, 1000 - 320));
        assert_eq!((steps[255].ip, steps[256].ip, steps[319].ip), (255, 936, 999));
    }

    #[test]
    fn a_stack_of_as_many_frames_as_are_kept_loses_none() {
        let mut kept = Kept::default();
        (0..320).for_each(|ip| kept.push(step(ip)));
        let (steps, left_out) = kept.into_steps();
        assert_eq!((steps.len(), left_out), (320, 0));
        assert!(steps.iter().enumerate().all(|(index, step)| step.ip == index as u64));
    }

    #[test]
    fn a_thread_for_which_nothing_is_left_to_spend_still_has_the_frame_it_was_in() {
        let modules = Modules::default();
        let mut unwinder = Unwinder { left: 0, ..Unwinder::new(&modules) };
        let registers = Registers::X86_64(X86_64 { rip: 0x1000, rsp: 0x2000, ..X86_64::default() });
        let walk = unwinder.walk(&registers, &Nothing);
        let here = Step { ip: 0x1000, trust: Trust::Context, lookup: 0x1000 };
        assert_eq!(walk, Walk { steps: vec![here], left_out: 0, end: End::Limit });
    }

    #[test]
    fn every_circle_is_noticed() {
        for length in [1, 2, 3, 7, 1000] {
            let mut circle = Circle::default();
            let way = (0..10).chain((0..length).cycle().map(|n| 100 + n)).take(10_000);
            assert!(way.into_iter().any(|n| circle.closes(n, n)), "a circle of {length}");
        }
        let mut circle = Circle::default();
        assert!(!(0..10_000).any(|n| circle.closes(1, n)), "growing is no circle");
    }

    #[test]
    fn a_walk_says_what_it_left_out() {
        let walk = Walk { steps: Vec::new(), left_out: 5, end: End::Outermost };
        assert!(walk.problem(7).unwrap().what.contains("thread 7: 5 frames"));
        let walk = Walk { steps: Vec::new(), left_out: 0, end: End::Outermost };
        assert_eq!(walk.problem(7), None);
    }
}
