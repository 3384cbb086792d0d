//! The units of one file: where each begins, which addresses each says it holds, and those that were read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use gimli::Section as _;
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugAddrBase, DebugInfoOffset,
    DebugRngListsBase, Dwarf, EndianSlice, LittleEndian, Range, Reader, Unit, UnitHeader, UnitOffset,
    UnitType,
};

use super::extent::{Bases, Extent, Wanted};
use super::{Bytes, Held};
use crate::module::{DwarfSections, Section};

/// More units are not walked over: Chromium has 30,000.
const UNIT_LIMIT: usize = 1 << 20;
/// More units that have been read are not kept.
const KEPT: usize = 64;
/// A unit with more kinds of entries is not of this world: compilers make hundreds, link-time optimisation thousands.
const ABBREVIATIONS: usize = 256 << 10;
/// After so many first entries what was read of them is forgotten.
const ASKED_AT_ONCE: usize = 256;

/// The sections of the image itself as gimli reads them.
pub(super) fn load(sections: &DwarfSections) -> Option<Dwarf<Bytes<'_>>> {
    Dwarf::load(|id| gimli::Result::Ok(sections.main(id).reader())).ok()
}

/// The units that `.debug_aranges` knows, by where they begin, each with the range that all its addresses lie in, and of the
/// wanted addresses those that lie in each.
pub(super) fn listed(dwarf: &Dwarf<Bytes<'_>>, wanted: &Wanted<'_>) -> (HashMap<usize, Range>, Held) {
    let mut listed: HashMap<usize, Range> = HashMap::new();
    let mut held = Held::default();
    let mut sets = dwarf.debug_aranges.headers();
    while let Ok(Some(set)) = sets.next() {
        let unit = set.debug_info_offset().0;
        let mut entries = set.entries();
        let mut around: Option<Range> = None;
        // An entry that makes no sense is passed over; what ends the list ends it.
        while let Some(entry) = entries.next().transpose() {
            let Ok(range) = entry.map(|entry| entry.range()) else { continue };
            if range.begin < range.end {
                held.add(wanted.within(range), unit);
            }
            // What begins at 0 the linker dropped: it lies nowhere.
            if 0 < range.begin && range.begin < range.end {
                around = Some(around.map_or(range, |around| hull(around, range)));
            }
        }
        if let Some(around) = around {
            listed.entry(unit).and_modify(|known| *known = hull(*known, around)).or_insert(around);
        }
        if listed.len() > UNIT_LIMIT {
            break;
        }
    }
    (listed, held)
}

fn hull(one: Range, other: Range) -> Range {
    Range { begin: one.begin.min(other.begin), end: one.end.max(other.end) }
}

/// The units of one file.
pub(super) struct Units<'m> {
    section: &'m Section,
    starts: RefCell<Starts>,
    known: RefCell<HashMap<usize, Option<Rc<Unit<Bytes<'m>>>>>>,
}

impl<'m> Units<'m> {
    /// Those of a `.debug_info`.
    pub(super) fn new(section: &'m Section) -> Self {
        Units { section, starts: RefCell::default(), known: RefCell::default() }
    }

    /// The unit that begins at `start`.
    pub(super) fn unit(&self, dwarf: &Dwarf<Bytes<'m>>, start: usize) -> Option<Rc<Unit<Bytes<'m>>>> {
        if let Some(known) = self.known.borrow().get(&start) {
            return known.clone();
        }
        let read = || {
            let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(start)).ok()?;
            let abbreviations = Arc::new(abbreviations(dwarf, &header)?);
            Unit::new_with_abbreviations(dwarf, header, abbreviations).ok().map(Rc::new)
        };
        let unit = read();
        let mut known = self.known.borrow_mut();
        if known.len() == KEPT {
            known.clear();
        }
        known.insert(start, unit.clone());
        unit
    }

    /// The unit that an entry lies in, and where in it.
    pub(super) fn holding(
        &self,
        dwarf: &Dwarf<Bytes<'m>>,
        entry: DebugInfoOffset,
    ) -> Option<(Rc<Unit<Bytes<'m>>>, UnitOffset)> {
        let mut starts = self.starts.borrow_mut();
        starts.extend(self.section, entry.0);
        let behind = starts.known.partition_point(|start| *start <= entry.0);
        let unit = self.unit(dwarf, *starts.known.get(behind.checked_sub(1)?)?)?;
        let offset = entry.to_unit_offset(&unit.header)?;
        Some((unit, offset))
    }

    /// Asks the first entries of units, those that `which` names by where they begin, which of the wanted addresses they
    /// hold. A unit that does not say it may hold all.
    pub(super) fn asked(
        &self,
        sections: &DwarfSections,
        which: impl Fn(usize) -> bool,
        wanted: &Wanted<'_>,
    ) -> Held {
        let mut held = Held::default();
        self.starts.borrow_mut().extend(self.section, usize::MAX);
        let starts = self.starts.borrow();
        let starts: Vec<usize> = starts.known.iter().copied().filter(|start| which(*start)).collect();
        for starts in starts.chunks(ASKED_AT_ONCE) {
            let again = sections.again();
            let Some(dwarf) = load(again.as_ref().unwrap_or(sections)) else { continue };
            for start in starts {
                match ask(&dwarf, *start, wanted) {
                    Some(Said::Holds(addresses)) => held.add(&addresses, *start),
                    Some(Said::Nothing) => held.add(wanted.addresses(), *start),
                    None => {}
                }
            }
        }
        held
    }
}

