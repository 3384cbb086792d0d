//! Spans: stretches of a thread's time, as an event where one begins and an event where it ends.
//!
//! Owns the guard that records the end, and the numbers that tell which two events belong together: each thread counts
//! its own, so that a span costs two events and nothing else.

use core::marker::PhantomData;

use foretrace_ring::metadata::MAX_NAME;

use crate::record::record;
use crate::site::Site;
use crate::thread;

/// Records that a span begins, and when the guard is dropped that it ends.
///
/// ```
/// # use foretrace::span;
/// # let path = "/";
/// let _request = span!(info, "request", path = path);
/// // ... an event `request begin` is behind us, and `request end` follows.
/// ```
///
/// The grammar is that of [`event!`](crate::event!). Both events have a field `span`, by which they are found together
/// within their thread; the beginning has the fields given, of which there are at most 63. Values are not evaluated
/// where the span is known to be switched off.
///
/// # Errors
/// None, as for [`event!`](crate::event!).
///
/// # Signal safety
/// May be used in a signal handler.
#[macro_export]
macro_rules! span {
    (target: $target:expr, $level:ident, $name:expr $(, $field:ident $(: $privacy:ident)? = $value:expr)* $(,)?) => {{
        static BEGINS: $crate::Site = $crate::Site::new($crate::Declaration {
            provider: $target,
            name: $name,
            level: $crate::__level!($level),
            file: ::core::file!(),
            line: ::core::line!(),
            phase: $crate::Phase::Begins,
            fields: {
                const FIELDS: &[(&str, $crate::Privacy)] = &[
                    ("span", $crate::Privacy::Public),
                    $((::core::stringify!($field), $crate::__privacy!($($privacy)?))),*
                ];
                const { ::core::assert!(FIELDS.len() <= 64, "a span has at most 63 fields") };
                FIELDS
            },
        });
        static ENDS: $crate::Site = $crate::Site::new($crate::Declaration {
            provider: $target,
            name: $name,
            level: $crate::__level!($level),
            file: ::core::file!(),
            line: ::core::line!(),
            phase: $crate::Phase::Ends,
            fields: &[("span", $crate::Privacy::Public)],
        });
        let word = BEGINS.word();
        if word == 0 {
            $crate::Span::off()
        } else {
            let span = $crate::Span::begin(&ENDS);
            $crate::record(&BEGINS, word, $crate::__fields!([] span.number() $(, [$($privacy)?] $value)*));
            span
        }
    }};
    ($level:ident, $name:expr $(, $field:ident $(: $privacy:ident)? = $value:expr)* $(,)?) => {
        $crate::span!(
            target: ::core::module_path!(), $level, $name $(, $field $(: $privacy)? = $value)*
        )
    };
}

/// A span that [`span!`](crate::span!) began. It ends when this is dropped, in the thread in which it began.
#[derive(Debug)]
#[must_use = "the span ends when this is dropped: keep it in a variable such as `_span`"]
pub struct Span {
    ends: Option<&'static Site>,
    number: u64,
    /// Its number is its thread's.
    _not_send: PhantomData<*const ()>,
}

impl Span {
    #[doc(hidden)]
    #[inline(always)]
    pub fn begin(ends: &'static Site) -> Span {
        Span { ends: Some(ends), number: next(), _not_send: PhantomData }
    }

    #[doc(hidden)]
    #[inline(always)]
    pub fn off() -> Span {
        Span { ends: None, number: 0, _not_send: PhantomData }
    }

    /// What its two events have in their field `span`: the thread's first span is number 1. 0: it is switched off.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    #[inline(always)]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Span {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(site) = self.ends {
            let word = site.word();
            if word != 0 {
                record(site, word, (&self.number, ()));
            }
        }
    }
}

/// The number of the calling thread's next span.
#[inline(always)]
pub(crate) fn next() -> u64 {
    let spans = &thread::current().spans;
    let number = spans.get().wrapping_add(1);
    spans.set(number);
    number
}

/// What happens at a call site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An event.
    Event,
    /// A span begins.
    Begins,
    /// A span ends.
    Ends,
}

impl Phase {
    /// What follows the name in an event's name.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Phase::Event => "",
            Phase::Begins => " begin",
            Phase::Ends => " end",
        }
    }
}

/// Room for an event's name, made without an allocation.
pub(crate) struct Name([u8; MAX_NAME]);

impl Name {
    pub fn new() -> Name {
        Name([0; MAX_NAME])
    }

    /// The name of what happens, cut where no name may be longer.
    pub fn of<'a>(&'a mut self, name: &'a str, phase: Phase) -> &'a str {
        let suffix = phase.suffix();
        if suffix.is_empty() {
            return name;
        }
        let kept = crate::field::cut(name, MAX_NAME - suffix.len());
        let end = kept + suffix.len();
        self.0[..kept].copy_from_slice(&name.as_bytes()[..kept]);
        self.0[kept..end].copy_from_slice(suffix.as_bytes());
        str::from_utf8(&self.0[..end]).unwrap_or(name)
    }
}
