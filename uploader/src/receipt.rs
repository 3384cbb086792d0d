//! Receipts: written when somebody agrees, checked against the very bytes that are about to leave.
//!
//! Owns [`Agreed`], a body that somebody agreed to, and [`Verified`], a request made from one: the only thing that
//! the transport accepts. An [`Agreed`] can be made in one way: from an answer that grants this report, for this
//! destination, with a held `outgoing.zip` whose digests, and those of every part of the body made from it, are the
//! receipt's. What is then sent is read a second time from the held file, in pieces of a mebibyte, each checked
//! against the receipt in the very buffer that is handed on. Nothing here opens a file or a socket.

mod comment;
mod erasure;
mod held;
mod inquiry;
mod sealed;
mod verified;

use std::fs::File;
use std::io::{Cursor, Read, Seek};

use foretrace_report::bundle::{BundleError, hex};
use foretrace_report::receipt::{Answer, BodyPart, Consent, Destination, Phase, Protocol, Receipt};
use foretrace_report::text::escape;
use foretrace_report::wire::{self, Content, Piece, Plan};
use foretrace_report::{Class, ClassSet, ReportId};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use comment::{comment, issue_comment};
pub use erasure::{erase, issue_erasure};
use held::Held;
pub use inquiry::inquire;
pub use sealed::seal;
pub use verified::{Agreed, Load, Torn, Verified};

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
    let survey = Survey::of(destination.protocol, Phase::Report, &mut Cursor::new(outgoing))?;
    Ok(survey.receipt(report, destination, Phase::Report, classes))
}

/// Writes the receipt for the question that goes before the report; `None` where the dialect has no such question.
///
/// # Errors
/// As [`issue`].
pub fn issue_question(
    report: ReportId,
    destination: &Destination,
    outgoing: &[u8],
) -> Result<Option<Receipt>, BundleError> {
    if destination.protocol != Protocol::Foretrace {
        return Ok(None);
    }
    let survey = Survey::of(destination.protocol, Phase::Question, &mut Cursor::new(outgoing))?;
    let summary = ClassSet::EMPTY.with(Class::Summary);
    Ok(Some(survey.receipt(report, destination, Phase::Question, summary)))
}

/// Checks an answer against the bytes that are about to leave.
///
/// # Errors
/// Whatever is not exactly as it was agreed to.
pub fn check(
    consent: &Consent,
    phase: Phase,
    report: ReportId,
    outgoing: File,
    destination: &Destination,
    now: Timestamp,
) -> Result<Agreed, Refusal> {
    let granted = match &consent.answer {
        Answer::Granted(receipt) => receipt,
        Answer::Denied => return Err(Refusal::Denied),
        Answer::Revoked => return Err(Refusal::Revoked),
    };
    let receipt = match phase {
        Phase::Question => consent.question.as_ref().ok_or(Refusal::NoQuestion)?,
        _ => granted,
    };
    if consent.expires.as_deref().is_some_and(|end| is_over(end, now)) {
        return Err(Refusal::Expired(consent.expires.clone().unwrap_or_default()));
    }
    if consent.report != report || receipt.report != report || receipt.phase != phase {
        return Err(Refusal::OtherReport);
    }
    if receipt.destination.recipient != destination.recipient {
        return Err(Refusal::OtherRecipient);
    }
    if receipt.destination != *destination {
        return Err(Refusal::OtherDestination {
            agreed: receipt.destination.url.clone(),
            now: destination.url.clone(),
        });
    }
    let mut held = Held::new(outgoing).map_err(BundleError::from)?;
    let sealed = receipt.sealed.as_ref();
    if sealed.is_some() != destination.recipient.is_some() {
        return Err(Refusal::OtherBody);
    }
    let (bytes, sha256) = match sealed {
        Some(sealed) => (sealed.bytes, &sealed.sha256),
        None => (receipt.outgoing_bytes, &receipt.outgoing_sha256),
    };
    if bytes != held.length() {
        return Err(Refusal::Changed);
    }
    let whole = whole(&mut held)?;
    if *sha256 != whole.sha256 {
        return Err(Refusal::Changed);
    }
    let survey = match sealed {
        Some(sealed) => Survey::sealed(whole, receipt, sealed, &mut held)?,
        None => Survey::over(whole, destination.protocol, phase, &mut held)?,
    };
    if survey.parts != receipt.body {
        return Err(Refusal::OtherBody);
    }
    if !survey.parts.iter().all(|part| part.classes.is_subset(receipt.classes)) {
        return Err(Refusal::BeyondTheGrant);
    }
    Agreed::new(destination, report, survey.sha256, survey.plan, survey.parts, held)
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
    /// The yes was one for a time that is over.
    #[error("the agreement to send it ended on {}: answer again with `foretrace consent`", escape(.0))]
    Expired(String),
    /// The settings name another key to encrypt to, or none, or now name one.
    #[error(
        "the key that it is to be encrypted to ([Privacy] Recipient=) is another one than when it was agreed to: answer \
         again with `foretrace consent`"
    )]
    OtherRecipient,
    /// The answer is one for another report.
    #[error("the receipt beside it is one for another report: answer again with `foretrace consent`")]
    OtherReport,
    /// Nothing was agreed to that could be asked.
    #[error("the answer holds no receipt for a question about it")]
    NoQuestion,
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

