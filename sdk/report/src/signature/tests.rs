//! Vectors marked "siggen" were computed with siggen 2.2.20241029 and its own lists, where ours agree with them.

use super::*;

const RUST: &str = "/x/src/lib.rs";

fn frame(function: &str, file: Option<&str>) -> Frame {
    Frame {
        ip: "0x1000".into(),
        module: None,
        build_id: None,
        offset: None,
        function: (!function.is_empty()).then(|| function.into()),
        file: file.map(str::to_owned),
        line: file.map(|_| 7),
        inline: false,
        trust: Trust::Cfi,
    }
}

fn frames(functions: &[&str]) -> Vec<Frame> {
    functions.iter().map(|function| frame(function, None)).collect()
}

fn nameless(module: Option<&str>, ip: u64, offset: Option<u64>) -> Frame {
    Frame {
        ip: format!("{ip:#x}"),
        module: module.map(str::to_owned),
        offset: offset.map(|offset| format!("{offset:#x}")),
        ..frame("", None)
    }
}

fn signal(number: i32) -> Signal {
    Signal { number, name: crate::schema::signal_name(number), code: None, address: None }
}

fn of(number: i32, frames: &[Frame]) -> String {
    signature(&Cause { kind: Kind::Crash, signal: Some(&signal(number)), stack_overflow: false }, frames)
}

#[test]
fn cpp_names_are_normalised_as_siggen_does() {
    for (function, expected) in [
        ("main", "main"),
        ("foo(int)", "foo"),
        ("static void* Allocator<MozJemallocBase>::malloc(unsigned __int64)", "Allocator<T>::malloc"),
        ("ns::Class<int, std::vector<char> >::method(ns::Other const&) const", "ns::Class<T>::method"),
        ("(anonymous namespace)::helper(int)", "(anonymous namespace)::helper"),
        ("operator new(unsigned long)", "new"),
        ("Foo::operator()(int) const", "Foo::operator()"),
        ("Foo::operator<<(int)", "Foo::operator<T>"),
        (
            "std::basic_string<char, std::char_traits<char>, std::allocator<char> >::size() const",
            "std::basic_string<T>::size",
        ),
        ("void foo<int>(int)", "foo<T>"),
        ("foo(int, char *, long &)", "foo"),
        ("ns::f(std::function<void (int)>)", "ns::f"),
        ("int ns::g(void) [clone .cold.222]", "ns::g"),
        ("somefunc (int arg1, int arg2)", "somefunc"),
        ("std::vector<int, std::allocator<int> >::operator[](unsigned long)", "std::vector<T>::operator[]"),
        ("a::$_12::operator()(int) const", "a::$::operator()"),
        ("`anonymous namespace'::f(int)", "(anonymous namespace)::f"),
        ("foo::bar() &&", "foo::bar"),
        ("foo::~foo()", "foo::~foo"),
        ("char const* const* ns::name<3>(int (*)(int))", "ns::name<T>"),
        ("ns::{lambda(int)#1}::operator()(int) const", "ns::{lambda#1}::operator()"),
        ("unclosed<int", "unclosed<T>"),
        ("unclosed(int", "unclosed"),
        ("ns::f<(ns::E)1>(int)", "ns::f<T>"),
        ("std::_Rb_tree<int, int>::_M_insert_unique(int const&)", "std::_Rb_tree<T>::_M_insert_unique"),
        ("operator==(a const&, b const&)", "operator=="),
        ("ns::C::operator bool() const", "ns::C::operator bool"),
    ] {
        assert_eq!(normalize(function, None), expected, "siggen: {function}");
    }
}

#[test]
fn rust_names_are_normalised_as_siggen_does() {
    for (function, expected) in [
        ("core::panicking::panic_fmt", "core::panicking::panic_fmt"),
        ("core::ops::function::FnOnce::call_once<fn(), ()>", "core::ops::function::FnOnce::call_once<T>"),
        (
            "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop",
            "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop",
        ),
        ("app::worker::run::{{closure}}", "app::worker::run::{{closure}}"),
        ("app::parse::h0123456789abcdef", "app::parse"),
        (
            "<rayon_core::job::HeapJob<BODY> as rayon_core::job::Job>::execute",
            "<rayon_core::job::HeapJob<BODY> as rayon_core::job::Job>::execute",
        ),
        (
            "core::option::Option<alloc::string::String>::unwrap<alloc::string::String>",
            "core::option::Option<T>::unwrap<T>",
        ),
        ("static void servo_arc::Arc<style::X>::drop_slow<style::X>()", "servo_arc::Arc<T>::drop_slow<T>"),
        (
            "hashbrown::raw::RawTable<(u32, alloc::string::String)>::reserve_rehash",
            "hashbrown::raw::RawTable<T>::reserve_rehash",
        ),
        ("<&mut T as core::fmt::Write>::write_str", "<&mut T as core::fmt::Write>::write_str"),
        ("app::f<[u8; 4]>", "app::f<T>"),
        (
            "std::sys::backtrace::__rust_begin_short_backtrace<app::main::{closure_env#0}, ()>",
            "std::sys::backtrace::__rust_begin_short_backtrace<T>",
        ),
    ] {
        assert_eq!(normalize(function, Some(RUST)), expected, "siggen: {function}");
    }
}

