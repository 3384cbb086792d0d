//! A `tracing` layer that records into the ring.
//!
//! Events become events of the same level, with the target as provider and the fields in the order given. A new span
//! becomes an event `NAME begin` with its fields and its number (`span`), a closed one an event `NAME end`; an event
//! within a span has that span's number. Values that `tracing` passes
//! as `Debug` are recorded as text. Fields are public: `tracing` has no privacy classes; what is personal belongs
//! into [`event!`](crate::event!).
//!
//! Which fields an event has is known only when it happens. So a call site may have several event types, one for each
//! combination of fields and kinds; `known` finds their numbers. An event of a type that is known is laid out on the
//! stack and recorded like any other; only a new type is looked at twice.
//!
//! The registry is asked for a thread's current span when that changes, not at each event: asking costs several times
//! what recording does.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::fmt::{self, Debug, Write};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};
use core::{ptr, slice};

use foretrace_ring::layout::{AT_CUT, AT_DISCARDED};
use foretrace_ring::metadata::{EventDecl, FieldDecl, FieldKind, MAX_FIELDS};
use foretrace_ring::trail::{Level, Privacy};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer as Layered};
use tracing_subscriber::registry::LookupSpan;

use crate::known::Known;
use crate::ring::{self, Ring};
use crate::span::{Name, Phase};
use crate::{record, switches};

/// Bytes of an event's fields; more are cut.
const CAPACITY: usize = 2048;
/// Combinations of call sites and fields.
static TYPES: Known<4096> = Known::new();
/// Call sites, and whether their events are recorded.
static WANTED: Known<4096> = Known::new();
/// Layers made so far.
static LAYERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The layer that last saw this thread, and the span it was in; 0 is none.
    static CURRENT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

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
#[derive(Debug)]
pub struct Layer {
    /// Tells layers apart: each may stand in a subscriber of its own.
    number: u64,
}

