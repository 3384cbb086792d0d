//! The body that leaves in the dialect of Socorro, Breakpad and Crashpad.
//!
//! Owns which parts a body has, what each carries, and their framing. A body is a pure function of
//! `outgoing.zip`: nothing is looked up, nothing is added later. It never sends anything, and it never
//! decides what may leave: what stands in `outgoing.zip` was granted, and nothing else is read.
//!
//! ```text
//! POST /submit                                  Content-Length, Content-Encoding: gzip (over the whole body)
//! Content-Type: multipart/form-data; boundary=foretrace-<id>
//!   extra                       application/json          annotations, all values strings
//!   upload_file_foretrace       application/zip           outgoing.zip itself
//!   upload_file_minidump        application/octet-stream  only where outgoing.zip holds a minidump
//! ```

use std::borrow::Cow;
use std::io::{Cursor, Write};

use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value};

use crate::bundle::{BundleError, BundleReader, Limits, MINIDUMP};
use crate::schema::Report;
use crate::{Class, ClassSet, ReportId};

/// The part that holds the annotations.
pub const EXTRA: &str = "extra";
/// The part that holds `outgoing.zip`.
pub const OUTGOING: &str = "upload_file_foretrace";
/// The part that holds the minidump, where memory was granted.
pub const UPLOAD_MINIDUMP: &str = "upload_file_minidump";

/// One part of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its name in the body.
    pub name: &'static str,
    /// The file name it is given, where it is a file.
    pub file: Option<&'static str>,
    /// Its media type.
    pub media_type: &'static str,
    /// The classes that it carries.
    pub classes: ClassSet,
    /// Its bytes.
    pub content: Cow<'a, [u8]>,
}

/// The classes that this dialect can carry: a whole core stays at home.
pub fn carried() -> ClassSet {
    Class::ALL.into_iter().filter(|class| *class != Class::Core).collect()
}

/// The parts of the body that carries `outgoing`, in order.
///
/// # Errors
/// An `outgoing.zip` that is no readable container.
pub fn pieces(outgoing: &[u8]) -> Result<Vec<Piece<'_>>, BundleError> {
    let mut reader = BundleReader::open(Cursor::new(outgoing), Limits::default())?;
    let report = reader.report()?;
    let names = reader.names();
    let held = held(&report, &names);
    let mut pieces = vec![
        Piece {
            name: EXTRA,
            file: None,
            media_type: "application/json",
            classes: ClassSet::EMPTY.with(Class::Summary),
            content: Cow::Owned(serde_json::to_vec(&extra(&report))?),
        },
        Piece {
            name: OUTGOING,
            file: Some("outgoing.zip"),
            media_type: "application/zip",
            classes: held,
            content: Cow::Borrowed(outgoing),
        },
    ];
    if names.iter().any(|name| name == MINIDUMP) {
        pieces.push(Piece {
            name: UPLOAD_MINIDUMP,
            file: Some(MINIDUMP),
            media_type: "application/octet-stream",
            classes: ClassSet::EMPTY.with(Class::Memory),
            content: Cow::Owned(reader.part(MINIDUMP)?),
        });
    }
    Ok(pieces)
}

/// The `Content-Type` of the body for report `id`. No charset: collectors refuse one.
pub fn content_type(id: ReportId) -> String {
    format!("multipart/form-data; boundary={}", boundary(id))
}

