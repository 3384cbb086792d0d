//! The rules for text beside those of Sentry's Relay, on the same texts: whatever Relay takes out that is nobody's
//! business `foretrace` takes out too, and it keeps what a backtrace needs.
//!
//! Relay comes from the package index into an environment of its own, and runs as a second program
//! (`redaction/relay.py`). Ours runs as a person runs it: a report whose log holds the texts, and `foretrace preview`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_report::bundle::{BundleReader, Limits};
use foretrace_tests::command::{run as run_command, run_with_input};
use foretrace_tests::plants;

use super::{python, sample};
use crate::build::{self, say};
use crate::setup;

/// The release of the package that is compared with.
const RELAY: &str = "sentry-relay==0.10.1";
/// The part of a report whose texts are taken one by one: a NUL ends each.
const PART: &str = "logs/journal";
/// So many characters in a row are a find.
const PIECE: usize = 8;
/// So many of a program's names of functions are tried.
const NAMES: usize = 20_000;
/// Relay takes less for all of them.
const PATIENCE: Duration = Duration::from_secs(300);
/// Relay's rule that judges a text by one word in it, and takes all of it.
const BY_A_WORD: &str = "password";

/// What Relay masked of a text: ranges of characters by the name of its rule.
type Findings = BTreeMap<String, Vec<(usize, usize)>>;

/// A text, and what both made of it.
struct Judged {
    text: String,
    ours: String,
    relay: Findings,
}

impl Judged {
    /// The rules of Relay's of whose findings ours left something.
    fn left(&self) -> impl Iterator<Item = &str> {
        let letters: Vec<char> = self.text.chars().collect();
        let survives = move |range: &(usize, usize)| {
            // A server's name behind a login is no e-mail address.
            let before: String = letters[..range.0].iter().collect();
            let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
            let from = if word.contains("://") { at_sign(&letters, range) } else { range.1 };
            let piece = &letters[range.0..from];
            piece.windows(PIECE.min(piece.len())).any(|run| self.ours.contains(&String::from_iter(run)))
        };
        self.relay.iter().filter_map(move |(rule, ranges)| {
            let left = if rule == BY_A_WORD { self.ours == self.text } else { ranges.iter().any(&survives) };
            left.then_some(rule.as_str())
        })
    }
}

/// Where a range's part before an @ ends.
fn at_sign(letters: &[char], range: &(usize, usize)) -> usize {
    letters[range.0..range.1].iter().position(|letter| *letter == '@').map_or(range.1, |at| range.0 + at)
}

