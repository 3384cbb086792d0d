//! Receipts: written when somebody agrees, checked against the very bytes that are about to leave.
//!
//! Owns [`Verified`], the only thing that the transport accepts. One can be made in one way: from an answer
//! that grants this report, for this destination, with `outgoing.zip` in memory whose digests, and those of
//! every part of the body made from it, are the receipt's. The body is framed from the same buffers that were
//! checked. Nothing here opens a file or a socket.

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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use foretrace_report::bundle::{BundleWriter, MINIDUMP};
    use foretrace_report::receipt::How;
    use foretrace_report::{Preset, Report};

    use super::*;

    fn id(byte: u8) -> ReportId {
        ReportId::from_random([byte; 16])
    }

    fn outgoing(report: ReportId, parts: &[(&str, &[u8])]) -> Vec<u8> {
        let json = format!(
            r#"{{"schema":1,"id":"{report}","kind":"crash","time":"2026-01-01T00:00:00Z","program":{{"name":"a","pid":1}}}}"#
        );
        let report: Report = serde_json::from_str(&json).unwrap();
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
        writer.finish(report).unwrap().0.into_inner()
    }

    fn destination(url: &str) -> Destination {
        Destination { url: url.into(), protocol: Protocol::Socorro }
    }

    fn consent(receipt: Receipt) -> Consent {
        Consent {
            report: receipt.report,
            answer: Answer::Granted(receipt),
            who: "alice".into(),
            how: How::Prompt,
            when: "2026-01-01T00:00:00Z".into(),
            wording: 1,
        }
    }

    #[test]
    fn the_agreed_bytes_pass_and_a_change_of_any_one_byte_is_refused() {
        let zip = outgoing(id(1), &[("trace/a/metadata", b"text"), (MINIDUMP, b"MDMP")]);
        let there = destination("https://x.example/");
        let consent = consent(issue(id(1), &there, Preset::ALL[4].classes(), &zip).unwrap());
        assert!(Verified::check(&consent, id(1), &zip, &there).is_ok());
        for at in 0..zip.len() {
            let mut changed = zip.clone();
            changed[at] ^= 1;
            assert!(
                matches!(Verified::check(&consent, id(1), &changed, &there), Err(Refusal::Changed)),
                "{at}"
            );
        }
        let longer = [&zip[..], b"\0"].concat();
        assert!(matches!(Verified::check(&consent, id(1), &longer, &there), Err(Refusal::Changed)));
    }

    #[test]
    fn another_report_another_server_and_another_answer_are_refused() {
        let zip = outgoing(id(1), &[]);
        let there = destination("https://x.example/");
        let granted = consent(
            issue(id(1), &there, ClassSet::EMPTY.with(foretrace_report::Class::Summary), &zip).unwrap(),
        );
        assert!(matches!(Verified::check(&granted, id(2), &zip, &there), Err(Refusal::OtherReport)));
        let elsewhere = destination("https://y.example/");
        assert!(matches!(
            Verified::check(&granted, id(1), &zip, &elsewhere),
            Err(Refusal::OtherDestination { .. })
        ));
        let denied = Consent { answer: Answer::Denied, ..granted.clone() };
        assert!(matches!(Verified::check(&denied, id(1), &zip, &there), Err(Refusal::Denied)));
        let revoked = Consent { answer: Answer::Revoked, ..granted };
        assert!(matches!(Verified::check(&revoked, id(1), &zip, &there), Err(Refusal::Revoked)));
    }

    #[test]
    fn a_receipt_for_less_than_the_body_holds_is_refused() {
        let zip = outgoing(id(1), &[(MINIDUMP, b"MDMP")]);
        let there = destination("https://x.example/");
        let receipt = issue(id(1), &there, Preset::USUAL.classes(), &zip).unwrap();
        assert!(matches!(
            Verified::check(&consent(receipt.clone()), id(1), &zip, &there),
            Err(Refusal::BeyondTheGrant)
        ));
        let mut fewer = receipt;
        fewer.body.pop();
        assert!(matches!(Verified::check(&consent(fewer), id(1), &zip, &there), Err(Refusal::OtherBody)));
    }

    #[test]
    fn a_receipt_lists_a_digest_for_each_mebibyte() {
        let noise: Vec<u8> =
            (0..(5 * CHUNK / 2) as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let zip = outgoing(id(1), &[(MINIDUMP, &noise)]);
        let receipt =
            issue(id(1), &destination("https://x.example/"), Preset::ALL[4].classes(), &zip).unwrap();
        let minidump = receipt.body.last().unwrap();
        assert_eq!((minidump.bytes, minidump.chunks.len()), (noise.len() as u64, 3));
        assert_eq!(minidump.chunks[2], hex(&Sha256::digest(&noise[2 * CHUNK..])));
    }
}
