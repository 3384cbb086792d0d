//! Two backtraces of one thread held against each other. Pure: knows no program and no file.
//!
//! A frame agrees if both have it at the same address, in the same order, under the same function. Functions are
//! compared by their own names, without the scopes, types and parameters that every demangler writes its own way.

use serde::{Deserialize, Serialize};

/// One frame, whoever found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its address.
    pub ip: u64,
    /// Its function; [`SIGNAL`] for the kernel's trampoline.
    pub name: String,
    /// Whether it was found by call frame information or is the thread's own state, and so is claimed to be right.
    pub sure: bool,
}

/// The name of a trampoline's frame.
pub const SIGNAL: &str = "<signal handler called>";

/// What a comparison of threads found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Frames that gdb has a name for.
    pub named: usize,
    /// Those of them that we have too.
    pub agreed: usize,
    /// What differs, in words.
    pub differences: Vec<String>,
    /// Frames that we are sure of and gdb calls otherwise.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// Adds another thread's.
    pub fn add(&mut self, other: Outcome) {
        self.named += other.named;
        self.agreed += other.agreed;
        self.differences.extend(other.differences);
        self.wrong.extend(other.wrong);
    }

    /// The share of gdb's named frames that we have.
    pub fn share(&self) -> f64 {
        if self.named == 0 { 1.0 } else { self.agreed as f64 / self.named as f64 }
    }
}

