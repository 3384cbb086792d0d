//! DWARF debug information through addr2line. Owns the step from an address to its chain of inlined calls.

use addr2line::Context;
use gimli::Dwarf;

use super::Call;
use crate::module::{DwarfSections, SectionReader};

/// Inlining deeper than this is a lie.
const INLINE_LIMIT: usize = 256;

/// One module's debug information.
pub(super) struct DebugInfo<'m> {
    context: Context<SectionReader<'m>>,
}

impl<'m> DebugInfo<'m> {
    /// Reads what is needed to find units; `None` where it makes no sense.
    pub(super) fn new(sections: &'m DwarfSections) -> Option<DebugInfo<'m>> {
        let mut dwarf = Dwarf::load(|id| gimli::Result::Ok(sections.main(id).reader())).ok()?;
        if sections.has_shared() {
            dwarf.load_sup(|id| gimli::Result::Ok(sections.shared(id).reader())).ok()?;
        }
        Some(DebugInfo { context: Context::from_dwarf(dwarf).ok()? })
    }

    /// The calls at an address of the image, innermost first. What cannot be read is left out.
    pub(super) fn calls(&self, address: u64) -> Vec<Call> {
        let mut calls = Vec::new();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else { return calls };
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
}
