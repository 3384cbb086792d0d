//! `status`: what there is, where it goes, whether crashes are caught, and what the settings got wrong.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use foretrace_report::ReportId;
use foretrace_report::text::escape;
use foretrace_store::{Key, StandingAnswers};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use crate::arguments::Status;
use crate::context::Context;
use crate::state::{Document, State};
use crate::words::Words;
use crate::{asking, delivery, moment, output, send, sentence};

/// Waiting reports shown one by one.
const SHOWN: usize = 10;

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
    let mut waiting = Vec::new();
    for report in &listing.reports {
        let state = State::of(report);
        if !report.is_foreign() && matches!(state.delivery_word(), "pending" | "maybe-sent") {
            waiting.push(Waiting::of(report.id(), &state));
        }
        *consents.entry(state.consent_word()).or_default() += 1;
        *deliveries.entry(state.delivery_word()).or_default() += 1;
        bytes += report.size();
    }
    // Nobody is asked about the network while nothing waits for it.
    let network = waiting.first().and_then(|_| send::obstacle(&context.settings.upload));
    let encryption = encryption(context);
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
            "waiting": waiting,
            "network": network,
            "encryption": encryption.word(),
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
        for report in waiting.iter().take(SHOWN) {
            writeln!(out, "          {}", report.sentence(network, words))?;
        }
        if let Some(more) = waiting.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            writeln!(out, "          {}", words.count("status-more-waiting", more))?;
        }
        let mut say = |name: &str, text: &str| writeln!(out, "{:<9} {text}", words.say(name) + ":");
        let url = context.settings.upload.url.as_deref().map(escape);
        say("status-server", &url.unwrap_or_else(|| words.say("status-no-server")))?;
        say("status-crashes", &handler.sentence(words))?;
        if let Some(sentence) = encryption.sentence(words) {
            say("status-key", &sentence)?;
        }
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

/// A report that somebody agreed to send and that has not arrived for certain.
#[derive(Serialize)]
struct Waiting {
    id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Waiting {
    fn of(id: ReportId, state: &State) -> Waiting {
        let delivery = match &state.delivery {
            Document::Present(delivery) => Some(delivery),
            _ => None,
        };
        // A time that is past is none to wait for.
        let ahead = delivery.filter(|delivery| delivery::remaining(delivery, Timestamp::now()).is_some());
        Waiting {
            id: id.to_string(),
            state: state.delivery_word(),
            next: ahead.and_then(|delivery| delivery.next.clone()),
            why: delivery.and_then(|delivery| delivery.why.clone()),
        }
    }

    fn sentence(&self, network: Option<&str>, words: &Words) -> String {
        let why = network.or(self.why.as_deref()).map(|why| format!(": {}", escape(why))).unwrap_or_default();
        let when = match (&self.next, network) {
            (Some(next), _) => {
                words.tell("status-next-attempt", &[("when", &moment::local(next, &TimeZone::system()))])
            }
            (None, Some(_)) => words.say("status-waits-for-network"),
            (None, None) => words.say("status-leaves-next"),
        };
        format!("{} {}; {when}{why}", &self.id[..8], words.say(&format!("state-{}", self.state)))
    }
}

/// How this user's reports lie here.
enum Encryption {
    Off,
    NoKey,
    On,
    Broken(String),
}

fn encryption(context: &Context) -> Encryption {
    if !context.settings.storage.encrypt {
        return Encryption::Off;
    }
    match Key::load(&context.places) {
        Ok(Some(_)) => Encryption::On,
        Ok(None) => Encryption::NoKey,
        Err(error) => Encryption::Broken(error.to_string()),
    }
}

impl Encryption {
    fn word(&self) -> &'static str {
        match self {
            Encryption::Off => "off",
            Encryption::NoKey => "no-key",
            Encryption::On => "on",
            Encryption::Broken(_) => "broken",
        }
    }

    fn sentence(&self, words: &Words) -> Option<String> {
        match self {
            Encryption::Off => None,
            Encryption::NoKey => Some(words.say("status-no-key")),
            Encryption::On => Some(words.say("status-encrypted")),
            Encryption::Broken(why) => Some(why.clone()),
        }
    }
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
