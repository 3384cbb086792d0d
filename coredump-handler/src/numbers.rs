//! The numbers that a process's threads have on the host and in its own PID namespace.
//!
//! A process in a container calls its threads otherwise than the host does: its trail and the kernel's core notes bear
//! its own numbers, everything else bears the host's. Pure: the kernel's lists come in as bytes.

use std::collections::HashMap;

use foretrace_report::schema::Thread;

use crate::core::CoreHead;

/// Each thread's number in its own PID namespace, by its number on the host. Empty where the host's are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    inner: HashMap<i32, i32>,
}

impl Numbers {
    /// Reads [`crate::process::Part::Numbers`]: the host's number, a tab, the numbers from the outermost namespace to
    /// the thread's own, a zero byte; repeated.
    pub fn parse(records: &[u8]) -> Numbers {
        let pair = |record: &[u8]| -> Option<(i32, i32)> {
            let (outer, all) = std::str::from_utf8(record).ok()?.split_once('\t')?;
            Some((outer.parse().ok()?, all.split_whitespace().next_back()?.parse().ok()?))
        };
        Numbers { inner: records.split(|byte| *byte == 0).filter_map(pair).collect() }
    }

    /// The number that the thread `outer` of the host knows itself by.
    pub fn inner(&self, outer: i32) -> i32 {
        self.inner.get(&outer).copied().unwrap_or(outer)
    }

    /// Turns a core's numbers into the host's. How many threads of it are not known here: they have ended, or this was
    /// read of nobody.
    pub fn outward(&self, head: &mut CoreHead) -> usize {
        let outer: HashMap<i32, i32> = self.inner.iter().map(|(outer, inner)| (*inner, *outer)).collect();
        head.pid = outer.get(&head.pid).copied().unwrap_or(head.pid);
        let mut unknown = 0;
        for thread in &mut head.threads {
            match outer.get(&thread.tid) {
                Some(tid) => thread.tid = *tid,
                None => unknown += 1,
            }
        }
        unknown
    }

    /// Notes in a report's threads, which have the host's numbers, those of their own that differ.
    pub fn note(&self, threads: &mut [Thread]) {
        for thread in threads {
            thread.inner_tid = Some(self.inner(thread.tid)).filter(|inner| *inner != thread.tid);
        }
    }
}

/// Whether a process has other numbers in a PID namespace of its own, from its `status`.
pub fn differ(status: &[u8]) -> bool {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"NStgid:")).unwrap_or_default();
    line.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty()).count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{EM_X86_64, Registers, ThreadState, X86_64};

    fn head(tids: &[i32]) -> CoreHead {
        let registers = || Registers::X86_64(X86_64::default());
        let thread = |tid: &i32| ThreadState { tid: *tid, signal: 0, registers: registers(), fpregs: None };
        CoreHead {
            machine: EM_X86_64,
            pid: tids[0],
            uid: 0,
            name: String::new(),
            arguments: String::new(),
            threads: tids.iter().map(thread).collect(),
            signal: None,
            auxv: Vec::new(),
            auxv_raw: Vec::new(),
            segments: Vec::new(),
            files: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_innermost_number_is_a_threads_own_and_swapped_numbers_are_not_confused() {
        let numbers = Numbers::parse(b"900\t900 17 2\x002\t2 18 900\0torn\0x\ty\0");
        assert_eq!((numbers.inner(900), numbers.inner(2), numbers.inner(7)), (2, 900, 7));
        let mut head = head(&[2, 900, 5]);
        assert_eq!(numbers.outward(&mut head), 1);
        assert_eq!(head.threads.iter().map(|thread| thread.tid).collect::<Vec<_>>(), [900, 2, 5]);
        assert_eq!(head.pid, 900);
    }

    #[test]
    fn only_numbers_that_differ_are_noted() {
        let numbers = Numbers::parse(b"900\t900 1\0");
        let mut threads = [900, 901].map(|tid| Thread { tid, ..Thread::default() });
        numbers.note(&mut threads);
        assert_eq!(threads.map(|thread| thread.inner_tid), [Some(1), None]);
    }

    #[test]
    fn a_process_has_other_numbers_where_the_kernel_lists_more_than_one() {
        assert!(differ(b"Name:\tNStgid: 1 2\nTgid:\t9\nNStgid:\t9\t1\nNSpid:\t9\t1\n"));
        assert!(!differ(b"Tgid:\t9\nNStgid:\t9\n"));
        assert!(!differ(b"Tgid:\t9\n"));
    }
}