// Where units begin, as far as anybody has asked: each says how long it is.
#[derive(Default)]
struct Starts {
    known: Vec<usize>,
    next: usize,
}

impl Starts {
    // Until behind the unit that `place` lies in.
    fn extend(&mut self, section: &Section, place: usize) {
        const WIDE: u32 = 0xffff_ffff;
        while self.next <= place && self.known.len() < UNIT_LIMIT {
            let Some(length) = section.glance::<4>(self.next).map(u32::from_le_bytes) else { return };
            self.known.push(self.next);
            let end = if length == WIDE {
                let length = section.glance::<8>(self.next + 4).map(u64::from_le_bytes);
                length.and_then(|length| usize::try_from(length).ok()?.checked_add(self.next + 12))
            } else {
                (self.next + 4).checked_add(length as usize)
            };
            // Behind a length that makes no sense there is nothing.
            self.next = end.unwrap_or(usize::MAX);
        }
    }
}

// What a unit's first entry says of the wanted addresses.
enum Said {
    Holds(Vec<u64>),
    Nothing,
}

fn ask(dwarf: &Dwarf<Bytes<'_>>, start: usize, wanted: &Wanted<'_>) -> Option<Said> {
    let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(start)).ok()?;
    if matches!(header.type_(), UnitType::Partial | UnitType::Type { .. } | UnitType::SplitType { .. }) {
        return None;
    }
    let abbreviations = first_abbreviation(dwarf, &header).or_else(|| abbreviations(dwarf, &header))?;
    let mut entries = header.entries_raw(&abbreviations, None).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    let mut bases = Bases {
        encoding: header.encoding(),
        start: 0,
        addresses: DebugAddrBase(0),
        lists: DebugRngListsBase::default_for_encoding_and_file(header.encoding(), dwarf.file_type),
    };
    let mut extent = Extent::default();
    let mut has_lines = false;
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification).ok()?;
        match (attribute.name(), attribute.value()) {
            (_, AttributeValue::DebugAddrBase(base)) => bases.addresses = base,
            (_, AttributeValue::DebugRngListsBase(base)) => bases.lists = base,
            (gimli::DW_AT_stmt_list, _) => has_lines = true,
            _ => extent.take(&attribute),
        }
    }
    bases.start = extent.low.and_then(|low| bases.address(dwarf, low)).unwrap_or(0);
    let mut found = Vec::new();
    let said = extent.each_range(dwarf, &bases, |range| found.extend_from_slice(wanted.within(range)));
    match said {
        true => Some(Said::Holds(found)),
        false => has_lines.then_some(Said::Nothing),
    }
}

fn abbreviations(dwarf: &Dwarf<Bytes<'_>>, header: &UnitHeader<Bytes<'_>>) -> Option<Abbreviations> {
    let mut table = *dwarf.debug_abbrev.reader();
    table.skip(header.debug_abbrev_offset().0).ok()?;
    table.truncate(table.len().min(ABBREVIATIONS)).ok()?;
    DebugAbbrev::from(table).abbreviations(DebugAbbrevOffset(0)).ok()
}

// The first declaration alone, if it is the first entry's, as compilers write it: of a unit that is only asked nobody needs
// the others.
fn first_abbreviation(dwarf: &Dwarf<Bytes<'_>>, header: &UnitHeader<Bytes<'_>>) -> Option<Abbreviations> {
    const LONG: usize = 256;
    let mut table = *dwarf.debug_abbrev.reader();
    table.skip(header.debug_abbrev_offset().0).ok()?;
    let mut rest = table;
    let mut entries = header.range_from(header.root_offset()..).ok()?;
    if entries.read_uleb128().ok()? != rest.read_uleb128().ok()? {
        return None;
    }
    let _tag = rest.read_uleb128().ok()?;
    let _has_children = rest.read_u8().ok()?;
    loop {
        let (name, form) = (rest.read_uleb128().ok()?, rest.read_uleb128().ok()?);
        if form == u64::from(gimli::DW_FORM_implicit_const.0) {
            rest.read_sleb128().ok()?;
        }
        if (name, form) == (0, 0) {
            break;
        }
    }
    let length = rest.offset_from(&table);
    table.truncate(length).ok().filter(|()| length < LONG)?;
    let mut bytes = table.to_slice().ok()?.into_owned();
    // No more declarations.
    bytes.push(0);
    DebugAbbrev::from(EndianSlice::new(&bytes, LittleEndian)).abbreviations(DebugAbbrevOffset(0)).ok()
}
