//! The file in which rpm keeps what is installed: a read-only view of an SQLite 3 database.
//!
//! Owns the format of pages, rows and indexes, as far as rpm's tables take it: a table by its name, rows by their number,
//! the numbers of rows by their text in an index. Never writes, locks or believes: whoever made the file may be an enemy,
//! so all that is read is bounded. What rpm writes at this moment, and has not yet put into the file, is not seen.
//!
//! ```text
//! page 1      "SQLite format 3\0"   16 page size u16 (1: 65536)   20 unused at a page's end u8   then page 1's node
//! node        0 kind u8   3 cells u16   8 right child u32 (inner nodes)   8 or 12: each cell's place u16
//! cell        inner table: child u32, number      leaf table: length, number, row
//!             inner index: child u32, length, row  leaf index: length, row
//! row         length of its head, the kinds of its fields, the fields; what does not fit lies on a chain of pages
//! ```
//!
//! All numbers are big-endian; those without a width above are of 1 to 9 bytes, 7 bits each.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: usize = 100;
const INNER_INDEX: u8 = 2;
const INNER_TABLE: u8 = 5;
const LEAF_INDEX: u8 = 10;
const LEAF_TABLE: u8 = 13;
/// No tree of the largest file is deeper.
const DEPTH: usize = 24;
/// A package has some ten thousand files, whose names are in its row.
const LONGEST_ROW: u64 = 16 << 20;
/// Rows with one text that are looked for.
const MOST_ROWS: usize = 256;

/// One field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Nothing, or something that rpm does not keep.
    Other,
    /// A number.
    Number(i64),
    /// Text or bytes.
    Bytes(Vec<u8>),
}

