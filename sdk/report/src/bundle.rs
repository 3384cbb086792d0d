//! `bundle.zip` and `outgoing.zip`: the container of a report, over `Read + Seek`.
//!
//! Owns the entry names, the order, the digests and the limits under which a container is believed. Any unzip opens
//! it. A container is hostile until read: names are checked, sizes and entry counts are bounded, and no entry is
//! ever written to a path by this crate.

use std::io::{self, BufWriter, Read, Seek, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use crate::Class;
use crate::schema::{Part, Report};

/// The entry that holds [`Report`].
pub const REPORT: &str = "report.json";
/// The entry that holds the minidump.
pub const MINIDUMP: &str = "minidump.dmp";
/// The entry that holds the sha256, in hex, of the token with which whoever sent the report can erase it.
pub const ERASURE: &str = "system/erasure";

// A trail of 4 MiB is compressed while a person waits for the report: level 6 takes twice as long for one percent.
const LEVEL: i64 = 3;
const HASTY_LEVEL: i64 = 1;

/// A name's data class, by the layout of the bundle; `None` for a name that no part of the layout has.
pub fn class_of(name: &str) -> Option<Class> {
    if let Some(rest) = name.strip_prefix("attachments/") {
        return attachment_class(rest);
    }
    match name.split_once('/').map_or(name, |(folder, _)| folder) {
        REPORT | "system" => Some(Class::Summary),
        "trace" => Some(Class::Trail),
        "logs" => Some(Class::Logs),
        MINIDUMP | "process" => Some(Class::Memory),
        "core" | "core.zst" => Some(Class::Core),
        _ => None,
    }
}

// `CLASS/NAME`, of the classes that a program may choose.
fn attachment_class(rest: &str) -> Option<Class> {
    let (class, name) = rest.split_once('/')?;
    let class = class.parse().ok()?;
    let choice = matches!(class, Class::Trail | Class::Logs | Class::Memory);
    (choice && !name.contains('/')).then_some(class)
}

/// What is wrong with a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It could not be read or written.
    #[error("cannot read or write the report's container: {0}")]
    Io(#[from] io::Error),
    /// It is no zip file, or a damaged one.
    #[error("the report's container is damaged: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// It has no [`REPORT`] or one that does not parse.
    #[error("the report's report.json is unreadable: {0}")]
    Report(#[from] serde_json::Error),
    /// An entry that was asked for is not there.
    #[error("the report has no part named '{0}'")]
    Missing(String),
    /// An entry has a name outside the layout.
    #[error("the report's container has an entry with the forbidden name '{}'", crate::text::escape(.0))]
    Name(String),
    /// An entry or the whole is larger than the reader allows.
    #[error("the report's container is larger than allowed ({what}: more than {limit})")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes or entries.
        limit: u64,
    },
}

/// Writes a bundle: parts first, `report.json` last, because it lists them.
pub struct BundleWriter<W: Write + Seek> {
    zip: zip::ZipWriter<W>,
    parts: Vec<Part>,
    hasty: bool,
}

impl<W: Write + Seek> BundleWriter<W> {
    /// Starts a bundle in `sink`.
    pub fn new(sink: W) -> Self {
        BundleWriter { zip: zip::ZipWriter::new(sink), parts: Vec::new(), hasty: false }
    }

    /// The same, made in less time and larger: for a bundle that another one soon replaces.
    pub fn hasty(self) -> Self {
        BundleWriter { hasty: true, ..self }
    }

    /// The parts added so far.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Adds a part, deflated, with the class that its name has.
    ///
    /// # Errors
    /// A name outside the layout, or a write that failed.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), BundleError> {
        self.add_with_sha256(name, content, &hex(&Sha256::digest(content)))
    }

    /// The same, of a part whose sha256, in hex, somebody else has worked out.
    ///
    /// # Errors
    /// As [`BundleWriter::add`].
    pub fn add_with_sha256(&mut self, name: &str, content: &[u8], sha256: &str) -> Result<(), BundleError> {
        let class = checked_class(name)?;
        self.start(name)?;
        self.zip.write_all(content)?;
        self.parts.push(Part {
            name: name.to_owned(),
            class,
            bytes: content.len() as u64,
            sha256: sha256.to_owned(),
        });
        Ok(())
    }

    /// Writes `report.json` with the list of parts filled in, and closes the container.
    ///
    /// # Errors
    /// A write that failed.
    pub fn finish(self, report: Report) -> Result<(W, Report), BundleError> {
        self.finish_streaming(report)
    }

    /// As [`BundleWriter::finish`], with threads that are made as they are written.
    ///
    /// # Errors
    /// A write that failed.
    pub fn finish_streaming<T: Serialize>(
        mut self,
        mut report: Report<T>,
    ) -> Result<(W, Report<T>), BundleError> {
        report.parts = std::mem::take(&mut self.parts);
        self.start(REPORT)?;
        // Thousands of threads are tens of megabytes of text: it is never held whole.
        let mut text = BufWriter::with_capacity(1 << 16, &mut self.zip);
        let written = match self.hasty {
            true => serde_json::to_writer(&mut text, &report),
            // For whoever unzips it and looks.
            false => serde_json::to_writer_pretty(&mut text, &report),
        };
        written.map_err(|error| match error.is_io() {
            true => BundleError::from(std::io::Error::from(error)),
            false => error.into(),
        })?;
        text.flush()?;
        drop(text);
        Ok((self.zip.finish()?, report))
    }

    // The time stamp is fixed: the same content gives the same bytes, which receipts rely on.
    fn start(&mut self, name: &str) -> Result<(), BundleError> {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(if self.hasty { HASTY_LEVEL } else { LEVEL }))
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o600);
        Ok(self.zip.start_file(name, options)?)
    }
}

