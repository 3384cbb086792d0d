//! Which ELF images a process had mapped, where, and which files may speak for them.
//!
//! Owns the rule of belief: an image's extent and build-id come from the process's own memory, and a file or a separate
//! debug file is used only if it bears the same build-id; after an upgrade or a rebuild the file on disk is another
//! program, and its names would be wrong without anybody noticing. Files come as descriptors that somebody else has
//! opened; the only paths opened here lie under the debug directory, unless a person's own command asks for more
//! ([`Places`]). Nothing is ever mapped into this process.

mod debug;
mod dwarf;
mod image;
mod reader;
mod section;
mod split;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use foretrace_report::bundle::hex;
use foretrace_report::schema::Problem;

use crate::maps::Mapping;
use crate::memory::Memory;

pub use debug::Places;
pub(crate) use debug::{DebugFile, shared};
pub(crate) use dwarf::DwarfSections;
pub(crate) use image::{Headers, Image, Load};
pub(crate) use reader::SectionReader;
pub(crate) use section::Section;
pub(crate) use split::Split;

/// More images than this are not looked at; a large browser has 300.
const MODULE_LIMIT: usize = 8192;
/// Problems about single modules; what exceeds it is only counted.
const PROBLEM_LIMIT: usize = 16;
const PAGE: u64 = 4096;

/// One ELF image that a process had mapped.
pub struct Module {
    /// Its first address.
    pub base: u64,
    /// The first address behind it, from its program headers: gaps between its mappings belong to it.
    pub end: u64,
    /// The mapped file's path, without ` (deleted)`; `[vdso]` for the kernel's own.
    pub path: String,
    /// Its build-id, from the process's memory; from the file only where that memory could not be read.
    pub build_id: Option<Vec<u8>>,
    /// Whether the file had been deleted or replaced while the process ran.
    pub deleted: bool,
    // What is added to the image's own addresses.
    bias: u64,
    image: Option<Image>,
    places: Places,
    given: Option<File>,
    debug: OnceLock<Option<DebugFile>>,
    frames: OnceLock<FrameSections>,
    dwarf: OnceLock<Option<DwarfSections>>,
    split: OnceLock<Split>,
    embedded: OnceLock<Option<Image>>,
}

/// Where a module's call frame information lies: sections with their addresses in the image.
pub(crate) struct FrameSections {
    /// `.eh_frame_hdr`
    pub search_table: Option<(Section, u64)>,
    /// `.eh_frame`
    pub eh_frame: Option<(Section, u64)>,
    /// `.debug_frame` of the image and of its debug file.
    pub debug_frames: Vec<Section>,
    /// `.text`, to which pointers in tables may be relative.
    pub text: Option<u64>,
    /// `.got`, likewise.
    pub got: Option<u64>,
}

impl Module {
    /// The build-id in hex.
    pub fn build_id_hex(&self) -> Option<String> {
        self.build_id.as_deref().map(hex)
    }

    /// The address in the image that `address` in the process stands for.
    pub(crate) fn relative(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }

    /// Where `relative` of the image lies in the process.
    pub(crate) fn absolute(&self, relative: u64) -> u64 {
        self.bias.wrapping_add(relative)
    }

    /// The believed file.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// Its call frame information, looked for once.
    pub(crate) fn frame_sections(&self) -> &FrameSections {
        self.frames.get_or_init(|| {
            let separate = self.debug().map(|debug| &debug.image);
            let images = [self.image.as_ref(), separate].into_iter().flatten();
            FrameSections {
                search_table: self.image.as_ref().and_then(Image::eh_frame_hdr),
                eh_frame: self.image.as_ref().and_then(Image::eh_frame),
                debug_frames: images
                    .filter(|image| image.has(".debug_frame"))
                    .map(|image| image.section(".debug_frame"))
                    .collect(),
                text: self.image.as_ref().and_then(|image| image.address(".text")),
                got: self.image.as_ref().and_then(|image| image.address(".got")),
            }
        })
    }

