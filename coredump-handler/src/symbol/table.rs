//! Symbol tables: the names that are left where there is no DWARF. Owns which of several symbols at one place wins.

use crate::core::{u16_at, u32_at, u64_at};
use crate::module::{Image, Section};

const SYMBOL_BYTES: usize = 24;
/// The largest table that is read: Chromium's has 2 million symbols.
const TABLE_LIMIT: usize = 256 << 20;
const NAME_LIMIT: usize = 64 << 10;
/// A symbol without a size, as hand-written assembly has them, reaches at most this far.
const UNSIZED_REACH: u64 = 4096;

const STT_NOTYPE: u8 = 0;
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
    // Lower is better: global, weak, local; then those with a type.
    rank: u8,
}

impl SymbolTable {
    /// The symbol table of `image`, if it has one.
    pub(super) fn new(image: &Image) -> Option<SymbolTable> {
        let (table, names) = image.symbols()?;
        let bytes = table.whole(TABLE_LIMIT)?;
        let mut symbols: Vec<Symbol> = bytes.chunks_exact(SYMBOL_BYTES).filter_map(symbol).collect();
        symbols.sort_unstable_by_key(|symbol| (symbol.address, symbol.rank, symbol.name));
        Some(SymbolTable { symbols, names })
    }

    /// The function at `address`.
    pub(super) fn name(&self, address: u64) -> Option<String> {
        let symbol = find(&self.symbols, address)?;
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

fn symbol(row: &[u8]) -> Option<Symbol> {
    let (name, info, section) = (u32_at(row, 0)?, *row.get(4)?, u16_at(row, 6)?);
    let (binding, kind) = (info >> 4, info & 15);
    if !matches!(kind, STT_NOTYPE | STT_FUNC | STT_GNU_IFUNC)
        || matches!(section, SHN_UNDEF | SHN_ABS)
        || name == 0
    {
        return None;
    }
    let binding = match binding {
        1 => 0,
        2 => 2,
        _ => 4,
    };
    Some(Symbol {
        address: u64_at(row, 8)?,
        size: u64_at(row, 16)?,
        name,
        rank: binding + u8::from(kind == STT_NOTYPE),
    })
}

// The best symbol that covers the address. Functions do not nest, so only a few before it are worth a look.
fn find(symbols: &[Symbol], address: u64) -> Option<&Symbol> {
    const NEIGHBOURS: usize = 64;
    let behind = symbols.partition_point(|symbol| symbol.address <= address);
    let before = &symbols[behind.saturating_sub(NEIGHBOURS)..behind];
    let sized = before.iter().filter(|s| s.size > 0 && address - s.address < s.size);
    let best = sized.max_by_key(|s| (s.address, u8::MAX - s.rank));
    best.or_else(|| {
        let nearest = before.last()?.address;
        let unsized_symbol = before.iter().find(|s| s.address == nearest && s.size == 0)?;
        (address - nearest < UNSIZED_REACH).then_some(unsized_symbol)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64, size: u64, name: u32, rank: u8) -> Symbol {
        Symbol { address, size, name, rank }
    }

    #[test]
    fn an_address_gets_the_function_that_covers_it() {
        let symbols = [at(0x10, 0x10, 1, 0), at(0x20, 0x10, 2, 4), at(0x20, 0x10, 3, 0), at(0x40, 0, 4, 1)];
        let name = |address| find(&symbols, address).map(|s| s.name);
        assert_eq!(name(0x0f), None);
        assert_eq!(name(0x1f), Some(1));
        assert_eq!(name(0x20), Some(3), "global before local");
        assert_eq!(name(0x30), None, "a gap is nobody's");
        assert_eq!(name(0x41), Some(4), "assembly has no sizes");
        assert_eq!(name(0x40 + UNSIZED_REACH), None);
    }
}
