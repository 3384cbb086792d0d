//! The CTF 1.8 metadata (TSDL) that describes a ring, as it is written: the fixed preamble and one declaration for
//! each event type.
//!
//! The recorder writes declarations into the ring, the reader puts the preamble before them, [`crate::trail`] parses
//! exactly this text and nothing more general. Nothing here allocates: text goes to a [`core::fmt::Write`], so that a
//! declaration can be written from a signal handler into shared memory.
//!
//! What the text says about the bytes of an event:
//!
//! ```text
//! 0      2                  8
//! +------+------------------+---------------- - - - -----+
//! |  id  | time, low 48 bit | payload, byte-packed       |   the next event starts at the next multiple of 8
//! +------+------------------+---------------- - - - -----+
//!   u64, bool, ...   the value, little-endian, at any byte
//!   text, bytes      u16 length, then as many bytes
//!   secret           one byte, always 0
//! ```
//!
//! The padding between two events belongs to the second one (its header is aligned to 8 bytes): `content_size` counts
//! up to the last byte of the last payload. A packet whose `content_size` includes padding behind its last event is
//! no CTF: babeltrace2 looks for one more event there. [`crate::trail`] forgives it.

use core::fmt::{self, Write};

use crate::trail::{Level, Privacy};

/// The first number of the recorder's own event types; applications' types have smaller ones.
pub const FIRST_INTERNAL_ID: u16 = 0xff00;
/// The event that says which thread the events behind it belong to: `foretrace:thread { u32 tid }`.
pub const THREAD_ID: u16 = 0xfffe;
/// The event of a reported error or panic: `foretrace:report { u8 kind, text message, text location, bytes frames }`.
/// The frames are return addresses of eight bytes each, innermost first, at most
/// [`REPORT_FRAMES`](crate::layout::REPORT_FRAMES); none where the thread can still be asked.
pub const REPORT_ID: u16 = 0xfffd;
/// The provider of the recorder's own event types.
pub const INTERNAL_PROVIDER: &str = "foretrace";

/// Fields of one event type; more are not declared (and must not be recorded).
pub const MAX_FIELDS: usize = 64;
/// Bytes of a name or a path in a declaration; longer ones are cut.
pub const MAX_NAME: usize = 255;

/// How a field lies in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum FieldKind {
    /// One byte, unsigned.
    U8 = 0,
    /// Two bytes, unsigned.
    U16 = 1,
    /// Four bytes, unsigned.
    U32 = 2,
    /// Eight bytes, unsigned.
    U64 = 3,
    /// One byte, signed.
    I8 = 4,
    /// Two bytes, signed.
    I16 = 5,
    /// Four bytes, signed.
    I32 = 6,
    /// Eight bytes, signed.
    I64 = 7,
    /// IEEE 754, four bytes.
    F32 = 8,
    /// IEEE 754, eight bytes.
    F64 = 9,
    /// One byte: 0 is false.
    Bool = 10,
    /// A u16 length and so many bytes of UTF-8.
    Text = 11,
    /// A u16 length and so many bytes.
    Bytes = 12,
}

impl FieldKind {
    /// Every kind, by its number.
    pub const ALL: [FieldKind; 13] = [
        FieldKind::U8,
        FieldKind::U16,
        FieldKind::U32,
        FieldKind::U64,
        FieldKind::I8,
        FieldKind::I16,
        FieldKind::I32,
        FieldKind::I64,
        FieldKind::F32,
        FieldKind::F64,
        FieldKind::Bool,
        FieldKind::Text,
        FieldKind::Bytes,
    ];

    /// The kind with this number, where there is one.
    pub fn from_number(number: u8) -> Option<FieldKind> {
        FieldKind::ALL.get(usize::from(number)).copied()
    }