impl Layer {
    /// A layer that records everything it is given; filters are `tracing_subscriber`'s.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub fn new() -> Layer {
        Layer { number: LAYERS.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// The span that the calling thread is in; `ask` asks the registry.
    #[inline(always)]
    fn current(&self, ask: impl FnOnce() -> u64) -> u64 {
        CURRENT.with(|current| {
            let (layer, span) = current.get();
            if layer == self.number {
                return span;
            }
            let span = ask();
            current.set((self.number, span));
            span
        })
    }

    /// The calling thread's span is another one now.
    fn moved<S: Subscriber + for<'a> LookupSpan<'a>>(&self, context: &Context<'_, S>) {
        CURRENT.set((self.number, ask(context)));
    }
}

impl Default for Layer {
    fn default() -> Layer {
        Layer::new()
    }
}

impl Clone for Layer {
    fn clone(&self) -> Layer {
        Layer::new()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layered<S> for Layer {
    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = if event.is_contextual() {
            self.current(|| ask(&context))
        } else {
            context.event_span(event).map_or(0, |span| span.id().into_u64())
        };
        record_event(event, span);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _context: Context<'_, S>) {
        record_phase(attributes.metadata(), Phase::Begins, id.into_u64(), |to| attributes.record(to));
    }

    fn on_enter(&self, _id: &Id, context: Context<'_, S>) {
        self.moved(&context);
    }

    fn on_exit(&self, _id: &Id, context: Context<'_, S>) {
        self.moved(&context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(&id) {
            record_phase(metadata, Phase::Ends, id.into_u64(), |_| ());
        }
    }
}

/// The number of the span in which the registry sees the calling thread.
#[cold]
fn ask<S: Subscriber + for<'a> LookupSpan<'a>>(context: &Context<'_, S>) -> u64 {
    context.lookup_current().map_or(0, |span| span.id().into_u64())
}

/// Records an event in a span; 0 is none.
#[inline(always)]
fn record_event(event: &Event<'_>, span: u64) {
    record_phase(event.metadata(), Phase::Event, span, |to| event.record(to));
}

/// Records what happens at a call site, if it is wanted.
#[inline(always)]
fn record_phase(
    metadata: &'static Metadata<'static>,
    phase: Phase,
    span: u64,
    visit: impl Fn(&mut dyn Visit),
) {
    if !is_wanted(metadata) {
        return;
    }
    let recorded = record::record_in_place(|at, room| {
        let newest = TYPES.newest(site(metadata));
        let mut values = Values::new(at, room.min(CAPACITY), phase, false);
        values.fill(span, &visit);
        let key = [site(metadata), values.shape];
        let known = newest.filter(|newest| newest.key == key).or_else(|| TYPES.known(key));
        let id = known?.id.filter(|_| values.cut == 0)?;
        Some((id, values.length))
    });
    if !recorded {
        record_fully(metadata, phase, span, visit);
    }
}

/// Records what was not recorded in place: it has to be formatted, is too long, of a type that may be new, or the
/// recorder has to take its slow path.
#[cold]
#[inline(never)]
fn record_fully(
    metadata: &'static Metadata<'static>,
    phase: Phase,
    span: u64,
    visit: impl Fn(&mut dyn Visit),
) {
    let Some(ring) = ring::live() else { return };
    let mut bytes = [MaybeUninit::<u8>::uninit(); CAPACITY];
    let start = bytes.as_mut_ptr().cast::<u8>();
    let mut values = Values::new(start, CAPACITY, phase, true);
    values.fill(span, &visit);
    let declare = || {
        let mut names = Names::new(values.count);
        if span != 0 {
            names.field(SPAN, FieldKind::U64);
        }
        visit(&mut names);
        declare(ring, metadata, phase, &names)
    };
    match TYPES.number([site(metadata), values.shape], declare) {
        Some(Some(id)) => {
            // SAFETY: the values wrote the first `length` bytes of the buffer, one after the other.
            let laid = unsafe { slice::from_raw_parts(start, values.length) };
            record::record_laid(ring, id, laid);
            if values.cut != 0 {
                ring.count(AT_CUT);
            }
        }
        // Refused, and that was counted.
        Some(None) => {}
        None => ring.count(AT_DISCARDED),
    }
}

/// The field with a span's number.
const SPAN: &str = "span";
/// What stands for that field's index.
const OWN_FIELD: usize = 0xff;

/// An event's fields as they will lie in the ring, or already do. Every word is written and read as a whole: the
/// processor waits for a word of which a part was written just now.
struct Values {
    /// Where the first value is.
    start: *mut u8,
    /// Bytes written.
    length: usize,
    /// Bytes there may be; none after a field found no room.
    room: usize,
    /// Tells the combinations of fields and kinds at one call site apart.
    shape: u64,
    /// Fields that are there.
    count: usize,
    /// Not 0: a field was cut or left out.
    cut: usize,
    /// Whether values that have to be formatted may be: that is the application's code, and may record.
    formats: bool,
}

impl Values {
    /// Values to be written at `at`, where the caller has `room` bytes.
    #[inline(always)]
    fn new(at: *mut u8, room: usize, phase: Phase, formats: bool) -> Values {
        let shape = 0xcbf2_9ce4_8422_2325 ^ phase as u64;
        Values { start: at, length: 0, room, shape, count: 0, cut: 0, formats }
    }

    #[inline(always)]
    fn fill(&mut self, span: u64, visit: impl Fn(&mut dyn Visit)) {
        if span != 0 {
            self.number(OWN_FIELD, FieldKind::U64, span.to_le_bytes());
        }
        visit(self);
    }

    /// Notes a field; false where there is no room for one more.
    #[inline(always)]
    fn field(&mut self, index: usize, kind: FieldKind, least: usize) -> bool {
        if self.length + least > self.room || self.count == MAX_FIELDS {
            self.stop();
            return false;
        }
        self.count += 1;
        let field = (index << 8 | kind as usize) as u64;
        self.shape = (self.shape ^ field).wrapping_mul(0x0000_0100_0000_01b3);
        true
    }

    /// Leaves out every field from here on.
    #[inline(always)]
    fn stop(&mut self) {
        self.room = 0;
        self.cut = 1;
    }

    #[inline(always)]
    fn number<const N: usize>(&mut self, index: usize, kind: FieldKind, bytes: [u8; N]) {
        if self.field(index, kind, N) {
            self.append(&bytes);
        }
    }

    #[inline(always)]
    fn sequence(&mut self, index: usize, kind: FieldKind, write: impl FnOnce(&mut Values)) {
        if self.field(index, kind, 2) {
            let before = self.length;
            self.append(&[0; 2]);
            write(self);
            let length = (self.length - before - 2) as u16;
            let at = self.start.wrapping_add(before);
            // SAFETY: the two bytes that were appended three lines above.
            unsafe { at.cast::<[u8; 2]>().write(length.to_le_bytes()) };
        }
    }

    /// Appends bytes, for which the caller knows there is room.
    #[inline(always)]
    fn append(&mut self, bytes: &[u8]) {
        let at = self.start.wrapping_add(self.length);
        // SAFETY: behind the bytes written is room that nobody else knows of, and the caller compared.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        self.length += bytes.len();
    }
}

impl Write for Values {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = crate::field::cut(text, self.room.saturating_sub(self.length));
        self.cut |= usize::from(kept < text.len());
        self.append(&text.as_bytes()[..kept]);
        Ok(())
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field.index(), FieldKind::F64, value.to_le_bytes());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.index(), FieldKind::I64, value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.index(), FieldKind::U64, value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.index(), FieldKind::Bool, [u8::from(value)]);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.sequence(field.index(), FieldKind::Text, |values| {
            // A text never fails to be written: it is cut.
            let _ = values.write_str(value);
        });
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.sequence(field.index(), FieldKind::Bytes, |values| {
            let kept = value.len().min(values.room.saturating_sub(values.length));
            values.cut |= usize::from(kept < value.len());
            values.append(&value[..kept]);
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !self.formats {
            return self.stop();
        }
        self.sequence(field.index(), FieldKind::Text, |values| {
            // Whatever a value's own formatting says: what it wrote is kept.
            let _ = write!(values, "{value:?}");
        });
    }
}

/// The same fields' names and kinds: what only a declaration needs.
struct Names {
    fields: [FieldDecl<'static>; MAX_FIELDS],
    count: usize,
    /// So many fields were recorded.
    most: usize,
}

impl Names {
    fn new(most: usize) -> Names {
        let none = FieldDecl { name: "", kind: FieldKind::U8, privacy: Privacy::Public };
        Names { fields: [none; MAX_FIELDS], count: 0, most }
    }

