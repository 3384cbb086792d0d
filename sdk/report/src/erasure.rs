//! How a server knows who may have a report erased: by a token that only the report's own machine can make.
//!
//! What leaves carries the token's digest alone, as the part [`PART`] of `outgoing.zip`. Whoever shows the token later
//! has it from that machine: `DELETE /report/<id>` with `Authorization: Bearer <token>`. Nobody who reads the stored
//! report can erase it.

use sha2::{Digest, Sha256};

use crate::bundle::hex;

/// The entry of `outgoing.zip` that holds the digest.
pub const PART: &str = "system/erasure";

/// The content of [`PART`] for a token.
pub fn proof(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes())) + "\n"
}

/// Whether a token is the one that a part's content stands for. What is compared are digests: the time that it takes
/// tells nothing about the token.
pub fn is_proven(token: &str, part: &[u8]) -> bool {
    !token.is_empty() && proof(token).trim_end().as_bytes() == part.trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_proven_by_its_own_digest_alone() {
        let part = proof("6e6f6e65");
        assert!(is_proven("6e6f6e65", part.as_bytes()));
        for (token, part) in [("other", part.as_str()), ("", &proof("")), ("x", ""), ("6e6f6e65", "6e6f6e65")]
        {
            assert!(!is_proven(token, part.as_bytes()), "{token}");
        }
    }
}
