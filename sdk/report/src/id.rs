//! A report's name: 128 random bits. Owns its text form; a time in it would tell others when someone crashed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// 128 random bits, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReportId([u8; 16]);

impl ReportId {
    /// Names a report after 16 random bytes; the caller draws them from the kernel.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        ReportId(bytes)
    }

    /// The bits themselves.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first 8 digits, as lists show it.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }

    /// The same bits in the 8-4-4-4-12 form that Breakpad-style servers use.
    pub fn uuid(&self) -> String {
        let hex = self.to_string();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReportId({self})")
    }
}

/// A text that is not 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a report's id is 32 hex digits")]
pub struct InvalidId;

impl FromStr for ReportId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidId);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |d: u8| if d <= b'9' { d - b'0' } else { d - b'a' + 10 };
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(ReportId(bytes))
    }
}

impl TryFrom<String> for ReportId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ReportId> for String {
    fn from(id: ReportId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = ReportId::from_random(*b"\x00\x01\x7f\x80\xffabcdefghijk");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.uuid(), "00017f80-ff61-6263-6465-666768696a6b");
    }

    #[test]
    fn a_path_or_upper_case_is_no_id() {
        for text in
            ["", "../../etc/passwd", "00017F80ff6162636465666768696a6b", "0017f80ff6162636465666768696a6b"]
        {
            assert_eq!(text.parse::<ReportId>(), Err(InvalidId), "{text}");
        }
    }
}
