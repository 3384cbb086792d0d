//! The request for a file's debug information: a transmission of its own, with a receipt of its own.
//!
//! It carries nothing of the report but one of the build-ids that the receipt lists, in its address.

use foretrace_report::receipt::SymbolInquiry;

use super::Verified;
use crate::symbols::is_build_id;

/// The request for one of the build-ids that a receipt is for; `None` for any other.
pub fn inquire(receipt: &SymbolInquiry, build_id: &str) -> Option<Verified> {
    let server = receipt.server.trim_end_matches('/');
    let listed = receipt.build_ids.iter().any(|listed| listed == build_id);
    (listed && is_build_id(build_id)).then(|| {
        let url = format!("{server}/buildid/{build_id}/debuginfo");
        Verified::bare("GET", url, receipt.server.clone(), Vec::new())
    })
}

#[cfg(test)]
mod tests {
    use foretrace_report::receipt::How;

    use super::super::samples::id;
    use super::*;

    #[test]
    fn only_what_the_receipt_lists_is_asked_for_and_only_of_its_server() {
        let (listed, other) =
            ("00112233445566778899aabbccddeeff00112233", "ff112233445566778899aabbccddeeff00112233");
        let receipt = SymbolInquiry {
            report: id(1),
            server: "https://debug.example/x/".into(),
            build_ids: vec![listed.into(), "../../upload".into()],
            who: "alice".into(),
            how: How::Command,
            when: "2026-01-01T00:00:00Z".into(),
        };
        let request = inquire(&receipt, listed).unwrap();
        assert_eq!(request.url(), format!("https://debug.example/x/buildid/{listed}/debuginfo"));
        assert_eq!((request.method(), request.length(), request.headers().len()), ("GET", 0, 0));
        assert!(inquire(&receipt, other).is_none() && inquire(&receipt, "../../upload").is_none());
    }
}
