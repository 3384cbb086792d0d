//! The macro that records. Owns its grammar; everything it expands to is ordinary code elsewhere.

/// Records an event.
///
/// ```
/// # use foretrace::event;
/// # let (name, token) = ("ada", "x");
/// event!(info, "request done", status = 200_u32, took_ms = 1.5, user: personal = name, token: secret = token);
/// event!(target: "app::db", warn, "reconnecting", attempt = 3_u8);
/// ```
///
/// The level is one of `error`, `warn`, `info`, `debug`, `trace`; the name a literal or constant. The provider is the
/// module's path unless `target:` names another. Fields are integers, floats, `bool`, text (`str`, `String`) and bytes
/// (`[u8]`, `Vec<u8>`); integers without a suffix are `i32`. Each field has a privacy class: public (nothing said),
/// `personal` (leaves the machine as a pseudonym only), `secret` (its value is not evaluated and never recorded).
///
/// With `batch:` an event takes part in a [`batch`](fn@crate::batch) or has the time of a [`coarse`](fn@crate::coarse)
/// clock; with `at:` it has a time that the caller gives ([`at`](fn@crate::at)).
///
/// Text that makes an event larger than a packet (16 KiB) is cut, and counted.
///
/// # Errors
/// None: what cannot be recorded is counted in the ring, and the report says how many.
///
/// # Signal safety
/// May be used in a signal handler, also in one that interrupts a recording.
#[macro_export]
macro_rules! event {
    (batch: $batch:expr, target: $target:expr, $($rest:tt)+) => {
        $crate::event!(@ [($batch).record] $target, $($rest)+)
    };
    (batch: $batch:expr, $($rest:tt)+) => {
        $crate::event!(@ [($batch).record] ::core::module_path!(), $($rest)+)
    };
    (at: $at:expr, $($rest:tt)+) => {
        $crate::event!(batch: $at, $($rest)+)
    };
    (target: $target:expr, $($rest:tt)+) => {
        $crate::event!(@ [$crate::record] $target, $($rest)+)
    };
    (
        @ [$($record:tt)+] $target:expr, $level:ident, $name:expr
        $(, $field:ident $(: $privacy:ident)? = $value:expr)* $(,)?
    ) => {{
        static SITE: $crate::Site = $crate::Site::new($crate::Declaration {
            provider: $target,
            name: $name,
            level: $crate::__level!($level),
            file: ::core::file!(),
            line: ::core::line!(),
            phase: $crate::Phase::Event,
            fields: {
                const FIELDS: &[(&str, $crate::Privacy)] =
                    &[$((::core::stringify!($field), $crate::__privacy!($($privacy)?))),*];
                const { ::core::assert!(FIELDS.len() <= 64, "an event has at most 64 fields") };
                FIELDS
            },
        });
        let word = SITE.word();
        if word != 0 {
            $($record)+(&SITE, word, $crate::__fields!($([$($privacy)?] $value),*));
        }
    }};
    ($level:ident, $name:expr $(, $field:ident $(: $privacy:ident)? = $value:expr)* $(,)?) => {
        $crate::event!(
            target: ::core::module_path!(), $level, $name $(, $field $(: $privacy)? = $value)*
        )
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __level {
    (error) => {
        $crate::Level::Error
    };
    (warn) => {
        $crate::Level::Warn
    };
    (info) => {
        $crate::Level::Info
    };
    (debug) => {
        $crate::Level::Debug
    };
    (trace) => {
        $crate::Level::Trace
    };
    ($other:ident) => {
        ::core::compile_error!("the level is one of error, warn, info, debug, trace")
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __privacy {
    () => {
        $crate::Privacy::Public
    };
    (public) => {
        $crate::Privacy::Public
    };
    (personal) => {
        $crate::Privacy::Personal
    };
    (secret) => {
        $crate::Privacy::Secret
    };
    ($other:ident) => {
        ::core::compile_error!("a field is public, personal or secret")
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __fields {
    () => {
        ()
    };
    ([secret] $value:expr $(, $($rest:tt)*)?) => {
        (
            // Compiled, so that it goes on compiling; never evaluated.
            if false {
                let _ = &$value;
                &$crate::Secret
            } else {
                &$crate::Secret
            },
            $crate::__fields!($($($rest)*)?),
        )
    };
    ([$($privacy:ident)?] $value:expr $(, $($rest:tt)*)?) => {
        (&$value, $crate::__fields!($($($rest)*)?))
    };
}
