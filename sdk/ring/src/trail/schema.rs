//! The metadata of a trail, parsed: clock, identity and event types.
//!
//! Reads exactly the text that [`crate::metadata`] writes. The fixed head is compared with what would be written for
//! the same clock and identity, so a trail of another layout is refused and never misread; a declaration that is not
//! ours is a problem and costs its event type only. It decodes no event.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{EventType, FieldType, Level, Privacy, Problems};
use crate::metadata::{self, Clock, ClockSource, FieldKind, MAX_FIELDS, PERSONAL, SECRET};

/// A declaration longer than the longest that can be written: 64 fields of 255-byte names, three times each.
const MAX_DECLARATION: usize = 80 * 1024;

/// Why metadata is not that of a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The trace's identity is missing or malformed.
    Uuid,
    /// The clock is missing, malformed, or stands still.
    Clock,
    /// The fixed head differs from what a foretrace recorder writes.
    Layout,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetadataError::Uuid => "the metadata has no valid trace identity",
            MetadataError::Clock => "the metadata has no valid clock",
            MetadataError::Layout => "the metadata describes another layout than foretrace's",
        })
    }
}

impl core::error::Error for MetadataError {}

/// How a field lies in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Plain(FieldKind),
    Secret,
}

/// What the bytes of a trail mean.
#[derive(Debug)]
pub(super) struct Schema {
    pub uuid: [u8; 16],
    pub clock: Clock,
    pub types: Vec<EventType>,
    /// One list for each of `types`.
    pub shapes: Vec<Vec<Shape>>,
    by_id: BTreeMap<u16, usize>,
}

impl Schema {
    pub fn parse(text: &str, problems: &mut Problems) -> Result<Schema, MetadataError> {
        let (uuid, clock) = head(text)?;
        let mut schema =
            Schema { uuid, clock, types: Vec::new(), shapes: Vec::new(), by_id: BTreeMap::new() };
        for (number, line) in text.lines().enumerate() {
            if !line.starts_with("event ") {
                continue;
            }
            match declaration(line) {
                Some((kind, shapes)) => schema.declare(kind, shapes, problems),
                None => problems.add(|| {
                    format!("metadata, line {}: the declaration of an event type is damaged", number + 1)
                }),
            }
        }
        Ok(schema)
    }

    pub fn index_of(&self, id: u16) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Ticks to nanoseconds since 1970, held to what a u64 can say.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        const SECOND: i128 = 1_000_000_000;
        let ticks = i128::from(ticks) + i128::from(self.clock.offset_ticks);
        let since_offset = ticks * SECOND / i128::from(self.clock.frequency);
        let time = i128::from(self.clock.offset_seconds) * SECOND + since_offset;
        u64::try_from(time.max(0)).unwrap_or(u64::MAX)
    }

    fn declare(&mut self, kind: EventType, shapes: Vec<Shape>, problems: &mut Problems) {
        if self.by_id.contains_key(&kind.id) {
            problems.add(|| format!("metadata: event type {} is declared twice; the first counts", kind.id));
            return;
        }
        self.by_id.insert(kind.id, self.types.len());
        self.types.push(kind);
        self.shapes.push(shapes);
    }
}

/// Identity and clock, if all else in front of the first event type is as our writer has it.
fn head(text: &str) -> Result<([u8; 16], Clock), MetadataError> {
    let fixed = |line: &&str| !line.starts_with("env ");
    let before_events = |line: &&str| !line.starts_with("event ");
    let uuid = between(text, "uuid = \"", "\"").and_then(uuid).ok_or(MetadataError::Uuid)?;
    let clock = clock(text).ok_or(MetadataError::Clock)?;
    let mut ours = String::new();
    metadata::preamble(&mut ours, &uuid, &clock).expect("a String takes all that is written");
    let written = text.lines().take_while(before_events).filter(fixed);
    let expected = ours.lines().take_while(before_events).filter(fixed);
    if written.eq(expected) { Ok((uuid, clock)) } else { Err(MetadataError::Layout) }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.bytes().filter(|b| *b != b'-').map(|b| char::from(b).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = (digits.next()?? * 16 + digits.next()??) as u8;
    }
    digits.next().is_none().then_some(uuid)
}

