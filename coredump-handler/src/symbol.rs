//! From addresses to functions, files and lines.
//!
//! Owns the order in which names are looked for: DWARF of the separate debug file, DWARF of the image, then symbol tables: theirs, and
//! the one that some distributions compress into a stripped image;
//! and the expansion of inlined calls into frames of their own. Never opens a process's paths and never believes an image
//! (that is [`crate::module`]); a lookup that fails costs a name, never a frame.

mod demangle;
mod dwarf;
mod table;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use foretrace_report::schema::{Call, Frame, Trust};

use crate::module::{self, DwarfSections, Image, Module, Modules, Places, Split};
use crate::unwind::Step;
use dwarf::DebugInfo;
use table::SymbolTable;

/// Names one thread's frames. For more than one use a [`Symbolizer`], which remembers what it has read.
pub fn symbolize(steps: &[Step], modules: &Modules) -> Vec<Frame> {
    Symbolizer::new(modules).frames(steps)
}

/// Names places in a file by its separate debug file: for each distance from the module's start the calls there,
/// innermost first. `None` where the file is no debug information of the build-id, in hex.
pub fn named_by(debug_file: File, build_id: &str, offsets: &[u64]) -> Option<Vec<Vec<Call>>> {
    let image = Image::from_file(debug_file)?;
    if !image.build_ids().iter().any(|id| module::hex(id) == build_id) {
        return None;
    }
    let shared = module::shared(&image, Path::new("/"), Places::System);
    let sections = DwarfSections::new(&image, shared.as_ref());
    // The program's place is unknown.
    let split = Split::new(Path::new("/"), Places::System);
    let sources = Sources {
        info: sections.as_ref().and_then(|sections| DebugInfo::new(sections, &split)),
        tables: SymbolTable::new(&image).into_iter().collect(),
    };
    let start = image.headers.first_address();
    let known = |calls: &Vec<Call>| calls.iter().any(|call| call.function.is_some());
    let calls =
        |offset: &u64| Some(sources.calls(start.wrapping_add(*offset))).filter(known).unwrap_or_default();
    Some(offsets.iter().map(calls).collect())
}

/// Names the frames of one process.
pub struct Symbolizer<'m> {
    modules: &'m Modules,
    // By module base.
    sources: HashMap<u64, Sources<'m>>,
    // By lookup address, innermost call first.
    known: HashMap<u64, Vec<Call>>,
}

// Where one module's names come from.
struct Sources<'m> {
    info: Option<DebugInfo<'m>>,
    tables: Vec<SymbolTable>,
}

impl<'m> Symbolizer<'m> {
    /// A symbolizer for the process that `modules` were found in.
    pub fn new(modules: &'m Modules) -> Self {
        Symbolizer { modules, sources: HashMap::new(), known: HashMap::new() }
    }

    /// A walk's steps as a report's frames: inlined calls expanded, innermost first.
    pub fn frames(&mut self, steps: &[Step]) -> Vec<Frame> {
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
            // A trampoline is the kernel's doing, not a function that anybody called.
            let calls = match module.filter(|_| step.trust != Trust::Signal) {
                Some(module) => self.calls(module, step.lookup),
                None => &[],
            };
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

    fn calls(&mut self, module: &'m Module, lookup: u64) -> &[Call] {
        let sources = &mut self.sources;
        self.known.entry(lookup).or_insert_with(|| {
            let sources = sources.entry(module.base).or_insert_with(|| Sources::new(module));
            sources.calls(module.relative(lookup))
        })
    }
}

impl<'m> Sources<'m> {
    fn new(module: &'m Module) -> Self {
        let images = [module.debug().map(|debug| &debug.image), module.image(), module.embedded()];
        Sources {
            info: module.dwarf_sections().and_then(|sections| DebugInfo::new(sections, module.split())),
            tables: images.into_iter().flatten().filter_map(SymbolTable::new).collect(),
        }
    }

    fn calls(&self, address: u64) -> Vec<Call> {
        let mut calls = self.info.as_ref().map(|info| info.calls(address)).unwrap_or_default();
        if calls.is_empty() {
            calls.push(Call::default());
        }
        for call in &mut calls {
            call.function = call.function.take().map(|name| demangle::demangle(&name));
        }
        // Only the outermost call is a function of its own: an inlined one has no symbol.
        if let Some(call) = calls.last_mut().filter(|call| call.function.as_deref().is_none_or(is_pathless)) {
            let symbol = self.tables.iter().find_map(|table| table.name(address));
            let symbol = symbol.map(|name| demangle::demangle(&name));
            call.function = match (call.function.take(), symbol) {
                (Some(name), Some(symbol)) if !ends_in(&symbol, &name) => Some(name),
                (name, symbol) => symbol.or(name),
            };
        }
        calls
    }
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
