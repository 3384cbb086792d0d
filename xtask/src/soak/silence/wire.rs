//! What the packets said, held against what somebody agreed to: each request's head against the list of headers, each
//! body against the one that `outgoing.zip` makes.
//!
//! Pure. A request that was cut short must be the beginning of one that was agreed to.

use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use foretrace_report::bundle::{BundleReader, class_of};
use foretrace_report::receipt::{Protocol, Receipt};
use foretrace_report::{ClassSet, wire};
use foretrace_tests::network::Stream;

/// All that the transport may add to a body.
const HEADERS: [&str; 12] = [
    "host",
    "user-agent",
    "accept",
    "content-length",
    "content-type",
    "content-encoding",
    "x-sentry-auth",
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "accept-encoding",
];

/// What somebody agreed to send, and what a server may therefore see.
pub struct Agreement {
    body: Vec<u8>,
    question: Vec<u8>,
    description: String,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Bodies that went to their end.
    pub whole: usize,
    /// Bodies that broke off.
    pub cut: usize,
    /// Questions before a report.
    pub questions: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Agreement {
    /// Of the `outgoing.zip` that a receipt is for, where `granted` was said.
    ///
    /// # Errors
    /// It holds more than was granted, or than the dialect carries.
    pub fn new(outgoing: Vec<u8>, receipt: &Receipt, granted: ClassSet) -> Result<Agreement> {
        let protocol = receipt.destination.protocol;
        let allowed = granted.intersection(wire::carried(protocol));
        ensure!(
            receipt.classes.is_subset(allowed),
            "{granted} was granted, the receipt is for {}",
            receipt.classes
        );
        let mut source = Cursor::new(outgoing);
        for name in BundleReader::open(&mut source, Default::default())?.names() {
            let beyond = class_of(&name).filter(|class| !receipt.classes.contains(*class));
            ensure!(beyond.is_none(), "{name} is in outgoing.zip, and {beyond:?} was not granted");
        }
        let question = wire::assemble(&wire::question::plan(&mut source)?, &mut source)?;
        let mut plan = wire::plan(protocol, &mut source, &receipt.outgoing_sha256)?;
        let mut description = String::new();
        if protocol == Protocol::Foretrace {
            // It travels as a header.
            let (_, made) = wire::made(&plan).next().context("no description")?;
            description = String::from_utf8(made.to_vec())?;
            plan.pieces.remove(0);
            plan.framing.remove(0);
        }
        Ok(Agreement { body: wire::assemble(&plan, &mut source)?, question, description })
    }
}

/// Holds what one connection's client said against what was agreed to for that server.
///
/// # Errors
/// Anything that was not.
pub fn check(stream: &Stream, agreements: &[Agreement], seen: &mut Seen) -> Result<()> {
    let mut rest = stream.bytes.as_slice();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let head =
            std::str::from_utf8(&rest[..end.unwrap_or(rest.len())]).context("a head that is no text")?;
        let Some(end) = end else {
            // Cut within the head: the lines that came are all there is.
            let lines = head.rsplit_once("\r\n").map_or("", |(lines, _)| lines);
            return Head::parse(lines).and_then(|head| head.check(stream.port, agreements));
        };
        let head = Head::parse(head)?;
        head.check(stream.port, agreements)?;
        let length: usize = head.value("content-length").unwrap_or("0").parse()?;
        let there = length.min(rest.len() - end - 4);
        let body = &rest[end + 4..end + 4 + there];
        head.check_body(body, there == length, agreements, seen)?;
        rest = &rest[end + 4 + there..];
    }
    Ok(())
}

struct Head<'a> {
    line: &'a str,
    headers: Vec<(String, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(text: &'a str) -> Result<Head<'a>> {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let header = |line: &'a str| {
            let (name, value) = line.split_once(": ").with_context(|| format!("'{line}' is no header"))?;
            Ok((name.to_lowercase(), value))
        };
        Ok(Head { line, headers: lines.map(header).collect::<Result<_>>()? })
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    fn check(&self, port: u16, agreements: &[Agreement]) -> Result<()> {
        for (name, value) in &self.headers {
            ensure!(HEADERS.contains(&name.as_str()), "{}: the header {name}: {value}", self.line);
            let fits = match name.as_str() {
                "host" => *value == format!("127.0.0.1:{port}"),
                "user-agent" => *value == concat!("foretrace/", env!("CARGO_PKG_VERSION")),
                "upload-metadata" => agreements.iter().any(|agreement| agreement.description == *value),
                _ => true,
            };
            ensure!(fits, "{}: {name}: {value} was not agreed to", self.line);
        }
        Ok(())
    }

    fn check_body(&self, body: &[u8], whole: bool, agreements: &[Agreement], seen: &mut Seen) -> Result<()> {
        if body.is_empty() {
            return Ok(());
        }
        seen.bytes += body.len();
        let mut unpacked = Vec::new();
        if self.value("content-encoding") == Some("gzip") {
            let read = GzDecoder::new(body).read_to_end(&mut unpacked);
            ensure!(read.is_ok() || !whole, "{}: a body that cannot be unpacked", self.line);
        } else {
            unpacked.extend_from_slice(body);
        }
        if self.line.split(' ').nth(1).is_some_and(|path| path.ends_with("/question")) {
            seen.questions += 1;
            let asked = agreements.iter().any(|agreement| fits(&agreement.question, &unpacked, whole));
            ensure!(asked, "{}: a question that nobody agreed to", self.line);
            return Ok(());
        }
        let offset: usize = self.value("upload-offset").unwrap_or("0").parse()?;
        let agreed = |agreement: &&Agreement| {
            agreement.body.get(offset..).is_some_and(|rest| fits(rest, &unpacked, whole))
        };
        match agreements.iter().find(agreed) {
            Some(_) if whole => seen.whole += 1,
            Some(_) => seen.cut += 1,
            None => bail!("{}: {} bytes that no agreed outgoing.zip makes", self.line, body.len()),
        }
        Ok(())
    }
}

fn fits(agreed: &[u8], body: &[u8], whole: bool) -> bool {
    if whole { agreed == body } else { agreed.starts_with(body) }
}
