//! A function's name: its own, or that of the entry that it stands for, in this unit, in another one, or in the file that
//! several share.

use gimli::{AttributeValue, UnitOffset, UnitRef};

use super::{Bytes, Info, text};

/// An entry that stands for another one that stands for another one … ends here.
const REFERENCES: usize = 16;

impl<'m> Info<'m> {
    /// The name of the entry at `offset`.
    pub(super) fn name_of(&self, unit: UnitRef<'_, Bytes<'m>>, offset: UnitOffset) -> Option<String> {
        self.own_or_referred(unit, offset, REFERENCES)
    }

    /// The name of the entry that an attribute refers to.
    pub(super) fn name_at(
        &self,
        unit: UnitRef<'_, Bytes<'m>>,
        reference: AttributeValue<Bytes<'m>>,
    ) -> Option<String> {
        self.referred(unit, reference, REFERENCES)
    }

    fn own_or_referred(
        &self,
        unit: UnitRef<'_, Bytes<'m>>,
        offset: UnitOffset,
        left: usize,
    ) -> Option<String> {
        let mut entries = unit.entries_raw(Some(offset)).ok()?;
        let abbreviation = entries.read_abbreviation().ok()??;
        let (mut linkage, mut name, mut reference) = (None, None, None);
        for specification in abbreviation.attributes() {
            let Ok(attribute) = entries.read_attribute(*specification) else { break };
            match attribute.name() {
                gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                    linkage = Some(attribute.value())
                }
                gimli::DW_AT_name => name = Some(attribute.value()),
                gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                    reference = Some(attribute.value())
                }
                _ => {}
            }
        }
        let string = |value| text(unit.attr_string(value).ok()?);
        let own = linkage.and_then(string).or_else(|| name.and_then(string));
        own.or_else(|| self.referred(unit, reference?, left))
    }

    fn referred(
        &self,
        unit: UnitRef<'_, Bytes<'m>>,
        reference: AttributeValue<Bytes<'m>>,
        left: usize,
    ) -> Option<String> {
        let left = left.checked_sub(1)?;
        match reference {
            AttributeValue::UnitRef(offset) => self.own_or_referred(unit, offset, left),
            AttributeValue::DebugInfoRef(entry) => {
                let dwarf = unit.dwarf;
                let units = match self.dwarf.sup() {
                    _ if std::ptr::eq(dwarf, &self.dwarf) => &self.main,
                    Some(shared) if std::ptr::eq(dwarf, shared) => self.shared.as_ref()?,
                    // An object of its own refers to no other unit.
                    _ => return None,
                };
                let (unit, offset) = units.holding(dwarf, entry)?;
                self.own_or_referred(UnitRef::new(dwarf, &unit), offset, left)
            }
            AttributeValue::DebugInfoRefSup(entry) => {
                let dwarf = unit.dwarf.sup()?;
                let (unit, offset) = self.shared.as_ref()?.holding(dwarf, entry)?;
                self.own_or_referred(UnitRef::new(dwarf, &unit), offset, left)
            }
            _ => None,
        }
    }
}
