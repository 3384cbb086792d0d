//! Our own dialect: `outgoing.zip` as it is, over the resumable uploads of tus 1.0.
//!
//! ```text
//! POST <Url>          Upload-Length, Upload-Metadata; a small body comes along       201, Location
//! HEAD <Location>                                                                    200, Upload-Offset
//! PATCH <Location>    Upload-Offset, application/offset+octet-stream                 204, Upload-Offset
//! ```
//!
//! Where the settings name a recipient, `outgoing.zip.age` goes instead: the same, encrypted with age. The description then
//! says what the server cannot read: the report's name, and the digest of the token that erases it.
//!
//! A comment that comes after its report is `POST <Url>/<id>/comment`, with the report's token: the text and nothing else.
//!
//! What `Upload-Metadata` says is a part of the body to a receipt: it leaves as well.

use std::io::{Read, Seek};

use super::{Content, Outgoing, Piece, Plan};
use crate::{Class, ClassSet, ReportId};

/// The part that stands in `Upload-Metadata`.
pub const METADATA: &str = "Upload-Metadata";
/// The part that is uploaded.
pub const BUNDLE: &str = "outgoing.zip";
/// The part that is uploaded where it is encrypted.
pub const SEALED_BUNDLE: &str = "outgoing.zip.age";
/// What every file of age's begins with.
pub const SEALED_MARK: &[u8] = b"age-encryption.org/v1\n";
/// The key in `Upload-Metadata` of the digest of the token that erases an encrypted report.
pub const ERASURE: &str = "erasure";
/// The one part of a comment that comes after its report.
pub const COMMENT: &str = "comment";
/// The longest comment, in bytes.
pub const COMMENT_LIMIT: usize = 2000;
/// The answer's header with the server's name for the report.
pub const REPORT_HEADER: &str = "Foretrace-Report";
/// The media type of what tus carries.
pub const MEDIA_TYPE: &str = "application/offset+octet-stream";

pub(super) fn plan<R: Read + Seek>(outgoing: &Outgoing<'_, R>, sha256: &str) -> Plan {
    let metadata = metadata(&[
        ("id", &outgoing.report.id.to_string()),
        ("sha256", sha256),
        ("filename", BUNDLE),
        ("filetype", "application/zip"),
    ]);
    described(metadata, BUNDLE, outgoing.classes())
}

/// The body that carries an encrypted `outgoing.zip` with these classes, whose digest is `sha256` (hex); `erasure` is the
/// digest of the token that erases it.
pub fn sealed_plan(report: ReportId, sha256: &str, classes: ClassSet, erasure: &str) -> Plan {
    let metadata = metadata(&[
        ("id", &report.to_string()),
        ("sha256", sha256),
        (ERASURE, erasure),
        ("filename", SEALED_BUNDLE),
        ("filetype", "application/age"),
    ]);
    described(metadata, SEALED_BUNDLE, classes)
}

fn described(metadata: String, name: &'static str, classes: ClassSet) -> Plan {
    let metadata = Piece {
        name: METADATA,
        classes: ClassSet::EMPTY.with(Class::Summary),
        content: Content::Made(metadata.into_bytes()),
    };
    let bundle = Piece { name, classes, content: Content::Outgoing };
    Plan {
        content_type: MEDIA_TYPE.into(),
        gzip: false,
        pieces: vec![metadata, bundle],
        framing: vec![vec![], vec![], vec![]],
    }
}

/// `Upload-Metadata` with these keys and values.
pub fn metadata(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key} {}", base64(value.as_bytes()))).collect();
    pairs.join(",")
}

/// The values in an `Upload-Metadata` that are text; what is not well formed is left out.
pub fn read_metadata(header: &str) -> std::collections::BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.trim().split_once(' ')?;
        Some((key.to_owned(), String::from_utf8(unbase64(value)?).ok()?))
    };
    header.split(',').filter_map(pair).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([&0, &0]).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for n in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * n)) as usize & 63]);
            text.push(if n <= three.len() { letter } else { '=' });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - letters.len() > 2 {
        return None;
    }
    let mut bytes = Vec::new();
    for four in letters.chunks(4) {
        let mut bits = 0u32;
        for letter in four {
            let six = ALPHABET.iter().position(|known| known == letter)?;
            bits = bits << 6 | u32::try_from(six).ok()?;
        }
        bits <<= 6 * (4 - four.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ID, outgoing};
    use super::super::{assemble, plan};
    use super::*;
    use crate::receipt::Protocol;

    #[test]
    fn the_bundle_leaves_as_it_is_and_its_description_is_a_part() {
        let mut zip = outgoing(&[("minidump.dmp", b"MDMP")]);
        let plan = plan(Protocol::Foretrace, &mut zip, "abc").unwrap();
        assert_eq!(plan.pieces[1].classes.to_string(), "summary,stack,trail,memory");
        let Content::Made(described) = &plan.pieces[0].content else { panic!("made") };
        let described = read_metadata(std::str::from_utf8(described).unwrap());
        assert_eq!(described["id"], ID);
        assert_eq!(described["sha256"], "abc");
        let body = assemble(&plan, &mut zip).unwrap();
        assert!(body.ends_with(zip.get_ref()));
    }

    #[test]
    fn base64_is_the_usual_one() {
        for (plain, packed) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), packed);
            assert_eq!(unbase64(packed).as_deref(), Some(plain.as_bytes()));
        }
        for wrong in ["Z", "Zg=", "Zg", "====", "Zm9v Zg==", "Z-8="] {
            assert_eq!(unbase64(wrong), None, "{wrong}");
        }
    }
}