    /// Its debug information, looked for once: of the separate file, else of the image itself.
    pub(crate) fn dwarf_sections(&self) -> Option<&DwarfSections> {
        let find = || {
            let separate =
                self.debug().and_then(|debug| DwarfSections::new(&debug.image, debug.shared.as_ref()));
            let own = || {
                let image = self.image()?;
                let shared = debug::shared(image, Path::new(&self.path), self.places);
                DwarfSections::new(image, shared.as_ref())
            };
            separate.or_else(own)
        };
        self.dwarf.get_or_init(find).as_ref()
    }

    /// What of its debug information lies in files of its own.
    pub(crate) fn split(&self) -> &Split {
        self.split.get_or_init(|| Split::new(Path::new(&self.path), self.places))
    }

    /// The compressed image inside the believed file, looked for once.
    pub(crate) fn embedded(&self) -> Option<&Image> {
        self.embedded.get_or_init(|| self.image()?.embedded()).as_ref()
    }

    /// The separate debug file, looked for once.
    pub(crate) fn debug(&self) -> Option<&DebugFile> {
        let build_id = self.build_id.as_deref();
        let given = || DebugFile::given(self.given.as_ref()?, build_id?);
        let find = || given().or_else(|| DebugFile::find(build_id, self.image(), &self.path, self.places));
        self.debug.get_or_init(find).as_ref()
    }

    /// Where its debug file would lie, by its build-id.
    pub fn debug_path(&self) -> Option<PathBuf> {
        debug::path_of(self.build_id.as_deref()?)
    }

    /// Offers a debug file that somebody else has opened; it is used if it bears the image's build-id. What was looked
    /// for before is looked for again.
    pub fn give_debug_file(&mut self, file: File) {
        self.given = Some(file);
        (self.debug, self.frames, self.dwarf, self.split) = Default::default();
    }
}

/// All ELF images of a process.
#[derive(Default)]
pub struct Modules {
    modules: Vec<Module>,
    // Executable ranges, sorted: where a return address may point, also in code that is no module's.
    executable: Vec<(u64, u64)>,
}

impl Modules {
    /// Finds the images in `maps`. `open` gives a descriptor of the file behind a mapping, and only that file's bytes
    /// are read; the process's `memory` decides whether it is believed.
    pub fn new(
        maps: &[Mapping],
        memory: &dyn Memory,
        open: &mut dyn FnMut(&Mapping) -> Option<File>,
    ) -> (Modules, Vec<Problem>) {
        let mut sorted: Vec<&Mapping> = maps.iter().filter(|m| m.start < m.end).collect();
        sorted.sort_by_key(|mapping| mapping.start);
        let executable = sorted.iter().filter(|m| m.executable).map(|m| (m.start, m.end)).collect();
        let mut modules: Vec<Module> = Vec::new();
        let mut problems = Vec::new();
        for (index, first) in sorted.iter().enumerate() {
            let covered = modules.last().is_some_and(|last| first.start < last.end);
            if covered || !may_start_image(first) {
                continue;
            }
            if modules.len() == MODULE_LIMIT {
                problems
                    .push(Problem::new("modules", format!("only the first {MODULE_LIMIT} were looked at")));
                break;
            }
            if let Some((module, problem)) = load(first, &sorted[index..], memory, open) {
                modules.push(module);
                problems.extend(problem.map(|what| Problem::new("modules", what)));
            }
        }
        if problems.len() > PROBLEM_LIMIT {
            let more = problems.len() - PROBLEM_LIMIT;
            problems.truncate(PROBLEM_LIMIT);
            problems
                .push(Problem::new("modules", format!("{more} more could not be read as they were mapped")));
        }
        (Modules { modules, executable }, problems)
    }

    /// Sets where debug files may be looked for; before this it is [`Places::System`].
    pub fn looking_in(mut self, places: Places) -> Modules {
        self.modules.iter_mut().for_each(|module| module.places = places);
        self
    }

    /// The module that `address` lies in.
    pub fn find(&self, address: u64) -> Option<&Module> {
        let behind = self.modules.partition_point(|module| module.base <= address);
        self.modules.get(behind.checked_sub(1)?).filter(|module| address < module.end)
    }

    /// All modules in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter()
    }

    /// The same, to be given debug files.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Module> {
        self.modules.iter_mut()
    }

    /// Whether code at `address` can have been run.
    pub fn is_executable(&self, address: u64) -> bool {
        let behind = self.executable.partition_point(|range| range.0 <= address);
        behind.checked_sub(1).and_then(|i| self.executable.get(i)).is_some_and(|range| address < range.1)
    }
}

