//! C and C++ programs, built with the compilers that are here, and what their rings say.
#![allow(clippy::unwrap_used)]

mod programs;

use std::fs;
use std::path::Path;
use std::process::Command;

use foretrace_ring::reader::Snapshot;
use foretrace_ring::trail::{Level, Privacy, Trail, Value};

use programs::{HERE, Running, WARNINGS, libraries, named, ring_of, trail_of};

#[test]
fn the_example_records_what_it_says() {
    for link in [["-lforetrace"].as_slice(), &["libforetrace.a", "-ldl", "-lm"]] {
        let hello = Running::start("examples/hello.c", link, &["world", "moon"], &[]);
        assert_eq!(hello.said, "hello, world\n");
        let (snapshot, trail) = wait_for(&hello, "done");
        assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (4, 0, 0));
        let names: Vec<_> = trail.events.iter().map(|event| trail.kind_of(event).name.as_str()).collect();
        assert_eq!(names, ["started", "greeting", "greeting", "done"]);
        let kind = trail.kind_of(&trail.events[1]);
        assert_eq!((kind.provider.as_str(), kind.level), ("example::hello", Level::Info));
        assert!(kind.location.as_ref().unwrap().0.ends_with("examples/hello.c"));
        assert_eq!(kind.fields[0].privacy, Privacy::Personal);
        assert_eq!(trail.events[1].values, [Value::Text("world".into()), Value::Unsigned(5)]);
        assert!(trail.events.iter().all(|event| event.thread == hello.child.id()));
        assert_eq!(snapshot.annotations.len(), 1);
        assert_eq!(
            (snapshot.annotations[0].key.as_str(), snapshot.annotations[0].value.as_str()),
            ("mode", "named")
        );
        hello.end();
    }
}

#[test]
fn the_example_in_cpp_records_what_it_says() {
    let hello = Running::start("examples/hello.cpp", &["-lforetrace"], &["world", ""], &[]);
    assert_eq!(hello.said, "hello, world\n");
    let (snapshot, trail) = wait_for(&hello, "done");
    assert_eq!(snapshot.annotations[0].value, "named");
    use Value::{Bool, Bytes, Float, Signed, Text, Unsigned, Withheld};
    let said: Vec<_> = trail
        .events
        .iter()
        .map(|event| (trail.kind_of(event).name.as_str(), event.values.as_slice()))
        .collect();
    let expected: [(&str, &[Value]); 8] = [
        ("greet begin", &[Text("world".into()), Unsigned(1)]),
        ("greeting", &[Unsigned(5), Text("w".into()), Unsigned(1)]),
        ("greet end", &[Unsigned(1)]),
        ("greet begin", &[Text("".into()), Unsigned(2)]),
        ("greet end", &[Unsigned(2)]),
        ("not greeted", &[Text("nobody".into()), Signed(2)]),
        ("started", &[]),
        ("done", &[Float(0.5), Bool(true), Withheld, Bytes(vec![3, 0, 0, 0])]),
    ];
    assert_eq!(said, expected);
    assert_eq!(trail.kind_of(&trail.events[0]).fields[0].privacy, Privacy::Personal);
    hello.end();
}

#[test]
fn events_have_the_time_that_their_clock_says_and_stay_in_order() {
    for link in [["-lforetrace"].as_slice(), &["-O0", "libforetrace.a", "-ldl", "-lm"]] {
        let program = Running::start("examples/times.c", link, &[], &[]);
        let (snapshot, trail) = wait_for(&program, "done");
        assert_eq!((snapshot.recorded, snapshot.discarded), (1 + 3 + 1000 + 5, 0));
        let times = |name: &str| named(&trail, name).iter().map(|event| event.time).collect::<Vec<_>>();
        let (rows, steps) = (times("row"), times("step"));
        assert!(rows.len() == 3 && rows.iter().all(|time| *time == rows[0]), "{rows:?}");
        assert!(steps.is_sorted() && steps[0] >= rows[0]);
        let readings = steps.chunk_by(|a, b| a == b).count();
        assert!(readings < 100, "the clock was read {readings} times for 1,000 events");
        let [arrived, sampled, early, late, done] =
            ["arrived", "sampled", "too early", "too late", "done"].map(|name| times(name)[0]);
        assert!((4_900_000..9_000_000).contains(&(sampled - arrived)), "{arrived} {sampled}");
        assert_eq!(early, sampled, "not before the last one");
        assert!(late - arrived >= 20_000_000 && late <= done, "{arrived} {late} {done}");
        program.end();
    }
}

