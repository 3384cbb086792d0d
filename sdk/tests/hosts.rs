//! Hosts with limits, without a clock, with too much to say: none is harmed, and what is lost is counted.
#![allow(unsafe_code)]

mod rings;

use foretrace::event;
use foretrace_ring::metadata::EventDecl;
use foretrace_ring::trail::{Level, Value};

/// Runs a body in a child that has no ring yet. The status says how it ended: 0 is well.
fn in_child(body: impl FnOnce()) -> i32 {
    // SAFETY: the child records, reads and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

fn step(number: u64) {
    event!(info, "step", number = number);
}

fn limit(which: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: reads the structure it is given.
    assert_eq!(unsafe { libc::setrlimit(which, &limit) }, 0);
}

/// Records, where there is no ring to record into.
fn records_nothing() {
    (0..100).for_each(step);
    assert!(!foretrace::start());
    assert_eq!(foretrace::descriptor(), None);
    foretrace::annotate("a", "b", foretrace::Privacy::Public);
    assert!(!foretrace::report_error("nobody hears it"));
}

#[test]
fn no_host_is_harmed() {
    let cases: [(&str, fn()); 9] = [
        ("a limit on files below any ring", || {
            limit(libc::RLIMIT_FSIZE, 1 << 20);
            records_nothing();
        }),
        ("a limit on files below the usual ring", || {
            limit(libc::RLIMIT_FSIZE, 4 << 20);
            (0..200_000).for_each(step);
            let snapshot = rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.discarded), (200_000, 0));
            let trail = rings::trail(&snapshot);
            assert_eq!(trail.events.last().map(|event| rings::number(event, 0)), Some(199_999));
        }),
        ("a limit on files that the pool alone would just fit", || {
            limit(libc::RLIMIT_FSIZE, 6 << 20);
            (0..1000).for_each(step);
            let snapshot = rings::snapshot();
            assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (1000, 0, 0));
        }),
        ("no descriptors left", || {
            limit(libc::RLIMIT_NOFILE, 0);
            records_nothing();
        }),
        ("a forbidden time stamp counter", || {
            // SAFETY: takes a number.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV) }, 0);
            (0..100_000).for_each(step);
            let snapshot = rings::snapshot();
            assert!(snapshot.metadata.contains("clock.mono.value"));
            assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (100_000, 0, 0));
            assert_eq!(rings::trail(&snapshot).events.len(), 100_000);
        }),
        ("texts larger than a packet", || {
            let long = "ä".repeat(40_000);
            event!(info, "long", before = 1_u8, text = long, other = &long[..10], after = 2_u8);
            event!(info, "bytes", bytes = long.as_bytes());
            let snapshot = rings::snapshot();
            assert_eq!(snapshot.problems, ["2 fields were too long and were cut"]);
            let trail = rings::trail(&snapshot);
            assert_eq!(trail.problems, Vec::<String>::new());
            let values = &trail.events[0].values;
            let Value::Text(text) = &values[1] else { panic!("{:?}", values[1]) };
            assert!(text.len() > 8000 && long.starts_with(text.as_str()));
            assert_eq!(values[2..], [Value::Text("äääää".into()), Value::Unsigned(2)]);
            let Value::Bytes(bytes) = &trail.events[1].values[0] else { panic!() };
            assert!(bytes.len() > 16_000 && long.as_bytes().starts_with(bytes));
        }),
        ("65,000 event types", || {
            step(0);
            let event = EventDecl {
                id: 0,
                provider: "a",
                name: "b",
                level: Level::Info,
                file: "",
                line: 0,
                fields: &[],
            };
            let declared = (0..65_000).filter(|_| foretrace::foreign::declare(&event, 0).is_some()).count();
            assert!((4000..4096).contains(&declared), "{declared}");
            event!(info, "one too many", number = 1_u64);
            step(2);
            let snapshot = rings::snapshot();
            let refused = 65_000 - declared + 1;
            assert_eq!(
                snapshot.problems,
                [format!("{refused} event types were refused: there is no room for more")]
            );
            assert_eq!(snapshot.recorded, 2);
            assert_eq!(rings::trail(&snapshot).problems, Vec::<String>::new());
        }),
        ("another process that means harm", || {
            step(0);
            let descriptor = foretrace::descriptor().expect("a ring");
            // SAFETY: the ring's descriptor, sealed.
            assert_eq!(unsafe { libc::ftruncate(descriptor, 0) }, -1);
            // SAFETY: reads one byte.
            assert_eq!(unsafe { libc::write(descriptor, c"x".as_ptr().cast(), 1) }, -1);
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping, if it were allowed.
            let map = unsafe {
                libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, descriptor, 0)
            };
            assert_eq!(map, libc::MAP_FAILED);
            step(1);
        }),
        ("an idle ring", || {
            step(0);
            // SAFETY: all zeroes are a valid `stat`.
            let mut status: libc::stat = unsafe { std::mem::zeroed() };
            // SAFETY: writes the structure it is given.
            unsafe { libc::fstat(foretrace::descriptor().expect("a ring"), &mut status) };
            let resident = status.st_blocks * 512;
            assert!(resident <= 300 << 10, "{resident} bytes");
        }),
    ];
    for (name, body) in cases {
        assert_eq!(in_child(body), 0, "{name}");
    }
}
