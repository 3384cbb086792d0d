//! `FORETRACE` in the environment: which events are recorded, by provider and level.
//!
//! The variable is read once, before `main` (or in dlopen), while nobody changes the environment; a copy stays. A call
//! site asks when it is first reached and remembers the answer, so that a disabled one costs a load and a branch. What
//! is wrong with the variable is said on standard error, in a way that can neither block nor kill the host.
//!
//! ```text
//! FORETRACE = rule , rule ...          the last rule that speaks of an event decides
//! rule      = level                    of every provider
//!           | provider = level         of this provider and all below it (`app` is also `app::db`); * is any text
//! level     = off error warn info debug trace
//! ```

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use foretrace_ring::trail::Level;

use crate::host;

/// Bytes of the variable that are looked at.
const CAPACITY: usize = 1024;
/// The variable was not looked at yet.
const UNREAD: usize = usize::MAX;

/// The copy. Whoever reads the variable twice stores the same bytes twice.
static TEXT: [AtomicU8; CAPACITY] = [const { AtomicU8::new(0) }; CAPACITY];
static LENGTH: AtomicUsize = AtomicUsize::new(UNREAD);

/// Whether events of this provider and level are recorded.
pub(crate) fn pass(provider: &str, level: Level) -> bool {
    // Apart, so that call sites without rules need no stack for their text: it may be a signal handler's.
    #[cold]
    #[inline(never)]
    fn by_rules(provider: &str, level: Level) -> bool {
        Rules(&copy()).pass(provider, level)
    }
    !are_set() || by_rules(provider, level)
}

/// Whether no event of any provider is recorded, so that there is no use for a ring.
pub(crate) fn forbid_everything() -> bool {
    #[cold]
    #[inline(never)]
    fn by_rules() -> bool {
        Rules(&copy()).forbid_everything()
    }
    are_set() && by_rules()
}

/// Whether there are any rules.
pub(crate) fn are_set() -> bool {
    if LENGTH.load(Ordering::Acquire) == UNREAD {
        // A constructor that ran before ours recorded something.
        read();
    }
    LENGTH.load(Ordering::Acquire) != 0
}

/// Reads the variable before `main`, and says what is wrong with it.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn foretrace_read_switches() {
    read();
    if LENGTH.load(Ordering::Relaxed) == 0 {
        return;
    }
    let given = host::variable(c"FORETRACE").map_or(0, |value| value.to_bytes().len());
    let text = copy();
    let mut message = Message { bytes: [0; Message::CAPACITY], length: 0 };
    // A message that is too long is cut.
    let _ = complain(&mut message, &Rules(&text), given);
    host::complain(&message.bytes[..message.length]);
}

fn read() {
    let bytes = host::variable(c"FORETRACE").map_or(&[][..], |value| value.to_bytes());
    let kept = match str::from_utf8(bytes) {
        Ok(text) => crate::field::cut(text, CAPACITY),
        Err(error) => error.valid_up_to().min(CAPACITY),
    };
    for (to, byte) in TEXT.iter().zip(&bytes[..kept]) {
        to.store(*byte, Ordering::Relaxed);
    }
    LENGTH.store(kept, Ordering::Release);
}

/// The variable's text, out of the static copy.
struct Copy {
    bytes: [u8; CAPACITY],
    length: usize,
}

fn copy() -> Copy {
    let mut copy = Copy { bytes: [0; CAPACITY], length: LENGTH.load(Ordering::Acquire).min(CAPACITY) };
    for (to, byte) in copy.bytes.iter_mut().zip(&TEXT).take(copy.length) {
        *to = byte.load(Ordering::Relaxed);
    }
    copy
}

impl core::ops::Deref for Copy {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

/// Rules as they are written.
struct Rules<'a>(&'a str);

/// A rule: whose events, and the least important level that is recorded; no level is none.
struct Rule<'a> {
    provider: Option<&'a str>,
    level: Option<Level>,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Level,
    NoProvider,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Level => "the level is one of off, error, warn, info, debug, trace",
            Fault::NoProvider => "there is no provider before `=`",
        })
    }
}

impl<'a> Rules<'a> {
    /// Each rule, with the byte at which it begins.
    fn each(&self) -> impl Iterator<Item = (usize, &'a str, Result<Rule<'a>, Fault>)> {
        let text = self.0;
        let parts = text.split(',').map(move |part| {
            let rule = part.trim();
            // Both are parts of the same text.
            (rule.as_ptr() as usize - text.as_ptr() as usize, rule)
        });
        parts.filter(|(_, rule)| !rule.is_empty()).map(|(at, rule)| (at, rule, Rule::parse(rule)))
    }

    fn good(&self) -> impl Iterator<Item = Rule<'a>> {
        self.each().filter_map(|(_, _, rule)| rule.ok())
    }

    fn pass(&self, provider: &str, level: Level) -> bool {
        let speaks = |rule: &Rule<'_>| rule.provider.is_none_or(|pattern| covers(pattern, provider));
        self.good().filter(speaks).last().is_none_or(|rule| rule.level.is_some_and(|most| level <= most))
    }

    fn forbid_everything(&self) -> bool {
        self.good().fold(false, |nothing, rule| match rule.level {
            None => nothing || rule.provider.is_none_or(|pattern| pattern == "*"),
            Some(_) => false,
        })
    }
}

