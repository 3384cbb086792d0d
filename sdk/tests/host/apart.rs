//! Runs a test's body in a process of its own: this program again, with that test alone.

use std::process::{Command, Output};

use foretrace::event;

use crate::rings;

const CLAIM: &str = "FORETRACE_TEST_CLAIM";

/// Runs `body` in a new process, which `prepare` may change, and answers what it said. The test fails if the process
/// does not end well.
pub fn apart(claim: &str, prepare: impl FnOnce(&mut Command), body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CLAIM).is_some_and(|name| name == *claim) {
        body();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", claim, "--nocapture", "--test-threads=1"]);
    command.env(CLAIM, claim).env_remove("FORETRACE");
    command.env("FORETRACE_CAPTURE", "/nonexistent/foretrace-capture");
    prepare(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{said}\n{complained}", output.status);
    assert!(said.contains("1 passed"), "there is no test {claim}: {said}");
    Some(output)
}

/// Says that a claim was not tried. A machine's root is expected to be able to try everything: where it is not (in a
/// container, say), `FORETRACE_NOT_HERE` has to name what cannot be had, such as `time,cgroup`.
pub fn not_tried(needs: &str, why: &str) {
    // SAFETY: no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let excused = std::env::var("FORETRACE_NOT_HERE").unwrap_or_default();
    let excused = excused.split(',').any(|name| name == needs);
    assert!(!is_root || excused, "not tried: {why}; if that is so here, set FORETRACE_NOT_HERE={needs}");
    eprintln!("not tried: {why}");
}

/// Records a number.
pub fn step(number: u64) {
    event!(info, "step", number = number);
}

/// The numbers in this process's ring.
pub fn steps() -> Vec<u64> {
    let snapshot = rings::snapshot();
    assert_eq!(snapshot.owner.pid, std::process::id(), "the ring is another process's");
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let newest = trail.events.last().map_or(now, |event| event.time);
    assert!(now.abs_diff(newest) < 10_000_000_000, "the newest event is of {newest}, it is {now}");
    trail.events.iter().map(|event| rings::number(event, 0)).collect()
}

/// Records where there can be no ring.
pub fn records_nothing() {
    (0..100).for_each(step);
    assert!(!foretrace::start());
    assert_eq!(foretrace::descriptor(), None);
    foretrace::annotate("a", "b", foretrace::Privacy::Public);
    assert!(!foretrace::report_error("nobody hears it"));
}

/// Waits for a child that must end well.
pub fn wait_for(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: writes the status it is given.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "a child did not end well");
}

/// Forks; the child runs `body` and ends.
pub fn fork(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child records, reads and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    child
}