    fn field(&mut self, name: &'static str, kind: FieldKind) {
        if self.count < self.most.min(MAX_FIELDS) {
            self.fields[self.count] = FieldDecl { name, kind, privacy: Privacy::Public };
            self.count += 1;
        }
    }
}

impl Visit for Names {
    fn record_f64(&mut self, field: &Field, _value: f64) {
        self.field(field.name(), FieldKind::F64);
    }

    fn record_i64(&mut self, field: &Field, _value: i64) {
        self.field(field.name(), FieldKind::I64);
    }

    fn record_u64(&mut self, field: &Field, _value: u64) {
        self.field(field.name(), FieldKind::U64);
    }

    fn record_bool(&mut self, field: &Field, _value: bool) {
        self.field(field.name(), FieldKind::Bool);
    }

    fn record_bytes(&mut self, field: &Field, _value: &[u8]) {
        self.field(field.name(), FieldKind::Bytes);
    }

    fn record_debug(&mut self, field: &Field, _value: &dyn Debug) {
        self.field(field.name(), FieldKind::Text);
    }
}

/// Whether the environment lets a call site's events pass.
#[inline(always)]
fn is_wanted(metadata: &'static Metadata<'static>) -> bool {
    let pass = || switches::pass(metadata.target(), level(metadata));
    !switches::are_set()
        || WANTED
            .number([site(metadata), 0], || pass().then_some(0))
            .map_or_else(pass, |wanted| wanted.is_some())
}

/// What tells call sites apart.
#[inline(always)]
fn site(metadata: &'static Metadata<'static>) -> u64 {
    ptr::from_ref(metadata) as u64
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

fn declare(ring: Ring, metadata: &Metadata<'_>, phase: Phase, names: &Names) -> Option<u16> {
    crate::site::declare(
        ring,
        &EventDecl {
            id: 0,
            provider: metadata.target(),
            name: Name::new().of(metadata.name(), phase),
            level: level(metadata),
            file: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
            fields: &names.fields[..names.count],
        },
    )
}
