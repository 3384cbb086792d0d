//! DWARF debug information: from addresses to their chains of inlined calls.
//!
//! Owns the way to the few units that matter. All addresses of a module are looked up together: `.debug_aranges` says which
//! units they lie in, and of the others nothing is read but where they begin; for addresses that it does not know, the first
//! entries of units are asked that it does not know either, or that lie around them. (addr2line reads every unit's first entry, abbreviations and file names: for a large program that
//! is most of the work.) A unit's functions are [`functions`]'s, their names [`names`]'s, lines [`lines`]'s, and what lies in
//! files of its own is [`split`]'s.
//!
//! Whoever wrote the debug information decides how often the same bytes are looked at and how many addresses a range
//! covers. Both are counted: [`DwarfSections`] limits the former, [`Wanted`] the latter.

mod extent;
mod functions;
mod lines;
mod names;
mod split;
#[cfg(test)]
mod tests;
mod units;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use gimli::{Dwarf, Reader, SectionId, UnitRef};

use super::Call;
use crate::module::{DwarfSections, SectionReader, Split};
use extent::Wanted;
use lines::Lines;
use split::Objects;
use units::Units;

/// In so many units an address is looked for: what a linker folded into one or dropped seems to be in several.
const UNITS_EACH: usize = 8;
/// Longer names and paths are none.
const TEXT_LIMIT: usize = 64 << 10;

type Bytes<'m> = SectionReader<'m>;

/// The calls at addresses of an image, each chain innermost first. What cannot be read is left out.
pub(super) fn calls(sections: &DwarfSections, split: &Split, wanted: &[u64]) -> HashMap<u64, Vec<Call>> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let Some(info) = Info::new(sections, split) else { return HashMap::new() };
    let mut search = Search { info: &info, found: HashMap::new() };
    let wanted = Wanted::new(&sorted);
    let (listed, held) = units::listed(&info.dwarf, &wanted);
    search.look(held, &wanted);
    search.ask(sections, &sorted, |start, _| !listed.contains_key(&start));
    // A list may leave out a function, which then lies among the unit's others. Compilers make functions that are no unit's,
    // like the one that calls `main`: nobody asks all units for them.
    search.ask(sections, &sorted, |start, missing| {
        listed.get(&start).is_some_and(|around| !missing.within(*around).is_empty())
    });
    search.found
}

/// One module's debug information.
struct Info<'m> {
    dwarf: Dwarf<Bytes<'m>>,
    main: Units<'m>,
    shared: Option<Units<'m>>,
    objects: Objects<'m>,
}

impl<'m> Info<'m> {
    fn new(sections: &'m DwarfSections, split: &'m Split) -> Option<Info<'m>> {
        let mut dwarf = units::load(sections)?;
        let shared = sections.has_shared().then(|| Units::new(sections.shared(SectionId::DebugInfo)));
        if shared.is_some() {
            dwarf.load_sup(|id| gimli::Result::Ok(sections.shared(id).reader())).ok()?;
        }
        let main = Units::new(sections.main(SectionId::DebugInfo));
        Some(Info { dwarf, main, shared, objects: Objects::new(split) })
    }
}

// What was found until now.
struct Search<'i, 'm> {
    info: &'i Info<'m>,
    found: HashMap<u64, Vec<Call>>,
}

impl Search<'_, '_> {
    // Asks the first entries of units, those that `which` takes by where they begin, for what was not found until now.
    fn ask(&mut self, sections: &DwarfSections, wanted: &[u64], which: impl Fn(usize, &Wanted<'_>) -> bool) {
        let missing: Vec<u64> =
            wanted.iter().copied().filter(|address| !self.found.contains_key(address)).collect();
        if !missing.is_empty() {
            let missing = Wanted::new(&missing);
            let held = self.info.main.asked(sections, |start| which(start, &missing), &missing);
            self.look(held, &missing);
        }
    }

    // Looks for addresses in the units that say they hold them. A unit that knows a function replaces one that knows a line alone.
    fn look(&mut self, held: Held, wanted: &Wanted<'_>) {
        for (unit, mut within) in held.by_unit() {
            let named = |calls: &Vec<Call>| calls.last().is_some_and(|call| call.function.is_some());
            within.retain(|address| !self.found.get(address).is_some_and(named));
            if !within.is_empty() {
                self.look_in(unit, &wanted.part(&within));
            }
        }
    }

    fn look_in(&mut self, start: usize, wanted: &Wanted<'_>) {
        let info = self.info;
        let Some(unit) = info.main.unit(&info.dwarf, start) else { return };
        let unit = UnitRef::new(&info.dwarf, &unit);
        let mut lines = Lines::new(unit, wanted);
        // A skeleton knows lines alone; its functions are in another file, where that is to be had.
        let whole = info.objects.unit(unit);
        let whole = whole.as_ref().map_or(unit, |(dwarf, unit)| UnitRef::new(dwarf, unit));
        let mut chains = info.functions(whole, wanted);
        for address in wanted.addresses() {
            let mut chain = chains.remove(address).unwrap_or_default();
            let (mut file, mut line) = lines.at(*address);
            if chain.is_empty() && file.is_none() && line.is_none() {
                continue;
            }
            let mut calls = Vec::with_capacity(chain.len().max(1));
            // The line of the innermost call is the address's; each other one's is where it calls the one inside it.
            while let Some(part) = chain.pop() {
                calls.push(Call { function: part.name, file, line });
                (file, line) = (part.call_file.and_then(|number| lines.file(number)), part.call_line);
            }
            if calls.is_empty() {
                calls.push(Call { function: None, file, line });
            }
            self.found.insert(*address, calls);
        }
    }
}

fn text(bytes: Bytes<'_>) -> Option<String> {
    (bytes.len() <= TEXT_LIMIT).then(|| bytes.to_string_lossy().ok().map(Cow::into_owned))?
}

// Which units say that they hold an address.
#[derive(Default)]
struct Held(BTreeMap<u64, Vec<usize>>);

impl Held {
    fn add(&mut self, addresses: &[u64], unit: usize) {
        for address in addresses {
            let units = self.0.entry(*address).or_default();
            if units.len() < UNITS_EACH && !units.contains(&unit) {
                units.push(unit);
            }
        }
    }

    // The addresses of each unit, sorted.
    fn by_unit(self) -> BTreeMap<usize, Vec<u64>> {
        let mut units: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (address, held) in self.0 {
            for unit in held {
                units.entry(unit).or_default().push(address);
            }
        }
        units
    }
}