#[test]
fn what_differs_between_builds_of_one_program_is_gone() {
    for (one, other) in [
        ("app::run::{closure#3}", "app::run::{{closure}}"),
        ("app::{impl#12}::f::{closure#0}::{closure#1}", "app::{{impl}}::f::{{closure}}::{{closure}}"),
        ("std::io::read_to_end::<std::fs::File>", "std::io::read_to_end"),
        ("<app::Row as core::ops::Drop>::drop.cold", "<app::Row as core::ops::Drop>::drop"),
        ("parse.part.0", "parse"),
        ("parse.constprop.0.isra.0", "parse"),
        ("ns::f(int) [clone .cold]", "ns::f(int)"),
    ] {
        assert_eq!(normalize(one, None), normalize(other, None), "{one}");
    }
    assert_eq!(normalize("{closure#x}{", None), "{closure#x}{");
}

#[test]
fn frames_are_chosen_as_siggen_does() {
    for (functions, expected) in [
        (&["crash_here", "main"][..], "crash_here"),
        (&["malloc", "Parser::node(int)", "main"], "malloc | Parser::node"),
        (&["std::__cxx11::x", "app::f(int)", "main"], "app::f"),
        (&["free", "je_arena_x", "app_free", "done"], "free | je_arena_x | app_free | done"),
        (&["__memmove_avx_unaligned_erms", "copy_row", "main"], "copy_row"),
        (
            &[
                "handler",
                "std::panicking::rust_panic_with_hook",
                "core::panicking::panic_fmt",
                "core::result::unwrap_failed",
                "app::load",
                "main",
            ],
            "core::result::unwrap_failed | app::load",
        ),
        (&["pthread_mutex_lock", "queue_push", "main"], "pthread_mutex_lock | queue_push"),
        (&["_Unwind_Resume", "__cxa_throw", "app::fail(char const*)"], "app::fail"),
        (&["std::atomic<int>::load() const", "counter::get()"], "counter::get"),
        (
            &[
                "memcpy",
                "realloc",
                "operator new[](unsigned long)",
                "std::vector<T>::_Emplace_reallocate<int>(int)",
                "frob",
            ],
            "memcpy | realloc | new[] | std::vector<T>::_Emplace_reallocate<T> | frob",
        ),
        (&["_Unwind_Resume"], "_Unwind_Resume"),
        (&["g_log", "g_assertion_message", "app_window_init"], "app_window_init"),
        (&["kill", "syscall", "raise_it"], "kill | syscall | raise_it"),
    ] {
        assert_eq!(of(11, &frames(functions)), expected, "siggen: {functions:?}");
    }
    let dropped = ["core::ptr::drop_in_place<app::X>", "core::mem::drop", "app::close"];
    let dropped: Vec<Frame> = dropped.iter().map(|function| frame(function, Some(RUST))).collect();
    assert_eq!(of(11, &dropped), "core::ptr::drop_in_place<T> | app::close", "siggen");
}

#[test]
fn an_abort_is_one_group_with_and_without_the_librarys_symbols() {
    let named = frames(&[
        "__pthread_kill_implementation",
        "__pthread_kill_internal",
        "__GI_raise",
        "__GI_abort",
        "give_up",
        "main",
    ]);
    let stripped = [
        nameless(Some("/usr/lib/x86_64-linux-gnu/libc.so.6"), 0x7f00_0008_a9fc, Some(0x8a9fc)),
        frame("gsignal", None),
        frame("abort", None),
        frame("give_up", None),
    ];
    assert_eq!(of(6, &named), "Abort | give_up");
    assert_eq!(of(6, &stripped), "Abort | give_up");
}

#[test]
fn a_library_functions_inner_name_is_its_public_one() {
    for kill in ["kill", "__GI_kill"] {
        assert_eq!(of(11, &frames(&["__kernel_vsyscall", kill, "give_up", "main"])), "kill | give_up");
    }
}

#[test]
fn a_frame_without_a_name_is_its_place_in_its_module() {
    let here = nameless(Some("/usr/bin/painter"), 0x5555_0000_1234, Some(0x1234));
    assert_eq!(of(11, &[here]), "painter@0x1234");
    assert_eq!(of(11, &[nameless(Some("/opt/a/libx.so.1"), 0x10, None)]), "libx.so.1");
    let line = Frame { file: Some("/src/a/draw.c".into()), line: Some(12), ..frame("", None) };
    assert_eq!(of(11, &[line]), "draw.c#12");
}

#[test]
fn a_null_call_is_named_with_its_caller() {
    assert_eq!(of(11, &[nameless(None, 0, None), frame("dispatch", None)]), "@0x0 | dispatch");
    assert_eq!(of(11, &[nameless(None, 0x1230, None), frame("dispatch", None)]), "dispatch");
}