#[test]
fn a_span_ends_with_its_block_however_it_is_left() {
    let program = Running::start("tests/c/spans.c", &["-lforetrace"], &[], &[]);
    assert_eq!(program.said, "1\n");
    let (_, trail) = program.trail();
    let said: Vec<_> = trail
        .events
        .iter()
        .map(|event| {
            let kind = trail.kind_of(event);
            let span = kind.fields.iter().position(|field| field.name == "span").unwrap();
            match event.values[span] {
                Value::Unsigned(number) => (kind.name.as_str(), number),
                ref other => panic!("{other:?}"),
            }
        })
        .collect();
    let (find, look) = (("find begin", "find end"), ("look begin", "look end"));
    let mut expected = vec![(find.0, 1)];
    expected.extend([2, 3].iter().flat_map(|number| [(look.0, *number), (look.1, *number)]));
    expected.extend([(find.1, 1), (find.0, 4)]);
    expected.extend([5, 6, 7].iter().flat_map(|number| [(look.0, *number), (look.1, *number)]));
    expected.push((find.1, 4));
    assert_eq!(said, expected);
    program.end();
}

#[test]
fn a_thread_with_a_ring_of_its_own_loses_nothing_to_a_noisy_one() {
    let program = Running::start("tests/c/quiet.c", &["-lforetrace", "-lpthread"], &[], &[]);
    assert_eq!(program.said, "-1 0 -1\n", "too much, enough, and a second one");
    let (snapshot, trail) = wait_for(&program, "silence");
    assert_eq!((snapshot.discarded, snapshot.recorded), (0, 1001 + 100 * (256 << 10) / 24));
    assert_eq!(named(&trail, "quiet").len(), 1000);
    program.end();
}

#[test]
fn events_pass_as_the_environment_says() {
    let only = [("FORETRACE", "test=info,test::spans=info,other=off")];
    let program = Running::start("tests/c/spans.c", &["-lforetrace"], &[], &only);
    assert_eq!(program.trail().1.events.len(), 4);
    program.end();
    let program = Running::start("tests/c/spans.c", &["-lforetrace"], &[], &[("FORETRACE", "test=off")]);
    assert_eq!(ring_of(program.child.id()), None, "nothing was recorded, there is no use for a ring");
    program.end();
}

#[test]
fn the_library_offers_what_the_header_knows_by_version_and_needs_the_c_library_alone() {
    let readelf = |option: &str| {
        let library = libraries().join("libforetrace.so");
        let output = Command::new("readelf").args(["--wide", option]).arg(library).output();
        let output = output.expect("this test needs readelf: install the package `binutils`");
        String::from_utf8(output.stdout).unwrap()
    };
    let header = ["include/foretrace.h", "include/foretrace-inside.h"]
        .map(|name| fs::read_to_string(Path::new(HERE).join(name)).unwrap())
        .concat();
    let symbols = readelf("--dyn-syms");
    let offered = symbols.lines().filter(|line| line.contains(" GLOBAL ") && !line.contains(" UND "));
    let mut count = 0;
    for name in offered.filter_map(|line| line.split_whitespace().last()) {
        let plain = name.strip_suffix("@@FORETRACE_0.1");
        assert!(
            plain.is_some_and(|plain| header.contains(plain)),
            "{name} has no version or is not in the header"
        );
        count += 1;
    }
    assert!(count >= 11, "{symbols}");
    let dynamic = readelf("--dynamic");
    let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(needed.iter().all(|line| line.contains("[libc.so.") || line.contains("[ld-linux")), "{needed:?}");
    assert!(dynamic.contains("[libforetrace.so.0]"), "{dynamic}");
}

