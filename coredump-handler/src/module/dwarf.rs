//! The DWARF sections of a module, wherever they are. Owns which file's are taken.

use std::collections::HashMap;

use gimli::SectionId;

use super::{Image, Section};

/// What symbols and lines are looked up in; macros, types and locations are never needed.
const NEEDED: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// The DWARF sections of an image, and of the file that it shares with others.
pub(crate) struct DwarfSections {
    main: HashMap<SectionId, Section>,
    shared: Option<HashMap<SectionId, Section>>,
    empty: Section,
}

impl DwarfSections {
    /// The sections of `image`; `None` where it has no debug information.
    pub(crate) fn new(image: &Image, shared: Option<&Image>) -> Option<DwarfSections> {
        image.has(SectionId::DebugInfo.name()).then(|| DwarfSections {
            main: load(image),
            shared: shared.map(load),
            empty: Section::empty(),
        })
    }

    /// A section of the image, empty where there is none.
    pub(crate) fn main(&self, id: SectionId) -> &Section {
        self.main.get(&id).unwrap_or(&self.empty)
    }

    /// Whether there is a shared file.
    pub(crate) fn has_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// A section of the shared file, empty where there is none.
    pub(crate) fn shared(&self, id: SectionId) -> &Section {
        self.shared.as_ref().and_then(|shared| shared.get(&id)).unwrap_or(&self.empty)
    }
}

fn load(image: &Image) -> HashMap<SectionId, Section> {
    NEEDED.into_iter().filter(|id| image.has(id.name())).map(|id| (id, image.section(id.name()))).collect()
}
