//! Bodies that are encrypted to a recipient: their receipt holds the digests of what was shown and of what leaves.
//!
//! What is inside cannot be looked at any more when it is sent; the classes are those that the receipt says.

use std::io::{Cursor, Read, Seek};

use foretrace_report::ClassSet;
use foretrace_report::bundle::BundleError;
use foretrace_report::receipt::{BodyPart, Receipt, Sealed};
use foretrace_report::wire::foretrace::{SEALED_BUNDLE, sealed_plan};

use super::{Survey, whole};

/// The receipt for `encrypted` in place of the `outgoing.zip` that `plain` is for; `erasure` is the digest of the token that
/// erases the report.
///
/// # Errors
/// None that a body in memory could meet.
pub fn seal(plain: Receipt, erasure: &str, encrypted: &[u8]) -> Result<Receipt, BundleError> {
    let source = &mut Cursor::new(encrypted);
    let whole = whole(source)?;
    let sealed = Sealed { sha256: whole.sha256.clone(), bytes: whole.bytes, erasure: erasure.to_owned() };
    let classes: ClassSet = plain.body.iter().flat_map(|part| part.classes.iter()).collect();
    let plan = sealed_plan(plain.report, &sealed.sha256, classes, erasure);
    let body = Survey::along(whole, plan, source)?.parts;
    Ok(Receipt { sealed: Some(sealed), body, ..plain })
}

impl Survey {
    /// What an encrypted body comes to, as `receipt` describes it.
    pub(super) fn sealed<R: Read + Seek>(
        whole: BodyPart,
        receipt: &Receipt,
        sealed: &Sealed,
        source: &mut R,
    ) -> Result<Survey, BundleError> {
        let carried = receipt.body.iter().find(|part| part.name == SEALED_BUNDLE);
        let classes = carried.map_or(ClassSet::EMPTY, |part| part.classes);
        let plan = sealed_plan(receipt.report, &sealed.sha256, classes, &sealed.erasure);
        Survey::along(whole, plan, source)
    }
}