#[test]
fn a_program_finds_the_library_by_pkg_config() {
    let directory = tempfile::tempdir().unwrap();
    let template = fs::read_to_string(Path::new(HERE).join("foretrace.pc.in")).unwrap();
    let filled = template
        .replace("@prefix@", "/usr")
        .replace("@libdir@", "/usr/lib64")
        .replace("@includedir@", "/usr/include/foretrace")
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    fs::write(directory.path().join("foretrace.pc"), filled).unwrap();
    let asked = |arguments: &[&str]| {
        let output = Command::new("pkg-config")
            .args(arguments)
            .arg("foretrace")
            .env("PKG_CONFIG_PATH", directory.path())
            .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
            .output()
            .expect("this test needs pkg-config: install the package `pkg-config`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(asked(&["--cflags", "--libs"]), "-I/usr/include/foretrace -L/usr/lib64 -lforetrace");
    assert_eq!(asked(&["--modversion"]), env!("CARGO_PKG_VERSION"));
    // A library that is linked with the archive must not offer others what is in it.
    let static_libs = asked(&["--libs", "--static"]);
    assert!(static_libs.ends_with("-Wl,--exclude-libs,libforetrace.a -lpthread -ldl -lm"), "{static_libs}");
}

/// The example's line comes before its last event.
fn wait_for(program: &Running, name: &str) -> (Snapshot, Trail) {
    for _ in 0..500 {
        let (snapshot, trail) = program.trail();
        if !named(&trail, name).is_empty() {
            return (snapshot, trail);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no event `{name}` within 5 s");
}

#[test]
fn a_program_that_is_switched_off_has_no_ring_and_evaluates_nothing() {
    let program = Running::start("tests/c/kinds.c", &["-lforetrace"], &[], &[("FORETRACE", "off")]);
    assert_eq!(program.said, "0 -1\n");
    assert_eq!(ring_of(program.child.id()), None);
    program.end();
}

#[test]
fn every_kind_of_field_arrives() {
    let program = Running::start("tests/c/kinds.c", &["-lforetrace"], &[], &[]);
    assert_eq!(
        program.said, "1 -1\n",
        "values are evaluated once, secrets never; there is nothing to report with"
    );
    let (snapshot, trail) = program.trail();
    assert!(
        snapshot.problems.contains(&"2 fields were too long and were cut".into()),
        "{:?}",
        snapshot.problems
    );
    assert_eq!((snapshot.discarded, named(&trail, "large").len()), (1, 0), "larger than a packet");
    let all = named(&trail, "all")[0];
    use Value::{Bool, Bytes, Float, Signed, Text, Unsigned, Withheld};
    let expected = [
        Unsigned(200),
        Unsigned(60_000),
        Unsigned(4_000_000_000),
        Unsigned(u64::MAX),
        Signed(-100),
        Signed(-30_000),
        Signed(-2_000_000_000),
        Signed(i64::MIN),
        Float(1.5),
        Float(-0.1),
        Bool(true),
        Text("grün".into()),
        Text("abc".into()),
        Bytes(vec![0, 255, 7]),
        Withheld,
        Unsigned(9),
    ];
    assert_eq!(all.values, expected);
    let privacy: Vec<_> = trail.kind_of(all).fields.iter().map(|field| field.privacy).collect();
    assert_eq!(
        (privacy[11], privacy[12], privacy[14]),
        (Privacy::Public, Privacy::Personal, Privacy::Secret)
    );

    let odd = named(&trail, "odd")[0];
    let long = "x".repeat(4095);
    let mut long_bytes = vec![b'x'; 4095];
    long_bytes.push(0xc3);
    let expected = [
        Text("(null)".into()),
        Text(long),
        Bytes(long_bytes),
        Withheld,
        Withheld,
        Unsigned(2),
        Bytes(vec![]),
    ];
    assert_eq!(odd.values, expected);

    let levels: Vec<_> = named(&trail, "level").iter().map(|event| trail.kind_of(event).level).collect();
    assert_eq!(levels, [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]);

    let report = named(&trail, "report")[0];
    assert_eq!(report.values[1], Text("no disk".into()));
    assert!(matches!(&report.values[2], Text(place) if place.contains("tests/c/kinds.c:")), "{report:?}");
    program.end();
}

#[test]
fn threads_handlers_and_children_lose_nothing() {
    let program = Running::start("tests/c/ledger.c", &["-lforetrace"], &[], &[]);
    let said: Vec<u32> = program.said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let (snapshot, trail) = program.trail();
    assert_eq!((snapshot.recorded, snapshot.discarded), (4 * 30_000 + u64::from(said[1]) + 2, 0));
    for thread in 0..4 {
        let numbers: Vec<_> = named(&trail, "step")
            .iter()
            .filter(|event| event.values[0] == Value::Unsigned(thread))
            .map(|event| match (&event.values[1], &event.values[2]) {
                (Value::Unsigned(n), Value::Text(odd)) if (odd == "yes") == (n % 2 == 1) => *n,
                torn => panic!("torn: {torn:?}"),
            })
            .collect();
        assert_eq!(numbers.last(), Some(&29_999), "thread {thread}");
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "thread {thread}: none twice, none out of order"
        );
    }
    assert_eq!(named(&trail, "child").len(), 0);
    assert_eq!((named(&trail, "before fork").len(), named(&trail, "after fork").len()), (1, 1));

    let (snapshot, trail) = trail_of(said[0]);
    assert_eq!((snapshot.recorded, named(&trail, "child").len()), (77, 77));
    assert!(trail.events.iter().all(|event| event.thread == said[0]));
    program.end();
}

#[test]
fn the_header_is_clean_in_every_dialect() {
    let mut dialects =
        vec![("gcc", "c", "-std=c11"), ("gcc", "c", "-std=gnu17"), ("g++", "c++", "-std=c++17")];
    if Command::new("clang").arg("--version").output().is_ok() {
        dialects.extend([("clang", "c", "-std=c11"), ("clang++", "c++", "-std=c++17")]);
    }
    for (compiler, language, standard) in dialects {
        for source in ["examples/hello.c", "examples/times.c", "tests/c/kinds.c", "tests/c/spans.c"] {
            compile_as(compiler, language, standard, &Path::new(HERE).join(source));
        }
        if language == "c++" {
            compile_as(compiler, language, standard, &Path::new(HERE).join("examples/hello.cpp"));
        }
    }
}

#[test]
fn a_wrong_event_is_a_clear_error() {
    let many = (0..20).map(|n| format!(", ft_u8(\"f{n}\", {n})")).collect::<String>();
    for (event, sentence) in [
        (format!("ft_event(FT_INFO, \"many\"{many})"), "at most 16 fields"),
        (format!("FT_SPAN(FT_INFO, \"many\"{many})"), "at most 15 fields"),
        ("ft_event(FT_INFO)".into(), "a level, a name"),
        ("FT_SPAN(FT_INFO)".into(), "a level, a name"),
        ("ft_event(FT_INFO, \"x\", ft_u128(\"y\", 1))".into(), "ft_u128"),
        ("ft_event(FT_INFO, \"x\", ft_str(\"y\", 1))".into(), "mismatch|makes pointer from integer"),
        ("ft_event(FT_INFO, variable)".into(), "variable"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("wrong.c");
        fs::write(&source, format!("#include <foretrace.h>\nvoid f(void);\nvoid f(void) {{ {event}; }}\n"))
            .unwrap();
        let output = Command::new("gcc")
            .args(["-std=c11", "-Werror", "-fsyntax-only", &format!("-I{HERE}/include")])
            .arg(&source)
            .output()
            .expect("this test needs gcc");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{event} compiles");
        assert!(sentence.split('|').any(|part| said.contains(part)), "{event}: {said}");
    }
}

fn compile_as(compiler: &str, language: &str, standard: &str, source: &Path) {
    let forced = format!("-x{language}");
    let output = Command::new(compiler)
        .args(WARNINGS)
        .args([&forced, standard, "-c", "-o", "/dev/null"])
        .arg(format!("-I{HERE}/include"))
        .arg(source)
        .output()
        .unwrap_or_else(|error| {
            panic!("this test needs {compiler}: install the package `{compiler}` ({error})")
        });
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {standard}: {complaints}");
}
