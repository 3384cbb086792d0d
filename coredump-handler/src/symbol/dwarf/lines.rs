//! Files and lines of addresses, from a unit's line program, which is run once for all of them.

use std::collections::HashMap;

use gimli::{LineProgramHeader, Range, UnitRef};

use super::extent::Wanted;
use super::{Bytes, text};

/// Where the wanted addresses of one unit are in its sources.
pub(super) struct Lines<'u, 'm> {
    unit: UnitRef<'u, Bytes<'m>>,
    header: Option<LineProgramHeader<Bytes<'m>>>,
    // By address: where the sequence of rows begins that the place is from.
    places: HashMap<u64, (u64, Place)>,
    files: HashMap<u64, Option<String>>,
}

#[derive(Clone, Copy)]
struct Place {
    file: u64,
    line: Option<u32>,
}

impl<'u, 'm> Lines<'u, 'm> {
    /// Looks for the `wanted` addresses.
    pub(super) fn new(unit: UnitRef<'u, Bytes<'m>>, wanted: &Wanted<'_>) -> Self {
        let program = unit.line_program.clone();
        let header = program.as_ref().map(|program| program.header().clone());
        let mut lines = Lines { unit, header, places: HashMap::new(), files: HashMap::new() };
        if let Some(program) = program {
            let mut rows = program.rows();
            // The rows between two ends, and the last of them: it holds until the next one begins.
            let (mut start, mut last) = (None, None);
            while let Ok(Some((_, row))) = rows.next_row() {
                let address = row.address();
                if let (Some(start), Some((from, place))) = (start, last) {
                    lines.note(wanted, Range { begin: from, end: address }, (start, place));
                }
                if row.end_sequence() {
                    (start, last) = (None, None);
                    continue;
                }
                let line = row.line().and_then(|line| u32::try_from(line.get()).ok());
                start.get_or_insert(address);
                last = Some((address, Place { file: row.file_index(), line }));
            }
        }
        lines
    }

    // Sequences of functions that the linker dropped begin at 0 and may seem to cover others: the later beginning counts.
    fn note(&mut self, wanted: &Wanted<'_>, rows: Range, place: (u64, Place)) {
        if rows.begin >= rows.end {
            return;
        }
        for address in wanted.within(rows) {
            let known = self.places.entry(*address).or_insert(place);
            if known.0 < place.0 {
                *known = place;
            }
        }
    }

    /// File and line of a wanted address.
    pub(super) fn at(&mut self, address: u64) -> (Option<String>, Option<u32>) {
        match self.places.get(&address).copied() {
            Some((_, place)) => (self.file(place.file), place.line),
            None => (None, None),
        }
    }

    /// The path of the unit's file with this number.
    pub(super) fn file(&mut self, number: u64) -> Option<String> {
        if let Some(known) = self.files.get(&number) {
            return known.clone();
        }
        let path = self.path(number);
        self.files.insert(number, path.clone());
        path
    }

    fn path(&self, number: u64) -> Option<String> {
        let header = self.header.as_ref()?;
        let file = header.file(number)?;
        let string = |value| text(self.unit.attr_string(value).ok()?);
        let mut path = self.unit.comp_dir.and_then(text).unwrap_or_default();
        // Directory 0 is the unit's own.
        if file.directory_index() != 0
            && let Some(directory) = file.directory(header)
        {
            push(&mut path, &string(directory)?);
        }
        push(&mut path, &string(file.path_name())?);
        Some(path)
    }
}

fn push(path: &mut String, part: &str) {
    if part.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}
