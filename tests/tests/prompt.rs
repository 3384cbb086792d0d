//! A person at a terminal is told what happened and what would go to whom; what leaves is what they say, and silence, a
//! closed window or Ctrl-C says nothing.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::door::Door;
use foretrace_tests::server::Server;
use foretrace_tests::terminal::Terminal;
use foretrace_tests::world::{Installed, built_programs};

struct Scene {
    world: Installed,
    server: Server,
    door: Door,
    id: String,
}

impl Scene {
    /// The sample application has crashed, and a server is there.
    fn new() -> Result<Scene> {
        let world = Installed::new()?;
        let server = Server::start(&world.program("foretrace-server"), "127.0.0.1:0", &world.work("server"))?;
        let door = Door::before(&server)?;
        world.configure(&format!("[Upload]\nUrl={}/submit\nProtocol=socorro\n", door.address))?;
        let id = world.crash(&mut Command::new(built_programs()?.join("till")))?;
        Ok(Scene { world, server, door, id })
    }

    /// `foretrace send` at a terminal, up to the question.
    fn asked(&self) -> Result<Terminal> {
        let mut terminal = Terminal::start(self.world.foretrace().args(["send", &self.id]))?;
        terminal.wait_for("Your answer: ")?;
        Ok(terminal)
    }

    fn state(&self, field: &str) -> Result<String> {
        let rows = self.world.list()?;
        let row = rows.iter().find(|row| row["id"] == self.id.as_str());
        Ok(row.and_then(|row| row[field].as_str()).unwrap_or_default().to_owned())
    }

    fn nothing_left(&self) -> Result<()> {
        ensure!(self.door.opened() == 0, "{} connections", self.door.opened());
        ensure!(self.server.stored_reports()? == 0, "{} reports stored", self.server.stored_reports()?);
        Ok(())
    }
}

#[test]
fn the_question_says_what_happened_and_what_would_go_to_whom() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    let screen = terminal.screen();
    let when = scene.world.info(&scene.id)?["time"].as_str().unwrap_or_default()[..4].to_owned();
    for part in [
        format!("till, {when}-").as_str(),
        "till crashed in ",
        "first_card_digit: it used an address",
        // The sentence goes on in a second line.
        "nothing at 0x0 (SIGSEGV).",
        "Nothing has been sent so far",
        &format!("It would go to {}/submit.", scene.door.address),
        "1  summary ",
        "2  + stack ",
        "3  + trail (usual) ",
        "5  + memory ",
        " KiB  ",
        "cannot carry: core",
        "Send summary, stack, trail?",
    ] {
        ensure!(screen.contains(part), "'{part}' is not in:\n{screen}");
    }
    for line in screen.lines() {
        ensure!(line.chars().count() <= 80, "wider than the terminal: {line}");
    }
    scene.nothing_left()?;
    terminal.press("l\n")?;
    terminal.end()?;
    Ok(())
}

#[test]
fn a_yes_sends_exactly_one_report_and_none_before_the_key() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    scene.nothing_left()?;
    terminal.press("y\n")?;
    terminal.wait_for(" sent as ")?;
    let ended = terminal.end()?;
    ensure!(ended.success(), "{ended}: {}", terminal.screen());
    ensure!(scene.door.opened() == 1, "{} connections for one report", scene.door.opened());
    ensure!(scene.server.stored_reports()? == 1, "{} reports stored", scene.server.stored_reports()?);
    ensure!(scene.state("consent")? == "granted" && scene.state("delivery")? == "sent");
    // Answered once, nobody is asked again.
    let mut again = Terminal::start(scene.world.foretrace().args(["send", &scene.id]))?;
    again.wait_for("was sent before")?;
    again.end()?;
    ensure!(scene.server.stored_reports()? == 1, "a second copy was stored");
    Ok(())
}

