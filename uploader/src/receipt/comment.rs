//! A comment that is sent after its report: a transmission of its own, with a receipt of its own.
//!
//! It carries the words and, in one header, the report's token, which shows that they come from whoever sent the report. It
//! goes to the server that the report went to, whatever the settings name by now.

use std::io::Cursor;

use foretrace_report::receipt::{BodyPart, Phase, Protocol, Receipt};
use foretrace_report::wire::foretrace::COMMENT;
use foretrace_report::{Class, ClassSet};

use super::{Verified, digest, whole};

/// The receipt for adding `text` to what `sent` is the receipt of; `None` where its dialect takes no later comment, or its
/// server is not to read anything.
pub fn issue_comment(sent: &Receipt, text: &str) -> Option<Receipt> {
    if sent.destination.protocol != Protocol::Foretrace || sent.destination.recipient.is_some() {
        return None;
    }
    let classes = ClassSet::EMPTY.with(Class::Summary);
    let part = whole(&mut Cursor::new(text)).ok()?;
    let body = vec![BodyPart { name: COMMENT.into(), classes, ..part }];
    Some(Receipt { phase: Phase::Comment, classes, sealed: None, body, ..sent.clone() })
}

/// The request that a receipt of [`issue_comment`] is for, with exactly the words that it is for; `None` for any other
/// receipt and any other words.
pub fn comment(receipt: &Receipt, text: &str, token: &str) -> Option<Verified> {
    let server = receipt.destination.url.trim_end_matches('/');
    let [part] = receipt.body.as_slice() else { return None };
    (receipt.phase == Phase::Comment && part.sha256 == digest(text.as_bytes())).then(|| {
        let headers = vec![
            ("Authorization", format!("Bearer {token}")),
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ];
        Verified::small(
            "POST",
            format!("{server}/{}/comment", receipt.report),
            receipt.destination.url.clone(),
            headers,
            text.as_bytes().to_vec(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{destination, id, outgoing};
    use super::super::{Destination, Load, issue, issue_erasure};
    use super::*;

    fn sent(protocol: Protocol, recipient: Option<&str>) -> Receipt {
        let there = Destination {
            protocol,
            recipient: recipient.map(str::to_owned),
            ..destination("https://x.example/reports")
        };
        issue(id(1), &there, ClassSet::EMPTY, &outgoing(id(1), &[])).unwrap()
    }

    #[test]
    fn it_carries_the_words_that_its_receipt_is_for_to_where_the_report_went() {
        let receipt = issue_comment(&sent(Protocol::Foretrace, None), "it was the mouse").unwrap();
        assert_eq!(receipt.classes.to_string(), "summary");
        let request = comment(&receipt, "it was the mouse", "token").unwrap();
        assert_eq!(request.url(), format!("https://x.example/reports/{}/comment", id(1)));
        assert_eq!((request.method(), request.length()), ("POST", 16));
        let Load::Memory(body) = request.into_load() else { panic!("a body") };
        assert_eq!(&body[..], b"it was the mouse");
    }

    #[test]
    fn other_words_another_receipt_and_other_dialects_are_refused() {
        let sent_here = sent(Protocol::Foretrace, None);
        let receipt = issue_comment(&sent_here, "it was the mouse").unwrap();
        assert!(comment(&receipt, "it was the cat", "token").is_none());
        assert!(comment(&sent_here, "it was the mouse", "token").is_none());
        assert!(comment(&issue_erasure(&sent_here).unwrap(), "", "token").is_none());
        for protocol in [Protocol::Socorro, Protocol::Sentry, Protocol::Faf, Protocol::Otlp] {
            assert!(issue_comment(&sent(protocol, None), "x").is_none());
        }
        assert!(issue_comment(&sent(Protocol::Foretrace, Some("age1")), "x").is_none());
    }
}
