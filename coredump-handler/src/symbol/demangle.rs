//! Mangled names made readable. Owns what is dropped from them: Rust's hashes, C++'s return types, symbol versions.

use std::fmt;

use cpp_demangle::{DemangleOptions, ParseOptions};

/// A demangled name longer than this is cut: templates can make one of megabytes.
const NAME_LIMIT: usize = 4096;
/// How deep a C++ name may be nested before it is left as it is.
const DEPTH_LIMIT: u32 = 96;

/// The name as a person would write it, or as it is.
pub(super) fn demangle(name: &str) -> String {
    let mut name = readable(name).unwrap_or_else(|| name.to_owned());
    if name.len() > NAME_LIMIT {
        let end = (0..=NAME_LIMIT).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        name.truncate(end);
        name.push('…');
    }
    name
}

fn readable(name: &str) -> Option<String> {
    // `_ZN…17h<16 hex digits>E` and `_R…` are Rust's; what its demangler refuses may be C++'s.
    if let Ok(name) = rustc_demangle::try_demangle(name) {
        return Some(format!("{name:#}"));
    }
    if !name.starts_with("_Z") {
        return None;
    }
    // GCC's and LLVM's clones: `_Z1fv.cold`, `_Z1fv.part.0`.
    let (base, clone) = name.find('.').map_or((name, ""), |at| name.split_at(at));
    let parse = ParseOptions::default().recursion_limit(DEPTH_LIMIT);
    let write = DemangleOptions::new().no_return_type().recursion_limit(DEPTH_LIMIT);
    let symbol = cpp_demangle::Symbol::new_with_options(base, &parse).ok()?;
    let mut bounded = Bounded(String::new());
    // It fails when the name has become too long; what is there serves.
    let written = symbol.structured_demangle(&mut bounded, &write);
    let Bounded(text) = bounded;
    if written.is_err() && text.len() < NAME_LIMIT {
        return None;
    }
    Some(if clone.is_empty() { text } else { format!("{text} [clone {clone}]") })
}

// Ends the writing of a name whose substitutions double it and double it again.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > NAME_LIMIT { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_were_written() {
        for (mangled, readable) in [
            ("main", "main"),
            ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"),
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("_Z3fooIiEvT_", "foo<int>(int)"),
            ("_ZNKSt6vectorIiSaIiEE4sizeEv", "std::vector<int, std::allocator<int> >::size() const"),
            ("_ZN3fooC1Ev.cold", "foo::foo() [clone .cold]"),
            ("_Znot a name", "_Znot a name"),
        ] {
            assert_eq!(demangle(mangled), readable);
        }
    }

    #[test]
    fn a_name_made_to_explode_stays_short() {
        // Each parameter is a template of the one before it, twice.
        let number = |n: usize| {
            if n == 0 {
                String::new()
            } else {
                char::from_digit(n as u32 - 1, 36).unwrap().to_uppercase().to_string()
            }
        };
        let doubled: String = (1..24).map(|n| format!("S_IS{0}_S{0}_E", number(n))).collect();
        let bomb = demangle(&format!("_Z1f1AIiiE{doubled}"));
        assert!(
            bomb.starts_with("f(A<int, int>, A<A<int, int>, A<int, int> >") && bomb.len() > 1000,
            "{bomb}"
        );
        assert!(bomb.len() <= NAME_LIMIT + 3);
        let deep = format!("_Z1f{}i", "P".repeat(100_000));
        assert!(!demangle(&deep).is_empty());
    }
}
