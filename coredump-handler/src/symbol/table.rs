//! Symbol tables: the names that are left where there is no DWARF. Owns which of several symbols at one place wins.
//!
//! A table is gone through once for all addresses together and not kept: a large program's has hundreds of thousands of
//! rows, and a crash needs ten of them.

use std::collections::HashMap;

use super::underscores;
use crate::elf::{Class, SymbolRow};
use crate::module::{Image, Section};

/// A larger table is not gone through: Chromium's, with 2 million symbols, has 48 MiB.
const TABLE_LIMIT: usize = 256 << 20;
/// How often a symbol is compared with an address. Honest symbols concern few addresses; those of a made-up table may all
/// cover everything.
const COMPARISONS: usize = 1 << 26;
const NAME_LIMIT: usize = 64 << 10;
/// A symbol without a size, as hand-written assembly has them, reaches at most this far.
const UNSIZED_REACH: u64 = 4096;
/// So many symbols at one place are looked at.
const EQUALS: usize = 64;

const STB_GLOBAL: u8 = 1;
const STB_WEAK: u8 = 2;
const STT_NOTYPE: u8 = 0;
const STT_OBJECT: u8 = 1;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const SHN_UNDEF: u16 = 0;
const SHN_ABS: u16 = 0xfff1;

/// The functions at `wanted` addresses, which are sorted, by the symbol table of `image`.
pub(super) fn names(image: &Image, wanted: &[u64]) -> HashMap<u64, String> {
    let small = |table: &Section| !wanted.is_empty() && table.length() <= TABLE_LIMIT;
    let Some((table, names)) = image.symbols().filter(|(table, _)| small(table)) else {
        return HashMap::new();
    };
    let mut seekers: Vec<Seeker> = wanted.iter().map(|address| Seeker::new(*address)).collect();
    let class = image.class();
    let end_of = |section| image.section_end(section).unwrap_or(u64::MAX);
    let mut left = COMPARISONS;
    table.each_stretch(SymbolRow::bytes(class), |rows| {
        for symbol in rows.chunks_exact(SymbolRow::bytes(class)).filter_map(|row| symbol(class, row, end_of))
        {
            offer(&mut seekers, &symbol, &mut left);
        }
    });
    let found = seekers.iter().filter_map(|seeker| Some((seeker.wanted, best(seeker.found(), &names)?)));
    found.collect()
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

// An address in search of its function.
struct Seeker {
    wanted: u64,
    // The symbols that cover it, and those without a size that reach it: the nearest, and of those the best.
    sized: Vec<Symbol>,
    unsized_ones: Vec<Symbol>,
    // Where the nearest symbol is, whatever it covers.
    nearest: u64,
}

impl Seeker {
    fn new(wanted: u64) -> Seeker {
        Seeker { wanted, sized: Vec::new(), unsized_ones: Vec::new(), nearest: 0 }
    }

    // The symbol begins at or before the wanted address.
    fn take(&mut self, symbol: &Symbol) {
        let distance = self.wanted - symbol.address;
        self.nearest = self.nearest.max(symbol.address);
        if distance < symbol.size {
            keep(&mut self.sized, symbol);
        } else if symbol.size == 0 && distance < UNSIZED_REACH && self.wanted < symbol.limit {
            keep(&mut self.unsized_ones, symbol);
        }
    }

    fn found(&self) -> &[Symbol] {
        match self.unsized_ones.first() {
            Some(one) if self.sized.is_empty() && one.address == self.nearest => &self.unsized_ones,
            _ => &self.sized,
        }
    }
}

// Of the nearest place the symbols of the best rank.
fn keep(kept: &mut Vec<Symbol>, symbol: &Symbol) {
    if let Some(first) = kept.first() {
        match (symbol.address, first.rank).cmp(&(first.address, symbol.rank)) {
            std::cmp::Ordering::Less => return,
            std::cmp::Ordering::Greater => kept.clear(),
            std::cmp::Ordering::Equal if kept.len() == EQUALS => return,
            std::cmp::Ordering::Equal => {}
        }
    }
    kept.push(*symbol);
}

// Gives a symbol to those whom it may concern.
fn offer(seekers: &mut [Seeker], symbol: &Symbol, left: &mut usize) {
    let first = seekers.partition_point(|seeker| seeker.wanted < symbol.address);
    let reach = symbol.address.saturating_add(symbol.size.max(UNSIZED_REACH));
    let concerned = seekers[first..].iter_mut().take_while(|seeker| seeker.wanted < reach);
    for seeker in concerned.take(*left) {
        seeker.take(symbol);
        *left -= 1;
    }
}

fn best(found: &[Symbol], names: &Section) -> Option<String> {
    let named = found.iter().filter_map(|symbol| Some((text(names, symbol)?, symbol.weak, symbol.name)));
    named.min_by_key(|(name, weak, place)| (underscores(name), *weak, *place)).map(|(name, ..)| name)
}

fn text(names: &Section, symbol: &Symbol) -> Option<String> {
    let name = names.text(symbol.name as usize, NAME_LIMIT).filter(|name| !name.is_empty())?;
    // `memcpy@@GLIBC_2.14`
    let bare = name.split_once('@').map(|(bare, _)| bare).filter(|bare| !bare.is_empty());
    Some(bare.unwrap_or(&name).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64, size: u64, name: u32, rank: u8) -> Symbol {
        Symbol { address, size, name, rank, weak: false, limit: 0x60 }
    }

    // The names' numbers at an address, whatever the order of the table.
    fn found(symbols: &[Symbol], address: u64) -> Vec<u32> {
        let find = |symbols: &mut dyn Iterator<Item = &Symbol>| {
            let mut seekers = [Seeker::new(address)];
            symbols.for_each(|symbol| offer(&mut seekers, symbol, &mut 100));
            let mut names: Vec<u32> = seekers[0].found().iter().map(|symbol| symbol.name).collect();
            names.sort_unstable();
            names
        };
        let names = find(&mut symbols.iter());
        assert_eq!(names, find(&mut symbols.iter().rev()));
        names
    }

    #[test]
    fn an_address_gets_the_function_that_covers_it() {
        let symbols = [at(0x10, 0x10, 1, 0), at(0x20, 0x10, 2, 4), at(0x20, 0x10, 3, 0), at(0x40, 0, 4, 1)];
        assert!(found(&symbols, 0x0f).is_empty());
        assert_eq!(found(&symbols, 0x1f), [1]);
        assert_eq!(found(&symbols, 0x20), [3], "global before local");
        assert!(found(&symbols, 0x30).is_empty(), "a gap is nobody's");
        assert_eq!(found(&symbols, 0x41), [4], "assembly has no sizes");
        assert!(found(&symbols, 0x60).is_empty(), "it ends with its section");
        let far = [Symbol { limit: u64::MAX, ..at(0x40, 0, 4, 1) }];
        assert!(found(&far, 0x40 + UNSIZED_REACH).is_empty());
    }

    #[test]
    fn what_lies_nearer_is_the_function_and_equals_stay_together() {
        let nested = [at(0x10, 0x40, 1, 0), at(0x18, 0x10, 2, 4), at(0x18, 0x10, 3, 4)];
        assert_eq!(found(&nested, 0x1a), [2, 3]);
        assert_eq!(found(&nested, 0x29), [1]);
        let label = [at(0x10, 0, 1, 1), at(0x18, 0x4, 2, 0)];
        assert!(found(&label, 0x1d).is_empty(), "a function lies between");
    }
}
