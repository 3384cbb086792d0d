//! Requests made from a body that somebody agreed to, and its bytes on their way out.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use foretrace_report::ReportId;
use foretrace_report::bundle::BundleError;
use foretrace_report::receipt::{BodyPart, CHUNK, Destination, Protocol};
use foretrace_report::wire::foretrace::{self, MEDIA_TYPE};
use foretrace_report::wire::{self, Content, Plan};

use super::held::Held;
use super::{Refusal, digest};

/// A body no larger than this stays in memory from the check to the socket; a larger one is read again.
const KEPT: usize = CHUNK;
/// The pieces in which a compressed body is handed on.
const PIECE: usize = 64 << 10;
/// The version of tus that is spoken.
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// A body that somebody agreed to send, bound to where it goes.
#[derive(Clone, Debug)]
pub struct Agreed {
    url: String,
    protocol: Protocol,
    report: ReportId,
    sha256: String,
    content: Arc<Checked>,
    // As it travels.
    length: u64,
    kept: Option<Bytes>,
}

#[derive(Debug)]
struct Checked {
    plan: Plan,
    parts: Vec<BodyPart>,
    held: Held,
}

/// One request with what it carries.
#[derive(Debug)]
pub struct Verified {
    method: &'static str,
    url: String,
    agreed: String,
    headers: Vec<(&'static str, String)>,
    length: u64,
    load: Load,
}

/// The bytes of a request.
#[derive(Debug)]
pub enum Load {
    /// None.
    Nothing,
    /// Few enough to be held.
    Memory(Bytes),
    /// Many, from this offset of the body on.
    Stream(Stream),
}

/// A body that is read from the held file while it leaves.
#[derive(Debug)]
pub struct Stream {
    content: Arc<Checked>,
    from: u64,
}

/// Why a body broke off on this side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Torn {
    /// A chunk is not the one that the receipt lists.
    #[error("outgoing.zip was changed while it was being sent: nothing of the changed bytes left")]
    Changed,
    /// The answer is no longer the one that it was.
    #[error("the agreement to send it was taken back or replaced meanwhile")]
    Withdrawn,
    /// It could not be read.
    #[error("outgoing.zip could not be read while it was being sent: {0}")]
    Unreadable(#[from] BundleError),
    /// Nobody takes the bytes any more.
    #[error("the connection takes nothing more")]
    Unwanted,
}

impl From<io::Error> for Torn {
    fn from(error: io::Error) -> Torn {
        match error.downcast::<Torn>() {
            Ok(torn) => torn,
            Err(error) => Torn::Unreadable(error.into()),
        }
    }
}

impl Agreed {
    pub(super) fn new(
        destination: &Destination,
        report: ReportId,
        sha256: String,
        plan: Plan,
        parts: Vec<BodyPart>,
        held: Held,
    ) -> Result<Agreed, Refusal> {
        let content = Arc::new(Checked { plan, parts, held });
        let (length, kept) = match content.in_memory() {
            Some(bytes) => content.stands().map(|()| (bytes.len() as u64, Some(bytes))),
            None => content.tried(),
        }
        .map_err(|torn| match torn {
            Torn::Unreadable(error) => Refusal::Unreadable(error),
            Torn::Withdrawn => Refusal::Revoked,
            Torn::Changed | Torn::Unwanted => Refusal::Changed,
        })?;
        let (url, protocol) = (destination.url.clone(), destination.protocol);
        Ok(Agreed { url, protocol, report, sha256, content, length, kept })
    }

    /// Whether the answer is still there.
    ///
    /// # Errors
    /// It was taken back or replaced by another.
    pub fn stands(&self) -> Result<(), Torn> {
        self.content.stands()
    }

    /// Where it goes, as the receipt names it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The dialect.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The report.
    pub fn report(&self) -> ReportId {
        self.report
    }

