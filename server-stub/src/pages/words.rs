//! Plain words: numbers, sizes, times, and the one sentence that says what happened.
//!
//! Pure. Everything that takes a stranger's text hands it back escaped for the eye; the templates escape markup.

use foretrace_report::schema::{Frame, Kind, Report, Signal, Trust};
use foretrace_report::signature::telling;
use foretrace_report::trail::level_name;
use foretrace_ring::trail::Level;
use jiff::Timestamp;
use maud::{Markup, html};

use crate::store::Mark;

/// A stranger's text.
pub fn said(text: &str) -> String {
    foretrace_report::text::escape(text)
}

/// A stranger's text, cut after `characters`.
pub fn said_up_to(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", said(&text[..end])),
        None => said(text),
    }
}

/// What a developer said of the problem: in which version it is mended, and what is still wanted of it.
pub fn fixed_in(mark: &Mark) -> Markup {
    html! {
        @if !mark.fixed_in.is_empty() { p.mark { "Fixed in " strong { (said_up_to(&mark.fixed_in, 100)) } "." } }
        @match mark.wants.as_str() {
            "" => {},
            "stop" => p.mark.quiet { "No more reports of it are wanted." },
            class => p.mark.quiet { "Of new reports no more than '" (said_up_to(class, 20)) "' is wanted." },
        }
    }
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, as in `1 report` and `1,200 reports`.
pub fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// A size.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return count(bytes, "byte", "bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A length of time in nanoseconds, with three digits.
pub fn span(nanoseconds: u64) -> String {
    let (unit, name) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        1_000_000_000..120_000_000_000 => (1e9, "s"),
        120_000_000_000..7_200_000_000_000 => (60e9, "min"),
        _ => (3600e9, "h"),
    };
    let value = nanoseconds as f64 / unit;
    let decimals = if value >= 100.0 { 0 } else { 3 - format!("{value:.0}").len().min(3) };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {name}")
}

/// How long ago a time in milliseconds since 1970 was, with the time itself at hand.
pub fn ago(milliseconds: i64) -> Markup {
    let passed = Timestamp::now().as_millisecond().saturating_sub(milliseconds) / 1000;
    let text = match passed {
        ..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", passed / 60),
        3600..86_400 => format!("{} h ago", passed / 3600),
        86_400..172_800 => "yesterday".to_owned(),
        172_800..5_184_000 => format!("{} days ago", passed / 86_400),
        _ => format!("{} months ago", passed / 2_592_000),
    };
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => {
            html! { time datetime=(time.strftime("%FT%TZ")) title=(time.strftime("%F %T UTC")) { (text) } }
        }
        Err(_) => html! { "at an unknown time" },
    }
}

/// A time in milliseconds since 1970, in full.
pub fn exactly(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map(|time| time.strftime("%F %T UTC").to_string())
        .unwrap_or_else(|_| "an unknown time".into())
}

/// All levels, the most important first.
pub const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

/// The level with a name.
pub fn level_named(name: &str) -> Option<Level> {
    LEVELS.into_iter().find(|one| level_name(*one) == name)
}

/// What the moment to which a trail leads is called.
pub fn moment(kind: Option<Kind>) -> &'static str {
    match kind {
        None | Some(Kind::Crash) => "crash",
        Some(Kind::Error) => "error",
        Some(Kind::Panic) => "panic",
        Some(Kind::Hang) => "hang",
        Some(Kind::Killed) => "end",
        Some(Kind::Snapshot) => "snapshot",
    }
}

/// What is said of the thread that a report is about.
pub fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::Crash | Kind::Panic => "crashed",
        Kind::Error => "reported it",
        Kind::Hang => "hung",
        Kind::Killed => "ended",
        Kind::Snapshot => "asked about",
    }
}

/// The headline: which program, and what became of it.
pub fn headline(report: &Report) -> String {
    let program = name(report);
    match report.kind {
        Kind::Crash => format!("{program} crashed"),
        Kind::Error => format!("{program} reported an error"),
        Kind::Panic => format!("{program} panicked"),
        Kind::Hang => format!("{program} hung"),
        Kind::Killed => format!("{program} was killed"),
        Kind::Snapshot => format!("A snapshot of {program}"),
    }
}