/// Frames the parts as one body and compresses it. The same parts give the same bytes.
///
/// The boundary is the report's 128 random bits, drawn after everything that the parts hold came to be, so
/// that no content can have been made to contain it.
pub fn body(id: ReportId, pieces: &[Piece<'_>]) -> std::io::Result<Vec<u8>> {
    let boundary = boundary(id);
    // What is large in a body is compressed already: the fastest level loses nothing.
    let mut out = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    for piece in pieces {
        write!(out, "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", piece.name)?;
        if let Some(file) = piece.file {
            write!(out, "; filename=\"{file}\"")?;
        }
        write!(out, "\r\nContent-Type: {}\r\n\r\n", piece.media_type)?;
        out.write_all(&piece.content)?;
        out.write_all(b"\r\n")?;
    }
    write!(out, "--{boundary}--\r\n")?;
    out.finish()
}

fn boundary(id: ReportId) -> String {
    format!("foretrace-{id}")
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
    note("CrashTime", &unix_seconds(&report.time).map_or(String::new(), |seconds| seconds.to_string()));
    note("ForetraceId", &report.id.to_string());
    note("ForetraceSchema", &report.schema.to_string());
    note("ForetraceKind", report.kind.name());
    note("Executable", report.program.exe.as_deref().unwrap_or_default());
    note("Signal", report.signal.as_ref().map_or("", |signal| &signal.name));
    note("OperatingSystem", &report.system.os);
    note("KernelRelease", &report.system.kernel);
    note("Architecture", &report.system.arch);
    extra
}

/// Which classes a redacted bundle holds something of.
fn held(report: &Report, names: &[String]) -> ClassSet {
    let mut held: ClassSet = names.iter().filter_map(|name| crate::bundle::class_of(name)).collect();
    if !report.threads.is_empty() {
        held = held.with(Class::Stack);
    }
    if report.message.is_some() || !report.annotations.is_empty() {
        held = held.with(Class::Trail);
    }
    held.with(Class::Summary)
}

/// Seconds since 1970 of an RFC 3339 time in UTC; `None` for anything else.
fn unix_seconds(time: &str) -> Option<i64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<u32>().ok().map(i64::from);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let shaped = separators.iter().all(|&(at, byte)| time.as_bytes().get(at) == Some(&byte));
    if !shaped || !time.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from the civil calendar, with the year starting in March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::bundle::BundleWriter;

    fn outgoing(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let report: Report = serde_json::from_str(
            r#"{"schema":1,"id":"00017f80ff6162636465666768696a6b","kind":"crash","time":"2026-11-20T21:30:00.5Z",
            "program":{"name":"painter","pid":1,"package":{"name":"gimp","version":"2.10-1"}},"signature":"main"}"#,
        )
        .unwrap();
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
        writer.finish(report).unwrap().0.into_inner()
    }

    #[test]
    fn every_annotation_is_a_string() {
        let zip = outgoing(&[]);
        let pieces = pieces(&zip).unwrap();
        let extra: Map<String, Value> = serde_json::from_slice(&pieces[0].content).unwrap();
        assert!(extra.values().all(Value::is_string), "{extra:?}");
        assert_eq!(extra["ProductName"], "gimp");
        assert_eq!(extra["Version"], "2.10-1");
        assert_eq!(extra["CrashTime"], "1795210200");
        assert_eq!(extra["ForetraceId"], "00017f80ff6162636465666768696a6b");
    }

    #[test]
    fn a_minidump_part_exists_only_where_outgoing_holds_one() {
        let without = outgoing(&[("trace/1/metadata", b"x")]);
        let names = |zip: &[u8]| pieces(zip).unwrap().iter().map(|p| p.name).collect::<Vec<_>>();
        assert_eq!(names(&without), [EXTRA, OUTGOING]);
        assert_eq!(pieces(&without).unwrap()[1].classes.to_string(), "summary,trail");
        let with = outgoing(&[(MINIDUMP, b"MDMP")]);
        assert_eq!(names(&with), [EXTRA, OUTGOING, UPLOAD_MINIDUMP]);
        assert_eq!(pieces(&with).unwrap()[2].content.as_ref(), b"MDMP");
    }

    #[test]
    fn a_body_unpacks_to_exactly_the_parts_and_is_the_same_each_time() {
        let zip = outgoing(&[(MINIDUMP, b"MDMP")]);
        let id: ReportId = "00017f80ff6162636465666768696a6b".parse().unwrap();
        let pieces = pieces(&zip).unwrap();
        let packed = body(id, &pieces).unwrap();
        assert_eq!(packed, body(id, &pieces).unwrap());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
        let mut expected = Vec::new();
        for (head, content) in [
            (
                "Content-Disposition: form-data; name=\"extra\"\r\nContent-Type: application/json",
                &pieces[0].content,
            ),
            (
                "Content-Disposition: form-data; name=\"upload_file_foretrace\"; filename=\"outgoing.zip\"\r\n\
                 Content-Type: application/zip",
                &pieces[1].content,
            ),
            (
                "Content-Disposition: form-data; name=\"upload_file_minidump\"; filename=\"minidump.dmp\"\r\n\
                 Content-Type: application/octet-stream",
                &pieces[2].content,
            ),
        ] {
            expected.extend_from_slice(format!("--foretrace-{id}\r\n{head}\r\n\r\n").as_bytes());
            expected.extend_from_slice(content);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(format!("--foretrace-{id}--\r\n").as_bytes());
        assert_eq!(plain, expected);
    }

    #[test]
    fn times_become_seconds_and_nonsense_becomes_nothing() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59.999Z", Some(951_868_799)),
            ("2026-11-20T21:30:00Z", Some(1_795_210_200)),
            ("2026-11-20 21:30:00Z", None),
            ("2026-13-20T21:30:00Z", None),
            ("2026-11-20T21:30:00+01:00", None),
            ("", None),
            ("２026-11-20T21:30:00Z", None),
        ] {
            assert_eq!(unix_seconds(text), seconds, "{text}");
        }
    }
}