    /// The TSDL alias without its privacy prefix.
    pub const fn alias(self) -> &'static str {
        match self {
            FieldKind::U8 => "uint8_t",
            FieldKind::U16 => "uint16_t",
            FieldKind::U32 => "uint32_t",
            FieldKind::U64 => "uint64_t",
            FieldKind::I8 => "int8_t",
            FieldKind::I16 => "int16_t",
            FieldKind::I32 => "int32_t",
            FieldKind::I64 => "int64_t",
            FieldKind::F32 => "float32_t",
            FieldKind::F64 => "float64_t",
            FieldKind::Bool => "bool8_t",
            FieldKind::Text => "char8_t",
            FieldKind::Bytes => "octet_t",
        }
    }

    /// Whether a u16 length stands before the value.
    pub const fn is_sequence(self) -> bool {
        matches!(self, FieldKind::Text | FieldKind::Bytes)
    }
}

/// The alias prefix of personal fields.
pub const PERSONAL: &str = "personal_";
/// The alias of secret fields, whatever their kind.
pub const SECRET: &str = "secret_t";

/// A field as its event type declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDecl<'a> {
    /// Its name. Characters that TSDL identifiers cannot hold become `_`; a name that is already taken gets a number.
    pub name: &'a str,
    /// How it lies in the event; without meaning for a secret field, of which nothing but a zero byte is there.
    pub kind: FieldKind,
    /// Whose business it is.
    pub privacy: Privacy,
}

/// An event type as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventDecl<'a> {
    /// The number in event headers.
    pub id: u16,
    /// Who records it.
    pub provider: &'a str,
    /// Its name.
    pub name: &'a str,
    /// How important it is.
    pub level: Level,
    /// The source file of the call site; empty where it is not known.
    pub file: &'a str,
    /// The line in that file.
    pub line: u32,
    /// Its fields in the order of recording, of which the first [`MAX_FIELDS`] are declared.
    pub fields: &'a [FieldDecl<'a>],
}

/// What event times count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// Ticks of the processor's time stamp counter.
    Tsc,
    /// Nanoseconds of CLOCK_MONOTONIC.
    Monotonic,
}

/// How event times become wall-clock times: `offset_seconds + (offset_ticks + time) / frequency` seconds after 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What is counted.
    pub source: ClockSource,
    /// Ticks a second; not 0.
    pub frequency: u64,
    /// Whole seconds from 1970 (UTC) to tick 0.
    pub offset_seconds: i64,
    /// The rest, in ticks; less than `frequency`.
    pub offset_ticks: u64,
}

/// Writes the fixed head of a trace's metadata, the recorder's own event types included.
///
/// # Errors
/// Those of `out`.
pub fn preamble(out: &mut impl Write, uuid: &[u8; 16], clock: &Clock) -> fmt::Result {
    out.write_str("/* CTF 1.8 */\n")?;
    aliases(out)?;
    out.write_str("trace {\n\tmajor = 1; minor = 8; byte_order = le; uuid = \"")?;
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    out.write_str("\";\n\tpacket.header := struct { uint32_t magic; uint8_t uuid[16]; uint32_t stream_id; ")?;
    out.write_str("uint64_t stream_instance_id; };\n};\n")?;
    out.write_str("env { tracer_name = \"foretrace\"; tracer_major = 0; tracer_minor = 1; };\n")?;
    let (name, description) = match clock.source {
        ClockSource::Tsc => ("tsc", "processor time stamp counter"),
        ClockSource::Monotonic => ("mono", "CLOCK_MONOTONIC"),
    };
    writeln!(
        out,
        "clock {{ name = {name}; description = \"{description}\"; freq = {}; offset_s = {}; offset = {}; \
         absolute = TRUE; }};",
        clock.frequency, clock.offset_seconds, clock.offset_ticks
    )?;
    for bits in [48, 64] {
        writeln!(
            out,
            "typealias integer {{ size = {bits}; align = 8; signed = false; map = clock.{name}.value; }} := tick{bits}_t;"
        )?;
    }
    out.write_str(STREAM)?;
    for own in [THREAD, REPORT] {
        event_declaration(out, &own)?;
    }
    Ok(())
}

