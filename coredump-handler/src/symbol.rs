//! From addresses to functions, files and lines.
//!
//! Owns the order in which names are looked for: DWARF of the separate debug file, DWARF of the image, then symbol tables:
//! theirs, and the one that some distributions compress into a stripped image; and the expansion of inlined calls into
//! frames of their own. Never opens a process's paths and never believes an image (that is [`crate::module`]); a lookup
//! that fails costs a name, never a frame.

mod demangle;
mod dwarf;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use foretrace_report::bundle::hex;
use foretrace_report::schema::{Call, Frame, Trust};

use crate::hands;
use crate::module::{self, DwarfSections, Image, Module, Modules, Places, Split};
use crate::unwind::Step;

/// Names one thread's frames. For more than one use a [`Symbolizer`], which looks everything up at once.
pub fn symbolize(steps: &[Step], modules: &Modules) -> Vec<Frame> {
    Symbolizer::new(modules, steps, Detail::Lines).frames(steps)
}

/// How much is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Functions by symbol tables, which takes a millisecond or two.
    Functions,
    /// Also inlined calls, files and lines, by debug information.
    Lines,
}

/// Names places in a file by its separate debug file: for each distance from the module's start the calls there,
/// innermost first. `None` where the file is no debug information of the build-id, in hex.
pub fn named_by(debug_file: File, build_id: &str, offsets: &[u64]) -> Option<Vec<Vec<Call>>> {
    let image = Image::from_file(debug_file)?;
    if !image.build_ids().iter().any(|id| hex(id) == build_id) {
        return None;
    }
    let shared = module::shared(&image, Path::new("/"), Places::System);
    let sections = DwarfSections::new(&image, shared.as_ref());
    // The program's place is unknown.
    let split = Split::new(Path::new("/"), Places::System);
    let sections = sections.as_ref().map(|sections| (sections, &split));
    let start = image.headers.first_address();
    let wanted: Vec<u64> = offsets.iter().map(|offset| start.wrapping_add(*offset)).collect();
    let named = calls(&wanted, sections, std::iter::once(Some(&image)));
    let known = |calls: &&Vec<Call>| calls.iter().any(|call| call.function.is_some());
    Some(wanted.iter().map(|at| named.get(at).filter(known).cloned().unwrap_or_default()).collect())
}

/// Names the frames of one process.
pub struct Symbolizer<'m> {
    modules: &'m Modules,
    // By lookup address, innermost call first.
    known: HashMap<u64, Vec<Call>>,
}

impl<'m> Symbolizer<'m> {
    /// Looks up the steps of all walks through the process that `modules` were found in.
    pub fn new<'s>(modules: &'m Modules, steps: impl IntoIterator<Item = &'s Step>, detail: Detail) -> Self {
        let mut by_module: BTreeMap<u64, (&'m Module, Vec<u64>)> = BTreeMap::new();
        for step in steps {
            // A trampoline is the kernel's doing, not a function that anybody called.
            if let Some(module) = modules.find(step.lookup).filter(|_| step.trust != Trust::Signal) {
                let wanted = &mut by_module.entry(module.base).or_insert((module, Vec::new())).1;
                wanted.push(module.relative(step.lookup));
            }
        }
        let look_up = |(module, mut wanted): (&'m Module, Vec<u64>)| {
            wanted.sort_unstable();
            wanted.dedup();
            let sections = (detail == Detail::Lines).then(|| module.dwarf_sections()).flatten();
            let sections = sections.map(|sections| (sections, module.split()));
            (module, calls(&wanted, sections, symbol_tables(module)))
        };
        let wanted: Vec<_> = by_module.into_values().collect();
        let found: Vec<_> = match detail {
            Detail::Functions => wanted.into_iter().map(look_up).collect(),
            Detail::Lines => hands::each(wanted, look_up),
        };
        let absolute = |(module, found): (&'m Module, HashMap<u64, Vec<Call>>)| {
            found.into_iter().map(|(address, calls)| (module.absolute(address), calls))
        };
        Symbolizer { modules, known: found.into_iter().flat_map(absolute).collect() }
    }

