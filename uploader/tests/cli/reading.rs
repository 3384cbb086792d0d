//! `list`, `info`, `trace`.

use serde_json::{Value, json};

use crate::world::{World, id};

#[test]
fn no_report_is_exit_code_1_and_a_sentence() {
    let world = World::new();
    let ended = world.run(&["list"]).expect(1);
    assert_eq!(ended.out(), "");
    assert!(ended.err().contains("there are no reports"), "{}", ended.err());
    assert_eq!(world.run(&["list", "--json"]).expect(1).out(), "");
    for command in ["info", "trace", "dump", "debug", "forget"] {
        let ended = world.run(&[command, "abc"]).expect(1);
        assert!(ended.err().contains("no report's ID starts with 'abc'"), "{command}: {}", ended.err());
    }
}

#[test]
fn wrong_use_is_exit_code_2() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    for arguments in [
        &["frobnicate"][..],
        &["list", "--frobnicate"],
        &["list", "colour=red"],
        &["list", "--since", "soon"],
        &["info"],
        &["trace", "a", "--format", "pigeon"],
        &["trace", "a", "--format", "ctf"],
        &["trace", "a", "--format", "ctf", "-o", "x", "--last", "5s"],
        &["trace", "a", "--last", "soon"],
        &["trace", "a", "--json", "--format", "text"],
        &["snapshot", "nothing"],
        &["snapshot", "0"],
        &["forget"],
        &["completions", "teletype"],
    ] {
        let ended = world.run(arguments).expect(2);
        assert!(!ended.err().is_empty() && ended.out().is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_bare_command_lists_newest_first() {
    let world = World::new();
    world.add(&id('a'), json!({"time": "2026-01-01T00:00:00Z"}), &[]);
    world.add(&id('b'), json!({"time": "2026-01-03T00:00:00Z"}), &[]);
    world.add(&id('c'), json!({"time": "2026-01-02T00:00:00Z"}), &[]);
    let out = world.run(&[]).expect(0).out();
    let ids: Vec<&str> = out.lines().skip(1).map(|line| &line[..8]).collect();
    assert_eq!(ids, ["bbbbbbbb", "cccccccc", "aaaaaaaa"], "{out}");
    assert!(out.contains("2026-01-03 00:00:00") && out.contains("SIGSEGV") && out.contains("victim::crash"));
    assert!(!out.contains('\x1b'), "colour outside a terminal");
}

#[test]
fn within_a_second_the_report_that_was_written_last_comes_first() {
    let world = World::new();
    for (letter, time) in
        [('b', "2026-01-01T00:00:05.9Z"), ('c', "2026-01-01T00:00:05Z"), ('a', "2026-01-01T00:00:05.2Z")]
    {
        world.add(&id(letter), json!({"time": time}), &[]);
    }
    let rows = world.run(&["list", "--json"]).expect(0).json();
    let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).map(|id| &id[..1]).collect();
    assert_eq!(ids, ["a", "c", "b"]);
}

#[test]
fn a_json_row_has_the_documented_fields() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[("process/maps", b"x")]);
    let rows = world.run(&["list", "--json"]).expect(0).json();
    let fields: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "id",
            "time",
            "kind",
            "program",
            "signal",
            "signature",
            "bytes",
            "consent",
            "delivery",
            "count",
            "first",
            "last"
        ]
    );
    let row = &rows[0];
    assert_eq!(row["id"], id('a'));
    assert_eq!((&row["program"], &row["signal"]), (&json!("victim"), &json!("SIGSEGV")));
    assert_eq!((&row["consent"], &row["delivery"]), (&json!("none"), &json!("none")));
    assert_eq!((&row["count"], &row["first"], &row["last"]), (&json!(1), &row["time"], &row["time"]));
    assert!(row["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn matches_choose_rows() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    world.add(
        &id('b'),
        json!({"kind": "error", "signal": null, "program": {"name": "other", "pid": 7}}),
        &[],
    );
    world.add(&id('c'), json!({"time": "2020-01-01T00:00:00Z"}), &[]);
    let listed = |arguments: &[&str]| -> Vec<String> {
        let rows = world.run(&[&["list", "--json"], arguments].concat()).json();
        let mut ids: Vec<String> =
            rows.iter().map(|row| row["id"].as_str().unwrap()[..1].to_owned()).collect();
        ids.sort();
        ids
    };
    for (arguments, expected) in [
        (&[][..], &["a", "b", "c"][..]),
        (&["victim"], &["a", "c"]),
        (&["7"], &["b"]),
        (&["kind=error"], &["b"]),
        (&["signal=SIGSEGV"], &["a", "c"]),
        (&["COREDUMP_PID=4242", "program=victim"], &["a", "c"]),
        (&["/usr/bin/victim"], &["a", "c"]),
        (&["victim", "other"], &["a", "b", "c"]),
        (&["victim", "kind=error"], &[]),
        (&["--since", "2025-01-01"], &["a", "b"]),
        (&["--since", "2h"], &[]),
        (&["-n", "0"], &[]),
        (&["-n", "2", "victim"], &["a", "c"]),
    ] {
        assert_eq!(listed(arguments), expected, "{arguments:?}");
    }
    world.run(&["list", "victim", "kind=error"]).expect(1);
}

