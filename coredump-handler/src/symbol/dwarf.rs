//! DWARF debug information through addr2line. Owns the step from an address to its chain of inlined calls.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use addr2line::{Context, LookupContinuation, LookupResult, SplitDwarfLoad};
use gimli::{Dwarf, DwarfFileType, DwarfPackage, Reader};

use super::Call;
use crate::module::{DwarfSections, SectionReader, Split};

/// Inlining deeper than this is a lie.
const INLINE_LIMIT: usize = 256;
/// Longer paths no system opens.
const PATH_LIMIT: usize = 4096;
/// Objects hold one unit each, and some types.
const UNIT_LIMIT: usize = 1024;

/// One module's debug information.
pub(super) struct DebugInfo<'m> {
    context: Context<SectionReader<'m>>,
    split: &'m Split,
    package: OnceCell<Option<DwarfPackage<SectionReader<'m>>>>,
}

impl<'m> DebugInfo<'m> {
    /// Reads what is needed to find units; `None` where it makes no sense.
    pub(super) fn new(sections: &'m DwarfSections, split: &'m Split) -> Option<DebugInfo<'m>> {
        let mut dwarf = main(sections)?;
        if sections.has_shared() {
            dwarf.load_sup(|id| gimli::Result::Ok(sections.shared(id).reader())).ok()?;
        }
        Some(DebugInfo { context: Context::from_dwarf(dwarf).ok()?, split, package: OnceCell::new() })
    }

    /// The calls at an address of the image, innermost first. What cannot be read is left out.
    pub(super) fn calls(&self, address: u64) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut lookup = self.context.find_frames(address);
        let found = loop {
            lookup = match lookup {
                LookupResult::Output(found) => break found,
                LookupResult::Load { load, continuation } => continuation.resume(self.load(&load)),
            };
        };
        let Ok(mut frames) = found else { return calls };
        while let Ok(Some(frame)) = frames.next() {
            let function =
                frame.function.as_ref().and_then(|f| f.raw_name().ok().map(|name| name.into_owned()));
            let (file, line) = match &frame.location {
                Some(location) => (location.file.map(str::to_owned), location.line),
                None => (None, None),
            };
            calls.push(Call { function, file, line });
            if calls.len() == INLINE_LIMIT {
                break;
            }
        }
        calls
    }

    // The unit that a skeleton stands for, from the package or from an object of its own.
    #[expect(clippy::arc_with_non_send_sync, reason = "addr2line asks for it")]
    fn load(&self, load: &SplitDwarfLoad<SectionReader<'m>>) -> Option<Arc<Dwarf<SectionReader<'m>>>> {
        let open = || {
            let sections = self.split.package()?;
            let section = |id| gimli::Result::Ok(sections.main(id).reader());
            DwarfPackage::load(section, sections.empty().reader()).ok()
        };
        let packed = self.package.get_or_init(open).as_ref();
        if let Some(unit) = packed.and_then(|package| package.find_cu(load.dwo_id, &load.parent).ok()?) {
            return Some(Arc::new(unit));
        }
        let directory = load.comp_dir.and_then(path).unwrap_or_default();
        let sections = self.split.object(&directory, &load.path.and_then(path)?, |sections| {
            object(sections).is_some_and(|object| holds(&object, load.dwo_id))
        })?;
        let mut object = object(sections)?;
        object.make_dwo(&load.parent);
        Some(Arc::new(object))
    }
}

fn main(sections: &DwarfSections) -> Option<Dwarf<SectionReader<'_>>> {
    Dwarf::load(|id| gimli::Result::Ok(sections.main(id).reader())).ok()
}

fn object(sections: &DwarfSections) -> Option<Dwarf<SectionReader<'_>>> {
    Some(Dwarf { file_type: DwarfFileType::Dwo, ..main(sections)? })
}

fn path(name: SectionReader<'_>) -> Option<PathBuf> {
    let bytes = (name.len() <= PATH_LIMIT).then(|| name.to_slice().ok())??;
    Some(PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn holds(object: &Dwarf<SectionReader<'_>>, id: gimli::DwoId) -> bool {
    let mut units = object.units();
    std::iter::from_fn(|| units.next().ok()?)
        .take(UNIT_LIMIT)
        .any(|header| object.unit(header).is_ok_and(|unit| unit.dwo_id == Some(id)))
}