#[test]
fn a_preview_then_a_narrower_choice_sends_just_that() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    terminal.press("p\n")?;
    terminal.wait_for("Would leave, with summary,stack,trail granted:")?;
    terminal.wait_for("Stays here:")?;
    terminal.wait_for("minidump.dmp")?;
    terminal.wait_for("Your answer: ")?;
    terminal.press("c\n")?;
    terminal.wait_for("How much?")?;
    terminal.press("2\n")?;
    terminal.wait_for("Send summary, stack?")?;
    terminal.wait_for("Your answer: ")?;
    scene.nothing_left()?;
    terminal.press("s\n")?;
    terminal.wait_for(" sent as ")?;
    ensure!(terminal.end()?.success(), "{}", terminal.screen());
    let rows = scene.world.ask(&["consent", "--json"])?.text();
    ensure!(
        rows.contains("\"summary\"") && rows.contains("\"stack\"") && !rows.contains("\"trail\""),
        "{rows}"
    );
    ensure!(scene.server.stored_reports()? == 1, "{} reports stored", scene.server.stored_reports()?);
    Ok(())
}

#[test]
fn later_and_silence_leave_the_question_open() -> Result<()> {
    let scene = Scene::new()?;
    for keys in ["l\n", "\x04", "\n\n\n\n\n\n"] {
        let mut terminal = scene.asked()?;
        terminal.press(keys)?;
        terminal.wait_for("you will be asked again")?;
        terminal.end()?;
        ensure!(scene.state("consent")? == "none", "{keys:?}: {}", scene.state("consent")?);
    }
    let mut terminal = scene.asked()?;
    terminal.close();
    terminal.end()?;
    ensure!(scene.state("consent")? == "none", "a closed window: {}", scene.state("consent")?);
    scene.nothing_left()?;
    // And it is asked again.
    scene.asked()?.press("n\n")?;
    Ok(())
}

#[test]
fn keys_pressed_before_the_question_are_no_answer_to_it() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = Terminal::start(scene.world.foretrace().args(["send", &scene.id]))?;
    terminal.press("y\n")?;
    terminal.wait_for("Your answer: ")?;
    scene.nothing_left()?;
    terminal.press("l\n")?;
    terminal.wait_for("you will be asked again")?;
    terminal.end()?;
    scene.nothing_left()
}

#[test]
fn never_for_this_program_is_an_answer_for_its_next_crash_too() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    terminal.press("never\n")?;
    terminal.wait_for("nothing of till will be sent")?;
    terminal.end()?;
    ensure!(scene.state("consent")? == "denied", "{}", scene.state("consent")?);
    let next = scene.world.crash(&mut Command::new(built_programs()?.join("till")))?;
    let mut terminal = Terminal::start(scene.world.foretrace().args(["send", &next]))?;
    terminal.wait_for("the standing answer for till: never")?;
    terminal.end()?;
    ensure!(!terminal.screen().contains("Your answer"), "asked all the same:\n{}", terminal.screen());
    scene.nothing_left()?;
    // Taken back, the question returns.
    run(scene.world.foretrace().args(["consent", "--program", "till", "--set", "ask"]))?.success()?;
    let mut terminal = Terminal::start(scene.world.foretrace().args(["send", &next]))?;
    terminal.wait_for("Your answer: ")?;
    terminal.press("n\n")?;
    terminal.end()?;
    scene.nothing_left()
}

#[test]
fn a_comment_typed_at_the_question_leaves_with_the_report_and_is_no_answer() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    terminal.press("m\n")?;
    terminal.wait_for("Your comment, in one line")?;
    // Even where it is a word that would be a yes.
    terminal.press("yes\n")?;
    terminal.wait_for("Your comment goes with it: “yes”")?;
    terminal.wait_for("Your answer: ")?;
    scene.nothing_left()?;
    terminal.press("s\n")?;
    terminal.wait_for(" sent as ")?;
    terminal.end()?;
    let shown =
        run(scene.world.foretrace().args(["preview", &scene.id, "--grant", "trail"]))?.success()?.text();
    ensure!(shown.contains("Your comment, as you wrote it: yes"), "{shown}");
    ensure!(scene.server.stored_reports()? == 1, "{} reports stored", scene.server.stored_reports()?);
    Ok(())
}