/// Writes the declaration of one event type, a line of its own.
///
/// # Errors
/// Those of `out`.
pub fn event_declaration(out: &mut impl Write, event: &EventDecl<'_>) -> fmt::Result {
    out.write_str("event { name = \"")?;
    provider(out, event.provider)?;
    out.write_char(':')?;
    // The first single colon ends the provider.
    literal(out, if event.name.starts_with(':') { "_" } else { "" })?;
    literal(out, event.name.trim_start_matches(':'))?;
    write!(out, "\"; id = {}; stream_id = 0; ", event.id)?;
    // CTF's levels end at 14 and babeltrace2 warns of a 15: the finest level is the one that is not written.
    if event.level != Level::Trace {
        write!(out, "loglevel = {}; ", event.level as u8)?;
    }
    if !event.file.is_empty() {
        out.write_str("model.emf.uri = \"")?;
        literal(out, event.file)?;
        write!(out, ":{}\"; ", event.line)?;
    }
    out.write_str("fields := struct { ")?;
    // Of the chosen names no more than what cannot be found out again: this may run on a signal handler's stack.
    let mut chosen = [None; MAX_FIELDS];
    for (at, field) in event.fields.iter().take(MAX_FIELDS).enumerate() {
        let sequence = is_sequence(field);
        let taken = event.fields.iter().zip(&chosen[..at]);
        let name = Name::choose(field, taken.map(|(field, suffix)| Name::of(field, *suffix)));
        chosen[at] = name.suffix;
        let prefix = if field.privacy == Privacy::Personal { PERSONAL } else { "" };
        match field.privacy {
            Privacy::Secret => write!(out, "{SECRET} _{name}; ")?,
            _ if sequence => {
                write!(
                    out,
                    "uint16_t __{name}_length; {prefix}{} _{name}[__{name}_length]; ",
                    field.kind.alias()
                )?;
            }
            _ => write!(out, "{prefix}{} _{name}; ", field.kind.alias())?,
        }
    }
    out.write_str("}; };\n")
}

const STREAM: &str = "\
stream {
\tid = 0;
\tevent.header := struct { uint16_t id; tick48_t timestamp; } align(64);
\tpacket.context := struct {
\t\ttick64_t timestamp_begin; tick64_t timestamp_end; uint32_t content_size; uint32_t events_in_packet;
\t\tuint64_t packet_size; uint64_t packet_seq_num; uint64_t events_discarded; uint64_t events_before;
\t\tuint32_t cpu_id; uint32_t tid;
\t};
};
";

const THREAD: EventDecl<'_> = EventDecl {
    id: THREAD_ID,
    provider: INTERNAL_PROVIDER,
    name: "thread",
    level: Level::Debug,
    file: "",
    line: 0,
    fields: &[FieldDecl { name: "tid", kind: FieldKind::U32, privacy: Privacy::Public }],
};

const REPORT: EventDecl<'_> = EventDecl {
    id: REPORT_ID,
    provider: INTERNAL_PROVIDER,
    name: "report",
    level: Level::Error,
    file: "",
    line: 0,
    fields: &[
        FieldDecl { name: "kind", kind: FieldKind::U8, privacy: Privacy::Public },
        FieldDecl { name: "message", kind: FieldKind::Text, privacy: Privacy::Public },
        FieldDecl { name: "location", kind: FieldKind::Text, privacy: Privacy::Public },
        FieldDecl { name: "frames", kind: FieldKind::Bytes, privacy: Privacy::Public },
    ],
};

