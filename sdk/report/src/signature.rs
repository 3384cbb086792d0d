//! A crash's signature: one line that is the same for crashes with the same cause, and different for others.
//!
//! The rules are those of Mozilla's Socorro (`siggen`), whose users have tuned them on millions of crashes: names lose
//! what differs between builds; frames that say nothing are skipped; frames that only say how the program came to die
//! are kept and the next one is added; the first frame that says something ends it. Our lists ([`mod@lists`]) are for
//! Linux. Five things differ on purpose:
//! - a frame without a name is `module@offset`, as distributions strip their programs and a module alone would throw all
//!   of its crashes together;
//! - what only a C library with debug symbols can name is skipped, so that machines with and without them agree;
//! - `Abort | ` says that the program gave up by itself, and never quotes its message: a signature is of the class
//!   `summary`, the message is not;
//! - a frame that repeats the one before it is left out, as the depth of a recursion is no cause;
//! - Rust's mangling schemes and names with and without a source file give the same signature.
//!
//! Pure: the same report always has the same signature, wherever it is computed.

mod lists;
mod names;

use crate::schema::{Frame, Kind, Signal, Trust};

pub use names::normalize;

/// No more frames are looked at.
const FRAMES: usize = 40;
/// A signature is no longer than this, in characters.
const LENGTH: usize = 255;
const SIGABRT: i32 = 6;

/// What is known of a crash besides its frames.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// What happened.
    pub kind: Kind,
    /// The fatal signal.
    pub signal: Option<&'a Signal>,
    /// Whether the thread had used up its stack.
    pub stack_overflow: bool,
}

/// The signature of a crash, from its thread's frames, innermost first.
pub fn signature(cause: &Cause<'_>, frames: &[Frame]) -> String {
    let names: Vec<String> =
        frames.iter().filter(|frame| frame.trust != Trust::Signal).take(FRAMES).map(name).collect();
    let from = names.iter().position(|name| lists::SENTINELS.contains(&name.as_str())).unwrap_or(0);
    let mut text =
        joined(&names[from..]).unwrap_or_else(|| match names.iter().find(|name| !name.is_empty()) {
            // They all say nothing: the first says it best.
            Some(name) => name.clone(),
            None => match cause.signal {
                Some(signal) => format!("EMPTY: no frame data available; {}", signal.name),
                None => "EMPTY: no frame data available".into(),
            },
        });
    let has = |list: &[&str]| names.iter().any(|name| lists::matches(list, name));
    let overflow = cause.stack_overflow || has(lists::STACK_OVERFLOW);
    let memory = has(lists::OUT_OF_MEMORY);
    if memory {
        text = format!("OOM | unknown | {text}");
    }
    if overflow {
        text = format!("stackoverflow | {text}");
    } else if !memory && cause.signal.is_some_and(|signal| signal.number == SIGABRT) {
        text = format!("Abort | {text}");
    }
    match cause.kind {
        Kind::Hang => text = format!("hang | {text}"),
        Kind::Killed => text = format!("killed | {text}"),
        Kind::Crash | Kind::Error | Kind::Panic | Kind::Snapshot => {}
    }
    shortened(&text)
}

/// The frame that says where it happened: the first that a signature would end with. Where all of them say too little, the
/// first that has a name.
pub fn telling(frames: &[Frame]) -> Option<&Frame> {
    let named: Vec<(&Frame, String)> = frames
        .iter()
        .filter(|frame| frame.trust != Trust::Signal)
        .take(FRAMES)
        .map(|frame| (frame, name(frame)))
        .collect();
    let from =
        named.iter().position(|(_, name)| lists::SENTINELS.contains(&name.as_str())).unwrap_or_default();
    let says_more = |name: &str| {
        !name.is_empty() && !lists::matches(lists::IRRELEVANT, name) && !lists::matches(lists::PREFIXES, name)
    };
    let telling = named[from..].iter().find(|(_, name)| says_more(name));
    telling.map(|(frame, _)| *frame).or_else(|| frames.iter().find(|frame| frame.function.is_some()))
}

// The frames that say something: prefixes, and the first that is none. None where no frame does.
fn joined(names: &[String]) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for name in names {
        if name.is_empty() || lists::matches(lists::IRRELEVANT, name) || parts.last() == Some(&name.as_str())
        {
            continue;
        }
        parts.push(name);
        if !lists::matches(lists::PREFIXES, name) {
            break;
        }
    }
    (!parts.is_empty()).then(|| parts.join(" | "))
}

// The most telling word for a frame: its function, its line, its place in a module, its address.
fn name(frame: &Frame) -> String {
    if let Some(function) = function(frame) {
        return function;
    }
    if let (Some(file), Some(line)) = (&frame.file, frame.line) {
        return format!("{}#{line}", base_name(file));
    }
    match (&frame.module, &frame.offset) {
        (Some(module), Some(offset)) => format!("{}@{offset}", base_name(module)),
        (Some(module), None) => base_name(module).trim().into(),
        (None, _) => format!("@{}", frame.ip),
    }
}

// None also where the rules leave nothing of a name: what a hostile file calls its functions.
fn function(frame: &Frame) -> Option<String> {
    let function = frame.function.as_deref()?;
    // The C library's own word for a function that it calls itself, which only its debug symbols tell.
    let public = function.strip_prefix("__GI_").filter(|plain| lists::matches(lists::PREFIXES, plain));
    let normal = normalize(public.unwrap_or(function), frame.file.as_deref());
    if normal.trim().is_empty() {
        return None;
    }
    Some(match frame.file.as_deref().and_then(names::standard_module) {
        Some(module) if !normal.contains("::") => format!("{module}::{normal}"),
        _ => normal,
    })
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).trim_matches(['[', ']'])
}

// One line of bounded length: white space becomes single spaces.
fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= LENGTH {
        return text;
    }
    text.chars().take(LENGTH - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