/// Where a program's file is mapped in a process whose program headers lie at `headers`: what a core tells that names
/// no files, as QEMU's. Start, end and offset of each part; `None` where the file is no ELF file of that shape.
pub fn placed(program: File, headers: u64) -> Option<Vec<(u64, u64, u64)>> {
    Image::from_file(program)?.placed(headers)
}

fn may_start_image(mapping: &Mapping) -> bool {
    mapping.offset == 0 && (mapping.path.starts_with('/') || mapping.path == "[vdso]")
}

// The module that starts with `first`, and a sentence about what is wrong with its file.
fn load(
    first: &Mapping,
    following: &[&Mapping],
    memory: &dyn Memory,
    open: &mut dyn FnMut(&Mapping) -> Option<File>,
) -> Option<(Module, Option<String>)> {
    let (path, deleted) = match first.path.strip_suffix(" (deleted)") {
        Some(path) => (path.to_owned(), true),
        None => (first.path.clone(), false),
    };
    let kernels_own = path == "[vdso]";
    let file = if kernels_own { None } else { open(first).and_then(Image::from_file) };
    let in_memory =
        Headers::parse(|offset, length| memory.read_vec(first.start.wrapping_add(offset), length));
    // The kernel dumps one page of a file's start. Optimisers like BOLT move the program headers far behind it.
    let headers = in_memory.or_else(|| file.as_ref().map(|image| image.headers.clone()))?;
    // A file that is only read through a mapping is no image: its code is not where it should be.
    let placed = place(&headers, first, following)?;
    let build_id = headers.build_id_in(memory, placed.bias);
    let start = memory.read_vec(first.start, PAGE as usize);
    let (image, what) = match file {
        None if kernels_own => (None, None),
        None => (None, Some("its file could not be opened, so its functions have no names")),
        Some(image) => match &build_id {
            Some(id) if image.build_ids().contains(id) => (Some(image), None),
            // Linked without a build-id, or it was not dumped: the file's start is what can be compared.
            None if !start.is_empty() && image.starts_with(&start) => (Some(image), None),
            None if start.is_empty() => {
                (Some(image), Some("nothing of it is readable in memory, so its file is taken unverified"))
            }
            _ => (None, Some("the file is not the one that was mapped, so its functions have no names")),
        },
    };
    let build_id = build_id.or_else(|| image.as_ref()?.build_ids().into_iter().next());
    let what = what.map(|what| format!("{path}: {what}"));
    let image = image.or_else(|| Image::from_memory(&headers, memory, placed.bias));
    let module = Module {
        base: first.start,
        end: placed.end,
        path,
        build_id,
        deleted,
        bias: placed.bias,
        image,
        places: Places::default(),
        given: None,
        debug: OnceLock::new(),
        frames: OnceLock::new(),
        dwarf: OnceLock::new(),
        split: OnceLock::new(),
        embedded: OnceLock::new(),
    };
    Some((module, what))
}

struct Placed {
    bias: u64,
    end: u64,
}

// Where the image that `first` starts lies; `None` if its code is not mapped where its program headers put it.
fn place(headers: &Headers, first: &Mapping, following: &[&Mapping]) -> Option<Placed> {
    let start = headers.loads.iter().find(|load| load.offset < PAGE)?;
    let bias = first.start.wrapping_sub(start.address & !(PAGE - 1));
    let end = headers
        .loads
        .iter()
        .map(|load| bias.wrapping_add(load.address).saturating_add(load.memory_size))
        .filter(|end| *end > first.start)
        .max()?
        .checked_next_multiple_of(PAGE)?;
    let runs = |load: &Load| {
        let address = bias.wrapping_add(load.address);
        let behind = following.partition_point(|mapping| mapping.start <= address);
        let mapping =
            behind.checked_sub(1).and_then(|index| following.get(index)).filter(|m| m.contains(address));
        // Anonymous: some programs move their code to huge pages.
        mapping.is_some_and(|m| m.executable && (m.inode == 0 || m.inode == first.inode))
    };
    headers.loads.iter().any(|load| load.executable && runs(load)).then_some(Placed { bias, end })
}
