//! `foretrace agent`: asks on the desktop about reports that wait for an answer.
//!
//! Owns when somebody is asked: once for each report in a session, one report at a time, and never while the same
//! report is asked about elsewhere. Only the button that says so is a yes; a closed or expired notification, a desktop
//! without notifications and an agent that dies all mean that the question stands as before. Sending is `foretrace
//! send`'s, started as a program of its own.

mod desktop;
mod door;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use foretrace_report::Report;
use foretrace_report::ReportId;
use foretrace_report::receipt::How;
use foretrace_report::text::escape;
use foretrace_store::ReportDir;
use nix::unistd::geteuid;

use crate::arguments::Agent;
use crate::asking::{self, Taken, Turn};
use crate::commands::key;
use crate::context::Context;
use crate::prompt::{Choice, Offer, Question};
use crate::{output, prompt, sentence};
use desktop::{Answer, Desktop, Notice};
use door::Door;

/// How often it looks for new reports. The store's directory cannot be watched before it is there: nobody but root may
/// read the one above it.
const LOOK: Duration = Duration::from_secs(5);
/// A terminal for the whole question: the first that is there.
const TERMINALS: [(&str, &[&str]); 2] = [("xdg-terminal-exec", &[]), ("x-terminal-emulator", &["-e"])];

/// Runs until the session's bus is gone, or with `--once` until everything that waits was asked about.
///
/// # Errors
/// No session bus.
pub fn run(context: &Context, arguments: &Agent) -> Result<ExitCode> {
    let door = Door::taken();
    door.answer();
    let Some(desktop) = Desktop::join().context("the desktop's message bus cannot be reached")? else {
        output::complain(&context.words.say("agent-already"));
        return Ok(ExitCode::SUCCESS);
    };
    let mut asked = HashSet::new();
    let mut seen = None;
    loop {
        door.answer();
        let now = changed(context);
        if seen.as_ref() != Some(&now) {
            seen = Some(now);
            if !round(context, &desktop, &mut asked) && !arguments.once {
                // Nobody shows notifications yet: at the next look somebody may.
                seen = None;
            }
        }
        if arguments.once || !desktop.rest(LOOK) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// When the stores that are this user's changed last.
fn changed(context: &Context) -> Vec<Option<SystemTime>> {
    let shelf = |state: PathBuf| state.join("reports").join(geteuid().to_string());
    let shelves = [shelf(context.places.state()), shelf(context.places.user_state())];
    shelves.iter().map(|shelf| std::fs::metadata(shelf).and_then(|it| it.modified()).ok()).collect()
}

/// Asks about everything that waits and was not asked about yet. `false` where nobody shows questions.
fn round(context: &Context, desktop: &Desktop, asked: &mut HashSet<ReportId>) -> bool {
    if let Err(error) = key::catch_up(context) {
        output::complain(&format!("{error:#}"));
    }
    for (report, content) in asking::waiting(context) {
        if asked.contains(&report.id()) {
            continue;
        }
        if !desktop.can_ask() {
            return false;
        }
        asked.insert(report.id());
        if let Err(error) = ask(context, desktop, &report, &content) {
            output::complain(&format!("{}: {error:#}", report.id().short()));
        }
    }
    true
}

fn ask(context: &Context, desktop: &Desktop, report: &ReportDir, content: &Report) -> Result<()> {
    let Some(turn) = Turn::take(report)? else { return Ok(()) };
    let question = asking::question(context, report, content)?;
    let Some(usual) = prompt::usual(&question.offers) else { return Ok(()) };
    let answer = desktop.ask(&notice(context, &question, usual))?;
    match answer {
        Answer::Action(action) if action == "send" => {
            let choice = Choice::Send(usual.preset.classes());
            let taken = asking::take(context, report, &question.name, choice, How::Notification)?;
            drop(turn);
            if taken == Taken::Granted {
                send(context, desktop, report)?;
            }
        }
        // A click beside the buttons is no yes: it is a wish to know more.
        Answer::Action(action) if action == "details" || action == "default" => {
            drop(turn);
            details(context, desktop, report)?;
        }
        Answer::Action(_) | Answer::Silence => {}
    }
    Ok(())
}

fn notice(context: &Context, question: &Question, usual: Offer) -> Notice {
    let words = &context.words;
    let program = sentence::shortened(&question.program, 40);
    let destination = escape(&question.destination);
    let mut body = words.tell(
        "notify-body",
        &[
            ("happened", &question.happened),
            ("destination", &destination),
            ("classes", &prompt::listed(usual.preset.classes())),
            ("size", &sentence::size(usual.bytes)),
        ],
    );
    if let Some(version) = &question.fixed_in {
        body = format!("{} {body}", words.tell("ask-fixed", &[("version", &escape(version))]));
    }
    Notice {
        title: words.tell("notify-title", &[("program", &program)]),
        body,
        // "default" is a click on the text itself; where it is not offered, some desktops choose an action of their own.
        actions: [("default", "details"), ("send", "send"), ("details", "details"), ("later", "later")]
            .map(|(action, label)| (action, words.say(&format!("notify-{label}"))))
            .to_vec(),
    }
}

/// Sends what was just agreed to, and says what became of it.
fn send(context: &Context, desktop: &Desktop, report: &ReportDir) -> Result<()> {
    let done = command(context, report)?.stdin(Stdio::null()).output().context("cannot start foretrace")?;
    let words = &context.words;
    let body = match done.status.success() {
        true => words.say("notify-thanks"),
        false => {
            let said = String::from_utf8_lossy(&done.stdout);
            words.tell("notify-waits", &[("why", sentence::shortened(&escape(said.trim()), 300).as_str())])
        }
    };
    desktop.tell(&Notice { title: words.say("notify-answered"), body, actions: Vec::new() })
}

/// Opens the whole question in a terminal, or says how to.
fn details(context: &Context, desktop: &Desktop, report: &ReportDir) -> Result<()> {
    let whole = command(context, report)?;
    for (terminal, before) in TERMINALS {
        let mut window = Command::new(terminal);
        window.args(before).arg(whole.get_program()).args(whole.get_args());
        match window.stdin(Stdio::null()).stdout(Stdio::null()).spawn() {
            Ok(mut child) => {
                // The window is the person's; nobody waits for it but this thread, so that it does not stay a zombie.
                std::thread::spawn(move || child.wait());
                return Ok(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot start {terminal}")),
        }
    }
    let words = &context.words;
    let body = words.tell("notify-terminal", &[("id", &report.id().short())]);
    desktop.tell(&Notice { title: words.say("notify-details"), body, actions: Vec::new() })
}

/// `foretrace send ID`, as this program was called.
fn command(context: &Context, report: &ReportDir) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program's file is gone")?);
    if let Some(root) = &context.root {
        command.arg("--root").arg(root);
    }
    command.arg("send").arg(report.id().to_string());
    Ok(command)
}
