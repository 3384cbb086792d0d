//! The layout of the target `dwarf`'s inputs: the debug sections of an image one after the other, each behind its length
//! (u16), then what is left: addresses that are asked for, as halves. Owns the ELF file around them, which is always right, so
//! that no effort is spent on headers.

/// The sections, in their order.
pub const NAMES: [&str; 10] = [
    ".debug_abbrev",
    ".debug_info",
    ".debug_line",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_addr",
    ".debug_str_offsets",
    ".debug_aranges",
    ".debug_line_str",
    ".debug_str",
];

/// How much of the image is code: all of it, from its address 0.
pub const CODE: usize = 1 << 16;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const ROW: usize = 64;

/// What `data` says: the sections that it has, and the rest.
pub fn split(mut data: &[u8]) -> (Vec<(&'static str, &[u8])>, &[u8]) {
    let mut sections = Vec::new();
    for name in NAMES {
        let Some((length, rest)) = data.split_first_chunk::<2>() else { break };
        let (section, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        sections.push((name, section));
        data = rest;
    }
    (sections, data)
}

/// An ELF file with these sections, one segment that is code, and nothing else.
pub fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    // A row of zeros, the sections, their names.
    let rows = sections.len() + 2;
    let table = HEADER + SEGMENT;
    let mut file = vec![0; table + rows * ROW];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, half) in [
        (16, 3),
        (18, 62),
        (20, 1),
        (52, HEADER),
        (54, SEGMENT),
        (56, 1),
        (58, ROW),
        (60, rows),
        (62, rows - 1),
    ] {
        file[at..at + 2].copy_from_slice(&(half as u16).to_le_bytes());
    }
    let mut names = vec![0];
    let row = |file: &mut Vec<u8>, index: usize, name: usize, bytes: &[u8]| {
        let at = table + index * ROW;
        for (at, word) in
            [(at, name as u64 | 1 << 32), (at + 24, file.len() as u64), (at + 32, bytes.len() as u64)]
        {
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(bytes);
    };
    for (index, (name, bytes)) in sections.iter().enumerate() {
        row(&mut file, index + 1, names.len(), bytes);
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    row(&mut file, rows - 1, 0, &names);
    let size = file.len() as u64;
    for (at, word) in [
        (32, HEADER as u64),
        (40, table as u64),
        (HEADER, 1 | 5 << 32),
        (HEADER + 32, size),
        (HEADER + 40, CODE as u64),
    ] {
        file[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    file
}
