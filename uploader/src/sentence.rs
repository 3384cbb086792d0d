//! What happened, in plain words: the one place where a report becomes a sentence. Pure.

use foretrace_report::schema::{Kind, Signal};
use foretrace_report::text::escape;
use foretrace_report::{Report, signature};

use crate::words::Words;

/// The program as a person knows it: name, and package with version where they are known.
pub fn program(report: &Report) -> String {
    let name = escape(&report.program.name);
    match &report.program.package {
        Some(package) if package.name == report.program.name => {
            format!("{name} {}", escape(&package.version))
        }
        Some(package) => format!("{name} ({} {})", escape(&package.name), escape(&package.version)),
        None => name,
    }
}

/// One plain sentence of what happened.
pub fn happened(report: &Report, words: &Words) -> String {
    let program = escape(&report.program.name);
    let said = report.message.as_deref().map(|text| shortened(&escape(text), 300));
    let said = said.map(|message| words.tell("said", &[("message", &message)])).unwrap_or_default();
    let place = place(report).map(|function| words.tell("where", &[("function", &function)]));
    let place = place.unwrap_or_default();
    let (happened, more) = (("program", program.as_str()), ("said", said.as_str()));
    let place = ("where", place.as_str());
    match (report.kind, &report.signal) {
        (Kind::Crash, Some(signal)) => {
            let meaning = meaning(signal, words);
            words.tell("happened-crash", &[happened, place, ("meaning", &meaning)])
        }
        (Kind::Crash, None) => words.tell("happened-crash-bare", &[happened, place]),
        (Kind::Panic, _) => words.tell("happened-panic", &[happened, place, more]),
        (Kind::Error, _) => words.tell("happened-error", &[happened, more]),
        (Kind::Hang, _) => words.tell("happened-hang", &[happened, place]),
        (Kind::Killed, Some(signal)) => {
            words.tell("happened-killed", &[happened, ("signal", &escape(&signal.name))])
        }
        (Kind::Killed, None) => words.tell("happened-killed-bare", &[happened]),
        (Kind::Snapshot, _) => words.tell("happened-snapshot", &[happened, more]),
    }
}

/// What happened in a word or two, for a list.
pub fn what(report: &Report) -> String {
    match (&report.signal, report.kind) {
        (Some(signal), Kind::Crash | Kind::Killed) => escape(&signal.name),
        (_, kind) => kind.name().to_owned(),
    }
}

/// What a signal means to somebody who does not know signals.
fn meaning(signal: &Signal, words: &Words) -> String {
    let at = signal.address.as_deref().map(|address| words.tell("at", &[("address", &escape(address))]));
    let key = match signal.number {
        _ if was_sent(signal) => "meaning-sent",
        11 if is_null(signal) => "meaning-null",
        11 => "meaning-segv",
        7 => "meaning-bus",
        6 => "meaning-abort",
        8 => "meaning-fpe",
        4 => "meaning-ill",
        5 => "meaning-trap",
        31 => "meaning-sys",
        _ => "meaning-other",
    };
    let meant = words.tell(key, &[("at", at.as_deref().unwrap_or_default())]);
    words.tell("meaning", &[("words", &meant), ("signal", &escape(&signal.name))])
}

/// The kernel's si_code 0 (SI_USER) and -6 (SI_TKILL): somebody sent the signal. abort() sends itself one by the latter.
fn was_sent(signal: &Signal) -> bool {
    signal.code == Some(0) || signal.code == Some(-6) && signal.number != 6
}

/// The first page is never mapped: an address in it is a null pointer and an offset.
fn is_null(signal: &Signal) -> bool {
    let digits = signal.address.as_deref().and_then(|address| address.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).is_some_and(|address| address < 4096)
}

/// Where it happened, as its developer would say it: the first function of the program's own, not the C library's
/// or the language's on the way to the end.
fn place(report: &Report) -> Option<String> {
    let crashed = report.threads.iter().find(|thread| thread.crashed);
    let frames = crashed.map(|thread| thread.frames.as_slice()).unwrap_or_default();
    // Where a program was when another ended it is no cause.
    if report.signal.as_ref().is_some_and(was_sent) {
        return None;
    }
    // A jump into nowhere must not blame its caller.
    if frames.first().is_some_and(|top| top.function.is_none() && top.module.is_none()) {
        return None;
    }
    let function = signature::telling(frames).and_then(|frame| frame.function.as_deref());
    function.map(|function| shortened(&escape(function), 120))
}