/// What an `outgoing.zip` comes to in a dialect.
struct Survey {
    sha256: String,
    bytes: u64,
    plan: Plan,
    parts: Vec<BodyPart>,
}

impl Survey {
    fn of<R: Read + Seek>(protocol: Protocol, phase: Phase, source: &mut R) -> Result<Survey, BundleError> {
        let whole = whole(source)?;
        Survey::over(whole, protocol, phase, source)
    }

    /// The same, where all of `outgoing.zip` has been read already.
    fn over<R: Read + Seek>(
        whole: BodyPart,
        protocol: Protocol,
        phase: Phase,
        source: &mut R,
    ) -> Result<Survey, BundleError> {
        let plan = match phase {
            Phase::Question => wire::question::plan(source)?,
            _ => wire::plan(protocol, source, &whole.sha256)?,
        };
        Survey::along(whole, plan, source)
    }

    /// What a plan comes to over a source that has been read already.
    fn along<R: Read + Seek>(whole: BodyPart, plan: Plan, source: &mut R) -> Result<Survey, BundleError> {
        let part = |piece: &Piece| match piece.content {
            // Read once, however often it is a part.
            Content::Outgoing => {
                Ok(BodyPart { name: piece.name.to_owned(), classes: piece.classes, ..whole.clone() })
            }
            _ => digests(piece, source),
        };
        let parts = plan.pieces.iter().map(part).collect::<Result<_, BundleError>>()?;
        Ok(Survey { sha256: whole.sha256, bytes: whole.bytes, plan, parts })
    }

    fn receipt(
        self,
        report: ReportId,
        destination: &Destination,
        phase: Phase,
        classes: ClassSet,
    ) -> Receipt {
        Receipt {
            report,
            destination: destination.clone(),
            phase,
            classes,
            outgoing_sha256: self.sha256,
            outgoing_bytes: self.bytes,
            sealed: None,
            body: self.parts,
        }
    }
}

/// Whether `end` is past. A time that cannot be read is no reason to send: the answer may have been one for yesterday.
pub fn is_over(end: &str, now: Timestamp) -> bool {
    end.parse().map_or(true, |end: Timestamp| end <= now)
}

fn whole<R: Read + Seek>(source: &mut R) -> Result<BodyPart, BundleError> {
    digests(&Piece { name: "", classes: ClassSet::EMPTY, content: Content::Outgoing }, source)
}

fn digests<R: Read + Seek>(piece: &Piece, source: &mut R) -> Result<BodyPart, BundleError> {
    let mut all: Option<Sha256> = None;
    let mut bytes = 0;
    let mut chunks = Vec::new();
    piece.chunks::<_, BundleError>(source, |chunk| {
        bytes += chunk.len() as u64;
        let one = Sha256::new_with_prefix(&chunk);
        match &mut all {
            Some(all) => all.update(&chunk),
            // What is no longer than a chunk is gone through once.
            None => all = Some(one.clone()),
        }
        chunks.push(hex(&one.finalize()));
        Ok(chunk)
    })?;
    let sha256 = hex(&all.unwrap_or_default().finalize());
    Ok(BodyPart { name: piece.name.to_owned(), classes: piece.classes, bytes, sha256, chunks })
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
pub mod samples {
    //! Small bodies that somebody agreed to.

    use std::io::Write as _;

    use foretrace_report::bundle::BundleWriter;
    use foretrace_report::receipt::How;
    use foretrace_report::{Preset, Report};

    use super::*;

    pub fn id(byte: u8) -> ReportId {
        ReportId::from_random([byte; 16])
    }

    pub fn outgoing(report: ReportId, parts: &[(&str, &[u8])]) -> Vec<u8> {
        let json = format!(
            r#"{{"schema":1,"id":"{report}","kind":"crash","time":"2026-01-01T00:00:00Z","program":{{"name":"a","pid":1}}}}"#
        );
        let report: Report = serde_json::from_str(&json).unwrap();
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
        writer.finish(report).unwrap().0.into_inner()
    }

    pub fn destination(url: &str) -> Destination {
        Destination { url: url.into(), protocol: Protocol::Socorro, recipient: None }
    }

    pub fn consent(receipt: Receipt) -> Consent {
        Consent {
            report: receipt.report,
            answer: Answer::Granted(receipt),
            who: "alice".into(),
            how: How::Prompt,
            when: "2026-01-01T00:00:00Z".into(),
            wording: 1,
            language: String::new(),
            expires: None,
            question: None,
        }
    }

    pub fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    pub fn agreed_to(protocol: Protocol, url: &str, zip: &[u8]) -> Agreed {
        let there = Destination { protocol, ..destination(url) };
        let consent = consent(issue(id(1), &there, Preset::ALL[5].classes(), zip).unwrap());
        check(&consent, Phase::Report, id(1), file(zip), &there, Timestamp::now()).unwrap()
    }

    pub fn agreed(url: &str) -> Agreed {
        agreed_to(Protocol::Socorro, url, &outgoing(id(1), &[]))
    }
}

#[cfg(test)]
mod tests;
