//! The lists of planted secrets and look-alikes, and the search for what is left of a secret.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use anyhow::{Context, Result};

use crate::world::checkout;

/// A planted secret.
pub struct Secret {
    /// What kind it is.
    pub kind: String,
    /// The text that is planted.
    pub text: String,
    /// What of it must not leave.
    pub needle: String,
}

/// The secrets.
///
/// # Errors
/// A list that cannot be read, or a line without a marked part.
pub fn secrets() -> Result<Vec<Secret>> {
    let secret = |(kind, text): (String, String)| {
        let (before, rest) = text.split_once("[[").context("nothing is marked")?;
        let (needle, after) = rest.split_once("]]").context("nothing is marked")?;
        Ok(Secret { kind, needle: needle.to_owned(), text: format!("{before}{needle}{after}") })
    };
    entries("secrets.txt")?.into_iter().map(secret).collect()
}

/// The look-alikes: kinds and texts.
///
/// # Errors
/// A list that cannot be read.
pub fn look_alikes() -> Result<Vec<(String, String)>> {
    entries("lookalikes.txt")
}

/// A form in which what a rule looks for is written.
pub struct Form {
    /// What the rule looks for.
    pub kind: String,
    /// The text.
    pub text: String,
    /// Why it stays, where it does.
    pub stays: Option<String>,
}

/// The forms.
///
/// # Errors
/// A list that cannot be read.
pub fn forms() -> Result<Vec<Form>> {
    let form = |(kind, rest): (String, String)| {
        let (text, stays) =
            rest.split_once('\t').map_or((rest.as_str(), None), |(text, why)| (text, Some(why)));
        let text = text.replace("-----\\n", "-----\n").replace("\\n-----", "\n-----");
        Form { kind, text, stays: stays.map(str::to_owned) }
    };
    Ok(entries("forms.txt")?.into_iter().map(form).collect())
}

fn entries(name: &str) -> Result<Vec<(String, String)>> {
    let list = fs::read_to_string(checkout().join("tests/fixtures/privacy").join(name))?;
    let lines = list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    Ok(lines.map(|(kind, text)| (kind.to_owned(), text.replace('·', ""))).collect())
}

/// So many characters of a secret are a finding: a register and a word of memory hold as many.
const PIECE: usize = 8;

/// Looks for any eight characters in a row of any secret (of a shorter secret for all of it), in UTF-8, in UTF-16, and
/// in Base64 at any of its three offsets.
#[derive(Default)]
pub struct Search {
    narrow: HashMap<Vec<u8>, usize>,
    wide: HashMap<Vec<u8>, usize>,
    /// Whose secret, its bytes, and those of a character.
    short: Vec<(usize, Vec<u8>, usize)>,
    /// The first two bytes of everything that is looked for: most places are passed by them alone.
    starts: BTreeSet<[u8; 2]>,
}

impl Search {
    /// A search for all of `secrets`.
    pub fn new(secrets: &[Secret]) -> Search {
        let mut search = Search::default();
        for (index, Secret { needle, .. }) in secrets.iter().enumerate() {
            if needle.len() < PIECE {
                search.short.extend([(index, needle.as_bytes().to_vec(), 1), (index, widen(needle), 2)]);
            }
            let encoded = (0..3).filter_map(|offset| needle.as_bytes().get(offset..)).map(base64);
            for form in std::iter::once(needle.as_bytes().to_vec()).chain(encoded) {
                search.narrow.extend(form.windows(PIECE).map(|piece| (piece.to_vec(), index)));
            }
            search
                .wide
                .extend(widen(needle).windows(2 * PIECE).step_by(2).map(|piece| (piece.to_vec(), index)));
        }
        let pieces = search.narrow.keys().chain(search.wide.keys());
        search.starts = pieces.map(|piece| [piece[0], piece[1]]).collect();
        search
    }

    /// The secrets of which `content` holds something, with what it holds.
    pub fn find(&self, content: &[u8]) -> Vec<(usize, String)> {
        let mut found = HashMap::new();
        let mut note = |index: usize, piece: &[u8]| {
            found.entry(index).or_insert_with(|| String::from_utf8_lossy(piece).into_owned());
        };
        let mut likely = vec![false; 1 << 16];
        self.starts.iter().for_each(|start| likely[usize::from(u16::from_le_bytes(*start))] = true);
        let is_likely = |piece: &[u8]| likely[usize::from(u16::from_le_bytes([piece[0], piece[1]]))];
        for (length, pieces) in [(PIECE, &self.narrow), (2 * PIECE, &self.wide)] {
            for piece in content.windows(length).filter(|piece| is_likely(piece)) {
                if let Some(index) = pieces.get(piece) {
                    note(*index, piece);
                }
            }
        }
        // A number of a few digits is a part of many longer ones: it counts where it stands alone.
        let stands =
            |at: Option<usize>| !at.and_then(|at| content.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        for (index, short, width) in &self.short {
            let alone = |at: usize| stands(at.checked_sub(*width)) && stands(Some(at + short.len()));
            if content.windows(short.len()).enumerate().any(|(at, window)| window == short && alone(at)) {
                note(*index, short);
            }
        }
        found.into_iter().collect()
    }
}

fn widen(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The letters that whole groups of three bytes become, without the padding of what is left.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).flat_map(|group| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift) as usize & 63])
    });
    groups.collect()
}
