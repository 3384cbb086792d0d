//! Symbol tables: the names that are left where there is no DWARF. Owns which of several symbols at one place wins.

use crate::elf::{Class, SymbolRow};
use crate::module::{Image, Section};

/// The largest table that is read: Chromium's has 2 million symbols.
const TABLE_LIMIT: usize = 256 << 20;
const NAME_LIMIT: usize = 64 << 10;
/// A symbol without a size, as hand-written assembly has them, reaches at most this far.
const UNSIZED_REACH: u64 = 4096;

const STB_GLOBAL: u8 = 1;
const STB_WEAK: u8 = 2;
const STT_NOTYPE: u8 = 0;
const STT_OBJECT: u8 = 1;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const SHN_UNDEF: u16 = 0;
const SHN_ABS: u16 = 0xfff1;

/// The functions of one image, by address.
pub(super) struct SymbolTable {
    symbols: Vec<Symbol>,
    names: Section,
}

#[derive(Clone, Copy)]
struct Symbol {
    address: u64,
    size: u64,
    name: u32,
    // Lower is better: global or weak before local; then functions, what has no type, data.
    rank: u8,
    weak: bool,
    // Where its section ends: what has no size reaches no farther.
    limit: u64,
}

impl SymbolTable {
    /// The symbol table of `image`, if it has one.
    pub(super) fn new(image: &Image) -> Option<SymbolTable> {
        let (table, names) = image.symbols()?;
        let bytes = table.whole(TABLE_LIMIT)?;
        let end_of = |section| image.section_end(section).unwrap_or(u64::MAX);
        let mut symbols: Vec<Symbol> = {
            let class = image.class();
            bytes.chunks_exact(SymbolRow::bytes(class)).filter_map(|row| symbol(class, row, end_of)).collect()
        };
        sort(&mut symbols);
        Some(SymbolTable { symbols, names })
    }

    /// The function at `address`.
    pub(super) fn name(&self, address: u64) -> Option<String> {
        // `sleep` is what people write, `__sleep` what its library calls it.
        let found = find(&self.symbols, address).iter();
        let named = found.filter_map(|symbol| Some((self.text(symbol)?, symbol.weak)));
        let underscores = |name: &str| name.bytes().take_while(|byte| *byte == b'_').count();
        named.min_by_key(|(name, weak)| (underscores(name), *weak)).map(|(name, _)| name)
    }

    fn text(&self, symbol: &Symbol) -> Option<String> {
        let name = self.names.text(symbol.name as usize, NAME_LIMIT).filter(|name| !name.is_empty())?;
        // `memcpy@@GLIBC_2.14`
        Some(
            name.split_once('@')
                .filter(|(name, _)| !name.is_empty())
                .map_or(name.as_str(), |(n, _)| n)
                .to_owned(),
        )
    }
}

fn symbol(class: Class, row: &[u8], end_of: impl Fn(u16) -> u64) -> Option<Symbol> {
    let row = SymbolRow::parse(class, row)?;
    let (binding, kind) = (row.info >> 4, row.info & 15);
    if !matches!(kind, STT_NOTYPE | STT_OBJECT | STT_FUNC | STT_GNU_IFUNC)
        || matches!(row.section, SHN_UNDEF | SHN_ABS)
        || row.name == 0
    {
        return None;
    }
    let kind = match kind {
        STT_NOTYPE => 1,
        STT_OBJECT => 2,
        _ => 0,
    };
    Some(Symbol {
        address: row.address,
        size: row.size,
        name: row.name,
        rank: kind + if matches!(binding, STB_GLOBAL | STB_WEAK) { 0 } else { 4 },
        weak: binding == STB_WEAK,
        limit: end_of(row.section),
    })
}

fn sort(symbols: &mut [Symbol]) {
    symbols.sort_unstable_by_key(|symbol| (symbol.address, symbol.rank, symbol.name));
}

// The best of the sorted symbols that cover the address, all at one place. Functions do not nest, so only a few before it are worth
// a look.
fn find(symbols: &[Symbol], address: u64) -> &[Symbol] {
    const NEIGHBOURS: usize = 64;
    let behind = symbols.partition_point(|symbol| symbol.address <= address);
    let before = &symbols[behind.saturating_sub(NEIGHBOURS)..behind];
    let covers = |s: &Symbol| s.size > 0 && address - s.address < s.size;
    let sized = before.iter().rposition(covers);
    let reaches = |s: &Symbol| s.size == 0 && address - s.address < UNSIZED_REACH && address < s.limit;
    let nearest = before.last().map(|last| last.address);
    let unsized_one = || before.iter().rposition(|s| Some(s.address) == nearest && reaches(s));
    let Some(last) = sized.or_else(unsized_one) else { return &[] };
    let fits = |s: &Symbol| {
        s.address == before[last].address && if sized.is_some() { covers(s) } else { reaches(s) }
    };
    let first = before[..last].iter().rposition(|s| !fits(s)).map_or(0, |index| index + 1);
    let rank = before[first].rank;
    let equal = before[first..=last].iter().take_while(|s| s.rank == rank).count();
    &before[first..first + equal]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64, size: u64, name: u32, rank: u8) -> Symbol {
        Symbol { address, size, name, rank, weak: false, limit: 0x60 }
    }

    #[test]
    fn an_address_gets_the_function_that_covers_it() {
        let mut symbols =
            [at(0x10, 0x10, 1, 0), at(0x20, 0x10, 2, 4), at(0x20, 0x10, 3, 0), at(0x40, 0, 4, 1)];
        sort(&mut symbols);
        let name = |address| find(&symbols, address).first().map(|s| s.name);
        assert_eq!(name(0x0f), None);
        assert_eq!(name(0x1f), Some(1));
        assert_eq!(name(0x20), Some(3), "global before local");
        assert_eq!(name(0x30), None, "a gap is nobody's");
        assert_eq!(name(0x41), Some(4), "assembly has no sizes");
        assert_eq!(name(0x60), None, "it ends with its section");
        let far = [Symbol { limit: u64::MAX, ..at(0x40, 0, 4, 1) }];
        assert!(find(&far, 0x40 + UNSIZED_REACH).is_empty());
    }
}
