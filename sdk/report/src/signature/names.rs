//! Function names without what differs between builds: template arguments, parameters, return types, hashes, numbers.
//! The rules are Socorro's `normalize_rust_function` and `normalize_cpp_function`, with the additions that are named below.

/// A function's name as signatures have it. `file` only tells Rust from other languages.
pub fn normalize(function: &str, file: Option<&str>) -> String {
    if is_rust(function, file) { rust(function) } else { cpp(function) }
}

/// The module of Rust's standard library that a source file holds: `core::ptr::const_ptr` for
/// `/rustc/…/library/core/src/ptr/const_ptr.rs`. Line tables alone name its inlined functions without their path.
pub fn standard_module(file: &str) -> Option<String> {
    let (_, inside) = file.strip_prefix("/rustc/")?.split_once("/library/")?;
    let (krate, path) = inside.split_once("/src/")?;
    let path = path.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Some(krate.into()) } else { Some(format!("{krate}::{}", path.replace('/', "::"))) }
}

// Stripped programs have no files: then Rust shows by what only Rust's names contain.
fn is_rust(function: &str, file: Option<&str>) -> bool {
    match file {
        Some(file) => file.ends_with(".rs"),
        None => {
            function.contains("{{closure}}")
                || function.contains("{closure#")
                || function.contains("{impl#")
                || function.contains("::<")
                || (function.starts_with('<') && function.contains(" as "))
        }
    }
}

fn rust(function: &str) -> String {
    let function = numberless(function);
    let function = without_return_type(&function);
    let function = collapse(&function, '<', '>', "<T>", &[" as "]);
    let function = collapse(&function, '(', ')', "", &[]);
    // The newer mangling names a function's own type parameters, the older does not. Not in Socorro's rules.
    let function = spaced(&function).replace("::<T>", "");
    without_hash(without_clone(&function)).into()
}

fn cpp(function: &str) -> String {
    let mut function = function;
    for qualifier in ["const", "const&", "const &", "&&", "&"] {
        if let Some(rest) = function.strip_suffix(qualifier) {
            function = rest.trim();
        }
    }
    let mut function = function.to_owned();
    if !function.contains("::operator") {
        function = without_return_type(&function);
    }
    let function = lambdas(&function.replace("`anonymous namespace'", "(anonymous namespace)"));
    let function = collapse(&function, '<', '>', "<T>", &["name omitted", " in "]);
    let mut function = collapse(&function, '(', ')', "", &["anonymous namespace", "operator"]);
    if function.contains("[clone ") {
        function = collapse(&function, '[', ']', "", &[]);
    }
    spaced(without_clone(function.trim_end()))
}

// Clang's `::$_3::` is `::$::`.
fn lambdas(function: &str) -> String {
    let mut pieces = function.split("::$_");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = rest.len() < piece.len() && rest.starts_with("::");
        text.push_str(if numbered { "::$" } else { "::$_" });
        text.push_str(if numbered { rest } else { piece });
    }
    text
}

// `{closure#3}` of the newer mangling is `{{closure}}` of the older, and its number changes with every edit above it.
// Not in Socorro's rules.
fn numberless(function: &str) -> String {
    let mut text = String::with_capacity(function.len());
    let mut rest = function;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let word = rest[1..].split(|c: char| !c.is_ascii_alphabetic() && c != '_').next().unwrap_or("");
        let number = rest[1 + word.len()..]
            .strip_prefix('#')
            .map(|n| n.trim_start_matches(|c: char| c.is_ascii_digit()));
        match number.and_then(|after| after.strip_prefix('}')) {
            Some(after) if !word.is_empty() => {
                text.push_str("{{");
                text.push_str(word);
                text.push_str("}}");
                rest = after;
            }
            _ => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

// `::h0123456789abcdef` at the end.
fn without_hash(function: &str) -> &str {
    match function.rfind("::h") {
        Some(at) if at + 3 < function.len() && function[at + 3..].bytes().all(|b| b.is_ascii_hexdigit()) => {
            &function[..at]
        }
        _ => function,
    }
}

// GCC's and LLVM's clones of functions: `f.cold`, `f.part.0`, `f.constprop.0.isra.0`. Not in Socorro's rules.
fn without_clone(function: &str) -> &str {
    const CLONES: [&str; 7] =
        [".cold", ".part.", ".isra.", ".constprop.", ".lto_priv.", ".llvm.", ".localalias"];
    let end = CLONES.iter().filter_map(|clone| function.find(clone)).min().unwrap_or(function.len());
    if end == 0 { function } else { &function[..end] }
}

// No space before `*`, `&` and `,`, one behind `,`.
fn spaced(function: &str) -> String {
    let mut text = String::with_capacity(function.len());
    let mut rest = function.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek();
        if c == ' ' && matches!(next, Some('*' | '&' | ',')) {
            continue;
        }
        text.push(c);
        if c == ',' && next != Some(&' ') {
            text.push(' ');
        }
    }
    text
}

// The last word outside of all brackets: `static void* A<B>::f(int)` is `A<B>::f(int)`.
fn without_return_type(function: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut open: Vec<char> = Vec::new();
    for c in function.chars() {
        match c {
            '(' | '{' | '[' | '<' | '`' => {
                open.push(c);
                word.push(c);
            }
            ')' | '}' | ']' | '>' | '\'' => {
                if open.last().is_some_and(|last| closing(*last) == c) {
                    open.pop();
                }
                word.push(c);
            }
            ' ' if open.is_empty() => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    // `f (int) [clone .cold]` is one word.
    while let [.., before, last] = words.as_slice()
        && (last.starts_with('(') || last.starts_with("[clone"))
    {
        let joined = format!("{before} {last}");
        words.truncate(words.len() - 2);
        words.push(joined);
    }
    words.pop().unwrap_or_default()
}

fn closing(open: char) -> char {
    match open {
        '(' => ')',
        '{' => '}',
        '[' => ']',
        '<' => '>',
        _ => '\'',
    }
}

// Replaces what is between two brackets, brackets included; kept where one of `exceptions` is inside or right before.
fn collapse(function: &str, open: char, close: char, replacement: &str, exceptions: &[&str]) -> String {
    let mut text = String::with_capacity(function.len());
    let mut depth = 0;
    let mut start = 0;
    let excepted =
        |before: &str, token: &str| exceptions.iter().any(|e| before.ends_with(e) || token.contains(e));
    for (at, c) in function.char_indices() {
        if depth == 0 {
            if c == open && !excepted(&function[..at], "") {
                (depth, start) = (1, at);
            } else {
                text.push(c);
            }
        } else if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                let token = &function[start..at + c.len_utf8()];
                text.push_str(if excepted(&function[..at], token) { token } else { replacement });
            }
        }
    }
    if depth > 0 {
        let token = &function[start..];
        let last = function.char_indices().last().map_or(0, |(at, _)| at);
        text.push_str(if excepted(&function[..last], token) { token } else { replacement });
    }
    text
}