    /// sha256 of `outgoing.zip`.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many bytes leave.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// All of it in one request to `url`, with the dialect's own headers.
    pub fn post(&self, url: String, framing: &[(&'static str, String)]) -> Verified {
        let plan = &self.content.plan;
        let mut headers = vec![("Content-Type", plan.content_type.clone())];
        if plan.gzip {
            headers.push(("Content-Encoding", "gzip".into()));
        }
        headers.extend_from_slice(framing);
        self.request("POST", url, headers, self.length, self.rest(0))
    }

    /// Announces an upload; a body that is held in memory comes along.
    pub fn announce(&self) -> Verified {
        let mut headers = vec![
            (TUS.0, TUS.1.to_owned()),
            ("Upload-Length", self.length.to_string()),
            (foretrace::METADATA, self.description()),
        ];
        let (length, load) = match &self.kept {
            Some(bytes) => {
                headers.push(("Content-Type", MEDIA_TYPE.into()));
                (self.length, Load::Memory(bytes.clone()))
            }
            None => (0, Load::Nothing),
        };
        self.request("POST", self.url.clone(), headers, length, load)
    }

    /// Asks how far an upload has come. `location` is the server's own name for it.
    pub fn inquire(&self, location: &str) -> Verified {
        let headers = vec![(TUS.0, TUS.1.to_owned())];
        self.request("HEAD", location.to_owned(), headers, 0, Load::Nothing)
    }

    /// Goes on with an upload from `offset`.
    pub fn append(&self, location: &str, offset: u64) -> Verified {
        let headers = vec![
            (TUS.0, TUS.1.to_owned()),
            ("Upload-Offset", offset.to_string()),
            ("Content-Type", MEDIA_TYPE.into()),
        ];
        let length = self.length.saturating_sub(offset);
        self.request("PATCH", location.to_owned(), headers, length, self.rest(offset))
    }

    fn request(
        &self,
        method: &'static str,
        url: String,
        headers: Vec<(&'static str, String)>,
        length: u64,
        load: Load,
    ) -> Verified {
        Verified { method, url, agreed: self.url.clone(), headers, length, load }
    }

    fn rest(&self, offset: u64) -> Load {
        match &self.kept {
            Some(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Load::Memory(bytes.slice(from..))
            }
            None => Load::Stream(Stream { content: Arc::clone(&self.content), from: offset }),
        }
    }

    fn description(&self) -> String {
        let piece = self.content.plan.pieces.iter().find(|piece| piece.name == foretrace::METADATA);
        match piece.map(|piece| &piece.content) {
            Some(Content::Made(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }
}

impl Verified {
    /// A request without a body.
    pub(super) fn bare(
        method: &'static str,
        url: String,
        agreed: String,
        headers: Vec<(&'static str, String)>,
    ) -> Verified {
        Verified { method, url, agreed, headers, length: 0, load: Load::Nothing }
    }

    /// A request with a few bytes.
    pub(super) fn small(
        method: &'static str,
        url: String,
        agreed: String,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Verified {
        Verified { method, url, agreed, headers, length: body.len() as u64, load: Load::Memory(body.into()) }
    }

    /// The HTTP method.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Where it goes, and nowhere else.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server in the receipt; [`Verified::url`] must be on it.
    pub fn agreed(&self) -> &str {
        &self.agreed
    }

    /// The headers that the dialect wants.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// How many bytes the body has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives the body away; a second sending needs a second request.
    pub fn into_load(self) -> Load {
        self.load
    }
}

impl Stream {
    /// Reads the body and hands it on in pieces, each checked before.
    ///
    /// # Errors
    /// A piece that is not what was agreed to, or that cannot be read or handed on.
    pub fn pour(&self, take: &mut dyn FnMut(Vec<u8>) -> Result<(), Torn>) -> Result<(), Torn> {
        Checked::pour(&self.content, self.from, take)
    }
}

impl Checked {
    /// The body, where it is `outgoing.zip` as it is and that is in memory: the very bytes whose digest was just compared
    /// with the receipt's.
    fn in_memory(&self) -> Option<Bytes> {
        let Plan { framing, pieces, gzip, .. } = &self.plan;
        let mut carried = pieces.iter().filter(|piece| piece.name != foretrace::METADATA);
        let whole = carried.next().is_some_and(|piece| matches!(piece.content, Content::Outgoing));
        let bare = !gzip && carried.next().is_none() && framing.iter().all(Vec::is_empty);
        self.held.kept().filter(|_| whole && bare).cloned()
    }

    /// Goes through the whole body once, before anybody is connected to: what was listed is what can be sent. Returns its
    /// length, and a small one itself.
    fn tried(&self) -> Result<(u64, Option<Bytes>), Torn> {
        let mut length = 0;
        let mut kept = Some(Vec::new());
        self.pour(0, &mut |piece| {
            length += piece.len() as u64;
            match &mut kept {
                Some(bytes) if bytes.len() + piece.len() <= KEPT => bytes.extend_from_slice(&piece),
                _ => kept = None,
            }
            Ok(())
        })?;
        Ok((length, kept.map(Bytes::from)))
    }

    fn stands(&self) -> Result<(), Torn> {
        if self.held.stands()? { Ok(()) } else { Err(Torn::Withdrawn) }
    }

    fn pour(&self, from: u64, take: &mut dyn FnMut(Vec<u8>) -> Result<(), Torn>) -> Result<(), Torn> {
        if self.plan.gzip {
            let mut packer = Packer::new(take);
            self.plain(from, &mut |chunk| packer.add(&chunk))?;
            packer.finish()
        } else {
            self.plain(from, take)
        }
    }

    fn plain(&self, from: u64, take: &mut dyn FnMut(Vec<u8>) -> Result<(), Torn>) -> Result<(), Torn> {
        let mut source = self.held.clone();
        for ((framing, piece), part) in self.plan.framing.iter().zip(&self.plan.pieces).zip(&self.parts) {
            if piece.name == foretrace::METADATA {
                continue;
            }
            if !framing.is_empty() {
                take(framing.clone())?;
            }
            let mut expected = part.chunks.iter();
            if from == 0 {
                piece.chunks(&mut source, |chunk| {
                    self.stands()?;
                    checked(chunk, expected.next(), 0, take)
                })?;
                continue;
            }
            // Only a body that is one part and nothing else is gone on with.
            let skipped = from / CHUNK as u64;
            let mut expected = expected.skip(usize::try_from(skipped).unwrap_or(usize::MAX));
            let mut skip = usize::try_from(from % CHUNK as u64).unwrap_or(0);
            source.seek(SeekFrom::Start(skipped * CHUNK as u64)).map_err(BundleError::from)?;
            wire::in_chunks(&mut source, |chunk| {
                self.stands()?;
                checked(chunk, expected.next(), std::mem::take(&mut skip), take)
            })?;
        }
        match self.plan.framing.last() {
            Some(end) if !end.is_empty() => take(end.clone()),
            _ => Ok(()),
        }
    }
}

/// Hands a chunk on if it is the expected one, without its first `skip` bytes.
fn checked(
    mut chunk: Vec<u8>,
    expected: Option<&String>,
    skip: usize,
    take: &mut dyn FnMut(Vec<u8>) -> Result<(), Torn>,
) -> Result<Vec<u8>, Torn> {
    if expected != Some(&digest(&chunk)) {
        return Err(Torn::Changed);
    }
    chunk.drain(..skip.min(chunk.len()));
    take(chunk)?;
    Ok(Vec::new())
}

/// Compresses; the same bytes give the same bytes.
struct Packer<'a> {
    // What is large in a body is compressed already: the fastest level loses nothing.
    encoder: GzEncoder<Vec<u8>>,
    take: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Torn>,
}

impl<'a> Packer<'a> {
    fn new(take: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Torn>) -> Self {
        Packer { encoder: GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast()), take }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Torn> {
        for piece in bytes.chunks(PIECE) {
            self.encoder.write_all(piece)?;
            if self.encoder.get_ref().len() >= PIECE {
                (self.take)(std::mem::take(self.encoder.get_mut()))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Torn> {
        (self.take)(self.encoder.finish()?)
    }
}
