//! The rules for text, all of them: patterns first, because they know addresses whole, then names.

use std::borrow::Cow;

use super::{Names, Patterns, Removed};
use crate::pseudonym::Salt;

/// Fewer letters between other bytes are chance.
const SHORTEST_STRETCH: usize = 6;

/// The letters at the start of bytes, each `wide` bytes wide with the low one first.
fn stretch(bytes: &[u8], wide: usize) -> Vec<u8> {
    let is_letter = |unit: &&[u8]| {
        matches!(unit[0], b' '..=b'~' | b'\t' | b'\r' | b'\n') && unit[1..].iter().all(|byte| *byte == 0)
    };
    bytes.chunks_exact(wide).take_while(is_letter).map(|unit| unit[0]).collect()
}

/// What is looked for in every text that leaves.
#[derive(Clone, Debug, Default)]
pub struct TextRules {
    /// Names of people, hosts and homes.
    pub names: Names,
    /// What tells by its shape that it is nobody's business.
    pub patterns: Patterns,
}

impl TextRules {
    /// Hides what any rule finds. A NUL ends a text: what stands behind it is another one.
    pub fn hide<'a>(&self, text: &'a [u8], salt: &Salt, removed: &mut Removed) -> Cow<'a, [u8]> {
        if !text.contains(&0) {
            return self.hide_one(text, salt, removed);
        }
        let pieces: Vec<Cow<'_, [u8]>> =
            text.split(|byte| *byte == 0).map(|piece| self.hide_one(piece, salt, removed)).collect();
        if pieces.iter().all(|piece| matches!(piece, Cow::Borrowed(_))) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(pieces.join(&0))
    }

    /// Hides what any rule finds in bytes that are no text, without moving any of them: each stretch of letters, one
    /// byte or two wide, is taken for a text, and what stands for a finding is cut or padded to its length.
    pub fn hide_within<'a>(&self, bytes: &'a [u8], salt: &Salt, removed: &mut Removed) -> Cow<'a, [u8]> {
        let mut out = Cow::Borrowed(bytes);
        for wide in [1, 2] {
            let mut at = 0;
            while at < bytes.len() {
                let letters = stretch(&bytes[at..], wide);
                if letters.len() >= SHORTEST_STRETCH
                    && let Cow::Owned(mut hidden) = self.hide_one(&letters, salt, removed)
                {
                    hidden.resize(letters.len(), b' ');
                    let places = out.to_mut()[at..].iter_mut().step_by(wide);
                    places.zip(hidden).for_each(|(place, letter)| *place = letter);
                }
                at += (letters.len() * wide).max(1);
            }
        }
        out
    }

    fn hide_one<'a>(&self, text: &'a [u8], salt: &Salt, removed: &mut Removed) -> Cow<'a, [u8]> {
        match self.patterns.hide(text, salt, removed) {
            Cow::Borrowed(text) => self.names.hide(text, removed),
            Cow::Owned(text) => Cow::Owned(self.names.hide(&text, removed).into_owned()),
        }
    }

    /// Hides what any rule finds in a string, in place. What was UTF-8 stays it.
    pub fn hide_in(&self, text: &mut String, salt: &Salt, removed: &mut Removed) {
        if let Cow::Owned(hidden) = self.hide(text.as_bytes(), salt, removed) {
            *text = String::from_utf8_lossy(&hidden).into_owned();
        }
    }

    /// Hides home directories alone: for the names of functions, which must survive.
    pub fn hide_homes_in(&self, text: &mut String, removed: &mut Removed) {
        if let Cow::Owned(hidden) = self.names.hide_homes(text.as_bytes(), removed) {
            *text = String::from_utf8_lossy(&hidden).into_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_bytes_that_are_no_text_letters_of_either_width_are_hidden_and_nothing_moves() {
        let wide: Vec<u8> = "x password=Tr0ub4dor&3 y".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let before =
            [b"\xff\x01state\0mail ada@engine-works.uk now\0\x80\x07".as_slice(), &wide, b"\0\xfe\x09"]
                .concat();
        let (rules, mut removed) = (TextRules::default(), Removed::default());
        let after = rules.hide_within(&before, &Salt::from_random([5; 32]), &mut removed).into_owned();
        assert_eq!(after.len(), before.len());
        let kept = |piece: &[u8]| after.windows(piece.len()).position(|window| window == piece);
        assert_eq!(kept(b"\xff\x01state\0mail <email-"), Some(0));
        assert!(kept(b"engine-works").is_none() && kept(b"T\0r\x000\0u\0b\0").is_none());
        assert!(kept(b"p\0a\0s\0s\0w\0o\0r\0d\0=\0<\0").is_some() && after.ends_with(b"\0\xfe\x09"));
        let harmless = b"\xff\0main+0x1f4\0\x80";
        assert!(matches!(
            rules.hide_within(harmless, &Salt::from_random([5; 32]), &mut removed),
            Cow::Borrowed(_)
        ));
    }
}
