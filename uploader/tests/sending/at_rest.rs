//! `[Storage] Encrypt=yes`: reports lie encrypted to their user's key, and only who has it reads them.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use foretrace_report::bundle::BundleReader;
use foretrace_tests::terminal::Terminal;
use nix::sys::termios::LocalFlags;

use crate::sealed::{files, opened};
use crate::server::{Server, stored};
use crate::world::World;

const ENCRYPT: &str = "[Storage]\nEncrypt=yes\n";

#[test]
fn a_report_written_with_the_public_half_alone_is_read_with_the_secret_one_and_by_debians_age() {
    let server = Server::start([stored("bp-1")]);
    let world = World::new(&format!("[Upload]\nUrl={}\nProtocol=socorro\n{ENCRYPT}", server.url()));
    // Before there is a key, nothing is lost; it is encrypted as soon as there is one.
    let early = world.report(1, "sculptor", &[]);
    assert!(world.done(&["status"]).text.contains("foretrace key --create"));
    let said = world.done(&["key", "--create"]);
    assert!(said.text.contains("age1") && said.text.contains("1 encrypted, 0 not"), "{said:?}");
    assert!(!world.file(early, "bundle.zip").exists() && world.file(early, "bundle.zip.age").exists());
    let identity = world.identity();
    assert_eq!(std::fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);

    // Whoever writes it has no secret.
    let hidden = world.path("hidden");
    std::fs::rename(&identity, &hidden).unwrap();
    let id = world.painter();
    std::fs::rename(&hidden, &identity).unwrap();
    assert!(!world.file(id, "bundle.zip").exists());
    for (path, content) in files(&world.directory(id)) {
        assert!(!content.windows(7).any(|window| window == b"painter"), "{}", path.display());
    }
    let zip = opened(&identity, &world.file(id, "bundle.zip.age"));
    let mut bundle = BundleReader::open(std::io::Cursor::new(zip.clone()), Default::default()).unwrap();
    assert_eq!(bundle.report().unwrap().program.name, "painter");

    // Everything that reads reads it as any other.
    let short = id.short();
    let list = world.done(&["list"]).text;
    assert!(list.contains("painter") && list.contains("sculptor"), "{list}");
    assert!(world.done(&["info", &short]).text.contains("painter"));
    let dumped = world.path("dumped.zip");
    world.done(&["dump", &short, "-o", dumped.to_str().unwrap()]);
    assert_eq!(std::fs::read(dumped).unwrap(), zip);
    world.done(&["consent", &short, "--grant", "trail"]);
    world.done(&["send", &short]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn without_its_key_a_report_is_listed_with_what_is_known_and_can_still_be_erased() {
    let world = World::new(ENCRYPT);
    world.done(&["key", "--create"]);
    world.report(1, "sculptor", &[]);
    world.done(&["key"]);
    let id = world.painter();
    let identity = world.identity();
    std::fs::rename(&identity, world.path("lost")).unwrap();
    let said = world.done(&["list"]);
    assert!(said.text.contains(&id.short()) && said.text.contains("encrypted"), "{said:?}");
    assert!(said.text.contains(identity.to_str().unwrap()), "where the key should be: {said:?}");
    let said = world.run(&["info", &id.short()]);
    assert!(
        said.code == Some(1) && said.text.contains("the report is encrypted, and cannot be opened"),
        "{said:?}"
    );
    // A key that others may read is none, and another one opens nothing.
    std::fs::copy(world.path("lost"), &identity).unwrap();
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = world.run(&["info", &id.short()]);
    assert!(said.code == Some(1) && said.text.contains("chmod 600"), "{said:?}");
    std::fs::remove_file(&identity).unwrap();
    world.done(&["key", "--create"]);
    let said = world.run(&["info", &id.short()]);
    assert!(said.code == Some(1) && said.text.contains("encrypted to another key"), "{said:?}");
    let said = world.run(&["send", "--all"]);
    assert!(!said.text.contains("panicked"), "{said:?}");
    world.done(&["forget", &id.short()]);
    assert!(!world.directory(id).exists());
    // A key that is there is never replaced.
    let before = std::fs::read(&identity).unwrap();
    world.done(&["key", "--create"]);
    assert_eq!(std::fs::read(&identity).unwrap(), before);
}

#[test]
fn a_damaged_encrypted_report_is_named_and_the_others_stay_readable() {
    let world = World::new(ENCRYPT);
    world.done(&["key", "--create"]);
    let good = world.report(1, "sculptor", &[]);
    world.done(&["key"]);
    let id = world.report(2, "painter", &[("logs/journal", &crate::world::noise(300_000))]);
    let path = world.file(id, "bundle.zip.age");
    let whole = std::fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..100], b"", b"age-encryption.org/v1\n"] {
        std::fs::write(&path, damaged).unwrap();
        let said = world.done(&["list"]);
        assert!(said.text.contains("sculptor") && said.text.contains(&id.to_string()), "{said:?}");
        assert_eq!(world.run(&["info", &id.short()]).code, Some(1));
        world.done(&["info", &good.short()]);
    }
    let mut changed = whole.clone();
    let last = changed.len() - 40;
    changed[last] ^= 1;
    std::fs::write(&path, changed).unwrap();
    assert_eq!(world.run(&["info", &id.short()]).code, Some(1));
}