impl Field {
    /// The number that it is.
    pub fn number(&self) -> Option<i64> {
        match self {
            Field::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text or bytes that it is.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Field::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A database file.
pub struct Database<'a> {
    file: &'a File,
    page: usize,
    usable: usize,
    // How many bytes may still be read or taken: trees and chains with circles end.
    left: Cell<u64>,
}

impl<'a> Database<'a> {
    /// Looks at a file's beginning. `budget` is how many bytes may be read of it and taken as rows in all.
    pub fn open(file: &'a File, budget: u64) -> Option<Database<'a>> {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let page = match u16_at(&header, 16)? {
            1 => 65_536,
            size => usize::from(size),
        };
        let usable = page.checked_sub(usize::from(header[20]))?;
        let sound = header.starts_with(MAGIC) && page.is_power_of_two() && page >= 512 && usable >= 480;
        sound.then(|| Database { file, page, usable, left: Cell::new(budget) })
    }

    /// The first page of the table or index with this name.
    pub fn root(&self, name: &str) -> Option<u32> {
        // Kind, name, table, first page, statement.
        let mut found = None;
        self.each_row(1, DEPTH, &mut |row| {
            if row.get(1).and_then(Field::bytes) == Some(name.as_bytes()) {
                found = row.get(3).and_then(Field::number).and_then(|page| u32::try_from(page).ok());
            }
            found.is_none()
        })?;
        found
    }

    /// The row with this number of the table that begins at page `root`.
    pub fn row(&self, root: u32, number: i64) -> Option<Vec<Field>> {
        let mut page = root;
        for _ in 0..DEPTH {
            let node = self.node(page)?;
            match node.kind {
                INNER_TABLE => {
                    let next = (0..node.cells).find_map(|cell| {
                        let cell = node.cell(cell)?;
                        let (last, _) = varint(cell, 4)?;
                        (number <= last as i64).then(|| u32_at(cell, 0)).flatten()
                    });
                    page = next.or_else(|| u32_at(&node.bytes, node.at + 8))?;
                }
                LEAF_TABLE => {
                    return (0..node.cells).find_map(|cell| {
                        let cell = node.cell(cell)?;
                        let (length, at) = varint(cell, 0)?;
                        let (found, at) = varint(cell, at)?;
                        (found as i64 == number)
                            .then(|| fields(&self.payload(cell, at, length, LEAF_TABLE)?))
                            .flatten()
                    });
                }
                _ => return None,
            }
        }
        None
    }

    /// The numbers of the rows that the index that begins at page `root` has under `text`.
    pub fn rows_with(&self, root: u32, text: &[u8]) -> Vec<i64> {
        let mut found = Vec::new();
        // What was found before a damaged page is there all the same.
        let _ = self.search(root, text, DEPTH, &mut found);
        found
    }

    // Equal texts may lie on both sides of an inner node's cell.
    fn search(&self, page: u32, text: &[u8], depth: usize, found: &mut Vec<i64>) -> Option<()> {
        let node = self.node(page)?;
        let inner = match node.kind {
            INNER_INDEX => true,
            LEAF_INDEX => false,
            _ => return None,
        };
        let child = |at: usize, bytes: &[u8], found: &mut Vec<i64>| match inner {
            true => self.search(u32_at(bytes, at)?, text, depth.checked_sub(1)?, found),
            false => Some(()),
        };
        for cell in 0..node.cells {
            let cell = node.cell(cell)?;
            let (length, at) = varint(cell, if inner { 4 } else { 0 })?;
            let row = fields(&self.payload(cell, at, length, LEAF_INDEX)?)?;
            let order = row.first().and_then(Field::bytes).map_or(Ordering::Less, |key| key.cmp(text));
            if order != Ordering::Less {
                child(0, cell, found)?;
            }
            match order {
                Ordering::Less => {}
                Ordering::Equal if found.len() < MOST_ROWS => {
                    found.extend(row.last().and_then(Field::number))
                }
                Ordering::Equal | Ordering::Greater => return Some(()),
            }
        }
        child(node.at + 8, &node.bytes, found)
    }

    // Gives every row of a table to `take`, until it has enough.
    fn each_row(&self, page: u32, depth: usize, take: &mut dyn FnMut(Vec<Field>) -> bool) -> Option<bool> {
        let node = self.node(page)?;
        for cell in 0..node.cells {
            let cell = node.cell(cell)?;
            let more = match node.kind {
                INNER_TABLE => self.each_row(u32_at(cell, 0)?, depth.checked_sub(1)?, take)?,
                LEAF_TABLE => {
                    let (length, at) = varint(cell, 0)?;
                    let (_, at) = varint(cell, at)?;
                    take(fields(&self.payload(cell, at, length, LEAF_TABLE)?)?)
                }
                _ => return None,
            };
            if !more {
                return Some(false);
            }
        }
        match node.kind {
            INNER_TABLE => self.each_row(u32_at(&node.bytes, node.at + 8)?, depth.checked_sub(1)?, take),
            _ => Some(true),
        }
    }

    fn node(&self, page: u32) -> Option<Node> {
        let bytes = self.page(page)?;
        let at = if page == 1 { HEADER } else { 0 };
        let kind = *bytes.get(at)?;
        let cells = usize::from(u16_at(&bytes, at + 3)?);
        let places = at + if matches!(kind, INNER_INDEX | INNER_TABLE) { 12 } else { 8 };
        Some(Node { bytes, at, kind, cells, places })
    }

    // Pages are counted from 1.
    fn page(&self, page: u32) -> Option<Vec<u8>> {
        self.left.set(self.left.get().checked_sub(self.page as u64)?);
        let mut bytes = vec![0; self.page];
        let offset = u64::from(page).checked_sub(1)? * self.page as u64;
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        bytes.truncate(self.usable);
        Some(bytes)
    }

    // The row of `length` bytes that begins at `at` of a cell, with what lies on other pages.
    fn payload(&self, cell: &[u8], at: usize, length: u64, kind: u8) -> Option<Vec<u8>> {
        if length > LONGEST_ROW {
            return None;
        }
        // Cells that lie in one another's place make a small page into much work.
        self.left.set(self.left.get().checked_sub(length)?);
        let length = usize::try_from(length).ok()?;
        let most = match kind {
            LEAF_TABLE => self.usable - 35,
            _ => (self.usable - 12) * 64 / 255 - 23,
        };
        let least = (self.usable - 12) * 32 / 255 - 23;
        let some = least + length.saturating_sub(least) % (self.usable - 4);
        let here = match length {
            length if length <= most => length,
            _ if some <= most => some,
            _ => least,
        };
        let mut row = cell.get(at..at.checked_add(here)?)?.to_vec();
        let mut next = (here < length).then(|| u32_at(cell, at + here)).flatten();
        while row.len() < length {
            let page = self.page(next?)?;
            let rest = page.get(4..)?;
            row.extend_from_slice(&rest[..rest.len().min(length - row.len())]);
            next = u32_at(&page, 0);
        }
        Some(row)
    }
}

// A page of a tree.
struct Node {
    bytes: Vec<u8>,
    // Where its header begins.
    at: usize,
    kind: u8,
    cells: usize,
    // Where the cells' places are.
    places: usize,
}

impl Node {
    fn cell(&self, index: usize) -> Option<&[u8]> {
        let place = u16_at(&self.bytes, self.places + 2 * index)?;
        self.bytes.get(usize::from(place)..)
    }
}

// The fields of a row.
fn fields(row: &[u8]) -> Option<Vec<Field>> {
    let (head, mut at) = varint(row, 0)?;
    let head = usize::try_from(head).ok()?;
    let mut content = row.get(head..)?;
    let mut fields = Vec::new();
    while at < head {
        let (kind, after) = varint(row, at)?;
        at = after;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let (field, rest) = content.split_at_checked(usize::try_from(length).ok()?)?;
        content = rest;
        fields.push(match kind {
            1..=6 => {
                let sign = if field.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
                Field::Number(field.iter().fold(sign, |number: i64, byte| number << 8 | i64::from(*byte)))
            }
            8 | 9 => Field::Number(kind as i64 - 8),
            12.. => Field::Bytes(field.to_vec()),
            _ => Field::Other,
        });
    }
    Some(fields)
}

// A number of 1 to 9 bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for index in 0..8 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + index + 1));
        }
    }
    Some((number << 8 | u64::from(*bytes.get(at + 8)?), at + 9))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