fn clock(text: &str) -> Option<Clock> {
    let line = text.lines().find(|line| line.starts_with("clock "))?;
    let source = match between(line, "name = ", ";")? {
        "tsc" => ClockSource::Tsc,
        "mono" => ClockSource::Monotonic,
        _ => return None,
    };
    let frequency = between(line, "freq = ", ";")?.parse().ok().filter(|f| *f > 0)?;
    let offset_seconds = between(line, "offset_s = ", ";")?.parse().ok()?;
    let offset_ticks = between(line, "offset = ", ";")?.parse().ok()?;
    Some(Clock { source, frequency, offset_seconds, offset_ticks })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

fn declaration(line: &str) -> Option<(EventType, Vec<Shape>)> {
    if line.len() > MAX_DECLARATION {
        return None;
    }
    let mut rest = Rest(line);
    rest.eat("event { name = \"")?;
    let full_name = rest.literal()?;
    rest.eat("; id = ")?;
    let id = rest.until(';')?.parse().ok()?;
    rest.eat("; stream_id = 0; ")?;
    let mut level = Level::Trace;
    if rest.eat("loglevel = ").is_some() {
        level = Level::from_number(rest.until(';')?.parse().ok()?)?;
        rest.eat("; ")?;
    }
    let mut location = None;
    if rest.eat("model.emf.uri = \"").is_some() {
        let uri = rest.literal()?;
        let (file, line) = uri.rsplit_once(':')?;
        location = Some((file.to_owned(), line.parse().ok()?));
        rest.eat("; ")?;
    }
    rest.eat("fields := struct { ")?;
    let (mut fields, mut shapes) = (Vec::new(), Vec::new());
    while rest.eat("}; };").is_none() {
        let (field, shape) = rest.sequence().or_else(|| rest.scalar())?;
        fields.push(field);
        shapes.push(shape);
        if fields.len() > MAX_FIELDS {
            return None;
        }
    }
    let (provider, name) = split_name(&full_name)?;
    let kind =
        EventType { id, provider: provider.to_owned(), name: name.to_owned(), level, location, fields };
    rest.0.is_empty().then_some((kind, shapes))
}

/// Provider and name. The writer leaves no colon in a provider but those of `::`.
fn split_name(full: &str) -> Option<(&str, &str)> {
    let bytes = full.as_bytes();
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == b':')?;
        if bytes.get(at + 1) != Some(&b':') {
            return Some((&full[..at], &full[at + 1..]));
        }
        at += 2;
    }
}

/// The unread part of a declaration. What does not match is left where it is.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn eat(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn until(&mut self, end: char) -> Option<&'a str> {
        let (word, _) = self.0.split_once(end)?;
        self.0 = &self.0[word.len()..];
        Some(word)
    }

    /// The inside of a string literal whose opening quote is read, and its closing quote.
    fn literal(&mut self) -> Option<String> {
        let mut inside = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => inside.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
                c => inside.push(c),
            }
        }
        self.0 = chars.as_str();
        Some(inside)
    }

    /// `uint16_t __N_length; ALIAS _N[__N_length]; `
    fn sequence(&mut self) -> Option<(FieldType, Shape)> {
        let mut rest = Rest(self.0);
        rest.eat("uint16_t __")?;
        let name = rest.until(';')?.strip_suffix("_length").filter(|name| is_identifier(name))?;
        rest.eat("; ")?;
        let (shape, privacy) = alias(rest.until(' ')?)?;
        for part in [" _", name, "[__", name, "_length]; "] {
            rest.eat(part)?;
        }
        self.0 = rest.0;
        let fits = matches!(shape, Shape::Plain(kind) if kind.is_sequence());
        fits.then(|| (FieldType { name: name.to_owned(), privacy }, shape))
    }

    /// `ALIAS _N; `
    fn scalar(&mut self) -> Option<(FieldType, Shape)> {
        let (shape, privacy) = alias(self.until(' ')?)?;
        self.eat(" _")?;
        let name = self.until(';').filter(|name| is_identifier(name))?;
        self.eat("; ")?;
        let fits = !matches!(shape, Shape::Plain(kind) if kind.is_sequence());
        fits.then(|| (FieldType { name: name.to_owned(), privacy }, shape))
    }
}

fn alias(word: &str) -> Option<(Shape, Privacy)> {
    if word == SECRET {
        return Some((Shape::Secret, Privacy::Secret));
    }
    let (name, privacy) = match word.strip_prefix(PERSONAL) {
        Some(name) => (name, Privacy::Personal),
        None => (word, Privacy::Public),
    };
    let kind = FieldKind::ALL.into_iter().find(|kind| kind.alias() == name)?;
    Some((Shape::Plain(kind), privacy))
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