/// At most `limit` characters, with an ellipsis where something was cut.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// `text` in lines of at most `width` characters, broken between words, or within one that is longer than a line.
pub fn lines(text: &str, width: usize) -> impl Iterator<Item = String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width) {
            let space = usize::from(room < width);
            if piece.len() + space > room {
                lines.push(String::new());
                room = width;
            } else if space == 1 {
                lines.last_mut().into_iter().for_each(|line| line.push(' '));
                room -= 1;
            }
            lines.last_mut().into_iter().for_each(|line| line.extend(piece));
            room -= piece.len();
        }
    }
    lines.into_iter()
}

/// A size for people: IEC units, one decimal below ten.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Language;

    fn happened(report: &Report) -> String {
        super::happened(report, &Words::new(Language::English))
    }

    fn report(kind: &str, rest: &str) -> Report {
        let json = format!(
            r#"{{"schema":1,"id":"00017f80ff6162636465666768696a6b","kind":"{kind}","time":"2026-01-01T00:00:00Z",
            "program":{{"name":"a\u001b[2J","pid":1}}{rest}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_sentence_says_what_happened_without_jargon_first() {
        let null = r#","signal":{"number":11,"name":"SIGSEGV","code":1,"address":"0x8"},"threads":[{"tid":1,
            "crashed":true,"frames":[{"ip":"0x1","function":"main","trust":"context"}]}]"#;
        assert_eq!(
            happened(&report("crash", null)),
            "a\\u{1b}[2J crashed in main: it used an address that points to nothing at 0x8 (SIGSEGV)."
        );
        let sent = r#","signal":{"number":11,"name":"SIGSEGV","code":0}"#;
        assert!(happened(&report("crash", sent)).contains("sent the signal by a process"));
        for (code, words) in [(0, "sent the signal by a process"), (-6, "gave up")] {
            let abort = format!(r#","signal":{{"number":6,"name":"SIGABRT","code":{code}}}"#);
            assert!(happened(&report("crash", &abort)).contains(words), "{code}");
        }
        assert_eq!(happened(&report("panic", r#","message":"x\ny""#)), "a\\u{1b}[2J panicked: “x\\u{a}y”.");
    }

    #[test]
    fn a_jump_into_nowhere_does_not_blame_its_caller() {
        let frames = r#","threads":[{"tid":1,"crashed":true,"frames":[{"ip":"0x0","function":null,"trust":"context"},
            {"ip":"0x1","function":"innocent","trust":"cfi"}]}]"#;
        assert!(!happened(&report("crash", frames)).contains("innocent"));
    }

    #[test]
    fn the_program_s_own_function_is_named_and_not_the_library_s() {
        let frame = |function: &str, file: &str| {
            format!(r#"{{"ip":"0x1","module":"/x","function":"{function}","file":"{file}","trust":"cfi"}}"#)
        };
        let own = frame("till::print_receipt", "src/till.rs");
        for above in [
            frame("read_volatile<u8>", "/rustc/1/library/core/src/ptr/mod.rs"),
            format!("{},{}", frame("raise", "raise.c"), frame("abort", "abort.c")),
            frame("strlen", "strlen.c"),
        ] {
            let frames = format!(r#","threads":[{{"tid":1,"crashed":true,"frames":[{above},{own}]}}]"#);
            let text = happened(&report("crash", &frames));
            assert!(text.contains("crashed in till::print_receipt"), "{text}");
        }
    }

    #[test]
    fn lines_break_between_words_and_within_what_is_no_word() {
        let broken = |text: &str| lines(text, 7).collect::<Vec<_>>();
        assert_eq!(broken("one two three"), ["one two", "three"]);
        assert_eq!(broken("a bcdefghij kl"), ["a", "bcdefgh", "ij kl"]);
        assert_eq!(broken(""), [""]);
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_189, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
