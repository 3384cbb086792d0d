//! What leaves the store as bytes: `dump`, `trace --format ctf`, `debug`, and the programs that read them.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use foretrace_report::bundle::{BundleReader, Limits};
use serde_json::json;

use crate::world::{World, exists, id};

#[test]
fn a_dump_is_the_bundle_byte_for_byte_and_private() {
    let world = World::new();
    let own = world.add(&id('a'), json!({}), &[("process/maps", b"maps")]).join("bundle.zip");
    let file = world.path("copy.zip");
    world.run(&["dump", "a", "-o", file.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read(&file).unwrap(), fs::read(&own).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let piped = world.run(&["dump", "a"]).expect(0);
    assert_eq!(piped.bytes(), fs::read(&own).unwrap());
    BundleReader::open(Cursor::new(piped.bytes()), Limits::default()).unwrap();
}

#[test]
fn a_part_comes_alone_and_an_unknown_one_names_those_there_are() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[("process/maps", b"\x00maps")]);
    assert_eq!(world.run(&["dump", "a", "--part", "process/maps"]).expect(0).bytes(), b"\x00maps");
    let ended = world.run(&["dump", "a", "--part", "process/\x1bmap"]).expect(1);
    assert!(ended.err().contains("process/maps") && ended.err().contains("\\u{1b}"), "{}", ended.err());
}

#[test]
fn bytes_are_not_poured_onto_a_terminal() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[("process/maps", b"\x00"), ("logs/kmsg", b"one\x1b[2J\ntwo\n")]);
    // util-linux's script gives the command a terminal.
    let on_terminal = |arguments: &[&str]| {
        let command = world.command(arguments);
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let line =
            words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ");
        let output =
            Command::new("script").args(["-qec", &line, "/dev/null"]).env("TZ", "UTC").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for arguments in [&["dump", "a"][..], &["dump", "a", "--part", "process/maps"]] {
        let (code, shown) = on_terminal(arguments);
        assert_eq!(code, Some(2), "{shown}");
        assert!(shown.contains("-o FILE"), "{shown}");
    }
    let (code, shown) = on_terminal(&["dump", "a", "--part", "logs/kmsg"]);
    assert_eq!((code, shown.as_str()), (Some(0), "one\\u{1b}[2J\r\ntwo\r\n"));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let world = World::new();
    world.add_with_trail(&id('a'), 1);
    for arguments in [
        &["dump", "a", "-o", "/nowhere/file"][..],
        &["trace", "a", "-o", "/nowhere/file"],
        &["trace", "a", "--format", "ctf", "-o", "/nowhere/folder"],
    ] {
        let ended = world.run(arguments).expect(1);
        assert!(ended.err().contains("/nowhere/f"), "{}", ended.err());
    }
    assert!(world.run(&["dump", "a", "-o", "/dev/full"]).expect(1).err().contains("No space left"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    world.add_with_trail(&id('a'), 20_000);
    let mut child = world.command(&["trace", "a"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn babeltrace_reads_the_exported_trail() {
    let world = World::new();
    world.add_with_trail(&id('a'), 25);
    let folder = world.path("exported");
    world.run(&["trace", "a", "--format", "ctf", "-o", folder.to_str().unwrap()]).expect(0);
    let mut names: Vec<_> =
        fs::read_dir(folder.join("ring-4242")).unwrap().flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["metadata", "slot-0.ctf"]);
    // A directory that holds something is not written into.
    world.run(&["trace", "a", "--format", "ctf", "-o", folder.to_str().unwrap()]).expect(2);
    let output = Command::new("babeltrace2").arg(&folder).output().expect("babeltrace2 is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.contains("app::net:step")).count(), 25, "{text}");
}

#[test]
fn a_trail_goes_into_a_file_without_colour() {
    let world = World::new();
    world.add_with_trail(&id('a'), 2);
    let file = world.path("trail.txt");
    world.run(&["trace", "a", "-o", file.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), world.run(&["trace", "a"]).out());
}

#[test]
fn a_debugger_is_given_the_minidump_and_nothing_stays_behind() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[("minidump.dmp", b"MDMP and more")]);
    let debugger = world.path("debugger");
    let seen = world.path("seen");
    fs::write(&debugger, format!("#!/bin/sh\n[ \"$1\" = -c ] && cat \"$2\" > {}\n", seen.display())).unwrap();
    fs::set_permissions(&debugger, fs::Permissions::from_mode(0o755)).unwrap();
    world.run(&["debug", "a", "--debugger", debugger.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read(&seen).unwrap(), b"MDMP and more");
    let ended = world.run(&["debug", "a", "--debugger", "/usr/bin/gdb"]).expect(1);
    assert!(ended.err().contains("lldb"), "{}", ended.err());
    let nothing =
        world.command(&["debug", "a"]).env("PATH", "/nowhere").env_remove("FORETRACE_DEBUGGER").output();
    let nothing = nothing.unwrap();
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("apt install lldb"));
}

#[test]
fn a_report_without_a_minidump_cannot_be_debugged() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    assert!(world.run(&["debug", "a"]).expect(1).err().contains("no minidump"));
}

#[test]
fn snapshot_and_import_are_handed_to_the_capture_program() {
    let world = World::new();
    let (program, seen) = (world.path("capture"), world.path("seen"));
    let script = format!(
        "#!/bin/sh\nfor a; do echo \"$a\"; done > {0}\necho \"$FORETRACE_ROOT\" >> {0}\nexit 3\n",
        seen.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = |arguments: &[&str]| {
        let output = world.command(arguments).env("FORETRACE_CAPTURE", &program).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        fs::read_to_string(&seen).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let root = world.path("").display().to_string();
    let root = root.trim_end_matches('/');
    assert_eq!(
        ran(&["snapshot", "42", "--reason", "slow again", "--json"]),
        ["--json", "snapshot", "42", "--reason", "slow again", root]
    );
    assert_eq!(ran(&["import", "/a core", "--exe", "/b"]), ["import", "/a core", "--exe", "/b", root]);
    assert!(exists(&seen));
}