/// Compares.
///
/// # Errors
/// No Relay; a text that Relay takes out, ours keeps, and for which nobody gave a reason; a name that ours changes.
pub fn run() -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_COMPARE_REDACTION])?;
    let python = python::environment("relay", &[RELAY])?;
    build::cargo(["build", "--package", "foretrace-cli"])?;
    let program = build::release_folder().with_file_name("debug").join("foretrace");
    let judge = |texts: Vec<String>| judge(&python, &program, texts);

    say("forms in which each rule's subject is written");
    let forms = plants::forms()?;
    let judged = judge(forms.iter().map(|form| form.text.clone()).collect())?;
    let mut wrong = Vec::new();
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (form, judged) in forms.iter().zip(&judged) {
        let changed = judged.ours != judged.text;
        let left: Vec<&str> = judged.left().collect();
        rows.entry(&form.kind).or_default().note(changed, !judged.relay.is_empty());
        match &form.stays {
            None if !changed => wrong.push(format!("{}: {} stays", form.kind, form.text)),
            None if !left.is_empty() => {
                wrong.push(format!("{}: {} became {}, {left:?}", form.kind, form.text, judged.ours));
            }
            Some(_) if changed => wrong.push(format!("{}: {} became {}", form.kind, form.text, judged.ours)),
            _ => {}
        }
    }
    Row::print_all("forms of", &rows);
    for (form, judged) in forms.iter().zip(&judged).filter(|(form, _)| form.stays.is_some()) {
        let rules: Vec<&str> = judged.relay.keys().map(String::as_str).collect();
        let relay =
            if rules.is_empty() { "stays with both".into() } else { format!("Relay's {}", rules.join(", ")) };
        println!("  stays: {} ({relay}): {}", form.text, form.stays.as_deref().unwrap_or_default());
    }

    say("planted secrets");
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for judged in judge(plants::secrets()?.into_iter().map(|secret| secret.text).collect())? {
        rows.entry("all").or_default().note(judged.ours != judged.text, !judged.relay.is_empty());
        let left: Vec<&str> = judged.left().filter(|rule| *rule != "uuid").collect();
        if !left.is_empty() {
            wrong.push(format!("{} became {}, {left:?}", judged.text, judged.ours));
        }
    }
    Row::print_all("secrets", &rows);

    say("what only looks like one, and functions' names");
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let look_alikes = plants::look_alikes()?;
    let judged = judge(look_alikes.iter().map(|(_, text)| text.clone()).collect())?;
    for ((kind, _), judged) in look_alikes.iter().zip(&judged) {
        rows.entry(kind).or_default().note(judged.ours != judged.text, !judged.relay.is_empty());
        if judged.ours != judged.text {
            wrong.push(format!("{} became {}", judged.text, judged.ours));
        }
    }
    for judged in judge(names_of(&program)?)? {
        rows.entry("functions of foretrace")
            .or_default()
            .note(judged.ours != judged.text, !judged.relay.is_empty());
        if judged.ours != judged.text {
            wrong.push(format!("{} became {}", judged.text, judged.ours));
        }
    }
    Row::print_all("look-alikes", &rows);
    ensure!(wrong.is_empty(), "{} differences without a reason:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// How many texts there are of a kind, and who takes something out of how many.
#[derive(Default)]
struct Row {
    texts: usize,
    ours: usize,
    relay: usize,
}

impl Row {
    fn note(&mut self, ours: bool, relay: bool) {
        self.texts += 1;
        self.ours += usize::from(ours);
        self.relay += usize::from(relay);
    }

    fn print_all(what: &str, rows: &BTreeMap<&str, Row>) {
        println!("{what:<24} {:>6} {:>9} {:>6}", "texts", "foretrace", "Relay");
        for (kind, row) in rows {
            println!("{kind:<24} {:>6} {:>9} {:>6}", row.texts, row.ours, row.relay);
        }
    }
}

fn judge(python: &Path, program: &Path, texts: Vec<String>) -> Result<Vec<Judged>> {
    let (ours, relay) = (ours(program, &texts)?, theirs(python, &texts)?);
    ensure!(ours.len() == texts.len() && relay.len() == texts.len(), "a text is missing");
    let judged = texts.into_iter().zip(ours).zip(relay);
    Ok(judged.map(|((text, ours), relay)| Judged { text, ours, relay }).collect())
}

/// What `foretrace` makes of the texts.
fn ours(program: &Path, texts: &[String]) -> Result<Vec<String>> {
    let world = tempfile::tempdir()?;
    let id = sample::publish(world.path(), "texts", &[(PART, texts.join("\0").as_bytes())])?;
    let outgoing = world.path().join("outgoing.zip");
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(world.path())
        .args(["preview", &id.to_string(), "--grant", "logs", "-o"])
        .arg(&outgoing);
    run_command(&mut command)?.success()?;
    let content = BundleReader::open(File::open(outgoing)?, Limits::default())?.part(PART)?;
    Ok(String::from_utf8_lossy(&content).split('\0').map(str::to_owned).collect())
}

/// What Relay finds in them.
fn theirs(python: &Path, texts: &[String]) -> Result<Vec<Findings>> {
    let lines = texts.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let mut command = Command::new(python);
    command.args(["-c", include_str!("redaction/relay.py")]);
    let said =
        run_with_input(&mut command, (lines.join("\n") + "\n").as_bytes(), PATIENCE)?.success()?.text();
    said.lines().map(|line| serde_json::from_str(line).context("Relay's answer")).collect()
}

/// The demangled names of a program's functions, each once.
fn names_of(program: &Path) -> Result<Vec<String>> {
    let said = run_command(
        Command::new("nm").args(["--demangle", "--defined-only", "--format=just-symbols"]).arg(program),
    )?;
    let names: BTreeSet<String> = said.success()?.text().lines().map(str::to_owned).collect();
    let step = names.len().div_ceil(NAMES);
    Ok(names.into_iter().step_by(step.max(1)).collect())
}