#[test]
fn somebody_who_reads_german_is_asked_in_german() -> Result<()> {
    let scene = Scene::new()?;
    let mut command = scene.world.foretrace();
    let mut terminal = Terminal::start(command.env("LC_ALL", "de_DE.UTF-8").args(["send", &scene.id]))?;
    terminal.wait_for("Möchten Sie einen Bericht darüber senden?")?;
    terminal.wait_for("Ihre Antwort: ")?;
    scene.nothing_left()?;
    terminal.press("ja\n")?;
    terminal.wait_for(" gesendet als ")?;
    terminal.end()?;
    ensure!(scene.server.stored_reports()? == 1, "{} reports stored", scene.server.stored_reports()?);
    Ok(())
}

#[test]
fn always_for_this_program_sends_its_next_report_without_a_question() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    terminal.press("a\n")?;
    terminal.wait_for(" sent as ")?;
    ensure!(terminal.end()?.success(), "{}", terminal.screen());
    let next = scene.world.crash(&mut Command::new(built_programs()?.join("till")))?;
    let mut terminal = Terminal::start(scene.world.foretrace().args(["send", &next]))?;
    terminal.wait_for(" sent as ")?;
    terminal.end()?;
    ensure!(!terminal.screen().contains("Your answer"), "asked all the same:\n{}", terminal.screen());
    ensure!(scene.server.stored_reports()? == 2, "{} reports stored", scene.server.stored_reports()?);
    Ok(())
}

#[test]
fn a_program_with_the_longest_name_is_asked_about_within_80_by_24_and_without_colours() -> Result<()> {
    let scene = Scene::new()?;
    let program = scene.world.work(&"program-with-a-name-as-long-as-names-of-files-can-be-".repeat(4));
    std::fs::copy(built_programs()?.join("till"), &program)?;
    let id = scene.world.crash(&mut Command::new(&program))?;
    for language in ["C", "de_DE.UTF-8"] {
        let mut terminal =
            Terminal::start(scene.world.foretrace().env("LC_ALL", language).args(["send", &id]))?;
        terminal.wait_for(if language == "C" { "Your answer: " } else { "Ihre Antwort: " })?;
        let screen = terminal.screen();
        ensure!(screen.lines().all(|line| line.chars().count() <= 80), "wider than the terminal:\n{screen}");
        ensure!(screen.lines().count() <= 24, "higher than the terminal:\n{screen}");
        ensure!(!screen.contains('\x1b'), "colours:\n{screen}");
        println!("{screen}");
        terminal.press("l\n")?;
        terminal.end()?;
    }
    scene.nothing_left()
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() -> Result<()> {
    let scene = Scene::new()?;
    for (refused, colours) in [(None, true), (Some(""), true), (Some("1"), false)] {
        for arguments in [&["list"][..], &["info", &scene.id]] {
            let mut command = scene.world.foretrace();
            match refused {
                Some(value) => command.env("NO_COLOR", value),
                None => command.env_remove("NO_COLOR"),
            };
            let mut terminal = Terminal::start(command.args(arguments))?;
            terminal.end()?;
            let screen = terminal.screen();
            ensure!(screen.contains('\x1b') == colours, "NO_COLOR={refused:?} {arguments:?}:\n{screen}");
        }
    }
    Ok(())
}

#[test]
fn ctrl_c_sends_nothing_and_leaves_the_terminal_as_it_was() -> Result<()> {
    let scene = Scene::new()?;
    let mut terminal = scene.asked()?;
    let before = terminal.modes()?;
    terminal.press("\x03")?;
    let ended = terminal.end()?;
    ensure!(ended.signal() == Some(2), "{ended}: {}", terminal.screen());
    ensure!(terminal.modes()? == before, "the terminal's modes changed");
    ensure!(!terminal.screen().contains('\x1b'), "escape sequences are left over");
    ensure!(scene.state("consent")? == "none" && scene.state("delivery")? == "none");
    scene.nothing_left()
}
