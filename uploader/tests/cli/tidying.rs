//! `forget`, `vacuum`, `status`, and what documents the command.

use std::fs;

use serde_json::json;

use crate::world::{World, exists, id};

#[test]
fn a_forgotten_report_is_gone_and_the_others_are_not() {
    let world = World::new();
    let path = world.add(&id('a'), json!({}), &[]);
    fs::write(path.join("outgoing.zip"), "x").unwrap();
    let kept = world.add(&id('b'), json!({}), &[]);
    let ended = world.run(&["forget", "a"]).expect(0);
    assert!(ended.out().contains("erased from this machine"), "{}", ended.out());
    assert!(!exists(&path) && exists(&kept));
}

#[test]
fn nothing_is_forgotten_when_one_of_the_names_is_wrong() {
    let world = World::new();
    let path = world.add(&id('a'), json!({}), &[]);
    world.run(&["forget", "a", "b"]).expect(1);
    assert!(exists(&path));
}

#[test]
fn forgetting_what_was_sent_says_what_it_cannot_reach() {
    let world = World::new();
    let path = world.add(&id('a'), json!({}), &[]);
    fs::write(path.join("delivery.json"), r#"{"state":"sent","attempts":1,"doubtful":0}"#).unwrap();
    assert!(world.run(&["forget", "a"]).expect(0).out().contains("the server's copy"));
    world.add(&id('b'), json!({}), &[]);
    let row = &world.run(&["forget", "b", "--json"]).expect(0).json()[0];
    assert_eq!((&row["erased"], &row["sent_before"]), (&json!(true), &json!(false)));
}

#[test]
fn status_counts_and_names_what_is_wrong_with_the_settings() {
    let world = World::new();
    world.configure("[Upload]\nUrl=https://crash.example/\n[Consent]\nColour=red\n");
    world.add(&id('a'), json!({}), &[]);
    let path = world.add(&id('b'), json!({}), &[]);
    fs::write(path.join("delivery.json"), r#"{"state":"maybe-sent","attempts":1,"doubtful":1}"#).unwrap();
    let out = world.run(&["status"]).expect(0).out();
    for expected in
        ["Reports:  2", "1 maybe-sent, 1 none", "https://crash.example/", "etc/foretrace.conf:4: 'Colour'"]
    {
        assert!(out.contains(expected), "{expected:?} is not in:\n{out}");
    }
    let status = &world.run(&["status", "--json"]).expect(0).json()[0];
    assert_eq!((&status["reports"], &status["delivery"]["maybe-sent"]), (&json!(2), &json!(1)));
    assert_eq!(status["warnings"].as_array().unwrap().len(), 1);
    assert!(["installed", "not-installed"].contains(&status["handler"].as_str().unwrap()));
}

#[test]
fn a_vacuum_says_what_it_removed_and_why() {
    let world = World::new();
    world.configure("[Storage]\nMaxAge=1h\nKeepFree=0\n");
    let path = world.add(&id('a'), json!({}), &[]);
    world.add(&id('b'), json!({}), &[]);
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    let bundle = fs::File::options().write(true).open(path.join("bundle.zip")).unwrap();
    bundle.set_modified(yesterday).unwrap();
    let out = world.run(&["vacuum"]).expect(0).out();
    if nix::unistd::geteuid().is_root() {
        assert!(
            out.contains(&id('a')) && out.contains("MaxAge") && out.contains("1 removed, 1 kept"),
            "{out}"
        );
        assert!(!exists(&path));
    } else {
        // The system's store is root's to tidy.
        assert!(out.contains("0 removed"), "{out}");
    }
}

#[test]
fn the_manual_and_the_completions_name_every_command() {
    let world = World::new();
    let man = world.run(&["man"]).expect(0).out();
    let help = world.run(&["--help"]).expect(0).out();
    let shells = ["bash", "fish", "zsh"].map(|shell| world.run(&["completions", shell]).expect(0).out());
    for command in [
        "list", "info", "trace", "dump", "debug", "preview", "consent", "send", "forget", "snapshot",
        "import", "vacuum", "status",
    ] {
        assert!(
            help.contains(&format!("  {command} ")) && man.contains(&command.to_uppercase()),
            "{command}"
        );
        assert!(shells.iter().all(|script| script.contains(command)), "{command}");
    }
}

#[test]
fn every_command_speaks_the_persons_language() {
    let world = World::new();
    world.add(&id('a'), json!({}), &[]);
    let german = |arguments: &[&str], said: &str| {
        let output = world.command(arguments).env("LC_ALL", "de_DE.UTF-8").output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert!(all.contains(said), "{arguments:?}: {all}");
    };
    german(&["comment", "a"], "Noch kein Kommentar");
    german(&["comment", "a", "es war die Maus"], "wie Sie ihn geschrieben haben");
    german(&["consent"], "Verwaltung: fragen");
    german(&["consent", "a"], "wie lautet die Antwort für aaaaaaaa?");
    german(&["consent", "a", "--grant", "trail"], "kein Server ist eingestellt");
    german(&["consent", "a", "--deny"], "aaaaaaaa wird nicht gesendet.");
    german(&["consent", "--program", "gimp", "--set", "never"], "Für gimp gilt von jetzt an: nie.");
    german(&["key"], "Schlüssel: keiner");
    german(&["trace", "a"], "dieser Bericht hat keine Ereignisse");
    german(&["trace", "a", "--last", "soon"], "„soon“ ist keine Zeitspanne");
    german(&["dump", "a", "--part", "core"], "kein ganzer Core behalten");
    german(&["dump", "a", "--part", "x"], "keinen Teil namens „x“");
    german(&["debug", "a"], "keinen Minidump");
    german(&["list", "colour=red"], "„colour“ ist keine Angabe");
    german(&["info", "b"], "keine ID eines Berichts beginnt mit „b“");
    german(&["vacuum"], "0 entfernt, 1 behalten");
    german(&["forget", "a"], "ist auf diesem Rechner gelöscht");
    assert!(
        world
            .run(&["consent", "--program", "gimp", "--set", "ask", "--json"])
            .expect(0)
            .out()
            .contains("ask")
    );
}
