//! Receipts: written when somebody agrees, checked against the very bytes that are about to leave.
//!
//! Owns [`Verified`], the only thing that the transport accepts. One can be made in one way: from an answer that grants
//! this report, for this destination, with `outgoing.zip` in memory whose digests, and those of every part of the
//! body made from it, are the receipt's. The body is framed from the same buffers that were checked. Nothing here opens a
//! file or a socket.

use foretrace_report::bundle::{BundleError, hex};
use foretrace_report::receipt::{Answer, BodyPart, CHUNK, Consent, Destination, Phase, Protocol, Receipt};
use foretrace_report::socorro::{self, Piece};
use foretrace_report::text::escape;
use foretrace_report::{ClassSet, ReportId};
use sha2::{Digest, Sha256};

/// The classes that a dialect can carry.
pub fn carried(protocol: Protocol) -> ClassSet {
    match protocol {
        Protocol::Socorro => socorro::carried(),
    }
}

/// Writes the receipt for these bytes.
///
/// # Errors
/// An `outgoing.zip` that is no readable container.
pub fn issue(
    report: ReportId,
    destination: &Destination,
    classes: ClassSet,
    outgoing: &[u8],
) -> Result<Receipt, BundleError> {
    Ok(Receipt {
        report,
        destination: destination.clone(),
        phase: Phase::Report,
        classes,
        outgoing_sha256: digest(outgoing),
        outgoing_bytes: outgoing.len() as u64,
        body: pieces(destination.protocol, outgoing)?.iter().map(part).collect(),
    })
}

/// A body that somebody agreed to send, bound to where it goes.
#[derive(Debug)]
pub struct Verified {
    url: String,
    content_type: String,
    body: Vec<u8>,
}

impl Verified {
    /// Checks an answer against the bytes that are about to leave.
    ///
    /// # Errors
    /// Whatever is not exactly as it was agreed to.
    pub fn check(
        consent: &Consent,
        report: ReportId,
        outgoing: &[u8],
        destination: &Destination,
    ) -> Result<Verified, Refusal> {
        let receipt = match &consent.answer {
            Answer::Granted(receipt) => receipt,
            Answer::Denied => return Err(Refusal::Denied),
            Answer::Revoked => return Err(Refusal::Revoked),
        };
        if consent.report != report || receipt.report != report {
            return Err(Refusal::OtherReport);
        }
        if receipt.destination != *destination {
            return Err(Refusal::OtherDestination {
                agreed: receipt.destination.url.clone(),
                now: destination.url.clone(),
            });
        }
        if receipt.outgoing_bytes != outgoing.len() as u64 || receipt.outgoing_sha256 != digest(outgoing) {
            return Err(Refusal::Changed);
        }
        let pieces = pieces(destination.protocol, outgoing)?;
        let parts: Vec<BodyPart> = pieces.iter().map(part).collect();
        if parts != receipt.body {
            return Err(Refusal::OtherBody);
        }
        if !parts.iter().all(|part| part.classes.is_subset(receipt.classes)) {
            return Err(Refusal::BeyondTheGrant);
        }
        let (content_type, body) = match destination.protocol {
            Protocol::Socorro => {
                (socorro::content_type(report), socorro::body(report, &pieces).map_err(BundleError::Io)?)
            }
        };
        Ok(Verified { url: destination.url.clone(), content_type, body })
    }

    /// Where it goes, and nowhere else.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The `Content-Type` of the body.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// How many bytes leave.
    pub fn length(&self) -> u64 {
        self.body.len() as u64
    }

    /// Gives the body away; a second sending needs a second check.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// Why bytes may not leave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The answer is no.
    #[error("sending it was declined")]
    Denied,
    /// The yes was taken back.
    #[error("the agreement to send it was taken back")]
    Revoked,
    /// The answer is one for another report.
    #[error("the receipt beside it is one for another report: answer again with `foretrace consent`")]
    OtherReport,
    /// The settings name another server now.
    #[error(
        "it was agreed to send it to {}, but the settings now name {}: answer again with `foretrace consent`",
        escape(agreed),
        escape(now)
    )]
    OtherDestination {
        /// The address in the receipt.
        agreed: String,
        /// The address in the settings.
        now: String,
    },
    /// `outgoing.zip` has other bytes.
    #[error(
        "outgoing.zip has changed since it was agreed to: look at it with `foretrace preview` and answer again"
    )]
    Changed,
    /// The same `outgoing.zip` makes another body than the one agreed to: another version of this program.
    #[error("what would leave is not what the receipt lists: answer again with `foretrace consent`")]
    OtherBody,
    /// The body holds classes that were not granted.
    #[error("what would leave holds more than was granted: answer again with `foretrace consent`")]
    BeyondTheGrant,
    /// `outgoing.zip` cannot be read.
    #[error("what would leave cannot be read ({0}): answer again with `foretrace consent`")]
    Unreadable(#[from] BundleError),
}

fn pieces(protocol: Protocol, outgoing: &[u8]) -> Result<Vec<Piece<'_>>, BundleError> {
    match protocol {
        Protocol::Socorro => socorro::pieces(outgoing),
    }
}

fn part(piece: &Piece<'_>) -> BodyPart {
    BodyPart {
        name: piece.name.to_owned(),
        classes: piece.classes,
        bytes: piece.content.len() as u64,
        sha256: digest(&piece.content),
        chunks: piece.content.chunks(CHUNK).map(digest).collect(),
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