impl<'a> Rule<'a> {
    fn parse(rule: &'a str) -> Result<Rule<'a>, Fault> {
        let (provider, level) = match rule.rsplit_once('=') {
            Some((provider, level)) => (Some(provider.trim()), level.trim()),
            None => (None, rule),
        };
        if provider == Some("") {
            return Err(Fault::NoProvider);
        }
        const LEVELS: [(&str, Option<Level>); 6] = [
            ("off", None),
            ("error", Some(Level::Error)),
            ("warn", Some(Level::Warn)),
            ("info", Some(Level::Info)),
            ("debug", Some(Level::Debug)),
            ("trace", Some(Level::Trace)),
        ];
        let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(level));
        known.map(|(_, level)| Rule { provider, level: *level }).ok_or(Fault::Level)
    }
}

/// Whether a pattern means this provider or one that it lies in.
fn covers(pattern: &str, provider: &str) -> bool {
    let above = provider.match_indices("::").map(|(end, _)| &provider[..end]);
    above.chain([provider]).any(|name| matches(pattern.as_bytes(), name.as_bytes()))
}

/// Whether a pattern, in which `*` is any text, is the whole of a name. Looks back to the last star only.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(byte) if *byte == name[at] => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((back, from)) = star else { return false };
                star = Some((back, from + 1));
                (at, of) = (from + 1, back + 1);
            }
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'*')
}

/// Writes a sentence for each rule that is wrong, and one for what was not looked at of the variable's `given` bytes.
fn complain(out: &mut impl Write, rules: &Rules<'_>, given: usize) -> fmt::Result {
    for (at, rule, parsed) in rules.each() {
        if let Err(fault) = parsed {
            write!(out, "foretrace: FORETRACE, at character {}: `", rules.0[..at].chars().count() + 1)?;
            for c in rule.chars() {
                out.write_char(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })?;
            }
            writeln!(out, "` is ignored: {fault}")?;
        }
    }
    if given > rules.0.len() {
        let why = if rules.0.len() + 4 > CAPACITY { "it is too long" } else { "it is no UTF-8" };
        writeln!(out, "foretrace: FORETRACE is ignored from byte {} on: {why}", rules.0.len() + 1)?;
    }
    Ok(())
}

/// A message made without an allocation. Shorter than what a pipe takes in one piece.
struct Message {
    bytes: [u8; Message::CAPACITY],
    length: usize,
}

impl Message {
    const CAPACITY: usize = 1024;
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = crate::field::cut(text, Message::CAPACITY - self.length);
        self.bytes[self.length..self.length + kept].copy_from_slice(&text.as_bytes()[..kept]);
        self.length += kept;
        if kept < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_speaks_of_an_event_decides() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        for (rules, provider, passing) in [
            ("", "app", 5),
            ("app::db=debug,net*=off", "app::db", 4),
            ("app::db=debug,net*=off", "app::db::pool", 4),
            ("app::db=debug,net*=off", "app::dbx", 5),
            ("app::db=debug,net*=off", "app", 5),
            ("app::db=debug,net*=off", "network::http", 0),
            ("app::db=debug,net*=off", "cnet", 5),
            ("warn", "anything", 2),
            ("off, app = INFO", "app", 3),
            ("off,app=info", "other", 0),
            ("app=info,off", "app", 0),
            ("*::db=error", "app::db", 1),
            ("*::db=error", "app::db::pool", 1),
            ("*b*b=error", "abcb", 1),
            ("*b*b=error", "abc", 5),
            ("loud,=off,app=what", "app", 5),
            ("**=off", "", 0),
        ] {
            let passed = levels.iter().filter(|level| Rules(rules).pass(provider, **level)).count();
            assert_eq!(passed, passing, "{rules:?} of {provider:?}");
        }
    }

    #[test]
    fn there_is_no_ring_where_nothing_passes() {
        for (rules, nothing) in [
            ("off", true),
            ("*=off", true),
            ("app=debug,off", true),
            ("off,app=off", true),
            ("off,app=debug", false),
            ("app=off", false),
            ("loud", false),
            ("", false),
        ] {
            assert_eq!(Rules(rules).forbid_everything(), nothing, "{rules:?}");
        }
    }

    #[test]
    fn a_complaint_names_the_place() {
        let said = |text: &str, given| {
            let mut said = String::new();
            complain(&mut said, &Rules(text), given).unwrap();
            said
        };
        assert_eq!(said("app=info,,", 10), "");
        assert_eq!(
            said("app=info, net=loud\u{1b}[31m", 22),
            "foretrace: FORETRACE, at character 11: `net=loud\u{fffd}[31m` is ignored: the level is one of off, \
             error, warn, info, debug, trace\n"
        );
        assert!(said("=off", 4).ends_with("`=off` is ignored: there is no provider before `=`\n"));
        assert!(said("off", 9).ends_with("from byte 4 on: it is no UTF-8\n"));
    }
}
