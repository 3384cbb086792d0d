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

/// How many windows of each section are looked through: 2 GiB of bytes in order, or so many places far from each other. A
/// unit of a large browser takes thousands.
const WINDOWS: u64 = 1 << 18;

/// What a package has on top: its indexes, and what they divide although nobody looks into it.
const PACKAGED: [SectionId; 7] = [
    SectionId::DebugCuIndex,
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
    SectionId::DebugMacinfo,
    SectionId::DebugMacro,
    SectionId::DebugTuIndex,
    SectionId::DebugTypes,
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
            main: load(image, &NEEDED, |id| Some(id.name())),
            shared: shared.map(|shared| load(shared, &NEEDED, |id| Some(id.name()))),
            empty: Section::empty(),
        })
    }

    /// The sections of a `.dwo` or `.dwp` file; `None` where it is neither.
    pub(crate) fn split(image: &Image) -> Option<DwarfSections> {
        let main = load(image, &[&NEEDED[..], &PACKAGED].concat(), |id| id.dwo_name());
        main.contains_key(&SectionId::DebugInfo).then(|| DwarfSections {
            main,
            shared: None,
            empty: Section::empty(),
        })
    }

    /// The same sections of the image alone, with nothing kept of what is looked at, where that is possible.
    pub(crate) fn again(&self) -> Option<DwarfSections> {
        let again = |(id, section): (&SectionId, &Section)| Some((*id, section.again()?));
        let main = self.main.iter().map(again).collect::<Option<_>>()?;
        Some(DwarfSections { main, shared: None, empty: Section::empty() })
    }

    /// No bytes.
    pub(crate) fn empty(&self) -> &Section {
        &self.empty
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

fn load(
    image: &Image,
    ids: &[SectionId],
    name: impl Fn(SectionId) -> Option<&'static str>,
) -> HashMap<SectionId, Section> {
    let named = ids.iter().filter_map(|id| Some((*id, name(*id)?)));
    let open = |(id, name)| (id, image.section(name).limited(WINDOWS));
    named.filter(|(_, name)| image.has(name)).map(open).collect()
}
