//! What a submission is: its name, its group, and the row that lists show. Pure: values in, a row out.
//!
//! Owns the rules by which a submission that is damaged, incomplete or at odds with itself still becomes a report.
//! Every text is a stranger's and is clipped here; showing it safely is the pages' work.

use std::collections::BTreeMap;

use foretrace_report::bundle::hex;
use foretrace_report::receipt::Protocol;
use foretrace_report::{Report, ReportId};
use sha2::{Digest, Sha256};

use crate::store::Record;

/// The group of everything that could not be read.
pub const UNREADABLE: &str = "unreadable";

/// The group of everything that is encrypted to somebody else.
pub const ENCRYPTED: &str = "encrypted";

/// The annotation in which a foretrace client repeats the report's id.
pub const ID_ANNOTATION: &str = "ForetraceId";

/// What came in, as far as it could be read.
pub struct Submission {
    /// The dialect.
    pub dialect: Protocol,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The report in the bundle, or a sentence that says why there is none.
    pub report: Result<Report, String>,
    /// The digests of the files, in order.
    pub digests: Vec<String>,
    /// What was wrong otherwise: sentences.
    pub notes: Vec<String>,
    /// sha256 of the token that erases it, in hex.
    pub erasure: Option<String>,
    /// Whether the bundle is encrypted to a key that is not here.
    pub encrypted: bool,
}

impl Submission {
    /// The report's id: its own, else the one that the annotations name, else one made of the content, so that the
    /// same content sent again has the same.
    pub fn id(&self) -> ReportId {
        let named = || self.annotations.get(ID_ANNOTATION).and_then(|text| text.parse().ok());
        match &self.report {
            Ok(report) => report.id,
            Err(_) => named().unwrap_or_else(|| self.id_of_content()),
        }
    }

    /// The row, with no files in it yet.
    pub fn record(self, received: i64) -> Record {
        let id = self.id();
        let mut notes = self.notes;
        let annotation = |names: &[&str]| {
            names.iter().find_map(|name| self.annotations.get(*name)).map(String::as_str).unwrap_or_default()
        };
        let (signature, kind, happened, program, version, system, signal) = match &self.report {
            Ok(report) => {
                if self.annotations.get(ID_ANNOTATION).is_some_and(|named| *named != id.to_string()) {
                    notes.push("The submission's annotations name another report than its bundle.".into());
                }
                let version = report.program.package.as_ref().map(|package| package.version.as_str());
                (
                    signature_of(report),
                    report.kind.name(),
                    report.time.as_str(),
                    report.program.name.as_str(),
                    version.unwrap_or_else(|| annotation(&["Version", "ver"])),
                    report.system.os.as_str(),
                    report.signal.as_ref().map_or("", |signal| signal.name.as_str()),
                )
            }
            Err(why) => {
                notes.push(why.clone());
                let kind = if self.encrypted { ENCRYPTED } else { UNREADABLE };
                let program = annotation(&["ProductName", "prod"]);
                (kind.to_owned(), kind, "", program, annotation(&["Version", "ver"]), "", "")
            }
        };
        let signature = clip(&signature, 1000);
        Record {
            id: id.to_string(),
            received,
            happened: clip(happened, 40),
            kind: kind.to_owned(),
            program: clip(program, 64),
            version: clip(version, 128),
            system: clip(system, 128),
            signal: clip(signal, 32),
            problem: key_of(&signature),
            signature,
            bundle: None,
            minidump: None,
            annotations: serde_json::json!(self.annotations).to_string(),
            notes: serde_json::json!(notes).to_string(),
            dialect: self.dialect.name().to_owned(),
            erasure: self.erasure,
        }
    }

    fn id_of_content(&self) -> ReportId {
        let mut digest = Sha256::new();
        self.digests.iter().for_each(|part| digest.update(part));
        digest.update(serde_json::json!(self.annotations).to_string());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        ReportId::from_random(bytes)
    }
}

/// The key of a signature's group, as in the address of its page.
pub fn key_of(signature: &str) -> String {
    hex(&Sha256::digest(signature)[..16])
}

// Reports without a backtrace must not all be one problem.
fn signature_of(report: &Report) -> String {
    match report.signature.as_str() {
        "" => format!("{} without a signature", report.program.name),
        signature => signature.to_owned(),
    }
}

fn clip(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00017f80ff6162636465666768696a6b";

    fn report(signature: &str) -> Report {
        serde_json::from_value(serde_json::json!({
            "schema": 1, "id": ID, "kind": "crash", "time": "2026-01-01T00:00:00Z", "signature": signature,
            "program": {"name": "hello", "pid": 1, "package": {"name": "hello", "version": "2.10-3"}},
        }))
        .unwrap()
    }

    fn submission(report: Result<Report, String>) -> Submission {
        Submission {
            dialect: Protocol::Socorro,
            annotations: BTreeMap::new(),
            report,
            digests: vec!["aa".into()],
            notes: vec![],
            erasure: None,
            encrypted: false,
        }
    }

    #[test]
    fn a_report_is_grouped_by_its_signature() {
        let record = submission(Ok(report("f | g"))).record(7);
        assert_eq!((record.id.as_str(), record.signature.as_str()), (ID, "f | g"));
        assert_eq!(record.problem, key_of("f | g"));
        assert_eq!((record.program.as_str(), record.version.as_str()), ("hello", "2.10-3"));
    }

    #[test]
    fn reports_without_a_signature_are_grouped_by_program() {
        assert_eq!(submission(Ok(report(""))).record(7).signature, "hello without a signature");
    }

    #[test]
    fn an_unreadable_submission_sent_twice_has_one_id() {
        let unreadable = || submission(Err("The bundle is damaged.".into()));
        let record = unreadable().record(7);
        assert_eq!(record.id, unreadable().record(8).id);
        assert_eq!(record.signature, UNREADABLE);
        assert!(record.notes.contains("damaged"));
        let mut other = unreadable();
        other.digests[0] = "bb".into();
        assert_ne!(other.record(7).id, record.id);
    }

    #[test]
    fn an_unreadable_submission_keeps_the_id_it_was_sent_under() {
        let mut submission = submission(Err(String::new()));
        submission.annotations.insert(ID_ANNOTATION.into(), ID.into());
        assert_eq!(submission.id().to_string(), ID);
    }

    #[test]
    fn a_disagreement_about_the_id_is_noted() {
        let mut submission = submission(Ok(report("f")));
        submission.annotations.insert(ID_ANNOTATION.into(), "somebody else's".into());
        let record = submission.record(7);
        assert_eq!(record.id, ID);
        assert!(record.notes.contains("another report"));
    }

    #[test]
    fn texts_are_clipped() {
        let record = submission(Ok(report(&"ü".repeat(5000)))).record(7);
        assert_eq!(record.signature.chars().count(), 1000);
    }
}
