//! What leaves, in each dialect: which parts a body has, what each carries, and how they are framed.
//!
//! A body is a pure function of `outgoing.zip` and the dialect: nothing is looked up, nothing is added later, and
//! nothing is decided here about what may leave; what stands in `outgoing.zip` was granted, and nothing else is
//! read. A [`Plan`] names large parts instead of holding them, so that a body of any size can be streamed. It never
//! sends anything.

pub mod faf;
pub mod foretrace;
mod frames;
pub mod otlp;
pub mod question;
pub mod sentry;
pub mod socorro;
mod time;

use std::io::{Read, Seek, SeekFrom, Write};

use crate::bundle::{BundleError, BundleReader, Limits, class_of};
use crate::receipt::{CHUNK, Protocol};
use crate::{Class, ClassSet, Report};

/// One part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its name in the body.
    pub name: &'static str,
    /// The classes that it carries.
    pub classes: ClassSet,
    /// Its bytes, or where they are.
    pub content: Content,
}

/// The bytes of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Made from `outgoing.zip` for this dialect.
    Made(Vec<u8>),
    /// All of `outgoing.zip` as it is.
    Outgoing,
    /// An entry of `outgoing.zip`, unpacked.
    Entry(&'static str),
}

/// A whole body: parts, and the framing around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The `Content-Type`.
    pub content_type: String,
    /// Whether the body travels with `Content-Encoding: gzip`.
    pub gzip: bool,
    /// The parts, in order.
    pub pieces: Vec<Piece>,
    /// What stands before each part, and after the last: always one more than there are parts.
    pub framing: Vec<Vec<u8>>,
}

/// The classes that a dialect can carry.
pub fn carried(protocol: Protocol) -> ClassSet {
    let widest = match protocol {
        Protocol::Foretrace => Class::Core,
        Protocol::Socorro | Protocol::Sentry => Class::Memory,
        Protocol::Otlp => Class::Logs,
        Protocol::Faf => Class::Stack,
    };
    crate::Preset(widest).classes()
}

/// The body that carries the `outgoing.zip` in `source`, whose digest is `sha256` (hex).
///
/// # Errors
/// An `outgoing.zip` that is no readable container.
pub fn plan<R: Read + Seek>(protocol: Protocol, source: &mut R, sha256: &str) -> Result<Plan, BundleError> {
    let mut outgoing = Outgoing::open(source)?;
    match protocol {
        Protocol::Foretrace => Ok(foretrace::plan(&outgoing, sha256)),
        Protocol::Socorro => socorro::plan(&outgoing),
        Protocol::Sentry => sentry::plan(&mut outgoing),
        Protocol::Faf => faf::plan(&outgoing),
        Protocol::Otlp => otlp::plan(&mut outgoing),
    }
}

/// The parts of `plan` that are made and not copied, for a person to look at: name and content.
pub fn made(plan: &Plan) -> impl Iterator<Item = (&'static str, &[u8])> {
    plan.pieces.iter().filter_map(|piece| match &piece.content {
        Content::Made(bytes) => Some((piece.name, bytes.as_slice())),
        _ => None,
    })
}

impl Piece {
    /// Hands the part over in pieces of [`CHUNK`] bytes, the last of them shorter. A buffer is the receiver's to
    /// keep; whatever it returns is used for the next piece.
    ///
    /// # Errors
    /// What reading `source` or the receiver met.
    pub fn chunks<R: Read + Seek, E: From<BundleError>>(
        &self,
        source: &mut R,
        take: impl FnMut(Vec<u8>) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        match &self.content {
            Content::Made(bytes) => in_chunks(&mut bytes.as_slice(), take),
            Content::Outgoing => {
                source.rewind().map_err(BundleError::from)?;
                in_chunks(source, take)
            }
            Content::Entry(name) => {
                let mut reader = BundleReader::open(source, Limits::default())?;
                in_chunks(&mut reader.entry(name)?, take)
            }
        }
    }
}

/// Hands over the rest of a source as [`Piece::chunks`] does.
///
/// # Errors
/// What reading `source` or the receiver met.
pub fn in_chunks<E: From<BundleError>>(
    content: &mut impl Read,
    mut take: impl FnMut(Vec<u8>) -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        content.take(CHUNK as u64).read_to_end(&mut buffer).map_err(BundleError::from)?;
        let last = buffer.len() < CHUNK;
        if !buffer.is_empty() {
            buffer = take(buffer)?;
        }
        if last {
            return Ok(());
        }
    }
}

