//! Pseudonyms: what stands for a personal value in what leaves.
//!
//! Owns the rule: HMAC-SHA256 of the value under a salt that never leaves the report's directory. The same
//! value has the same pseudonym within one report, so that its events can still be followed, and another one
//! in every other report, so that nobody can be followed across reports. Without the salt a short value
//! cannot be found by trying them all.

use foretrace_report::bundle::hex;
use foretrace_ring::trail::Value;
use sha2::{Digest, Sha256};

/// The block size of SHA-256, which HMAC pads its key to.
const BLOCK: usize = 64;

/// The random key of one report's pseudonyms.
#[derive(Clone)]
pub struct Salt([u8; 32]);

impl Salt {
    /// A salt from bytes that the kernel drew.
    pub fn from_random(bytes: [u8; 32]) -> Salt {
        Salt(bytes)
    }

    /// Reads the text that [`Salt::to_text`] wrote; `None` for anything else.
    pub fn from_text(text: &[u8]) -> Option<Salt> {
        let digits = text.trim_ascii_end();
        let nibble = |digit: &u8| (*digit as char).to_digit(16).map(|value| value as u8);
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(&pair[0])? << 4 | nibble(&pair[1])?;
        }
        Some(Salt(bytes))
    }

    /// The salt as the report's directory keeps it.
    pub fn to_text(&self) -> String {
        hex(&self.0) + "\n"
    }

    /// What stands for a text.
    pub fn text(&self, value: &str) -> String {
        format!("personal-{}", hex(&self.digest(b't', value.as_bytes())[..8]))
    }

    /// What stands for a piece of a text that was found to be a `kind` of thing, as in `<email-1a2b3c4d>`.
    pub fn mark(&self, kind: &str, found: &[u8]) -> String {
        format!("<{kind}-{}>", hex(&self.digest(b'm', found)[..4]))
    }

    /// The token that has this report erased at a server.
    pub fn erasure_token(&self) -> String {
        hex(&self.digest(b'e', b"erasure"))
    }

    /// What leaves with the report, so that the server knows the token when it comes.
    pub fn erasure_digest(&self) -> String {
        hex(&Sha256::digest(self.erasure_token()))
    }

    /// What stands for a field's value, of the same kind. A truth value has no pseudonym that would hide it:
    /// it becomes false.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(self.text(text)),
            Value::Bytes(bytes) => Value::Bytes(self.digest(b'b', bytes)[..8].to_vec()),
            Value::Unsigned(number) => Value::Unsigned(self.number(b'u', &number.to_le_bytes())),
            Value::Signed(number) => Value::Signed(self.number(b'i', &number.to_le_bytes()) as i64),
            Value::Float(number) => {
                // A whole number below 2^32 is exact in every float, also in a narrow one's range.
                Value::Float((self.number(b'f', &number.to_bits().to_le_bytes()) >> 32) as f64)
            }
            Value::Bool(_) => Value::Bool(false),
            Value::Withheld => Value::Withheld,
        }
    }

    fn number(&self, kind: u8, value: &[u8]) -> u64 {
        let digest = self.digest(kind, value);
        digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// HMAC-SHA256 (RFC 2104) over the kind and the value.
    fn digest(&self, kind: u8, value: &[u8]) -> [u8; 32] {
        let mut key = [0; BLOCK];
        key[..self.0.len()].copy_from_slice(&self.0);
        let inner =
            Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update([kind]).chain_update(value);
        let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner.finalize());
        outer.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(byte: u8) -> Salt {
        Salt::from_random([byte; 32])
    }

    #[test]
    fn a_value_keeps_its_pseudonym_within_a_report_and_changes_it_between_reports() {
        assert_eq!(salt(1).text("alice"), salt(1).text("alice"));
        assert_ne!(salt(1).text("alice"), salt(1).text("bob"));
        assert_ne!(salt(1).text("alice"), salt(2).text("alice"));
        assert!(!salt(1).text("alice").contains("alice"));
    }

    #[test]
    fn the_digest_is_hmac_sha256() {
        // From Python: hmac.new(bytes([1])*32, b"talice", "sha256").hexdigest()[:16]
        assert_eq!(salt(1).text("alice"), "personal-e4e01a0bda32793b");
    }

    #[test]
    fn every_kind_of_value_stays_its_kind_and_is_replaced() {
        let salt = salt(3);
        for value in [
            Value::Text("x".into()),
            Value::Bytes(vec![1]),
            Value::Unsigned(1000),
            Value::Signed(-7),
            Value::Float(1.5),
            Value::Bool(true),
        ] {
            let replaced = salt.value(&value);
            assert_ne!(replaced, value);
            assert_eq!(std::mem::discriminant(&replaced), std::mem::discriminant(&value));
            assert_eq!(replaced, salt.value(&value));
        }
    }

    #[test]
    fn a_salt_survives_its_text_and_nonsense_is_none() {
        let kept = Salt::from_text(salt(9).to_text().as_bytes()).unwrap();
        assert_eq!(kept.text("a"), salt(9).text("a"));
        for text in ["", "09", &"zz".repeat(32), &"09".repeat(33)] {
            assert!(Salt::from_text(text.as_bytes()).is_none());
        }
    }
}
