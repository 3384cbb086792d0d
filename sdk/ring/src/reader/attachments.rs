//! What a program wants to have beside its report: pieces of its memory, and files.
//!
//! Decides what an entry says, never whether it may be had: addresses and paths are whatever the process wrote.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Memory, locked};
use crate::layout::*;

/// Something to be collected when a report is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name: letters, digits and `._+-`, at most [`ATTACHMENT_NAME`] of them.
    pub name: String,
    /// Whose consent it needs.
    pub class: AttachmentClass,
    /// How many bytes are wanted at most.
    pub most: u64,
    /// What it is.
    pub what: Attached,
}

/// What is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Memory from this address on.
    Memory(u64),
    /// The file with this absolute path, as the process sees it.
    File(Vec<u8>),
}

/// The data class that an attachment is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentClass {
    /// What the program did, as its events are.
    Trail,
    /// Log lines.
    Logs,
    /// Anything else.
    Memory,
}

impl AttachmentClass {
    /// The name of the class in reports.
    pub fn name(self) -> &'static str {
        match self {
            AttachmentClass::Trail => "trail",
            AttachmentClass::Logs => "logs",
            AttachmentClass::Memory => "memory",
        }
    }
}

/// Whether an attachment can have this name: it becomes a file's.
pub fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    (1..=ATTACHMENT_NAME).contains(&name.len()) && name.iter().all(plain) && !matches!(name, b"." | b"..")
}

pub(super) fn read<M: Memory + ?Sized>(memory: &M, problems: &mut Vec<String>) -> Vec<Attachment> {
    let mut found: Vec<Attachment> = Vec::new();
    for index in 0..u64::from(ATTACHMENT_COUNT) {
        match attachment(memory, AT_ATTACHMENTS + index * u64::from(ATTACHMENT_SIZE)) {
            Ok(None) => {}
            // Two threads that attached under a new name at the same instant may have taken an entry each.
            Ok(Some(new)) => match found.iter_mut().find(|other| other.name == new.name) {
                Some(other) => *other = new,
                None => found.push(new),
            },
            Err(why) => problems.push(format!("attachment {index} {why}")),
        }
    }
    found
}

fn attachment<M: Memory + ?Sized>(memory: &M, at: u64) -> Result<Option<Attachment>, &'static str> {
    let mut bytes = [0; ATTACHMENT_SIZE as usize];
    if !locked(memory, at, &mut bytes)? {
        return Ok(None);
    }
    let word = |at: u64| bytes[..].load(at).unwrap_or(0);
    let head = word(ATTACHMENT_HEAD);
    let (kind, class) = (head & 0xff, (head >> 8) as u8);
    let (name, path) = (usize::from((head >> 16) as u16), usize::from((head >> 32) as u16));
    if kind == ATTACHMENT_NONE {
        return Ok(None);
    }
    let text = &bytes[ATTACHMENT_TEXT as usize..];
    let (Some(name), Some(path)) = (text.get(..name), text.get(name..name + path)) else {
        return Err("has an impossible length");
    };
    if !is_name(name) {
        return Err("has an impossible name");
    }
    let what = match kind {
        ATTACHMENT_MEMORY => Attached::Memory(word(ATTACHMENT_ADDRESS)),
        ATTACHMENT_FILE if path.first() == Some(&b'/') && !path.contains(&0) => Attached::File(path.to_vec()),
        ATTACHMENT_FILE => return Err("has a path that is none"),
        _ => return Err("is of an unknown kind"),
    };
    Ok(Some(Attachment {
        name: String::from_utf8_lossy(name).into_owned(),
        class: match class {
            1 => AttachmentClass::Trail,
            2 => AttachmentClass::Logs,
            _ => AttachmentClass::Memory,
        },
        most: word(ATTACHMENT_MOST),
        what,
    }))
}