/// A difference that is known, and whose doing it is: gdb's name, ours, why.
pub type Explained = (&'static str, &'static str, &'static str);

/// Holds `ours` against `gdb`'s named frames, both innermost first.
pub fn compare(gdb: &[Frame], ours: &[Frame], explained: &[Explained]) -> Outcome {
    let reason = |theirs: &str, own: &str| {
        explained.iter().find(|(name, other, _)| *name == theirs && *other == own).map(|known| known.2)
    };
    let pairs = in_both(gdb, ours);
    let mut outcome = Outcome { named: gdb.len(), agreed: pairs.len(), ..Outcome::default() };
    for (index, frame) in gdb.iter().enumerate().filter(|(index, _)| !pairs.iter().any(|p| p.0 == *index)) {
        let there = ours.iter().filter(|own| own.ip == frame.ip).map(|own| own.name.as_str());
        let there: Vec<&str> = there.collect();
        let why = there.iter().find_map(|own| reason(&frame.name, own));
        let said = if there.is_empty() { "missing".into() } else { format!("we say {}", there.join(", ")) };
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        outcome.differences.push(format!("#{index} {:#x} {}: {said}{why}", frame.ip, frame.name));
    }
    let reached = pairs.last().map_or(0, |pair| pair.1);
    for (index, frame) in ours.iter().enumerate().filter(|(index, _)| !pairs.iter().any(|p| p.1 == *index)) {
        let mut there = gdb.iter().filter(|other| other.ip == frame.ip).peekable();
        let invented = there.peek().is_none() && index < reached;
        let same =
            |other: &Frame| agree(&other.name, &frame.name) || reason(&other.name, &frame.name).is_some();
        let renamed = there.peek().is_some() && !there.any(same);
        if frame.sure && (renamed || invented) {
            outcome.wrong.push(format!("{:#x} {}", frame.ip, frame.name));
        }
    }
    outcome
}

// The longest common subsequence: pairs of indices.
fn in_both(gdb: &[Frame], ours: &[Frame]) -> Vec<(usize, usize)> {
    let same = |a: &Frame, b: &Frame| a.ip == b.ip && agree(&a.name, &b.name);
    let width = ours.len() + 1;
    let mut longest = vec![0u32; (gdb.len() + 1) * width];
    for (i, left) in gdb.iter().enumerate().rev() {
        for (j, right) in ours.iter().enumerate().rev() {
            longest[i * width + j] = if same(left, right) {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < gdb.len() && j < ours.len() {
        if same(&gdb[i], &ours[j]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

fn agree(left: &str, right: &str) -> bool {
    left == right || own_name(left) == own_name(right)
}

// `shop::Order<int>::total(std::vector<int> const&) const [clone .cold]` is `total`.
fn own_name(name: &str) -> String {
    let name = name.split(" [clone").next().unwrap_or(name);
    if let Some((_, operator)) = name.rsplit_once("operator") {
        let symbol = if operator.starts_with("()") { "()" } else { operator.split('(').next().unwrap_or("") };
        return format!("operator{symbol}");
    }
    let mut depth = 0i32;
    let mut flat = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        match letter {
            '<' | '(' => depth += 1,
            '>' if before == '-' => {}
            '>' | ')' => depth -= 1,
            '{' | '}' => {}
            _ if depth == 0 => flat.push(letter),
            _ => {}
        }
        before = letter;
    }
    // A name of the symbol table alone keeps Rust's hash.
    let hashed = |last: &str| last.len() == 17 && last.starts_with('h');
    let flat =
        flat.rsplit_once("::").filter(|(_, last)| hashed(last)).map_or(flat.as_str(), |(rest, _)| rest);
    let flat = flat.trim_end_matches("vtable.shim").trim_end_matches(" const").trim_end_matches("::").trim();
    let last = flat.rsplit("::").next().unwrap_or(flat);
    // `{closure#0}`, `main.func1`'s own numbers stay; a compiler's clones go.
    let last = last.split(['#', '@']).next().unwrap_or(last);
    let clones = [".cold", ".part", ".constprop", ".isra", ".localalias", ".llvm"];
    let end = clones.iter().filter_map(|clone| last.find(clone)).min().unwrap_or(last.len());
    let last = &last[..end];
    // A static variable of a function has a number.
    let last =
        last.trim_end_matches(|letter: char| letter.is_ascii_digit()).strip_suffix('.').unwrap_or(last);
    // One function of the C library, several symbols: which of them a table gives first is chance.
    let last = last.trim_start_matches("__GI_").trim_start_matches('_').trim_end_matches("_impl");
    if last.is_empty() { name.to_owned() } else { last.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(list: &[(u64, &str, bool)]) -> Vec<Frame> {
        list.iter().map(|(ip, name, sure)| Frame { ip: *ip, name: (*name).into(), sure: *sure }).collect()
    }

    #[test]
    fn a_name_is_compared_without_its_scopes_and_types() {
        for (left, right) in [
            ("shop::Order<int>::total(std::vector<int> const&) const", "shop::Order::total"),
            (
                "<fn() as core::ops::function::FnOnce<()>>::call_once",
                "core::ops::function::FnOnce::call_once<fn(), ()>",
            ),
            ("panics::main::{{closure}}", "panics::main::{closure#0}"),
            ("__GI_abort", "abort"),
            ("f() [clone .cold]", "f"),
            ("panics::measure::he0a1eead9105d6c5", "panics::measure"),
            (
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
                "core::ops::function::FnOnce::call_once<u32>",
            ),
            ("_sleep", "__sleep"),
            ("code.0", "code"),
            ("std::function<int(int)>::operator()(int) const", "std::function<int (int)>::operator()"),
        ] {
            assert!(agree(left, right), "{} and {}", own_name(left), own_name(right));
        }
        assert!(!agree("shop::Order::total", "shop::Order::count"));
        assert!(!agree("operator()", "operator[]"));
    }

    #[test]
    fn order_counts_and_a_sure_other_name_is_wrong() {
        let gdb = frames(&[(1, "a", true), (2, "b", true), (3, "c", true)]);
        let ours = frames(&[(1, "a", true), (3, "c", true), (2, "b", true)]);
        assert_eq!(compare(&gdb, &ours, &[]).agreed, 2);
        let ours = frames(&[(1, "a", true), (2, "x", true), (9, "y", false), (3, "c", true), (4, "d", true)]);
        let outcome = compare(&gdb, &ours, &[]);
        assert!(compare(&gdb, &ours, &[("b", "x", "another word for it")]).wrong.is_empty());
        assert_eq!((outcome.named, outcome.agreed), (3, 2));
        assert_eq!(outcome.wrong, ["0x2 x"], "what gdb did not reach is no error, a guess is none either");
        let ours = frames(&[(1, "a", true), (9, "y", true), (2, "b", true), (3, "c", true)]);
        assert_eq!(compare(&gdb, &ours, &[]).wrong, ["0x9 y"]);
    }
}