#[test]
fn a_programs_name_cannot_drive_the_terminal() {
    let world = World::new();
    let name = "a\u{1b}[2J\u{202e}\nb";
    let frames = json!([{"tid": 1, "name": name, "crashed": true, "frames":
        [{"ip": name, "module": name, "function": name, "file": name, "line": 1, "trust": "cfi"}]}]);
    let changes = json!({
        "program": {"name": name, "exe": name, "pid": 1, "package": {"name": name, "version": name}},
        "signature": name, "message": name, "kind": "panic", "time": name, "threads": frames,
        "signal": {"number": 6, "name": name, "address": name},
        "annotations": [{"key": name, "value": name, "privacy": "public"}],
        "problems": [{"part": name, "what": name}],
        "system": {"os": name, "kernel": name, "arch": name},
    });
    world.add(&id('a'), changes, &[]);
    for arguments in [&["list"][..], &["info", "a"], &["trace", "a"], &["status"]] {
        let ended = world.run(arguments);
        let text = ended.out() + &ended.err();
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{arguments:?}: {text:?}");
    }
    assert_eq!(world.run(&["list"]).out().lines().count(), 2);
}

#[test]
fn a_damaged_report_is_told_and_the_others_are_listed() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    let damaged = world.add(&id('b'), json!({}), &[]);
    std::fs::write(damaged.join("bundle.zip"), "no zip").unwrap();
    std::fs::write(world.add(&id('c'), json!({}), &[]).join("consent.json"), "{").unwrap();
    let ended = world.run(&["list", "--json"]).expect(0);
    let rows = ended.json();
    assert_eq!(rows.len(), 2);
    assert!(ended.err().contains(&id('b')), "{}", ended.err());
    assert!(rows.iter().any(|row| row["consent"] == "damaged"));
    let ended = world.run(&["info", "b"]).expect(1);
    assert!(ended.err().contains("damaged"), "{}", ended.err());
}

#[test]
fn info_tells_the_whole_story_in_plain_words() {
    let world = World::new();
    world.add_with_trail(&id('a'), 30);
    let out = world.run(&["info", "aaaa"]).expect(0).out();
    for expected in [
        "victim crashed in victim::crash: it used an address that points to nothing at 0x8 (SIGSEGV).",
        "victim (victims 1.2-3), process 4242",
        "Where: thread 100 main",
        "victim::crash at src/main.rs:12",
        "0x401100 in victim+0x1100 (a guess)",
        "2 threads in the same place: 101 worker, 102 worker",
        "the last 20 of 30 events",
        "app::net:step: { number = 29, text = \"step \\\"29\\\"\\u{1b}[2J\", token = (not recorded) }",
        "35 recorded, 5 of them overwritten by newer ones, 0 could not be recorded",
        "trace/ring-4242/metadata",
        "logs: there is no journal",
        "none yet; foretrace preview aaaaaaaa shows",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in:\n{out}");
    }
    assert!(!out.contains("number = 9,"), "{out}");
}

#[test]
fn info_json_is_the_reports_own_json() {
    let world = World::new();
    world.add_with_trail(&id('a'), 1);
    let info: Value = serde_json::from_str(&world.run(&["info", "a", "--json"]).expect(0).out()).unwrap();
    let own = world.run(&["dump", "a", "--part", "report.json"]).expect(0).out();
    assert_eq!(info, serde_json::from_str::<Value>(&own).unwrap());
    assert_eq!(info["parts"][0]["name"], "trace/ring-4242/metadata");
}

#[test]
fn an_ambiguous_id_names_what_it_could_mean() {
    let world = World::new();
    let (a, b) = (format!("{}0", &id('a')[..31]), id('a'));
    world.add(&a, json!({}), &[]);
    world.add(&b, json!({}), &[]);
    let ended = world.run(&["info", "aaaa"]).expect(1);
    assert!(ended.err().contains(&a) && ended.err().contains(&b) && ended.err().contains("more digits"));
    world.run(&["info", &a.to_uppercase()]).expect(0);
    let ended = world.run(&["info", "not-an-id"]).expect(1);
    assert!(ended.err().contains("is no report ID"), "{}", ended.err());
}

