//! Units that lie in files of their own, packed together or one by one, and which of them a skeleton stands for.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gimli::{Dwarf, DwarfFileType, DwarfPackage, DwoId, Reader, Unit, UnitRef};

use super::Bytes;
use crate::module::{DwarfSections, Split};

/// Longer paths no system opens.
const PATH_LIMIT: usize = 4096;
/// Objects hold one unit each, and some types.
const UNIT_LIMIT: usize = 1024;

/// The split debug information of one module.
pub(super) struct Objects<'m> {
    split: &'m Split,
    package: OnceCell<Option<DwarfPackage<Bytes<'m>>>>,
}

impl<'m> Objects<'m> {
    /// What `split` finds.
    pub(super) fn new(split: &'m Split) -> Self {
        Objects { split, package: OnceCell::new() }
    }

    /// The unit that a skeleton stands for, with the file that it is in; `None` also where `skeleton` is a whole unit.
    pub(super) fn unit(
        &self,
        skeleton: UnitRef<'_, Bytes<'m>>,
    ) -> Option<(Dwarf<Bytes<'m>>, Unit<Bytes<'m>>)> {
        let id = skeleton.dwo_id?;
        let file = self.packed(id, skeleton.dwarf).or_else(|| self.object(id, skeleton))?;
        let mut unit = unit_with(&file, id)?;
        unit.copy_relocated_attributes(skeleton.unit);
        Some((file, unit))
    }

    fn packed(&self, id: DwoId, parent: &Dwarf<Bytes<'m>>) -> Option<Dwarf<Bytes<'m>>> {
        let open = || {
            let sections = self.split.package()?;
            let section = |id| gimli::Result::Ok(sections.main(id).reader());
            DwarfPackage::load(section, sections.empty().reader()).ok()
        };
        self.package.get_or_init(open).as_ref()?.find_cu(id, parent).ok()?
    }

    fn object(&self, id: DwoId, skeleton: UnitRef<'_, Bytes<'m>>) -> Option<Dwarf<Bytes<'m>>> {
        let directory = skeleton.comp_dir.and_then(path).unwrap_or_default();
        let name = skeleton.attr_string(skeleton.dwo_name().ok()??).ok().and_then(path)?;
        let is_right =
            |sections: &DwarfSections| load(sections).is_some_and(|file| unit_with(&file, id).is_some());
        let mut file = load(self.split.object(&directory, &name, is_right)?)?;
        file.make_dwo(skeleton.dwarf);
        Some(file)
    }
}

fn load(sections: &DwarfSections) -> Option<Dwarf<Bytes<'_>>> {
    let file = Dwarf::load(|id| gimli::Result::Ok(sections.main(id).reader())).ok()?;
    Some(Dwarf { file_type: DwarfFileType::Dwo, ..file })
}

fn unit_with<'m>(file: &Dwarf<Bytes<'m>>, id: DwoId) -> Option<Unit<Bytes<'m>>> {
    let mut headers = file.units();
    std::iter::from_fn(|| headers.next().ok()?)
        .take(UNIT_LIMIT)
        .filter_map(|header| file.unit(header).ok())
        .find(|unit| unit.dwo_id == Some(id))
}

fn path(name: Bytes<'_>) -> Option<PathBuf> {
    let bytes = (name.len() <= PATH_LIMIT).then(|| name.to_slice().ok())??;
    Some(PathBuf::from(OsStr::from_bytes(&bytes)))
}
