//! The process's open descriptors as the minidump's handle list: number, kind, what it points to.

use minidump_writer::mem_writer::{Buffer, write_string_to_location};

use super::{Written, bytes};

const HEADER_BYTES: u32 = 16;
const ENTRY_BYTES: u32 = 32;
/// A process with more has more than anybody reads.
const LIMIT: usize = 4096;

/// Writes the descriptors of `records`, each `number`, a tab, the target and a NUL. Records of another shape are left
/// out.
pub(super) fn list(records: &[u8], buffer: &mut Buffer) -> Written {
    let mut entries = Vec::new();
    let mut count: u32 = 0;
    for record in records.split(|byte| *byte == 0).filter(|record| !record.is_empty()).take(LIMIT) {
        let text = String::from_utf8_lossy(record);
        let Some((number, target)) = text.split_once('\t') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        let kind = write_string_to_location(buffer, kind(target))?.rva;
        let target = write_string_to_location(buffer, target)?.rva;
        entries.extend(number.to_le_bytes());
        // Names; then attributes, access and counts, which Linux has no like of.
        entries.extend([kind, target, 0, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        count += 1;
    }
    let header = [HEADER_BYTES, ENTRY_BYTES, count, 0].into_iter().flat_map(u32::to_le_bytes);
    Ok(bytes(buffer, &header.chain(entries).collect::<Vec<u8>>()))
}

// `socket:[123]`, `pipe:[4]`, `anon_inode:[eventfd]`, else a path.
fn kind(target: &str) -> &'static str {
    match target.split_once(":[") {
        Some(("socket", _)) => "Socket",
        Some(("pipe", _)) => "Pipe",
        Some(("anon_inode", _)) => "Anonymous",
        _ if target.starts_with("anon_inode:") => "Anonymous",
        _ if target.starts_with("/memfd:") => "Memory",
        _ if target.starts_with("/dev/") => "Device",
        _ => "File",
    }
}