#[test]
fn a_signal_trampoline_is_no_frame_of_a_signature() {
    let trampoline = Frame { trust: Trust::Signal, ..frame("", None) };
    assert_eq!(of(11, &[frame("raise", None), trampoline, frame("work", None)]), "work");
}

#[test]
fn causes_have_their_prefixes() {
    let cause = Cause { kind: Kind::Crash, signal: Some(&signal(11)), stack_overflow: true };
    assert_eq!(signature(&cause, &frames(&["recurse", "recurse"])), "stackoverflow | recurse");
    let trampoline = Frame { trust: Trust::Signal, ..frame("", None) };
    let handled = [
        frame("abort", None),
        frame("std::sys::pal::unix::stack_overflow::imp::signal_handler", Some(RUST)),
        trampoline,
        frame("app::recurse", Some(RUST)),
    ];
    assert_eq!(of(6, &handled), "stackoverflow | app::recurse");
    let memory = [frame("alloc::alloc::handle_alloc_error", Some(RUST)), frame("app::grow", Some(RUST))];
    assert_eq!(of(6, &memory), "OOM | unknown | app::grow");
    let cause = Cause { kind: Kind::Hang, signal: None, stack_overflow: false };
    assert_eq!(signature(&cause, &frames(&["poll", "wait_for_it"])), "hang | poll | wait_for_it");
}

#[test]
fn a_crash_without_frames_still_has_a_signature() {
    assert_eq!(of(11, &[]), "EMPTY: no frame data available; SIGSEGV");
    assert_eq!(of(6, &[]), "Abort | EMPTY: no frame data available; SIGABRT");
}

#[test]
fn recursion_through_a_prefix_counts_once() {
    assert_eq!(of(11, &frames(&["memcpy", "memcpy", "memcpy", "f"])), "memcpy | f");
}

#[test]
fn a_signature_is_one_line_of_bounded_length() {
    let long = of(11, &frames(&[&"a".repeat(300)]));
    assert_eq!(long, format!("{}...", "a".repeat(252)), "siggen");
    assert_eq!(of(11, &frames(&["ä\n\tb  c()"])).lines().count(), 1);
    let endless: Vec<Frame> = (0..1000).map(|n| frame(&format!("str{n}"), None)).collect();
    assert!(of(11, &endless).chars().count() <= LENGTH);
}

#[test]
fn the_telling_frame_is_the_one_that_a_signature_ends_with() {
    for (functions, expected) in [
        (&["main"][..], "main"),
        (&["raise", "abort", "give_up"], "give_up"),
        (&["memcpy", "strdup", "copy_name", "main"], "copy_name"),
        (&["core::panicking::panic_fmt", "app::index", "main"], "app::index"),
        (&["handler", "core::panicking::panic", "app::index"], "app::index"),
        (&["raise", "abort"], "raise"),
    ] {
        let frames = frames(functions);
        assert_eq!(telling(&frames).and_then(|frame| frame.function.as_deref()), Some(expected));
    }
    assert_eq!(telling(&[]), None);
    assert_eq!(telling(&[nameless(None, 0x1000, None)]), None);
}

#[test]
fn a_name_of_which_nothing_is_left_is_no_name() {
    assert_eq!(of(11, &[frame(" (<", Some(RUST))]), "lib.rs#7");
    assert_eq!(of(11, &[frame(" (<", None)]), "@0x1000");
    assert_eq!(of(11, &[nameless(Some("/ "), 0x1000, None)]), "EMPTY: no frame data available; SIGSEGV");
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_makes_the_rules_fail(function in "[<>(){}\\[\\]`' a-c:#$_0-9.,*&é]{0,60}", rust: bool) {
            let name = normalize(&function, rust.then_some(RUST));
            prop_assert!(name.len() <= 8 * function.len() + 8);
            let line = of(11, &[frame(&function, rust.then_some(RUST))]);
            prop_assert!(line.chars().count() <= LENGTH && line.lines().count() == 1);
        }
    }
}

#[test]
fn a_standard_function_that_lost_its_path_is_known_by_its_file() {
    let std =
        |function: &str, path: &str| frame(function, Some(&format!("/rustc/59807616e1fa/library/{path}")));
    let crash = [
        std("read_volatile<u8>", "core/src/ptr/mod.rs"),
        std("read_volatile<u8>", "core/src/ptr/const_ptr.rs"),
        frame("first_card_digit", Some("src/till.rs")),
        std("call_once<fn(), ()>", "core/src/ops/function.rs"),
    ];
    assert_eq!(of(11, &crash), "first_card_digit");
    assert_eq!(telling(&crash).and_then(|frame| frame.function.as_deref()), Some("first_card_digit"));
    assert_eq!(of(11, &[frame("read_volatile", Some("src/own.rs"))]), "read_volatile");
}