/// The limits under which a container is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries at most.
    pub entries: usize,
    /// Uncompressed bytes of one entry at most.
    pub entry_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 4096, entry_bytes: 256 << 20 }
    }
}

/// Reads a container that nobody has vouched for.
pub struct BundleReader<R: Read + Seek> {
    zip: zip::ZipArchive<R>,
    limits: Limits,
}

impl<R: Read + Seek> BundleReader<R> {
    /// Opens a container and checks every name in it.
    ///
    /// # Errors
    /// No zip, too many entries, or a name outside the layout.
    pub fn open(source: R, limits: Limits) -> Result<Self, BundleError> {
        let zip = zip::ZipArchive::new(source)?;
        if zip.len() > limits.entries {
            return Err(BundleError::TooLarge { what: "entries", limit: limits.entries as u64 });
        }
        for name in zip.file_names() {
            checked_class(&name?)?;
        }
        Ok(BundleReader { zip, limits })
    }

    /// The names of all entries, in the container's order.
    pub fn names(&self) -> Vec<String> {
        self.zip.file_names().flatten().map(|name| name.into_owned()).collect()
    }

    /// One entry, uncompressed.
    ///
    /// # Errors
    /// A missing, damaged or too large entry. The declared size is not believed: reading stops at the limit.
    pub fn part(&mut self, name: &str) -> Result<Vec<u8>, BundleError> {
        let mut content = Vec::new();
        self.entry(name)?.read_to_end(&mut content).map_err(|error| {
            match error.downcast::<BundleError>() {
                Ok(beyond) => beyond,
                Err(error) => error.into(),
            }
        })?;
        Ok(content)
    }

    /// One entry, uncompressed, to be read piece by piece; reading fails beyond the limit.
    ///
    /// # Errors
    /// A missing or damaged entry.
    pub fn entry(&mut self, name: &str) -> Result<impl Read + '_, BundleError> {
        let entry = match self.zip.by_name(name) {
            Err(zip::result::ZipError::FileNotFound) => return Err(BundleError::Missing(name.to_owned())),
            other => other?,
        };
        Ok(Bounded { entry, left: self.limits.entry_bytes, limit: self.limits.entry_bytes })
    }

    /// How large an entry says it is, uncompressed. Nothing believes it that has not read the entry.
    ///
    /// # Errors
    /// A missing or damaged entry.
    pub fn declared_bytes(&mut self, name: &str) -> Result<u64, BundleError> {
        match self.zip.by_name(name) {
            Err(zip::result::ZipError::FileNotFound) => Err(BundleError::Missing(name.to_owned())),
            other => Ok(other?.size()),
        }
    }

    /// The report itself.
    ///
    /// # Errors
    /// A missing or unreadable `report.json`.
    pub fn report(&mut self) -> Result<Report, BundleError> {
        Ok(serde_json::from_slice(&self.part(REPORT)?)?)
    }
}

/// An entry that is read no further than the limit; its declared size is not believed.
struct Bounded<R> {
    entry: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(BundleError::TooLarge { what: "bytes in an entry", limit: self.limit })
        })?;
        Ok(read)
    }
}

fn checked_class(name: &str) -> Result<Class, BundleError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
    };
    let well_formed = name.len() <= 200 && name.split('/').count() <= 4 && name.split('/').all(plain);
    class_of(name).filter(|_| well_formed).ok_or_else(|| BundleError::Name(name.to_owned()))
}

/// Lower-case hex digits of a digest.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
    bytes.iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::ReportId;
    use crate::schema::{Kind, Losses, Program, SCHEMA, System};

    fn report() -> Report {
        Report {
            schema: SCHEMA,
            id: ReportId::from_random([7; 16]),
            kind: Kind::Crash,
            time: "2026-01-01T00:00:00Z".into(),
            program: Program { name: "a".into(), exe: None, pid: 1, package: None },
            signal: None,
            comment: None,
            message: None,
            system: System::default(),
            surroundings: None,
            threads: vec![],
            signature: String::new(),
            annotations: vec![],
            losses: Losses::default(),
            recorder: None,
            parts: vec![],
            problems: vec![],
        }
    }

    fn bundle(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
        writer.finish(report()).unwrap().0.into_inner()
    }

    #[test]
    fn a_bundle_lists_its_parts_with_class_and_digest() {
        let bytes = bundle(&[("process/maps", b"abc"), ("trace/1/metadata", b"")]);
        let mut reader = BundleReader::open(Cursor::new(bytes), Limits::default()).unwrap();
        let report = reader.report().unwrap();
        assert_eq!(report.parts[0].class, Class::Memory);
        assert_eq!(
            report.parts[0].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(report.parts[1].class, Class::Trail);
        assert_eq!(reader.part("process/maps").unwrap(), b"abc");
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        assert_eq!(bundle(&[("logs/kmsg", b"x")]), bundle(&[("logs/kmsg", b"x")]));
    }

    #[test]
    fn names_outside_the_layout_are_refused() {
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        for name in [
            "../x",
            "attachments/x",
            "attachments/summary/x",
            "attachments/logs/x/y",
            "attachments/logs/",
            "process/../../x",
            "/etc/passwd",
            "elsewhere",
            "process/",
            "logs/a\nb",
            "process//x",
        ] {
            assert!(matches!(writer.add(name, b""), Err(BundleError::Name(_))), "{name}");
        }
    }

    #[test]
    fn an_entry_that_unpacks_beyond_the_limit_is_refused() {
        let bytes = bundle(&[("process/maps", &[0; 5000])]);
        let limits = Limits { entries: 10, entry_bytes: 4999 };
        let mut reader = BundleReader::open(Cursor::new(bytes), limits).unwrap();
        assert!(matches!(reader.part("process/maps"), Err(BundleError::TooLarge { .. })));
    }
}
