//! The functions of a unit at the wanted addresses, and the calls that were inlined into them.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};

use gimli::{DW_TAG_inlined_subroutine, DW_TAG_subprogram, Range, UnitOffset, UnitRef};

use super::super::underscores;
use super::extent::{Bases, Extent, Wanted};
use super::{Bytes, Info};

/// Inlining deeper than this is a lie.
const INLINE_LIMIT: usize = 256;

/// So many names of one function are looked at.
const NAMES: usize = 8;

/// One function of a chain, and where it was inlined.
#[derive(Clone, Default)]
pub(super) struct Part {
    /// As the compiler mangled it.
    pub(super) name: Option<String>,
    /// The number of the file that it was inlined in.
    pub(super) call_file: Option<u64>,
    /// The line there.
    pub(super) call_line: Option<u32>,
}

/// By address the function there and the calls inlined into it, outermost first.
pub(super) type Chains = HashMap<u64, Vec<Part>>;

impl<'m> Info<'m> {
    /// The chains of a unit. What can be read of it before something makes no sense is good.
    pub(super) fn functions(&self, unit: UnitRef<'_, Bytes<'m>>, wanted: &Wanted<'_>) -> Chains {
        let mut nearest = HashMap::new();
        let _ = find(unit, wanted, &mut nearest);
        let mut by_place: BTreeMap<Vec<usize>, Vec<u64>> = BTreeMap::new();
        for (address, near) in nearest {
            by_place.entry(near.functions).or_default().push(address);
        }
        let mut chains = Chains::new();
        for (functions, mut addresses) in by_place {
            addresses.sort_unstable();
            let named = functions.into_iter().map(|function| {
                let function = UnitOffset(function);
                (function, self.name_of(unit, function))
            });
            let Some((function, name)) =
                named.min_by_key(|(_, name)| name.as_deref().map_or(usize::MAX, underscores))
            else {
                continue;
            };
            let part = Part { name, ..Part::default() };
            chains.extend(addresses.iter().map(|address| (*address, vec![part.clone()])));
            let _ = self.inlined(unit, function, &wanted.part(&addresses), &mut chains);
        }
        chains
    }

    fn inlined(
        &self,
        unit: UnitRef<'_, Bytes<'m>>,
        function: UnitOffset,
        wanted: &Wanted<'_>,
        chains: &mut Chains,
    ) -> gimli::Result<()> {
        let bases = Bases::of(&unit);
        let mut entries = unit.entries_raw(Some(function))?;
        let outermost = entries.next_depth();
        // How deep the calls lie that this one is in; and a function within this one, which is one of its own.
        let mut around: Vec<isize> = Vec::new();
        let mut nested = None;
        loop {
            let here = entries.next_depth();
            let Some(abbreviation) = entries.read_abbreviation()? else {
                if entries.is_empty() || entries.next_depth() <= outermost {
                    return Ok(());
                }
                continue;
            };
            while around.last().is_some_and(|depth| *depth >= here) {
                around.pop();
            }
            nested = nested.filter(|within| here > *within);
            if nested.is_none() && here > outermost && abbreviation.tag() == DW_TAG_subprogram {
                nested = Some(here);
            }
            let mut extent = Extent::default();
            let mut part = Part::default();
            let mut origin = None;
            let is_call = nested.is_none() && abbreviation.tag() == DW_TAG_inlined_subroutine;
            if is_call {
                for specification in abbreviation.attributes() {
                    let attribute = entries.read_attribute(*specification)?;
                    match attribute.name() {
                        gimli::DW_AT_call_file => part.call_file = attribute.udata_value(),
                        gimli::DW_AT_call_line => part.call_line = line(&attribute),
                        gimli::DW_AT_abstract_origin => origin = Some(attribute.value()),
                        _ => extent.take(&attribute),
                    }
                }
                let depth = around.len() + 1;
                around.push(here);
                let mut within = Vec::new();
                extent.each_range(unit.dwarf, &bases, |range| {
                    within.extend_from_slice(wanted.within(range));
                });
                // A call is in the one around it, and no two lie beside each other at one address.
                let fits = |chain: &Vec<Part>| chain.len() == depth && depth < INLINE_LIMIT;
                within.retain(|address| chains.get(address).is_some_and(fits));
                if !within.is_empty() {
                    part.name = origin.and_then(|origin| self.name_at(unit, origin));
                }
                for address in within {
                    chains.entry(address).and_modify(|chain| chain.push(part.clone()));
                }
            } else {
                entries.skip_attributes(abbreviation.attributes())?;
            }
            if entries.is_empty() || entries.next_depth() <= outermost {
                return Ok(());
            }
        }
    }
}

// What is nearest around an address: several functions, if one has several names.
struct Near {
    range: Range,
    functions: Vec<usize>,
}

// Of the functions that hold an address the one that begins last: what a linker dropped seems to begin at 0.
fn find(
    unit: UnitRef<'_, Bytes<'_>>,
    wanted: &Wanted<'_>,
    nearest: &mut HashMap<u64, Near>,
) -> gimli::Result<()> {
    let bases = Bases::of(&unit);
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() {
        let function = entries.next_offset().0;
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        if abbreviation.tag() != DW_TAG_subprogram {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        let mut extent = Extent::default();
        for specification in abbreviation.attributes() {
            extent.take(&entries.read_attribute(*specification)?);
        }
        extent.each_range(unit.dwarf, &bases, |range| {
            for address in wanted.within(range) {
                let known = nearest.entry(*address).or_insert(Near { range, functions: Vec::new() });
                let nearer =
                    (range.begin, Reverse(range.end)).cmp(&(known.range.begin, Reverse(known.range.end)));
                match nearer {
                    Ordering::Greater => *known = Near { range, functions: vec![function] },
                    Ordering::Equal if known.functions.len() < NAMES => known.functions.push(function),
                    _ => {}
                }
            }
        });
    }
    Ok(())
}

fn line(attribute: &gimli::Attribute<Bytes<'_>>) -> Option<u32> {
    let line = attribute.udata_value().and_then(|line| u32::try_from(line).ok());
    line.filter(|line| *line != 0)
}
