//! The question before a report: what the server knows about its signature. Class summary, and a transmission of its
//! own with a receipt of its own.
//!
//! ```text
//! POST <Url>/question      {"schema":1,"kind":…,"program":…,"package":{…},"signature":…}
//! 200                      {"answer":"send","classes":["summary",…],"fixed_in":"2.3.1"}   or  {"answer":"stop",…}
//! ```

use std::io::{Read, Seek};

use serde::{Deserialize, Serialize};

use super::{Content, Outgoing, Piece, Plan};
use crate::bundle::BundleError;
use crate::receipt::Known;
use crate::schema::{Kind, Package, Report, SCHEMA};
use crate::{Class, ClassSet};

/// The part that is the whole body.
pub const QUESTION: &str = "question.json";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The schema's version.
    pub schema: u32,
    /// What happened.
    pub kind: Kind,
    /// The program's command name.
    pub program: String,
    /// The package that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// The signature.
    pub signature: String,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it wants the report.
    pub answer: Answer,
    /// The most that it wants of it; absent, whatever was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassSet>,
    /// The version in which the problem is mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
}

/// Whether a server wants a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It does.
    Send,
    /// It has enough of them.
    Stop,
}

/// The body that asks about the `outgoing.zip` in `source`.
///
/// # Errors
/// An `outgoing.zip` that is no readable container.
pub fn plan<R: Read + Seek>(source: &mut R) -> Result<Plan, BundleError> {
    let outgoing = Outgoing::open(source)?;
    let content = Content::Made(serde_json::to_vec(&Question::about(&outgoing.report))?);
    Ok(Plan {
        content_type: "application/json".into(),
        gzip: false,
        pieces: vec![Piece { name: QUESTION, classes: ClassSet::EMPTY.with(Class::Summary), content }],
        framing: vec![vec![], vec![]],
    })
}

impl Question {
    /// The question about a report, from what was already redacted.
    pub fn about(report: &Report) -> Question {
        Question {
            schema: SCHEMA,
            kind: report.kind,
            program: report.program.name.clone(),
            package: report.program.package.clone(),
            signature: report.signature.clone(),
        }
    }
}

impl Reply {
    /// What is kept of it.
    pub fn known(self) -> Known {
        let wants = match self.answer {
            Answer::Stop => ClassSet::EMPTY,
            Answer::Send => self.classes.unwrap_or(Class::ALL.into_iter().collect()),
        };
        Known { fixed_in: self.fixed_in.filter(|version| !version.is_empty()), wants }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_classes_wants_whatever_was_granted() {
        let known = |json: &str| serde_json::from_str::<Reply>(json).unwrap().known();
        assert_eq!(known(r#"{"answer":"send"}"#).wants.iter().count(), 6);
        assert_eq!(known(r#"{"answer":"send","classes":["summary"]}"#).wants.to_string(), "summary");
        let stop = known(r#"{"answer":"stop","classes":["core"],"fixed_in":"2.3.1"}"#);
        assert_eq!((stop.wants, stop.fixed_in.as_deref()), (ClassSet::EMPTY, Some("2.3.1")));
    }
}
