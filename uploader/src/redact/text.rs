//! The rules for text, all of them: patterns first, because they know addresses whole, then names.

use std::borrow::Cow;

use super::{Names, Patterns, Removed};
use crate::pseudonym::Salt;

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