/// What happened, in one sentence.
pub fn sentence(report: &Report) -> String {
    let said_by_program = report.message.as_deref().filter(|message| !message.is_empty());
    let quoted =
        said_by_program.map(|message| format!(": “{}”", said_up_to(message, 500))).unwrap_or_default();
    let place = place(report);
    match report.kind {
        Kind::Crash => match &report.signal {
            Some(signal) => format!("It {} ({}){place}{quoted}.", deed(signal), said(&signal.name)),
            None => format!("A signal ended it{place}{quoted}."),
        },
        Kind::Error => format!("It reported an error and went on{quoted}."),
        Kind::Panic => format!("A Rust panic ended the work of a thread{place}{quoted}."),
        Kind::Hang => format!("It no longer answered{place}{quoted}."),
        Kind::Killed => match &report.signal {
            Some(signal) => format!("It was killed from outside ({}){quoted}.", said(&signal.name)),
            None => format!("It was killed from outside{quoted}."),
        },
        Kind::Snapshot => format!("Somebody asked for its state; it went on undisturbed{quoted}."),
    }
}

/// The trail's counts as a sentence. `rings` is how many trails the bundle held, `shown` how many events.
pub fn losses(report: &Report, rings: usize, shown: u64) -> String {
    let losses = &report.losses;
    if losses.recorded == 0 && losses.discarded == 0 && shown == 0 {
        return "No events were recorded: the program does not use foretrace's recorder, or its ring could not be \
                had."
            .into();
    }
    if rings == 0 {
        let recorded = count(losses.recorded, "event", "events");
        return format!("The program recorded {recorded}. They were not sent with this report.");
    }
    let mut text = format!("{} of {} kept.", number(shown), count(losses.recorded, "event", "events"));
    match losses.overwritten {
        0 => {}
        1 => text.push_str(" One older event was replaced by a newer one."),
        many => text.push_str(&format!(" {} older ones were replaced by newer ones.", number(many))),
    }
    match losses.discarded {
        0 => text.push_str(" None was discarded."),
        many => text.push_str(&format!(
            " {} could not be recorded at all.",
            count(many, "further event", "further events")
        )),
    }
    let missing = losses.recorded.saturating_sub(losses.overwritten).saturating_sub(shown);
    if missing > 0 {
        text.push_str(&format!(
            " {} should be here and could not be read.",
            count(missing, "event", "events")
        ));
    }
    text
}

/// How much a frame is to be believed: a word for the eye, empty where there is no doubt, and a sentence.
pub fn trust(frame: &Frame) -> (&'static str, &'static str) {
    match frame.trust {
        Trust::Context => ("", "Where the thread stood."),
        Trust::Cfi => ("", "Found by call frame information."),
        Trust::Signal => ("signal", "The kernel called a signal handler here."),
        Trust::FramePointer => {
            ("by frame pointer", "Found by following frame pointers: likely, not certain.")
        }
        Trust::Stated => ("", "Noted by the thread itself when it panicked."),
        Trust::Scan => {
            ("guess", "A word on the stack that looks like a return address: it may never have been called.")
        }
    }
}

fn name(report: &Report) -> String {
    match report.program.name.trim() {
        "" => "A program without a name".into(),
        name => said(name),
    }
}

fn deed(signal: &Signal) -> String {
    let deed = match signal.name.as_str() {
        "SIGSEGV" => "used memory that it may not use",
        "SIGBUS" => "used memory that could not be had",
        "SIGABRT" => "ended itself by abort",
        "SIGFPE" => "did a calculation that has no result, such as a division by zero",
        "SIGILL" => "met an instruction that the processor does not know",
        "SIGTRAP" => "ran into a trap",
        "SIGSYS" => "made a system call that was forbidden to it",
        "SIGQUIT" => "was told to quit and leave a core",
        _ => "was ended by a signal",
    };
    match signal.address.as_deref() {
        Some(address) if matches!(signal.name.as_str(), "SIGSEGV" | "SIGBUS") => {
            format!("{deed}, at address {}", said_up_to(address, 40))
        }
        _ => deed.to_owned(),
    }
}

