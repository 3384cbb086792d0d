//! Redaction: from a report to what may leave of it.
//!
//! Owns the one function that makes `outgoing.zip`. It is pure: the report, the granted classes, the salt of
//! the pseudonyms and the rules go in, bytes and an account of everything that was taken out come back; the
//! same input gives the same bytes. What it cannot understand it leaves out. It reads no settings and looks
//! up no names.
//!
//! A minidump leaves only under its own class, and of its memory only what a debugger needs to walk the stacks.
//! A whole core leaves as it is, under a class of its own, which is what the preview says.

mod account;
mod findings;
mod memory;
mod minidump;
mod names;
mod patterns;
mod report;
mod text;
mod trail;

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};

use foretrace_report::bundle::{
    BundleError, BundleReader, BundleWriter, ERASURE, MINIDUMP, REPORT, class_of,
};
use foretrace_report::environment::is_allowed;
use foretrace_report::schema::Problem;
use foretrace_report::{Class, ClassSet, Report};

pub use account::{Removed, Rule};
pub use names::Names;
pub use patterns::Patterns;
pub use text::TextRules;

use crate::pseudonym::Salt;

/// What to hide beside what the classes already leave out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Environment variables that may leave in addition to those that every report may hold;
    /// a `*` ends a prefix.
    pub environment: Vec<String>,
    /// What is looked for in every text.
    pub text: TextRules,
    /// What the person wrote about it, which leaves as they wrote it.
    pub comment: Option<String>,
}

impl Rules {
    fn allow(&self, variable: &[u8]) -> bool {
        is_allowed(variable, &self.environment)
    }
}

/// Something of the report that stays here because its class was not granted, or because it could not be
/// redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The part's name, or the section of `report.json`.
    pub name: String,
    /// The class it would need.
    pub class: Class,
    /// Its size.
    pub bytes: u64,
}

/// `outgoing.zip` and the account of how it came about.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The very bytes of `outgoing.zip`.
    pub bytes: Vec<u8>,
    /// The `report.json` inside it, which lists its parts.
    pub report: Report,
    /// What the rules took out.
    pub removed: Removed,
    /// What stays here.
    pub withheld: Vec<Withheld>,
}

/// Makes `outgoing.zip` from a report.
///
/// A part that cannot be read or redacted stays here and becomes a problem in the outgoing report.
///
/// # Errors
/// A report without a readable `report.json`.
pub fn redact<R: Read + Seek>(
    bundle: &mut BundleReader<R>,
    granted: ClassSet,
    salt: &Salt,
    rules: &Rules,
) -> Result<Outgoing, BundleError> {
    let original = bundle.report()?;
    let sizes = original.parts.iter().map(|part| (part.name.clone(), part.bytes)).collect();
    let mut redaction = Redaction { sizes, ..Redaction::new(granted, salt, rules) };
    let mut report = redaction.report(original);
    report.comment.clone_from(&rules.comment);
    let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
    let names = bundle.names();
    for source in trail::sources(&names) {
        if granted.contains(Class::Trail) {
            report.problems.extend(redaction.trail(bundle, &source, &mut writer)?);
        } else {
            redaction.withhold_all(&source.names, Class::Trail);
        }
    }
    writer.add(ERASURE, salt.erasure_digest().as_bytes())?;
    for name in names.iter().filter(|name| *name != REPORT && *name != ERASURE) {
        match class_of(name) {
            None => {}
            Some(Class::Trail) if !name.starts_with("attachments/") => {}
            Some(class) if !granted.contains(class) => {
                redaction.withhold_all(std::slice::from_ref(name), class);
            }
            Some(class) => match bundle.part(name) {
                Ok(content) if name == MINIDUMP => match redaction.minidump(&content) {
                    Ok((content, problems)) => {
                        writer.add(name, &content)?;
                        report.problems.extend(problems);
                    }
                    Err(why) => {
                        redaction.withhold_all(std::slice::from_ref(name), class);
                        report.problems.push(Problem::new(
                            MINIDUMP,
                            format!("The minidump could not be understood and was left out: {why}."),
                        ));
                    }
                },
                Ok(content) => writer.add(name, &redaction.part(name, content))?,
                Err(problem) => report.problems.push(Problem::new(
                    name.as_str(),
                    format!("The part could not be read and was left out: {problem}."),
                )),
            },
        }
    }
    let (sink, report) = writer.finish(report)?;
    let Redaction { removed, withheld, .. } = redaction;
    Ok(Outgoing { bytes: sink.into_inner(), report, removed, withheld })
}

