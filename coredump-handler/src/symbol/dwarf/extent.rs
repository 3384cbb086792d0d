//! What an entry says of the addresses that it covers, and which of those that are looked for these are.

use std::cell::Cell;
use std::rc::Rc;

use gimli::{
    Attribute, AttributeValue, DebugAddrBase, DebugRngListsBase, Dwarf, DwarfFileType, Encoding, Range,
    RangeListsOffset, Unit,
};

use super::Bytes;

/// How often an address is compared with a range. Honest ranges hold few addresses; made-up ones may hold all.
const COMPARISONS: usize = 1 << 26;

/// Addresses that are looked for, sorted.
pub(super) struct Wanted<'a> {
    addresses: &'a [u64],
    left: Rc<Cell<usize>>,
}

impl<'a> Wanted<'a> {
    /// These, which are sorted.
    pub(super) fn new(addresses: &'a [u64]) -> Self {
        Wanted { addresses, left: Rc::new(Cell::new(COMPARISONS)) }
    }

    /// Only these of them, at the cost of the whole.
    pub(super) fn part<'p>(&self, addresses: &'p [u64]) -> Wanted<'p> {
        Wanted { addresses, left: Rc::clone(&self.left) }
    }

    /// All of them.
    pub(super) fn addresses(&self) -> &'a [u64] {
        self.addresses
    }

    /// Those within a range; none when too many have been given out.
    pub(super) fn within(&self, range: Range) -> &'a [u64] {
        let first = self.addresses.partition_point(|address| *address < range.begin);
        let rest = &self.addresses[first..];
        let count = rest.partition_point(|address| *address < range.end);
        let left = self.left.get().checked_sub(count + 1);
        self.left.set(left.unwrap_or(0));
        left.and_then(|_| rest.get(..count)).unwrap_or(&[])
    }
}

/// What a unit's addresses and lists are relative to.
pub(super) struct Bases {
    /// How wide its numbers are.
    pub(super) encoding: Encoding,
    /// Where it begins.
    pub(super) start: u64,
    /// Its part of `.debug_addr`.
    pub(super) addresses: DebugAddrBase<usize>,
    /// Its part of `.debug_rnglists`.
    pub(super) lists: DebugRngListsBase<usize>,
}

impl Bases {
    /// Those of a unit.
    pub(super) fn of(unit: &Unit<Bytes<'_>>) -> Bases {
        Bases {
            encoding: unit.encoding(),
            start: unit.low_pc,
            addresses: unit.addr_base,
            lists: unit.rnglists_base,
        }
    }

    /// The address that a value stands for.
    pub(super) fn address<'m>(
        &self,
        dwarf: &Dwarf<Bytes<'m>>,
        value: AttributeValue<Bytes<'m>>,
    ) -> Option<u64> {
        match value {
            AttributeValue::Addr(address) => Some(address),
            AttributeValue::DebugAddrIndex(index) => {
                dwarf.debug_addr.get_address(self.encoding.address_size, self.addresses, index).ok()
            }
            _ => None,
        }
    }
}

/// An entry's attributes that say what it covers.
#[derive(Default)]
pub(super) struct Extent<'m> {
    /// Its first address.
    pub(super) low: Option<AttributeValue<Bytes<'m>>>,
    high: Option<AttributeValue<Bytes<'m>>>,
    ranges: Option<AttributeValue<Bytes<'m>>>,
}

impl<'m> Extent<'m> {
    /// Notes an attribute, if it is one of these.
    pub(super) fn take(&mut self, attribute: &Attribute<Bytes<'m>>) {
        match attribute.name() {
            gimli::DW_AT_low_pc => self.low = Some(attribute.value()),
            gimli::DW_AT_high_pc => self.high = Some(attribute.value()),
            gimli::DW_AT_ranges => self.ranges = Some(attribute.value()),
            _ => {}
        }
    }

    /// Calls `each` with every range that is not empty. Returns whether there was one.
    pub(super) fn each_range(
        &self,
        dwarf: &Dwarf<Bytes<'m>>,
        bases: &Bases,
        mut each: impl FnMut(Range),
    ) -> bool {
        let mut any = false;
        let mut give = |range: Range| {
            if range.begin < range.end {
                any = true;
                each(range);
            }
        };
        match self.ranges.and_then(|value| offset(dwarf, bases, value)) {
            Some(list) => {
                let list = dwarf.ranges.ranges(
                    list,
                    bases.encoding,
                    bases.start,
                    &dwarf.debug_addr,
                    bases.addresses,
                );
                let Ok(mut list) = list else { return false };
                while let Ok(Some(range)) = list.next() {
                    give(range);
                }
            }
            None => {
                let Some(begin) = self.low.and_then(|low| bases.address(dwarf, low)) else { return false };
                let end = match self.high {
                    Some(AttributeValue::Udata(size)) => begin.checked_add(size),
                    Some(high) => bases.address(dwarf, high),
                    None => None,
                };
                give(Range { begin, end: end.unwrap_or(begin) });
            }
        }
        any
    }
}

fn offset<'m>(
    dwarf: &Dwarf<Bytes<'m>>,
    bases: &Bases,
    value: AttributeValue<Bytes<'m>>,
) -> Option<RangeListsOffset<usize>> {
    match value {
        AttributeValue::RangeListsRef(offset) => {
            let old_object = dwarf.file_type == DwarfFileType::Dwo && bases.encoding.version < 5;
            let base = if old_object { bases.lists.0 } else { 0 };
            Some(RangeListsOffset(offset.0.wrapping_add(base)))
        }
        AttributeValue::DebugRngListsIndex(index) => {
            dwarf.ranges.get_offset(bases.encoding, bases.lists, index).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_hold_everything_are_believed_for_a_while_only() {
        let addresses: Vec<u64> = (0..1 << 16).collect();
        let wanted = Wanted::new(&addresses);
        assert_eq!(wanted.within(Range { begin: 3, end: 6 }), [3, 4, 5]);
        assert!(wanted.within(Range { begin: 6, end: 3 }).is_empty());
        let all = Range { begin: 0, end: u64::MAX };
        let given: usize = (0..1 << 12).map(|_| wanted.part(&addresses).within(all).len()).sum();
        assert!(given > 0 && given <= COMPARISONS, "{given}");
        assert!(wanted.within(Range { begin: 3, end: 6 }).is_empty());
    }
}
