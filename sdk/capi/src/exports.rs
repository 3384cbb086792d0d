//! The names under which programs find the library's functions: all of them, and nothing else.
//!
//! Each is one jump, because rustc gives a function that it exports itself no symbol version: it hands the linker a
//! script of its own, in which these names are not, and `foretrace.map` beside it says which version each belongs to.
#![allow(unsafe_code)]

use core::arch::global_asm;

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp"
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b"
    };
}

macro_rules! export {
    ($($name:literal: $function:path;)*) => {$(
        // A symbol of its own section, that a linker may leave out of programs that do not use it.
        global_asm!(
            concat!(".section .text.", $name, ",\"ax\",@progbits"),
            concat!(".globl ", $name),
            concat!(".type ", $name, ",@function"),
            concat!($name, ":"),
            concat!(jump!(), " {function}"),
            concat!(".size ", $name, ", . - ", $name),
            ".text",
            function = sym $function,
        );
    )*};
}

export! {
    "ft_start": crate::start;
    "ft_start_with": crate::start_with;
    "ft_own_ring": crate::own_ring;
    "ft_now": crate::time::now;
    "ft_time_from_monotonic": crate::time::from_monotonic;
    "ft_enabled": crate::enabled;
    "ft_annotate": crate::annotate;
    "ft_attach_memory": crate::attachment::attach_memory;
    "ft_attach_file": crate::attachment::attach_file;
    "ft_detach": crate::attachment::detach;
    "foretrace_report_error": crate::report_error;
    "foretrace_next_span": crate::next_span;
    "foretrace_register": crate::site::register;
    "foretrace_place": crate::place::place;
    "foretrace_place_at": crate::place::place_at;
    "foretrace_commit": crate::place::commit;
    "foretrace_tick": crate::time::tick;
    "foretrace_in_order": crate::time::in_order;
    "foretrace_cut": crate::place::cut;
}