fn is_text(content: &[u8]) -> bool {
    !content.contains(&0) && std::str::from_utf8(content).is_ok()
}

/// The work in progress: what was asked for and what has been taken out so far.
struct Redaction<'a> {
    granted: ClassSet,
    salt: &'a Salt,
    rules: &'a Rules,
    /// What the report says of its parts' sizes: what stays here is not unpacked.
    sizes: BTreeMap<String, u64>,
    removed: Removed,
    withheld: Vec<Withheld>,
}

impl<'a> Redaction<'a> {
    fn new(granted: ClassSet, salt: &'a Salt, rules: &'a Rules) -> Redaction<'a> {
        Redaction {
            granted,
            salt,
            rules,
            sizes: BTreeMap::new(),
            removed: Removed::default(),
            withheld: Vec::new(),
        }
    }

    fn withhold(&mut self, name: &str, class: Class, bytes: u64) {
        self.withheld.push(Withheld { name: name.to_owned(), class, bytes });
    }

    fn withhold_all(&mut self, names: &[String], class: Class) {
        for name in names {
            let bytes = self.sizes.get(name).copied().unwrap_or(0);
            self.withhold(name, class, bytes);
        }
    }

    /// A granted part outside the trail.
    fn part(&mut self, name: &str, content: Vec<u8>) -> Vec<u8> {
        match name {
            "process/environ" => {
                let allowed = self.environment(&content);
                self.hide(allowed)
            }
            "process/cmdline" => {
                let own_name = self.own_name(content);
                self.hide(own_name)
            }
            // Pairs of numbers: bytes that spell a name would be chance, and replacing them would shift the
            // rest.
            "process/auxv" if content.contains(&0) => content,
            _ if name.starts_with("process/") || name.starts_with("system/") || name.starts_with("logs/") => {
                self.hide(content)
            }
            // What is no text may be anything, and moving bytes in it would damage it.
            _ if name.starts_with("attachments/") && !is_text(&content) => {
                self.rules.text.hide_within(&content, self.salt, &mut self.removed).into_owned()
            }
            _ if name.starts_with("attachments/") => self.hide(content),
            _ => content,
        }
    }

    fn hide(&mut self, content: Vec<u8>) -> Vec<u8> {
        match self.rules.text.hide(&content, self.salt, &mut self.removed) {
            std::borrow::Cow::Borrowed(_) => content,
            std::borrow::Cow::Owned(hidden) => hidden,
        }
    }

    fn environment(&mut self, content: &[u8]) -> Vec<u8> {
        let mut kept = Vec::new();
        for variable in content.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
            if self.rules.allow(variable) {
                kept.extend_from_slice(variable);
                kept.push(0);
            } else {
                self.removed.count(Rule::Environment, 1);
            }
        }
        kept
    }

    /// The program's own name. It ends at the first space, too: programs write titles over their arguments,
    /// and those name users and addresses.
    fn own_name(&mut self, mut content: Vec<u8>) -> Vec<u8> {
        let mut words = content.split(|byte| matches!(byte, 0 | b' '));
        let length = words.next().map_or(0, <[u8]>::len);
        let more = words.filter(|word| !word.is_empty()).count();
        self.removed.count(Rule::Arguments, more as u64);
        content.truncate(length);
        content
    }
}

#[cfg(test)]
mod tests;