/// A command at a terminal at which these answers are typed, each after its question; what is shown.
fn typing(command: &Command, answers: &[(&str, &str)]) -> (bool, String) {
    let mut terminal = Terminal::start(command).unwrap();
    for (question, answer) in answers {
        terminal.wait_for(question).unwrap();
        terminal.press(answer).unwrap();
    }
    let ended = terminal.end().unwrap();
    let echo = terminal.modes().unwrap().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON);
    assert!(echo, "the terminal is not as it was before");
    (ended.success(), terminal.screen())
}

/// A command away from every terminal, also from the one at which these tests run.
fn away(command: &Command) -> (Option<i32>, String) {
    let mut away = Command::new("setsid");
    away.arg("--wait").arg(command.get_program()).args(command.get_args());
    command.get_envs().for_each(|(name, value)| match value {
        Some(value) => drop(away.env(name, value)),
        None => drop(away.env_remove(name)),
    });
    let done = away.stdin(std::process::Stdio::null()).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_key_with_a_passphrase_opens_reports_at_a_terminal_alone_and_is_one_of_debians_age() {
    const NEW: &str = "New passphrase";
    const ASKED: &str = "Passphrase of the key";
    let world = World::new(ENCRYPT);
    world.report(1, "sculptor", &[]);
    let (done, said) = typing(
        &world.command(&["key", "--create", "--passphrase"]),
        &[(NEW, "open sesame\r"), ("once more", "open sesame\r")],
    );
    assert!(done && said.contains("A passphrase locks it") && said.contains("1 encrypted, 0 not"), "{said}");
    assert!(!said.contains("sesame"), "it was shown: {said}");
    let identity = world.identity();
    assert!(std::fs::read(&identity).unwrap().starts_with(b"age-encryption.org/v1"));
    let id = world.painter();
    assert!(world.file(id, "bundle.zip.age").exists(), "it takes no passphrase to write one");

    // Nobody is there to be asked: everything stays closed, is listed, and says what to do.
    let (code, said) = away(&world.command(&["list"]));
    assert!(
        code == Some(0) && said.contains(&id.short()) && said.contains("run this command on one"),
        "{said}"
    );
    for command in [["info", &id.short()], ["preview", &id.short()]] {
        let (code, said) = away(&world.command(&command));
        assert!(code == Some(1) && said.contains("locked with a passphrase"), "{said}");
    }
    let (code, said) = away(&world.command(&["key", "--passphrase"]));
    assert!(code == Some(1) && said.contains("run this command on one"), "{said}");
    // At login nobody is held up.
    assert!(typing(&world.command(&["status", "--login"]), &[]).0);

    let info = world.command(&["info", &id.short()]);
    let (done, said) = typing(&info, &[(ASKED, "open barley\r"), ("not its passphrase", "open sesame\r")]);
    assert!(done && said.contains("painter") && !said.contains("sesame"), "{said}");
    let (done, said) = typing(&info, &[(ASKED, "open\u{3}")]);
    assert!(!done && !said.contains("painter"), "{said}");
    // Once for a command, however many reports it opens.
    let (done, said) = typing(&world.command(&["list"]), &[(ASKED, "open sesame\r")]);
    assert!(done && said.contains("painter") && said.contains("sculptor"), "{said}");

    let mut age = Command::new("age");
    age.args(["--decrypt", "--identity"]).arg(&identity).arg("--output").arg(world.path("bundle.zip"));
    age.arg(world.file(id, "bundle.zip.age"));
    let (done, said) = typing(&age, &[("passphrase", "open sesame\r")]);
    assert!(done, "{said}");
    assert!(std::fs::read(world.path("bundle.zip")).unwrap().starts_with(b"PK"));

    // Taken away again by whoever knows it, and by nobody else.
    let change = world.command(&["key", "--passphrase"]);
    let wrong = [(ASKED, "a\r"), ("not its", "b\r"), ("not its", "c\r")];
    assert!(!typing(&change, &wrong).0);
    let (done, said) = typing(&change, &[(ASKED, "open sesame\r"), (NEW, "one\r"), ("once more", "two\r")]);
    assert!(!done && said.contains("nothing is changed"), "{said}");
    let (done, said) = typing(&change, &[(ASKED, "open sesame\r"), (NEW, "\r")]);
    assert!(done && !said.contains("A passphrase locks it"), "{said}");
    assert!(away(&info).1.contains("painter"));
    assert_eq!(std::fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
}
