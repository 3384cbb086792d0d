//! C programs that the recorder must not harm: jumps out of handlers, several copies of it, late loading.
#![allow(clippy::unwrap_used)]

mod programs;

use std::path::Path;
use std::process::Command;

use foretrace_ring::trail::Value;

use programs::{HERE, Running, compile, installed, libraries, named, rings_of, trail_in};

#[test]
fn a_handler_that_leaves_by_a_jump_costs_no_event_but_the_one_that_it_interrupted() {
    for arguments in [[].as_slice(), &["apart"]] {
        let program = Running::start("tests/c/jump.c", &["-lforetrace"], arguments, &[]);
        let noted: u64 = program.said.trim().parse().unwrap();
        let (snapshot, trail) = program.trail();
        assert_eq!(snapshot.discarded, 0, "{arguments:?}");
        let least = noted + 3000 + 1;
        // A jump may come between an event and its note.
        assert!(
            (least..=least + 3000).contains(&snapshot.recorded),
            "{arguments:?}: {} of {least}",
            snapshot.recorded
        );
        for event in named(&trail, "step") {
            let [Value::Unsigned(number), Value::Text(text), Value::Unsigned(check)] = &event.values[..]
            else {
                panic!("{event:?}");
            };
            assert!(*check == !number && text == "as long as it takes", "a torn event: {event:?}");
        }
        assert_eq!(named(&trail, "last")[0].values, [Value::Unsigned(noted)]);
        program.end();
    }
}

#[test]
fn a_coroutine_that_goes_on_in_another_thread_records_there() {
    // As code of a program, and as code of a library, which finds a thread's state by other ways.
    for code in ["-fPIE", "-fPIC"] {
        let program = Running::start("tests/c/fibers.c", &[code, "-lforetrace"], &[], &[]);
        let noted: u64 = program.said.trim().parse().unwrap();
        let (snapshot, trail) = program.trail();
        assert_eq!((snapshot.recorded, snapshot.discarded), (noted, 0), "{code}");
        for event in &trail.events {
            assert_eq!(event.values[0], Value::Unsigned(event.thread.into()), "{code}: {event:?}");
        }
        assert!(!named(&trail, "round").is_empty(), "{code}: the last rounds are still there");
        program.end();
    }
}

/// A library with a copy of the recorder, in `at`.
fn plugin(at: &Path, copy: &str) -> String {
    let library = at.join(format!("libplugin{copy}.so")).to_str().unwrap().to_owned();
    let recorder = libraries().join("libforetrace.a");
    let define = format!("-DCOPY={copy}");
    let arguments = [
        "-std=c11",
        "-shared",
        "-fPIC",
        "-pthread",
        &define,
        "-o",
        &library,
        recorder.to_str().unwrap(),
        "-ldl",
        "-lm",
    ];
    compile("gcc", &Path::new(HERE).join("tests/c/plugin.c"), &arguments);
    library
}

#[test]
fn two_copies_in_one_process_each_record_everything() {
    for opened in [true, false] {
        let directory = installed();
        let (one, two) = (plugin(directory.path(), "1"), plugin(directory.path(), "2"));
        let link: &[&str] = if opened { &["-DOPENED", "-ldl"] } else { &["-lplugin1", "-lplugin2"] };
        let program = Running::start_in(directory, "tests/c/copies.c", link, &[&one, &two], &[]);
        let parent = program.child.id();
        for (process, each) in
            [(parent, [80_000, 40_000]), (program.said.trim().parse().unwrap(), [40_000, 40_000])]
        {
            let rings = rings_of(process);
            assert!(!rings.is_empty());
            let (mut recorded, mut found) = (0, [false; 2]);
            for ring in &rings {
                let (snapshot, trail) = trail_in(ring, process);
                // A child's threads may record before the first of them has made their ring.
                assert!(snapshot.discarded == 0 || process != parent, "{}", snapshot.discarded);
                recorded += snapshot.recorded + snapshot.discarded;
                for (found, name) in found.iter_mut().zip(["plugin 1", "plugin 2"]) {
                    *found |= !named(&trail, name).is_empty();
                }
                for event in &trail.events {
                    let [Value::Unsigned(number), Value::Unsigned(check)] = &event.values[..] else {
                        panic!()
                    };
                    assert_eq!(*check, !number, "a torn event");
                }
            }
            assert_eq!(recorded, each.iter().sum::<u64>(), "opened: {opened}, {} rings", rings.len());
            assert_eq!(found, [true, true], "opened: {opened}");
        }
        program.end();
    }
}

#[test]
fn the_library_can_be_loaded_last_by_ctypes() {
    let directory = installed();
    let at = directory.path();
    // Libraries that take most of what the C library keeps for thread-local variables of late ones.
    let source = at.join("other.c");
    let library = at.join("libother.so");
    std::fs::write(
        &source,
        "extern __thread char t[1024] __attribute__((tls_model(\"initial-exec\"))); __thread char t[1024];\n\
         char *f(void);\nchar *f(void) { return t; }\n",
    )
    .unwrap();
    compile("gcc", &source, &["-std=c11", "-shared", "-fPIC", "-o", library.to_str().unwrap()]);
    let script = "import ctypes, sys, threading\n\
        other = ctypes.CDLL(sys.argv[1]); other.f()\n\
        recorder = ctypes.CDLL(sys.argv[2])\n\
        notes = lambda: [recorder.ft_annotate(b'key', b'value', 0) for _ in range(100)]\n\
        threads = [threading.Thread(target=notes) for _ in range(8)]\n\
        [thread.start() for thread in threads]; [thread.join() for thread in threads]\n\
        recorder.ft_enabled.restype = ctypes.c_bool\n\
        print(recorder.ft_start(), recorder.ft_enabled())";
    let output = Command::new("python3")
        .args(["-c", script])
        .args([library, at.join("libforetrace.so.0")])
        .env_remove("FORETRACE")
        .output()
        .expect("this test needs python3: install the package `python3`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0 True");
}
