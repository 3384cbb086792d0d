//! `status`: what there is, where it goes, whether crashes are caught, and what the settings got wrong.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use foretrace_report::text::escape;
use foretrace_store::StandingAnswers;
use serde_json::json;

use crate::arguments::Status;
use crate::context::Context;
use crate::state::State;
use crate::words::Words;
use crate::{asking, output, sentence};

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// Says how things stand.
///
/// # Errors
/// Output that cannot be written.
pub fn run(context: &Context, arguments: &Status) -> Result<ExitCode> {
    if arguments.login {
        greet(context);
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.store();
    let listing = store.reports();
    let mut consents: BTreeMap<&str, usize> = BTreeMap::new();
    let mut deliveries: BTreeMap<&str, usize> = BTreeMap::new();
    let mut bytes = 0;
    for report in &listing.reports {
        let state = State::of(report);
        *consents.entry(state.consent_word()).or_default() += 1;
        *deliveries.entry(state.delivery_word()).or_default() += 1;
        bytes += report.size();
    }
    let lost = foretrace_store::lost::look(&context.places, jiff::Timestamp::now().as_second(), 0);
    let lost = lost.map_or(0, |lost| lost.count);
    let handler = Handler::read();
    let (_, answers) = StandingAnswers::load(&context.places);
    let warnings: Vec<String> = context.warnings.iter().chain(&answers).map(ToString::to_string).collect();
    let problems: Vec<String> =
        store.problems().iter().chain(&listing.problems).map(ToString::to_string).collect();
    let mut out = output::standard();
    if context.json {
        let status = json!({
            "reports": listing.reports.len(),
            "bytes": bytes,
            "consent": consents,
            "delivery": deliveries,
            "url": context.settings.upload.url,
            "lost_at_least": lost,
            "handler": handler.word(),
            "core_pattern": handler.pattern(),
            "warnings": warnings,
            "problems": problems,
        });
        output::json_line(&mut out, &status)?;
    } else {
        let words = &context.words;
        let mut say = |name: &str, text: &str| writeln!(out, "{:<9} {text}", words.say(name) + ":");
        say("status-reports", &format!("{} ({})", listing.reports.len(), sentence::size(bytes)))?;
        say("status-answers", &counts(&consents, words))?;
        say("status-sending", &counts(&deliveries, words))?;
        let url = context.settings.upload.url.as_deref().map(escape);
        say("status-server", &url.unwrap_or_else(|| words.say("status-no-server")))?;
        say("status-crashes", &handler.sentence(words))?;
        if lost > 0 {
            say(
                "status-lost",
                &words.count("status-lost-crashes", usize::try_from(lost).unwrap_or(usize::MAX)),
            )?;
        }
        warnings.iter().try_for_each(|warning| say("status-settings", warning))?;
        problems.iter().try_for_each(|problem| say("status-problem", &escape(problem)))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A line for somebody who logs in, where something waits for them. Nothing that goes wrong here is worth a word there.
fn greet(context: &Context) {
    let waiting = asking::waiting(context).len();
    if waiting > 0 {
        let _ = writeln!(std::io::stdout(), "{}", context.words.count("login-waiting", waiting));
    }
}

fn counts(counts: &BTreeMap<&str, usize>, words: &Words) -> String {
    let shown = |(word, number): (&&str, &usize)| format!("{number} {}", words.say(&format!("state-{word}")));
    let list: Vec<String> = counts.iter().map(shown).collect();
    if list.is_empty() { words.say("status-nothing") } else { list.join(", ") }
}

/// Who is given crashes by the kernel.
enum Handler {
    Ours(String),
    Other(String),
    Unknown,
}

impl Handler {
    fn read() -> Handler {
        match std::fs::read_to_string(CORE_PATTERN).map(|pattern| pattern.trim().to_owned()) {
            Ok(pattern) if pattern.starts_with('|') && pattern.contains("/foretrace-coredump") => {
                Handler::Ours(pattern)
            }
            Ok(pattern) => Handler::Other(pattern),
            Err(_) => Handler::Unknown,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Handler::Ours(_) => "installed",
            Handler::Other(_) => "not-installed",
            Handler::Unknown => "unknown",
        }
    }

    fn pattern(&self) -> Option<&str> {
        match self {
            Handler::Ours(pattern) | Handler::Other(pattern) => Some(pattern),
            Handler::Unknown => None,
        }
    }

    fn sentence(&self, words: &Words) -> String {
        match self {
            Handler::Ours(_) => words.say("status-caught"),
            Handler::Other(pattern) => words.tell("status-not-caught", &[("pattern", &escape(pattern))]),
            Handler::Unknown => words.tell("status-unknown", &[("file", CORE_PATTERN)]),
        }
    }
}
