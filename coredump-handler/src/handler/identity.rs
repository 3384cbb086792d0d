//! Which process it is that crashed. A number alone may have been given to another process meanwhile.
//!
//! With a pidfd from the kernel there is no doubt. Kernels before 6.16, and patterns without `%F`, give none: then the
//! process with that number is believed only if it is being dumped, began before the crash, and has the very auxiliary
//! vector that the kernel has written into this core. That vector holds the users it began as and addresses that the
//! kernel has drawn by lot, so that no other process can have it but a copy of the same one. Until then nothing of the
//! process is read but those three; nothing is parsed.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use foretrace_report::schema::Problem;
use nix::time::{ClockId, clock_gettime};

use super::arguments::Crash;
use super::child;
use crate::process::{Part, Process, start_time};
use crate::successor::shows_dump;

/// How sure we are of a process.
pub enum Identity {
    /// The kernel's pidfd is this process.
    Certain(Process),
    /// It has the right number now; whether it is the one, [`recognise`] says when the core has come.
    ByNumber(Process),
    /// It is gone.
    Gone,
}

/// Takes hold of the crashed process.
pub fn identify(crash: &Crash, problems: &mut Vec<Problem>) -> Identity {
    let mut problem = |what: String| problems.push(Problem::new("process", what));
    let process = match Process::open(crash.pid) {
        Ok(process) => process,
        Err(error) => {
            problem(format!("the process is gone: {error}"));
            return Identity::Gone;
        }
    };
    let given = crash.pidfd.map(child::inherited).and_then(Result::ok);
    let certain = given.is_some();
    let pidfd = given.map_or_else(|| child::pidfd_open(crash.pid), Ok);
    match pidfd {
        Ok(pidfd) if process.is(pidfd.as_fd()) && certain => Identity::Certain(process),
        Ok(pidfd) if process.is(pidfd.as_fd()) => Identity::ByNumber(process),
        _ => {
            problem(OTHER.into());
            Identity::Gone
        }
    }
}

const OTHER: &str = "the process is gone and its number belongs to another one, of which nothing was read";

/// Whether a process known by its number is the one whose core's head is in `head`, and what the report must say.
pub fn recognise(process: Process, crash: &Crash, head: &File) -> (Option<Process>, Problem) {
    let (process, what) = match evidence_against(&process, crash, head) {
        None => (
            Some(process),
            "the kernel gave no pidfd: the process was recognised by its number, its start time and its auxiliary \
             vector in the core"
                .to_owned(),
        ),
        Some(why) => (None, format!("the kernel gave no pidfd, and {why}: {OTHER}")),
    };
    (process, Problem::new("process", what))
}

fn evidence_against(process: &Process, crash: &Crash, head: &File) -> Option<&'static str> {
    if !process.read(Part::Status).is_ok_and(|status| shows_dump(&status)) {
        return Some("the process with its number is not being dumped");
    }
    let began = process.read(Part::Stat).ok().and_then(|stat| start_time(&stat)).and_then(seconds);
    if began.is_none_or(|began| began > crash.time.saturating_add(1)) {
        return Some("the process with its number began after the crash");
    }
    let vector = process.read(Part::Auxv).unwrap_or_default();
    match holds(head, significant(&vector)) {
        Ok(true) => None,
        _ => Some("the process with its number is not the one in the core"),
    }
}

// Clock ticks since boot as seconds since 1970, rounded down.
fn seconds(ticks: u64) -> Option<i64> {
    // The kernel's interface has 100 ticks a second on every machine.
    const TICKS: i64 = 100;
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let now = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
    Some(now.tv_sec() - boot.tv_sec() - 1 + i64::try_from(ticks).ok()? / TICKS)
}

// Without the zeros at its end: how many of them are shown differs for programs of 32 bits.
fn significant(vector: &[u8]) -> &[u8] {
    let end = vector.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &vector[..end]
}

/// The least that an auxiliary vector holds: what a process could guess is not evidence.
const LEAST: usize = 64;
const CHUNK: usize = 64 << 10;

// Whether a file holds these bytes at a multiple of four, as notes are.
fn holds(file: &File, wanted: &[u8]) -> io::Result<bool> {
    if wanted.len() < LEAST || wanted.len() > CHUNK {
        return Ok(false);
    }
    let mut window = vec![0; CHUNK + wanted.len().next_multiple_of(4)];
    let mut at = 0;
    loop {
        let length = fill(file, &mut window, at)?;
        let starts = (0..CHUNK).step_by(4);
        if starts
            .map_while(|start| window[..length].get(start..start + wanted.len()))
            .any(|found| found == wanted)
        {
            return Ok(true);
        }
        if length < window.len() {
            return Ok(false);
        }
        at += CHUNK as u64;
    }
}

fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], at + length as u64)? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    #[test]
    fn a_vector_is_found_wherever_its_note_lies() {
        let vector: Vec<u8> = (1..=200).collect();
        for before in [0, 4, 1000, CHUNK - 100, CHUNK - 4, CHUNK, CHUNK + 4, 3 * CHUNK - 40] {
            let content = [vec![9; before], vector.clone(), vec![7; 50]].concat();
            assert!(holds(&file(&content), &vector).unwrap(), "{before}");
            let mut another = vector.clone();
            another[150] ^= 1;
            assert!(!holds(&file(&content), &another).unwrap(), "{before}");
        }
        assert!(!holds(&file(&vector[..199]), &vector).unwrap());
    }

    #[test]
    fn nothing_is_found_of_a_vector_that_says_nothing() {
        assert!(!holds(&file(&[0; 4096]), &[]).unwrap());
        assert!(!holds(&file(&[0; 4096]), significant(&[0; 512])).unwrap());
        assert_eq!(significant(&[3, 0, 5, 0, 0]), [3, 0, 5]);
    }

    #[test]
    fn a_process_that_is_not_being_dumped_is_another_one() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let head = file(&own.read(Part::Auxv).unwrap());
        let words = format!("{} 0 0 11 99999999999 0 host 1", std::process::id());
        let crash = Crash::parse(&words.split(' ').map(Into::into).collect::<Vec<_>>()).unwrap();
        let (process, problem) = recognise(own, &crash, &head);
        assert!(process.is_none() && problem.what.contains("not being dumped"), "{}", problem.what);
    }

    #[test]
    fn this_process_began_before_now_and_after_the_machine() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let began = seconds(start_time(&own.read(Part::Stat).unwrap()).unwrap()).unwrap();
        let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap().tv_sec();
        assert!(began <= now && began > now - 86_400, "{began} {now}");
    }
}
