//! Who may answer, for what and for how long: a person within the administrator's limits, once or for a program, until
//! they take it back.

use foretrace_report::bundle::BundleReader;
use foretrace_report::receipt::{Answer, Consent, How};
use foretrace_report::{Report, ReportId};

use crate::server::Server;
use crate::world::World;

fn consent(world: &World, id: ReportId) -> Consent {
    serde_json::from_slice(&std::fs::read(world.file(id, "consent.json")).unwrap()).unwrap()
}

fn outgoing(world: &World, id: ReportId) -> Report {
    let zip = std::fs::File::open(world.file(id, "outgoing.zip")).unwrap();
    BundleReader::open(zip, Default::default()).unwrap().report().unwrap()
}

#[test]
fn a_standing_yes_answers_until_it_is_taken_back_and_then_the_question_is_open_again() {
    let server = Server::start([]);
    let settings = format!("[Upload]\nProtocol=socorro\nUrl={}\n", server.url());
    // A server that cannot be reached: what was agreed to waits.
    let world = World::with_server("http://127.0.0.1:1/submit");
    let id = world.painter();
    world.done(&["consent", "--program", "painter", "--set", "always", "--max", "stack"]);
    world.run(&["send", "--all"]);
    let agreed = consent(&world, id);
    assert!(matches!(&agreed.how, How::Policy(by) if by.contains("painter")), "{agreed:?}");
    let Answer::Granted(receipt) = agreed.answer else { panic!("granted") };
    assert_eq!(receipt.classes.to_string(), "summary,stack");
    world.done(&["consent", "--program", "painter", "--set", "ask"]);
    world.set(&settings);
    let said = world.run(&["send", "--now", &id.short()]);
    assert!(said.text.contains("has no answer yet"), "{said:?}");
    assert!(!world.file(id, "consent.json").exists() && !world.file(id, "outgoing.zip").exists());
    assert_eq!(server.connections(), 0);
    // What the person answered for the report itself stands, whatever the program's answer becomes.
    world.done(&["consent", &id.short(), "--grant", "summary"]);
    world.done(&["consent", "--program", "painter", "--set", "never"]);
    world.done(&["send", "--now", &id.short()]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_administrator_caps_and_locks() {
    let server = Server::start([]);
    let world = World::new(&format!(
        "[Upload]\nProtocol=socorro\nUrl={}\n[Consent]\nDefault=ask\nMax=trail\nLock=yes\n",
        server.url()
    ));
    let id = world.painter().short();
    assert_eq!(world.run(&["consent", &id, "--grant", "memory"]).code, Some(2));
    let said = world.run(&["consent", "--program", "painter", "--set", "always"]);
    assert!(
        said.code == Some(1) && said.text.contains("the administrator of this machine answers"),
        "{said:?}"
    );
    // One report at a time, a person still decides.
    world.done(&["consent", &id, "--grant", "trail"]);
    // The limit became narrower, then everything is to stay here.
    world.set(&format!("[Upload]\nProtocol=socorro\nUrl={}\n[Consent]\nMax=stack\n", server.url()));
    let said = world.run(&["send", &id]);
    assert!(said.code == Some(1) && said.text.contains("more than 'stack'"), "{said:?}");
    world.set(&format!(
        "[Upload]\nProtocol=socorro\nUrl={}\n[Consent]\nDefault=never\nLock=yes\n",
        server.url()
    ));
    let said = world.run(&["send", &id]);
    assert!(said.code == Some(1) && said.text.contains("lets no report leave it"), "{said:?}");
    assert_eq!(server.connections(), 0);
    assert_eq!(world.done(&["status", "--login"]).text, "", "nobody is asked what they may not decide");
}

#[test]
fn a_comment_leaves_as_it_was_written_with_a_receipt_for_it() {
    let server = Server::start([]);
    let world = World::with_server(&server.url());
    let id = world.painter();
    let short = id.short();
    assert!(world.done(&["comment", &short]).text.contains("No comment yet"));
    let words = "I clicked on “Öffnen” twice; mail me: ada@example.org";
    world.done(&["comment", &short, words]);
    assert!(world.done(&["preview", &short]).text.contains(words));
    world.done(&["consent", &short, "--grant", "summary"]);
    assert_eq!(outgoing(&world, id).comment.as_deref(), Some(words));
    let before = consent(&world, id);
    // Changed after the yes: the person who wrote it answers for it, and the receipt is one for the new bytes.
    world.done(&["comment", &short, "shorter"]);
    assert_eq!(outgoing(&world, id).comment.as_deref(), Some("shorter"));
    assert_ne!(consent(&world, id), before);
    world.done(&["send", &short]);
    let body = String::from_utf8_lossy(&server.requests()[0].body).into_owned();
    assert!(body.contains(r#""Comments":"shorter""#), "{body}");
    assert_eq!(world.run(&["comment", &short, "more"]).code, Some(1), "it was sent");
    let other = world.report(9, "sculptor", &[]).short();
    assert_eq!(world.run(&["comment", &other, &"x".repeat(2001)]).code, Some(2));
    world.done(&["comment", &other, "gone again"]);
    world.done(&["comment", &other, "--remove"]);
    assert!(world.done(&["comment", &other]).text.contains("No comment yet"));
}

#[test]
fn the_line_at_login_speaks_the_person_s_language_and_only_of_what_waits() {
    let world = World::with_server("https://crash.example.org/submit");
    let greeted = |language: &str| {
        let output = world.command(&["status", "--login"]).env("LC_ALL", language).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(greeted("C"), "");
    let first = world.painter();
    world.report(9, "sculptor", &[]);
    assert_eq!(greeted("C"), "2 crash reports wait for your answer: foretrace send\n");
    world.done(&["consent", &first.short(), "--deny"]);
    assert_eq!(greeted("de_DE.UTF-8"), "1 Absturzbericht wartet auf Ihre Antwort: foretrace send\n");
    // Damaged reports and settings are no reason to bother a login.
    std::fs::write(world.file(first, "consent.json"), "{").unwrap();
    std::fs::write(world.file(first, "bundle.zip"), "x").unwrap();
    world.set("[Upload]\nProtocol=socorro\nUrl=https://crash.example.org/submit\n[Nonsense\n");
    assert_eq!(greeted("C"), "1 crash report waits for your answer: foretrace send\n");
}
