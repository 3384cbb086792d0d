//! Recording where things end: in destructors of threads, of their keys, of the process.

use std::cell::Cell;
use std::ffi::c_void;

use crate::apart::{apart, step, steps};
use crate::rings;

struct Last(u64);

impl Drop for Last {
    fn drop(&mut self) {
        step(self.0);
    }
}

thread_local! {
    static LAST: Cell<Option<Last>> = const { Cell::new(None) };
}

extern "C" fn of_a_key(value: *mut c_void) {
    step(value as u64);
}

#[test]
fn destructors_of_a_thread_record_and_leave_nothing_behind() {
    let claim = "endings::destructors_of_a_thread_record_and_leave_nothing_behind";
    apart(
        claim,
        |_| {},
        || {
            // Made after the recorder's own: its destructor runs behind the recorder's.
            let mut key = 0;
            // SAFETY: writes the key it is given.
            assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(of_a_key)) }, 0);
            // More threads than there are writer slots.
            for number in 0..5000_u64 {
                let body = move || {
                    LAST.set(Some(Last(3 * number + 1)));
                    // SAFETY: a key that was made, and a value that is only a number.
                    unsafe { libc::pthread_setspecific(key, (3 * number + 2) as *const c_void) };
                    step(3 * number);
                };
                std::thread::Builder::new().stack_size(64 << 10).spawn(body).unwrap().join().unwrap();
            }
            let snapshot = rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (15_000, 0, 0));
            assert_eq!(steps(), (0..15_000).collect::<Vec<u64>>());
        },
    );
}

#[test]
fn what_runs_at_exit_records() {
    extern "C" fn at_exit() {
        step(1);
        assert_eq!(steps(), [0, 1]);
        println!("recorded at exit");
    }
    let claim = "endings::what_runs_at_exit_records";
    let said = apart(
        claim,
        |_| {},
        || {
            step(0);
            // SAFETY: a function without preconditions.
            assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
        },
    );
    if let Some(output) = said {
        assert!(String::from_utf8_lossy(&output.stdout).contains("recorded at exit"), "{output:?}");
    }
}