#[test]
fn a_trail_is_printed_oldest_first_with_its_distances() {
    let world = World::new();
    world.add_with_trail(&id('a'), 3);
    let out = world.run(&["trace", "a"]).expect(0).out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "[22:13:20.100000000] (+?.?????????) 100 main info  app::net:step: { number = 0, text = \"step \\\"0\\\"\\u{1b}[2J\", token = (not recorded) }",
            "[22:13:21.100000000] (+1.000000000) 100 main info  app::net:step: { number = 1, text = \"step \\\"1\\\"\\u{1b}[2J\", token = (not recorded) }",
            "[22:13:22.100000000] (+1.000000000) 100 main info  app::net:step: { number = 2, text = \"step \\\"2\\\"\\u{1b}[2J\", token = (not recorded) }",
        ]
    );
}

#[test]
fn a_trail_in_json_keeps_values_as_they_are() {
    let world = World::new();
    world.add_with_trail(&id('a'), 2);
    for arguments in [&["trace", "a", "--json"][..], &["trace", "a", "--format", "json"]] {
        let events = world.run(arguments).expect(0).json();
        assert_eq!(
            events[1],
            json!({"time": "2023-11-14T22:13:21.100000000Z", "source": "ring-4242", "thread": 100,
                "thread_name": "main", "level": "info", "provider": "app::net", "event": "step",
                "fields": {"number": 1, "text": "step \"1\"\u{1b}[2J", "token": null}})
        );
    }
}

#[test]
fn the_last_seconds_are_counted_from_the_end() {
    let world = World::new();
    world.add_with_trail(&id('a'), 30);
    let count = |last: &str| world.run(&["trace", "a", "--last", last]).expect(0).out().lines().count();
    assert_eq!((count("5s"), count("4900ms"), count("1h"), count("0s")), (6, 5, 30, 1));
}

#[test]
fn a_report_without_a_trail_says_why() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    world.add(&id('b'), json!({"problems": [{"part": "trail", "what": "the ring was forged"}]}), &[]);
    assert!(world.run(&["trace", "a"]).expect(1).err().contains("recorded no events"));
    assert!(world.run(&["trace", "b"]).expect(1).err().contains("the ring was forged"));
    assert!(world.run(&["info", "a"]).expect(0).out().contains("recorded no events"));
}

#[test]
fn a_hostile_trail_is_a_problem_and_not_an_end() {
    let world = World::new();
    let parts: [(&str, &[u8]); 3] = [
        ("trace/x/metadata", b"/* CTF 1.8 */ typealias \xff\x00"),
        ("trace/x/a.ctf", &[0xff; 5000]),
        ("trace/lonely", b"no folder"),
    ];
    world.add(&id('a'), json!({}), &parts);
    assert!(!world.run(&["trace", "a"]).expect(0).err().is_empty());
    assert!(world.run(&["info", "a"]).expect(0).out().contains("What could not be had"));
}

#[test]
fn a_user_sees_their_own_reports_and_nobody_elses() {
    if !nix::unistd::geteuid().is_root() {
        // There is nobody else whose reports could be seen.
        return;
    }
    let world = World::new();
    world.open_to_everybody();
    world.add_for(&id('a'), 61_234);
    world.add_for(&id('b'), 61_235);
    world.add(&id('c'), json!({}), &[]);
    let ids = |rows: Vec<Value>| -> Vec<Value> { rows.iter().map(|row| row["id"].clone()).collect() };
    let own = world.run_as(61_234, &["list", "--json"]).expect(0);
    assert_eq!((ids(own.json()), own.err()), (vec![json!(id('a'))], String::new()));
    world.run_as(61_234, &["info", "b"]).expect(1);
    assert!(world.run_as(61_234, &["info", "a"]).expect(0).out().contains("foretrace send aaaaaaaa asks"));
    world.run_as(61_234, &["forget", "a"]).expect(0);
    // Root sees what is left of everybody's, and may answer for nobody.
    assert_eq!(world.run(&["list", "--json"]).expect(0).json().len(), 2);
    assert!(world.run(&["info", "b"]).expect(0).out().contains("only its user can answer"));
    assert!(world.run(&["forget", "b"]).expect(1).err().contains("61235"));
}

#[test]
fn a_preview_warns_of_a_whole_core_only_where_one_would_leave() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    world.add(&id('b'), json!({}), &[("core.zst", b"all of it")]);
    let warned = |id: &str| {
        world.run(&["preview", id]).expect(0).out().contains("the program's whole memory as it was")
    };
    assert!(!warned("a"));
    assert!(warned("b"));
}
