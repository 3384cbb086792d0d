//! A `tracing` layer that records into the ring.
//!
//! Events become events of the same level, with the target as provider and the fields in the order given. A new span
//! becomes an event `NAME begin` with its fields and its number (`span`), a closed one an event `NAME end`; an event
//! within a span has that span's number. Values that `tracing` passes
//! as `Debug` are recorded as text. Fields are public: `tracing` has no privacy classes; what is personal belongs
//! into [`event!`](crate::event!).
//!
//! Which fields an event has is known only when it happens. So a call site may have several event types, one for each
//! combination of fields and kinds; `known` finds their numbers.

use core::fmt::{self, Debug, Write};
use core::ptr;

use foretrace_ring::layout::{AT_CUT, AT_DISCARDED};
use foretrace_ring::metadata::{EventDecl, FieldDecl, FieldKind, MAX_FIELDS};
use foretrace_ring::trail::{Level, Privacy};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer as Layered};
use tracing_subscriber::registry::LookupSpan;

use crate::known::{Key, Known};
use crate::ring::{self, Ring};
use crate::span::{Name, Phase};
use crate::{record, site, switches};

/// Bytes of an event's fields; more are cut.
const CAPACITY: usize = 2048;
/// Combinations of call sites and fields.
static TYPES: Known<4096> = Known::new();
/// Call sites, and whether their events are recorded.
static WANTED: Known<4096> = Known::new();

/// The layer.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// tracing_subscriber::registry().with(foretrace::Layer::new()).init();
/// tracing::info!(status = 200, "request done");
/// # assert!(foretrace::descriptor().is_some());
/// ```
///
/// # Signal safety
/// As `tracing`'s: not for signal handlers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layer {
    _private: (),
}

impl Layer {
    /// A layer that records everything it is given; filters are `tracing_subscriber`'s.
    pub const fn new() -> Layer {
        Layer { _private: () }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layered<S> for Layer {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !is_wanted(event.metadata()) {
            return;
        }
        let mut values = Values::new(Phase::Event);
        if let Some(span) = context.event_span(event) {
            values.number(SPAN, FieldKind::U64, &span.id().into_u64().to_le_bytes());
        }
        event.record(&mut values);
        values.keep(event.metadata());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _context: Context<'_, S>) {
        if !is_wanted(attributes.metadata()) {
            return;
        }
        let mut values = Values::new(Phase::Begins);
        values.number(SPAN, FieldKind::U64, &id.into_u64().to_le_bytes());
        attributes.record(&mut values);
        values.keep(attributes.metadata());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(metadata) = context.metadata(&id).filter(|metadata| is_wanted(metadata)) else { return };
        let mut values = Values::new(Phase::Ends);
        values.number(SPAN, FieldKind::U64, &id.into_u64().to_le_bytes());
        values.keep(metadata);
    }
}

/// The field with a span's number.
const SPAN: &str = "span";

/// An event's fields as they will lie in the ring.
struct Values {
    bytes: [u8; CAPACITY],
    length: usize,
    fields: [(&'static str, FieldKind); MAX_FIELDS],
    count: usize,
    phase: Phase,
    signature: u64,
    cut: bool,
}

impl Values {
    fn new(phase: Phase) -> Values {
        Values {
            bytes: [0; CAPACITY],
            length: 0,
            fields: [("", FieldKind::U8); MAX_FIELDS],
            count: 0,
            phase,
            signature: 0xcbf2_9ce4_8422_2325 ^ phase as u64,
            cut: false,
        }
    }

    /// Notes a field; false where there is no room for one more.
    fn field(&mut self, name: &'static str, kind: FieldKind, least: usize) -> bool {
        let room = self.length + least <= CAPACITY;
        let Some(field) = self.fields.get_mut(self.count).filter(|_| room) else {
            self.cut = true;
            return false;
        };
        *field = (name, kind);
        self.count += 1;
        for part in [name.as_ptr() as u64, kind as u64] {
            self.signature = (self.signature ^ part).wrapping_mul(0x0000_0100_0000_01b3);
        }
        true
    }

    fn number(&mut self, name: &'static str, kind: FieldKind, bytes: &[u8]) {
        if self.field(name, kind, bytes.len()) {
            self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    fn sequence(&mut self, name: &'static str, kind: FieldKind, write: impl FnOnce(&mut Values)) {
        if self.field(name, kind, 2) {
            let start = self.length;
            self.length += 2;
            write(self);
            let length = (self.length - start - 2) as u16;
            self.bytes[start..start + 2].copy_from_slice(&length.to_le_bytes());
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    /// Records what was collected.
    fn keep(self, metadata: &'static Metadata<'static>) {
        let Some(ring) = ring::live() else { return };
        match TYPES.number(key(metadata, self.signature), || declare(ring, metadata, &self)) {
            Some(Some(id)) => {
                record::record_bytes(ring, id, &self.bytes[..self.length]);
                if self.cut {
                    ring.count(AT_CUT);
                }
            }
            // Refused, and that was counted.
            Some(None) => {}
            None => ring.count(AT_DISCARDED),
        }
    }
}

impl Write for Values {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = crate::field::cut(text, CAPACITY - self.length);
        self.cut |= kept < text.len();
        self.append(&text.as_bytes()[..kept]);
        Ok(())
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field.name(), FieldKind::F64, &value.to_le_bytes());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), FieldKind::I64, &value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), FieldKind::U64, &value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), FieldKind::Bool, &[u8::from(value)]);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.sequence(field.name(), FieldKind::Text, |values| {
            // A text never fails to be written: it is cut.
            let _ = values.write_str(value);
        });
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.sequence(field.name(), FieldKind::Bytes, |values| {
            let kept = value.len().min(CAPACITY - values.length);
            values.cut |= kept < value.len();
            values.append(&value[..kept]);
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.sequence(field.name(), FieldKind::Text, |values| {
            // Whatever a value's own formatting says: what it wrote is kept.
            let _ = write!(values, "{value:?}");
        });
    }
}

/// Whether the environment lets a call site's events pass.
fn is_wanted(metadata: &'static Metadata<'static>) -> bool {
    let pass = || switches::pass(metadata.target(), level(metadata));
    !switches::are_set()
        || WANTED
            .number(key(metadata, 0), || pass().then_some(0))
            .map_or_else(pass, |wanted| wanted.is_some())
}

fn key(metadata: &'static Metadata<'static>, signature: u64) -> Key {
    [ptr::from_ref(metadata) as u64, signature]
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

fn declare(ring: Ring, metadata: &Metadata<'_>, values: &Values) -> Option<u16> {
    let mut fields = [FieldDecl { name: "", kind: FieldKind::U8, privacy: Privacy::Public }; MAX_FIELDS];
    for (field, (name, kind)) in fields.iter_mut().zip(values.fields) {
        *field = FieldDecl { name, kind, privacy: Privacy::Public };
    }
    site::declare(
        ring,
        &EventDecl {
            id: 0,
            provider: metadata.target(),
            name: Name::new().of(metadata.name(), values.phase),
            level: level(metadata),
            file: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
            fields: &fields[..values.count],
        },
    )
}
