//! The request to have a report's copy erased: a transmission of its own, with a receipt of its own.
//!
//! It carries nothing of the report: its name and, in one header, the token whose digest went with it. It goes to the
//! server that the report went to, whatever the settings name by now.

use foretrace_report::ClassSet;
use foretrace_report::receipt::{Phase, Protocol, Receipt};

use super::Verified;

/// The receipt for erasing what `sent` is the receipt of; `None` where its dialect knows no erasure.
pub fn issue_erasure(sent: &Receipt) -> Option<Receipt> {
    (sent.destination.protocol == Protocol::Foretrace).then(|| Receipt {
        phase: Phase::Erasure,
        classes: ClassSet::EMPTY,
        body: Vec::new(),
        ..sent.clone()
    })
}

/// The request that a receipt of [`issue_erasure`] is for; `None` for any other receipt.
pub fn erase(receipt: &Receipt, token: &str) -> Option<Verified> {
    let server = receipt.destination.url.trim_end_matches('/');
    (receipt.phase == Phase::Erasure && receipt.body.is_empty()).then(|| {
        Verified::bare(
            "DELETE",
            format!("{server}/{}", receipt.report),
            receipt.destination.url.clone(),
            vec![("Authorization", format!("Bearer {token}"))],
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{destination, id, outgoing};
    use super::super::{Destination, issue};
    use super::*;

    fn sent(protocol: Protocol) -> Receipt {
        let there = Destination { protocol, ..destination("https://x.example/reports") };
        issue(id(1), &there, ClassSet::EMPTY, &outgoing(id(1), &[])).unwrap()
    }

    #[test]
    fn it_goes_where_the_report_went_and_carries_nothing_of_it() {
        let receipt = issue_erasure(&sent(Protocol::Foretrace)).unwrap();
        let request = erase(&receipt, "token").unwrap();
        assert_eq!(request.url(), format!("https://x.example/reports/{}", id(1)));
        assert_eq!((request.method(), request.length()), ("DELETE", 0));
        assert_eq!(request.headers(), [("Authorization", "Bearer token".to_owned())]);
    }

    #[test]
    fn the_reports_own_receipt_erases_nothing_and_other_dialects_have_no_erasure() {
        assert!(erase(&sent(Protocol::Foretrace), "token").is_none());
        for protocol in [Protocol::Socorro, Protocol::Sentry, Protocol::Faf, Protocol::Otlp] {
            assert!(issue_erasure(&sent(protocol)).is_none());
        }
    }
}