fn aliases(out: &mut impl Write) -> fmt::Result {
    for prefix in ["", PERSONAL] {
        for kind in FieldKind::ALL {
            let (size, signed) = match kind {
                FieldKind::U8 | FieldKind::Text | FieldKind::Bytes | FieldKind::Bool => (8, false),
                FieldKind::U16 => (16, false),
                FieldKind::U32 => (32, false),
                FieldKind::U64 => (64, false),
                FieldKind::I8 => (8, true),
                FieldKind::I16 => (16, true),
                FieldKind::I32 => (32, true),
                FieldKind::I64 => (64, true),
                FieldKind::F32 | FieldKind::F64 => (0, true),
            };
            let alias = kind.alias();
            match kind {
                FieldKind::F32 => {
                    write!(out, "typealias floating_point {{ exp_dig = 8; mant_dig = 24; align = 8; }}")?;
                }
                FieldKind::F64 => {
                    write!(out, "typealias floating_point {{ exp_dig = 11; mant_dig = 53; align = 8; }}")?;
                }
                FieldKind::Bool => {
                    write!(out, "typealias enum : uint8_t {{ \"false\" = 0, \"true\" = 1 ... 255 }}")?
                }
                _ => {
                    let encoding = if kind == FieldKind::Text { " encoding = UTF8;" } else { "" };
                    write!(
                        out,
                        "typealias integer {{ size = {size}; align = 8; signed = {signed};{encoding} }}"
                    )?;
                }
            }
            writeln!(out, " := {prefix}{alias};")?;
        }
    }
    writeln!(out, "typealias integer {{ size = 8; align = 8; signed = false; }} := {SECRET};")
}

/// Writes a provider so that none of its colons can be taken for the one behind it: `::` between names stays, all
/// others become `_`.
fn provider(out: &mut impl Write, text: &str) -> fmt::Result {
    let names = cut(text).split("::");
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.write_str("::")?;
        }
        let mut parts = name.split(':');
        literal(out, parts.next().filter(|part| !part.is_empty()).unwrap_or("_"))?;
        for part in parts {
            out.write_char('_')?;
            literal(out, part)?;
        }
    }
    Ok(())
}

/// Writes text into a TSDL string literal. Control characters have no business in a name that terminals will show.
fn literal(out: &mut impl Write, text: &str) -> fmt::Result {
    for c in cut(text).chars() {
        match c {
            '"' | '\\' => {
                out.write_char('\\')?;
                out.write_char(c)?;
            }
            c if c.is_control() => out.write_char(char::REPLACEMENT_CHARACTER)?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A field's name as TSDL can hold it, and no other field of the event has it.
#[derive(Clone, Copy)]
struct Name<'a> {
    text: &'a str,
    suffix: Option<u16>,
    /// It also takes the name of its length.
    sequence: bool,
}

/// Whether a length stands before what is recorded of the field.
fn is_sequence(field: &FieldDecl<'_>) -> bool {
    field.kind.is_sequence() && field.privacy != Privacy::Secret
}

impl<'a> Name<'a> {
    fn of(field: &FieldDecl<'a>, suffix: Option<u16>) -> Name<'a> {
        Name { text: cut(field.name), suffix, sequence: is_sequence(field) }
    }

    fn choose<'b>(field: &FieldDecl<'a>, taken: impl Iterator<Item = Name<'b>> + Clone) -> Name<'a> {
        let plain = Name::of(field, None);
        // Each taken name stands in the way of three candidates at most, so one of these is free.
        (0..=3 * MAX_FIELDS as u16)
            .map(|number| Name { suffix: (number > 0).then_some(number), ..plain })
            .find(|candidate| taken.clone().all(|other| !candidate.clashes(&other)))
            .unwrap_or(plain)
    }

    fn letters(&self) -> impl Iterator<Item = char> + Clone + '_ {
        let tidy = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let digits =
            self.suffix.into_iter().flat_map(|n| ['_', digit(n / 100), digit(n / 10), digit(n)].into_iter());
        let empty = self.text.is_empty().then_some('_').into_iter();
        self.text.chars().map(tidy).chain(empty).chain(digits)
    }

    fn length_letters(&self) -> impl Iterator<Item = char> + Clone + '_ {
        "_".chars().chain(self.letters()).chain("_length".chars())
    }

    fn clashes(&self, other: &Name<'_>) -> bool {
        self.letters().eq(other.letters())
            || (self.sequence && self.length_letters().eq(other.letters()))
            || (other.sequence && other.length_letters().eq(self.letters()))
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.letters().try_for_each(|c| f.write_char(c))
    }
}

fn digit(n: u16) -> char {
    char::from(b'0' + (n % 10) as u8)
}
