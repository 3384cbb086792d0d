//! Where a report stands: what was answered, and what became of sending. Reads the two small files, changes neither.

use foretrace_report::receipt::{Answer, Consent, Delivery, DeliveryState};
use foretrace_store::{CONSENT, DELIVERY, ReportDir};

use crate::delivery;

/// Where a report stands.
#[derive(Debug)]
pub struct State {
    /// The answer.
    pub consent: Document<Consent>,
    /// What became of sending.
    pub delivery: Document<Delivery>,
}

/// A file of a report directory.
#[derive(Debug)]
pub enum Document<T> {
    /// It is not there.
    Absent,
    /// It is there and understood.
    Present(T),
    /// It is there and not to be understood: a sentence.
    Damaged(String),
}

impl State {
    /// Reads where `report` stands.
    pub fn of(report: &ReportDir) -> State {
        State {
            consent: document(report, CONSENT, |json| serde_json::from_slice(json)),
            delivery: document(report, DELIVERY, delivery::read),
        }
    }

    /// The version in which the problem is mended, where a server said so.
    pub fn fixed_in(&self) -> Option<&str> {
        match &self.delivery {
            Document::Present(delivery) => delivery.known.as_ref()?.fixed_in.as_deref(),
            _ => None,
        }
    }

    /// The answer in a word: `none`, `granted`, `denied`, `revoked` or `damaged`.
    pub fn consent_word(&self) -> &'static str {
        match &self.consent {
            Document::Absent => "none",
            Document::Damaged(_) => "damaged",
            Document::Present(consent) => match consent.answer {
                Answer::Granted(_) => "granted",
                Answer::Denied => "denied",
                Answer::Revoked => "revoked",
            },
        }
    }

    /// The delivery in a word: `none`, `pending`, `sent`, `maybe-sent`, `refused` or `damaged`.
    pub fn delivery_word(&self) -> &'static str {
        match &self.delivery {
            // A yes that nobody has acted on yet waits for its first attempt.
            Document::Absent if self.consent_word() == "granted" => "pending",
            Document::Absent => "none",
            Document::Damaged(_) => "damaged",
            Document::Present(delivery) => match delivery.state {
                DeliveryState::Pending => "pending",
                DeliveryState::Sent => "sent",
                DeliveryState::MaybeSent => "maybe-sent",
                DeliveryState::Refused => "refused",
            },
        }
    }
}

fn document<T>(
    report: &ReportDir,
    name: &str,
    parse: impl FnOnce(&[u8]) -> serde_json::Result<T>,
) -> Document<T> {
    match report.read(name).map(|content| content.map(|json| parse(&json))) {
        Ok(None) => Document::Absent,
        Ok(Some(Ok(value))) => Document::Present(value),
        Ok(Some(Err(error))) => Document::Damaged(format!("{name} cannot be understood: {error}")),
        Err(error) => Document::Damaged(error.to_string()),
    }
}
