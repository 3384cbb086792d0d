//! The body that leaves in the dialect of Socorro, Breakpad and Crashpad.
//!
//! ```text
//! POST /submit                                  Content-Length, Content-Encoding: gzip (over the whole body)
//! Content-Type: multipart/form-data; boundary=foretrace-<id>
//!   extra                       application/json          annotations, all values strings
//!   upload_file_foretrace       application/zip           outgoing.zip itself
//!   upload_file_minidump        application/octet-stream  only where outgoing.zip holds a minidump
//! ```

use std::io::{Read, Seek};

use serde_json::{Map, Value};

use super::{Content, Outgoing, Piece, Plan, multipart, time};
use crate::bundle::{BundleError, MINIDUMP};
use crate::schema::Report;
use crate::{Class, ClassSet};

/// The part that holds the annotations.
pub const EXTRA: &str = "extra";
/// The part that holds `outgoing.zip`.
pub const OUTGOING: &str = "upload_file_foretrace";
/// The part that holds the minidump, where memory was granted.
pub const UPLOAD_MINIDUMP: &str = "upload_file_minidump";

pub(super) fn plan<R: Read + Seek>(outgoing: &Outgoing<'_, R>) -> Result<Plan, BundleError> {
    let extra = Content::Made(serde_json::to_vec(&extra(&outgoing.report))?);
    let extra = Piece { name: EXTRA, classes: ClassSet::EMPTY.with(Class::Summary), content: extra };
    let whole = Piece { name: OUTGOING, classes: outgoing.classes(), content: Content::Outgoing };
    let mut parts = vec![(extra, None, "application/json"), (whole, Some("outgoing.zip"), "application/zip")];
    if outgoing.has(MINIDUMP) {
        let classes = ClassSet::EMPTY.with(Class::Memory);
        let minidump = Piece { name: UPLOAD_MINIDUMP, classes, content: Content::Entry(MINIDUMP) };
        parts.push((minidump, Some(MINIDUMP), "application/octet-stream"));
    }
    Ok(multipart(&outgoing.report, parts))
}

/// The annotations, named as Socorro names them; the dialect wants every value to be a string.
fn extra(report: &Report) -> Map<String, Value> {
    let package = report.program.package.as_ref();
    let mut extra = Map::new();
    let mut note = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    };
    note("ProductName", package.map_or(&report.program.name, |package| &package.name));
    note("Version", package.map_or("unknown", |package| &package.version));
    note("Signature", &report.signature);
    let seconds = time::nanoseconds(&report.time).map(|nanoseconds| nanoseconds / 1_000_000_000);
    note("CrashTime", &seconds.map_or(String::new(), |seconds| seconds.to_string()));
    note("ForetraceId", &report.id.to_string());
    note("ForetraceSchema", &report.schema.to_string());
    note("ForetraceKind", report.kind.name());
    note("Executable", report.program.exe.as_deref().unwrap_or_default());
    note("Signal", report.signal.as_ref().map_or("", |signal| &signal.name));
    note("OperatingSystem", &report.system.os);
    note("KernelRelease", &report.system.kernel);
    note("Architecture", &report.system.arch);
    note("Comments", report.comment.as_deref().unwrap_or_default());
    extra
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ID, outgoing};
    use super::super::{assemble, made, plan};
    use super::*;
    use crate::receipt::Protocol;

    #[test]
    fn every_annotation_is_a_string() {
        let plan = plan(Protocol::Socorro, &mut outgoing(&[]), "").unwrap();
        let extra: Map<String, Value> = serde_json::from_slice(made(&plan).next().unwrap().1).unwrap();
        assert!(extra.values().all(Value::is_string), "{extra:?}");
        assert_eq!(extra["ProductName"], "gimp");
        assert_eq!(extra["Version"], "2.10-1");
        assert_eq!(extra["CrashTime"], "1795210200");
        assert_eq!(extra["ForetraceId"], ID);
    }

    #[test]
    fn a_minidump_part_exists_only_where_outgoing_holds_one() {
        let names = |parts: &[(&str, &[u8])]| {
            let plan = plan(Protocol::Socorro, &mut outgoing(parts), "").unwrap();
            plan.pieces.iter().map(|piece| (piece.name, piece.classes.to_string())).collect::<Vec<_>>()
        };
        let extra = (EXTRA, "summary".to_owned());
        let without = (OUTGOING, "summary,stack,trail".to_owned());
        assert_eq!(names(&[("trace/1/metadata", b"x")]), [extra.clone(), without]);
        let with = (OUTGOING, "summary,stack,trail,memory".to_owned());
        assert_eq!(names(&[(MINIDUMP, b"MDMP")]), [extra, with, (UPLOAD_MINIDUMP, "memory".into())]);
    }

    #[test]
    fn a_body_is_exactly_its_parts_and_the_same_each_time() {
        let mut zip = outgoing(&[(MINIDUMP, b"MDMP")]);
        let plan = plan(Protocol::Socorro, &mut zip, "").unwrap();
        let body = assemble(&plan, &mut zip).unwrap();
        assert_eq!(body, assemble(&plan, &mut zip).unwrap());
        let mut expected = Vec::new();
        for (head, content) in [
            (
                "Content-Disposition: form-data; name=\"extra\"\r\nContent-Type: application/json",
                made(&plan).next().unwrap().1,
            ),
            (
                "Content-Disposition: form-data; name=\"upload_file_foretrace\"; filename=\"outgoing.zip\"\r\n\
                 Content-Type: application/zip",
                zip.get_ref(),
            ),
            (
                "Content-Disposition: form-data; name=\"upload_file_minidump\"; filename=\"minidump.dmp\"\r\n\
                 Content-Type: application/octet-stream",
                b"MDMP",
            ),
        ] {
            expected.extend_from_slice(format!("--foretrace-{ID}\r\n{head}\r\n\r\n").as_bytes());
            expected.extend_from_slice(content);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(format!("--foretrace-{ID}--\r\n").as_bytes());
        assert_eq!(body, expected);
    }
}