// The function that says where it happened, except after an abort: there the signature and the message say more.
fn place(report: &Report) -> String {
    if report.signal.as_ref().is_some_and(|signal| signal.name == "SIGABRT") || report.kind == Kind::Panic {
        return String::new();
    }
    let crashed = report.threads.iter().find(|thread| thread.crashed);
    let frame = crashed.and_then(|thread| {
        let guessed = thread.frames.iter().position(|frame| frame.trust == Trust::Scan);
        telling(&thread.frames[..guessed.unwrap_or(thread.frames.len())])
    });
    match frame {
        Some(Frame { function: Some(function), file: Some(file), line, .. }) => {
            let file = file.rsplit('/').next().unwrap_or(file);
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            format!(" in {} ({}{line})", said_up_to(function, 200), said_up_to(file, 100))
        }
        Some(Frame { function: Some(function), .. }) => format!(" in {}", said_up_to(function, 200)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(extra: serde_json::Value) -> Report {
        let mut whole = serde_json::json!({"schema": 1, "id": "00017f80ff6162636465666768696a6b", "kind": "crash",
            "time": "2026-01-01T00:00:00Z", "program": {"name": "hello", "pid": 1}});
        whole.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn numbers_sizes_and_spans_are_readable() {
        assert_eq!((number(0), number(999), number(1_000), number(1_234_567)), {
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        });
        assert_eq!((size(1), size(1023), size(1024), size(5 << 20)), {
            ("1 byte".into(), "1,023 bytes".into(), "1.0 KiB".into(), "5.0 MiB".into())
        });
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (1_500, "1.5 µs"),
            (12_345_678, "12.3 ms"),
            (200_000_000, "200 ms"),
            (5_000_000_000, "5 s"),
            (90_000_000_000, "90 s"),
            (300_000_000_000, "5 min"),
            (u64::MAX, "5124096 h"),
        ] {
            assert_eq!(span(nanoseconds), text);
        }
    }

    #[test]
    fn a_crash_is_told_in_a_sentence() {
        let crash = report(serde_json::json!({
            "signal": {"number": 11, "name": "SIGSEGV", "address": "0x0"},
            "threads": [{"tid": 1, "crashed": true, "frames": [
                {"ip": "0x1", "function": "work", "file": "/src/main.rs", "line": 12, "trust": "context"}]}]
        }));
        assert_eq!(headline(&crash), "hello crashed");
        assert_eq!(
            sentence(&crash),
            "It used memory that it may not use, at address 0x0 (SIGSEGV) in work (main.rs:12)."
        );
    }

    #[test]
    fn a_guessed_frame_is_no_place() {
        let crash = report(serde_json::json!({"signal": {"number": 11, "name": "SIGSEGV"},
            "threads": [{"tid": 1, "crashed": true, "frames": [
                {"ip": "0x1", "function": null, "trust": "context"}, {"ip": "0x2", "function": "f", "trust": "scan"}]}]}));
        assert_eq!(sentence(&crash), "It used memory that it may not use (SIGSEGV).");
    }

    #[test]
    fn losses_are_told_in_plain_words() {
        let lossy = report(
            serde_json::json!({"losses": {"recorded": 800_000, "overwritten": 795_188, "discarded": 0}}),
        );
        assert_eq!(
            losses(&lossy, 1, 4_812),
            "4,812 of 800,000 events kept. 795,188 older ones were replaced by newer ones. None was discarded."
        );
        assert!(losses(&lossy, 1, 4_800).ends_with("12 events should be here and could not be read."));
        assert_eq!(
            losses(&lossy, 0, 0),
            "The program recorded 800,000 events. They were not sent with this report."
        );
        assert!(losses(&report(serde_json::json!({})), 0, 0).starts_with("No events were recorded"));
    }

    #[test]
    fn long_and_hostile_texts_are_cut_and_escaped() {
        assert_eq!(said_up_to("abc", 3), "abc");
        assert_eq!(said_up_to("a\u{202e}üd", 3), "a\\u{202e}ü…");
    }
}
