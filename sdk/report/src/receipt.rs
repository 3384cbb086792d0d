//! The receipt of a consent: which exact bytes a person agreed to send, to whom, and how they said so.
//!
//! Owns the schemas of `consent.json` and `delivery.json`. It proves integrity and history, not authority: the same
//! user could forge their own.

use serde::{Deserialize, Serialize};

use crate::{ClassSet, ReportId};

/// The version of the words that the prompt used; a receipt keeps it so that it is known what was agreed to.
pub const WORDING: u32 = 2;

/// The size of the pieces whose digests a receipt lists.
pub const CHUNK: usize = 1 << 20;

/// `consent.json`: a person's or a policy's answer for one report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The report that the answer is for.
    pub report: ReportId,
    /// Yes with a receipt, or no.
    pub answer: Answer,
    /// Who answered: a user name or uid.
    pub who: String,
    /// How: at a prompt, by a command, by a policy.
    pub how: How,
    /// When, RFC 3339 in UTC.
    pub when: String,
    /// [`WORDING`] of the prompt.
    pub wording: u32,
    /// The language that it was asked in, such as `de`; empty where nothing was asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub language: String,
    /// When a yes ends, RFC 3339 in UTC; one that does not say so does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The receipt for the question that may go before the report, where one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Receipt>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Send exactly what the receipt names.
    Granted(Receipt),
    /// Do not send.
    Denied,
    /// A yes that was taken back.
    Revoked,
}

/// How an answer came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// At the terminal's prompt.
    Prompt,
    /// At a notification on the desktop.
    Notification,
    /// By `foretrace consent`.
    Command,
    /// By the named setting or standing answer.
    Policy(String),
}

/// What may be sent: nothing but these bytes, to this destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The report.
    pub report: ReportId,
    /// Where to.
    pub destination: Destination,
    /// Which transmission this is.
    pub phase: Phase,
    /// The classes that were granted.
    pub classes: ClassSet,
    /// sha256 of `outgoing.zip`, in hex.
    pub outgoing_sha256: String,
    /// Size of `outgoing.zip`.
    pub outgoing_bytes: u64,
    /// What leaves in place of `outgoing.zip`, where that is encrypted first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// Every part of the HTTP body, in order.
    pub body: Vec<BodyPart>,
}

/// An `outgoing.zip` encrypted to the recipient that the destination names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// sha256 of the encrypted bytes, in hex.
    pub sha256: String,
    /// How many they are.
    pub bytes: u64,
    /// sha256 of the token that erases the report, in hex: a server cannot read the one inside.
    pub erasure: String,
}

/// A server and the dialect it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The address as the settings name it.
    pub url: String,
    /// The dialect.
    pub protocol: Protocol,
    /// The public key, as age writes it, that everything for this server is encrypted to; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

/// A crash server's dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Our own: resumable uploads by tus 1.0.
    Foretrace,
    /// Multipart as Socorro, Breakpad and Crashpad take it.
    Socorro,
    /// Sentry's envelopes.
    Sentry,
    /// ABRT's uReport, as FAF takes it.
    Faf,
    /// OpenTelemetry's logs over HTTP, as JSON.
    Otlp,
}

impl Protocol {
    /// All of them, ours first.
    pub const ALL: [Protocol; 5] =
        [Protocol::Foretrace, Protocol::Socorro, Protocol::Sentry, Protocol::Faf, Protocol::Otlp];

    /// The word in settings and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Foretrace => "foretrace",
            Protocol::Socorro => "socorro",
            Protocol::Sentry => "sentry",
            Protocol::Faf => "faf",
            Protocol::Otlp => "otlp",
        }
    }

    /// Whether a server of this dialect knows a report again that comes a second time, and keeps it once.
    pub fn keeps_once(self) -> bool {
        matches!(self, Protocol::Foretrace | Protocol::Sentry)
    }
}

/// Which of a report's transmissions a receipt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The report itself.
    Report,
    /// The question before it: what the server knows about the signature.
    Question,
    /// The request to erase the report there.
    Erasure,
    /// What the person wrote about it after it was sent.
    Comment,
}

/// `symbols.json`: the receipts for asking for names that a report lacks, one a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolInquiry {
    /// The report whose frames lack names.
    pub report: ReportId,
    /// The debuginfod server's address.
    pub server: String,
    /// All that it is told: that somebody wants these files' debug information. Build-ids in hex.
    pub build_ids: Vec<String>,
    /// Who agreed: a user name or uid.
    pub who: String,
    /// How.
    pub how: How,
    /// When, RFC 3339 in UTC.
    pub when: String,
}

/// One part of the body that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyPart {
    /// Its name in the body.
    pub name: String,
    /// The classes it carries.
    pub classes: ClassSet,
    /// Its length.
    pub bytes: u64,
    /// sha256 of all of it, in hex.
    pub sha256: String,
    /// sha256 of each [`CHUNK`] of it, in hex.
    pub chunks: Vec<String>,
}

/// `delivery.json`: what became of the attempts to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Tries after which it is unknown whether the server has stored it.
    pub doubtful: u32,
    /// When it is tried next, RFC 3339 in UTC; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What the last attempt met, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The server's name for the report, such as `bp-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// When it was sent, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// An upload that has begun and can be gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Upload>,
    /// What the server said to the question about the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
}

/// An upload that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The address that the server gave it.
    pub location: String,
    /// sha256 of the `outgoing.zip` that it carries, in hex: another one is another upload.
    pub sha256: String,
}

/// What a server knows about a report's signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The version in which it is mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    /// The most that the server wants of it; none at all where this is empty.
    pub wants: ClassSet,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Waits for its first or next attempt.
    Pending,
    /// The server has it.
    Sent,
    /// An attempt ended so that the server may or may not have it.
    MaybeSent,
    /// The server does not want it; not tried again.
    Refused,
}