    /// A walk's steps as a report's frames: inlined calls expanded, innermost first.
    pub fn frames(&self, steps: &[Step]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(steps.len());
        for step in steps {
            let module = self.modules.find(step.lookup);
            let frame = Frame {
                ip: format!("{:#x}", step.ip),
                module: module.map(|module| module.path.clone()),
                build_id: module.and_then(Module::build_id_hex),
                offset: module.map(|module| format!("{:#x}", step.ip.wrapping_sub(module.base))),
                function: None,
                file: None,
                line: None,
                inline: false,
                trust: step.trust,
            };
            let calls = self.known.get(&step.lookup).filter(|_| step.trust != Trust::Signal);
            let calls = calls.map(Vec::as_slice).unwrap_or_default();
            let Some(outermost) = calls.len().checked_sub(1) else {
                frames.push(frame);
                continue;
            };
            frames.extend(calls.iter().enumerate().map(|(index, call)| Frame {
                function: call.function.clone(),
                file: call.file.clone(),
                line: call.line,
                inline: index < outermost,
                ..frame.clone()
            }));
        }
        frames
    }
}

// The images of a module that may have a symbol table. Each is opened, or unpacked, when its turn comes.
fn symbol_tables(module: &Module) -> impl Iterator<Item = Option<&Image>> {
    let places: [fn(&Module) -> Option<&Image>; 3] =
        [|module| module.debug().map(|debug| &debug.image), Module::image, Module::embedded];
    places.into_iter().map(move |image| image(module))
}

// The calls at addresses of an image; at least one at each. `tables` are asked for what has no name yet.
fn calls<'i>(
    wanted: &[u64],
    sections: Option<(&DwarfSections, &Split)>,
    mut tables: impl Iterator<Item = Option<&'i Image>>,
) -> HashMap<u64, Vec<Call>> {
    let mut found =
        sections.map(|(sections, split)| dwarf::calls(sections, split, wanted)).unwrap_or_default();
    for address in wanted {
        found.entry(*address).or_insert_with(|| vec![Call::default()]);
    }
    let mut left = Vec::new();
    for (address, calls) in &mut found {
        for call in calls.iter_mut() {
            call.function = call.function.take().map(|name| demangle::demangle(&name));
        }
        // Only the outermost call is a function of its own: an inlined one has no symbol.
        if calls.last().is_some_and(|call| call.function.as_deref().is_none_or(is_pathless)) {
            left.push(*address);
        }
    }
    left.sort_unstable();
    while !left.is_empty() {
        let Some(image) = tables.next() else { break };
        let names = image.map(|image| table::names(image, &left)).unwrap_or_default();
        left.retain(|address| !names.contains_key(address));
        for (address, symbol) in names {
            let Some(call) = found.get_mut(&address).and_then(|calls| calls.last_mut()) else { continue };
            let symbol = demangle::demangle(&symbol);
            call.function = match call.function.take() {
                Some(name) if !ends_in(&symbol, &name) => Some(name),
                _ => Some(symbol),
            };
        }
    }
    found
}

// Line tables alone name a Rust function without its path, `print<T>`; its symbol has it, `till::print`.
fn is_pathless(name: &str) -> bool {
    !without_arguments(name).contains("::")
}

// Whether a path's last segment is this name: identical code may bear another function's symbol.
fn ends_in(path: &str, name: &str) -> bool {
    let path = path.strip_suffix('>').and_then(|path| path.rsplit_once("::<")).map_or(path, |(path, _)| path);
    path.rsplit("::").next() == Some(without_arguments(name))
}

// Of one function's names the one with the fewest is meant: `sleep` is what people write, `__sleep` what its library calls it.
fn underscores(name: &str) -> usize {
    name.bytes().take_while(|byte| *byte == b'_').count()
}

fn without_arguments(name: &str) -> &str {
    if name.starts_with('<') { name } else { name.split('<').next().unwrap_or(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_gives_its_path_only_to_its_own_function() {
        assert!(
            is_pathless("recv<till::Sale>") && !is_pathless("till::main") && !is_pathless("<T as a::B>::c")
        );
        assert!(ends_in("std::sync::mpmc::Receiver<T>::recv", "recv<till::Sale>"));
        assert!(ends_in("<std::sync::mpmc::Receiver<till::Sale>>::recv", "recv<till::Sale>"));
        assert!(ends_in("std::rt::lang_start::<()>", "lang_start<()>"));
        assert!(!ends_in("till::print", "pay"));
    }
}