/// An open `outgoing.zip`.
struct Outgoing<'a, R: Read + Seek> {
    reader: BundleReader<&'a mut R>,
    report: Report,
    names: Vec<String>,
    bytes: u64,
}

impl<'a, R: Read + Seek> Outgoing<'a, R> {
    fn open(source: &'a mut R) -> Result<Self, BundleError> {
        let bytes = source.seek(SeekFrom::End(0))?;
        let mut reader = BundleReader::open(source, Limits::default())?;
        let report = reader.report()?;
        let names = reader.names();
        Ok(Outgoing { reader, report, names, bytes })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|held| held == name)
    }

    /// Which classes it holds something of.
    fn classes(&self) -> ClassSet {
        let mut held: ClassSet = self.names.iter().filter_map(|name| class_of(name)).collect();
        if !self.report.threads.is_empty() {
            held = held.with(Class::Stack);
        }
        if self.report.message.is_some() || !self.report.annotations.is_empty() {
            held = held.with(Class::Trail);
        }
        held.with(Class::Summary)
    }
}

/// A multipart body: for each part the file's name, where it is a file, and its media type.
fn multipart(report: &Report, parts: Vec<(Piece, Option<&'static str>, &'static str)>) -> Plan {
    // 128 random bits, drawn after everything that the parts hold came to be: no content can have been made to
    // contain it.
    let boundary = format!("foretrace-{}", report.id);
    let mut framing = Vec::new();
    let mut pieces = Vec::new();
    let mut before = String::new();
    for (piece, file, media_type) in parts {
        before += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", piece.name);
        if let Some(file) = file {
            before += &format!("; filename=\"{file}\"");
        }
        before += &format!("\r\nContent-Type: {media_type}\r\n\r\n");
        framing.push(std::mem::replace(&mut before, "\r\n".into()).into_bytes());
        pieces.push(piece);
    }
    framing.push(format!("{before}--{boundary}--\r\n").into_bytes());
    // No charset: collectors refuse one.
    Plan { content_type: format!("multipart/form-data; boundary={boundary}"), gzip: true, pieces, framing }
}

/// Puts a whole body together in memory, without `Content-Encoding`: for tests and for small bodies.
///
/// # Errors
/// A source that cannot be read.
pub fn assemble<R: Read + Seek>(plan: &Plan, source: &mut R) -> Result<Vec<u8>, BundleError> {
    let mut body = Vec::new();
    for (framing, piece) in plan.framing.iter().zip(&plan.pieces) {
        body.extend_from_slice(framing);
        piece.chunks(source, |chunk| body.write_all(&chunk).map(|()| chunk).map_err(BundleError::from))?;
    }
    body.extend_from_slice(plan.framing.last().map_or(&[], Vec::as_slice));
    Ok(body)
}

#[cfg(test)]
mod samples {
    //! Reports as the tests of all dialects use them.

    use std::io::Cursor;

    use crate::Report;
    use crate::bundle::BundleWriter;

    pub const ID: &str = "00017f80ff6162636465666768696a6b";

    pub fn outgoing(parts: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
        let report: Report = serde_json::from_value(serde_json::json!({
            "schema": 1, "id": ID, "kind": "crash", "time": "2026-11-20T21:30:00.5Z", "signature": "main",
            "program": {"name": "painter", "exe": "/usr/bin/gimp", "pid": 1,
                        "package": {"name": "gimp", "version": "2.10-1"}},
            "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x10"},
            "system": {"os": "Debian GNU/Linux 13", "kernel": "6.12", "arch": "x86_64"},
            "message": "it hurts",
            "threads": [
                {"tid": 1, "name": "gimp", "crashed": true, "frames": [
                    {"ip": "0x401010", "module": "/usr/bin/gimp", "build_id": "0102030405060708090a0b0c0d0e0f10",
                     "offset": "0x1010", "function": "paint", "file": "paint.c", "line": 7, "inline": true, "trust": "cfi"},
                    {"ip": "0x401010", "module": "/usr/bin/gimp", "build_id": "0102030405060708090a0b0c0d0e0f10",
                     "offset": "0x1010", "function": "main", "file": "main.c", "line": 9, "trust": "cfi"}]},
                {"tid": 2, "name": "worker", "crashed": false, "frames": [
                    {"ip": "0x7f0000000020", "module": "/usr/lib/libc.so.6", "offset": "0x20", "function": null, "trust": "scan"}]}],
        }))
        .expect("a report");
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        parts.iter().for_each(|(name, content)| writer.add(name, content).expect("in memory"));
        writer.finish(report).expect("in memory").0
    }
}
