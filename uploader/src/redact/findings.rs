//! Which candidates are findings: what a pattern alone cannot tell from a version, a hash or a function's name.
//!
//! Pure functions over a candidate and what stands around it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A place in a text that a pattern matched.
pub(super) struct Candidate<'a> {
    before: &'a [u8],
    found: &'a [u8],
    after: &'a [u8],
}

impl<'a> Candidate<'a> {
    /// The bytes `from..to` of `text`.
    pub(super) fn new(text: &'a [u8], from: usize, to: usize) -> Candidate<'a> {
        Candidate { before: &text[..from], found: &text[from..to], after: &text[to..] }
    }

    /// The candidate itself.
    pub(super) fn found(&self) -> &'a [u8] {
        self.found
    }

    /// The same as text; empty where it is none.
    fn text(&self) -> &'a str {
        std::str::from_utf8(self.found).unwrap_or_default()
    }

    /// Whether a letter, a digit or one of `also` touches it on either side.
    fn touches(&self, also: &[u8]) -> bool {
        let joined = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || also.contains(byte))
        };
        joined(self.before.last()) || joined(self.after.first())
    }

    /// The word before it, in lower case.
    fn word_before(&self) -> String {
        let gap = |byte: &u8| matches!(byte, b' ' | b':' | b'=' | b'(' | b'"' | b'\'');
        let end = self.before.iter().rposition(|byte| !gap(byte)).map_or(0, |at| at + 1);
        let start =
            self.before[..end].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
        String::from_utf8_lossy(&self.before[start..end]).to_ascii_lowercase()
    }
}

/// Anything but what stands for something that was taken out already.
pub(super) fn is_no_mark(candidate: &Candidate<'_>) -> bool {
    let found = candidate.found();
    !(found.first() == Some(&b'<') || matches!(candidate.before.last(), Some(b'<')))
}

/// The value beside a name that says it is secret.
pub(super) fn is_secret_value(candidate: &Candidate<'_>) -> bool {
    let value = candidate.text().trim_matches(|c: char| matches!(c, ',' | ')' | ']' | '}' | '*' | '.'));
    let lower = value.to_ascii_lowercase();
    let says_nothing = matches!(
        lower.as_str(),
        "" | "true"
            | "false"
            | "yes"
            | "no"
            | "none"
            | "null"
            | "nil"
            | "undefined"
            | "empty"
            | "some"
            | "invalid"
    );
    // `PWD=/somewhere` is a directory.
    let directory = candidate.word_before() == "pwd" && (lower.starts_with('/') || lower.starts_with('~'));
    is_no_mark(candidate) && !says_nothing && !directory
}

/// The value beside `token`, which also names what a parser reads.
pub(super) fn is_token_value(candidate: &Candidate<'_>) -> bool {
    let value = candidate.found();
    let drawn =
        value.len() >= 6 && value.iter().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let long = value.len() >= 12;
    let identifier = value.windows(2).any(|pair| pair == b"::") || value.ends_with(b"(");
    is_secret_value(candidate) && (drawn || long) && !identifier
}

/// Text with digits or in mixed case, unlike a word.
pub(super) fn is_drawn(candidate: &Candidate<'_>) -> bool {
    let rest = &candidate.found()[1..];
    let has = |kind: fn(&u8) -> bool| candidate.found().iter().any(kind);
    let mixed = rest.iter().any(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    (has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) || mixed)
        && !candidate.text().starts_with("0x")
        && is_no_mark(candidate)
}

/// An address of a person, and no unit of systemd, no file and no version of a package.
pub(super) fn is_email(candidate: &Candidate<'_>) -> bool {
    const NO_DOMAINS: [&str; 31] = [
        "service",
        "socket",
        "timer",
        "target",
        "mount",
        "automount",
        "slice",
        "scope",
        "device",
        "swap",
        "path",
        "png",
        "jpg",
        "jpeg",
        "svg",
        "gif",
        "webp",
        "so",
        "rs",
        "py",
        "js",
        "ts",
        "go",
        "h",
        "c",
        "cpp",
        "conf",
        "json",
        "beta",
        "alpha",
        "log",
    ];
    let text = String::from_utf8_lossy(candidate.found()).to_ascii_lowercase();
    let Some((_, domain)) = text.split_once("%40").or_else(|| text.split_once('@')) else { return false };
    let Some((host, top)) = domain.rsplit_once('.') else { return false };
    // `package@1.2.3-beta.x` is a version.
    let version = host.split(['.', '-']).all(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
        && host.contains('.');
    let pre_release = host.split('.').take(2).all(|label| label.parse::<u32>().is_ok()) && host.contains('.');
    !NO_DOMAINS.contains(&top) && !version && !pre_release
}

/// The address of one device: neither all zeros nor all ones, and no part of something longer.
pub(super) fn is_hardware_address(candidate: &Candidate<'_>) -> bool {
    let digits: Vec<u8> = candidate
        .found()
        .iter()
        .copied()
        .filter(u8::is_ascii_hexdigit)
        .map(|d| d.to_ascii_lowercase())
        .collect();
    let alike = digits.iter().all(|digit| *digit == digits[0]);
    // Three groups of four digits are a version as easily; a letter makes the difference.
    let dotted = candidate.found().contains(&b'.') && !digits.iter().any(u8::is_ascii_alphabetic);
    // Behind a full stop a number goes on, and a file's name ends.
    let goes_on = matches!(candidate.after, [b'.', next, ..] if next.is_ascii_digit())
        || candidate.before.last() == Some(&b'.');
    !alike && !dotted && !goes_on && !candidate.touches(b":-")
}

/// An address that tells machines apart, and no path of Rust or C++ made of hexadecimal letters.
pub(super) fn is_ipv6(candidate: &Candidate<'_>) -> bool {
    let text = candidate.text();
    let Ok(address) = text.parse::<Ipv6Addr>() else { return false };
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let mapped = address.to_ipv4_mapped().is_some_and(|address| !address.is_loopback());
    let telling = mapped || groups >= 3 || matches!(address.segments()[0], 0x2000..=0x3fff | 0xfc00..=0xffff);
    !address.is_loopback() && !address.is_unspecified() && digits && telling && !candidate.touches(b":.")
}

/// An address that tells machines apart, and no version.
pub(super) fn is_ipv4(candidate: &Candidate<'_>) -> bool {
    let Ok(address) = candidate.text().parse::<Ipv4Addr>() else { return false };
    let common = address.is_loopback() || address.is_broadcast() || address.octets()[0] == 0;
    let netmask = address.to_bits().leading_ones() >= 8
        && address.to_bits().count_zeros() == address.to_bits().trailing_zeros();
    let version = ["version", "ver", "v", "release", "rev", "build", "firmware", "driver", "api"]
        .contains(&candidate.word_before().as_str());
    let before = candidate.before.last();
    let file = matches!(before, Some(b'-' | b'_' | b'+' | b'~')) && !ends_with_range(candidate.before);
    let more = match candidate.after {
        [b'.', next, ..] => next.is_ascii_digit(),
        [b'-' | b'+' | b'~' | b'_', ..] => candidate.after.get(1).is_some_and(u8::is_ascii_alphanumeric),
        _ => false,
    };
    !(common || netmask || version || file || more || matches!(before, Some(b'.')))
}

/// Whether an address ends here, so that what follows the sign is the other end of a range.
fn ends_with_range(before: &[u8]) -> bool {
    before.len() > 1 && before[before.len() - 2] == b'>' || before.ends_with(b" -")
}

/// The countries whose accounts have a number of ISO 13616, and how long it is there.
const ACCOUNTS: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22\
    GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30\
    NL18NO15PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20";

/// A number of a country's own length that passes the check of ISO 13616.
pub(super) fn is_iban(candidate: &Candidate<'_>) -> bool {
    let parted = |byte: &u8| matches!(byte, b' ' | b'-');
    let plain = candidate.found().iter().filter(|byte| !parted(byte));
    let plain: Vec<u8> = plain.map(u8::to_ascii_uppercase).collect();
    let length = plain.len().to_string();
    let known = |country: &[u8]| country[..2] == plain[..2] && country[2..] == *length.as_bytes();
    if !ACCOUNTS.as_bytes().chunks_exact(4).any(known) {
        return false;
    }
    let remainder = plain[4..].iter().chain(&plain[..4]).fold(0, |sum: u32, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

/// A number of a known issuer that passes Luhn's check and stands alone.
pub(super) fn is_card(candidate: &Candidate<'_>) -> bool {
    let digits: Vec<u32> = candidate
        .found()
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| u32::from(byte - b'0'))
        .collect();
    let start = |count: usize| digits[..count].iter().fold(0, |number, digit| number * 10 + digit);
    let known = match digits.len() {
        13 => start(1) == 4,
        14 => matches!(start(3), 300..=305) || matches!(start(2), 36 | 38 | 39),
        15 => matches!(start(2), 34 | 37) || matches!(start(4), 2131 | 1800),
        16 => {
            start(1) == 4
                || matches!(start(2), 51..=55 | 35 | 62 | 65)
                || matches!(start(3), 644..=649)
                || start(4) == 6011
                || matches!(start(4), 2221..=2720 | 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
        }
        19 => start(1) == 4 || start(2) == 62 || matches!(start(4), 5018 | 5020 | 5038 | 6304 | 6759),
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    let separators: Vec<u8> =
        candidate.found().iter().copied().filter(|byte| !byte.is_ascii_digit()).collect();
    let even = separators.windows(2).all(|pair| pair[0] == pair[1]) && separators.len() <= 5;
    let alike = digits.iter().all(|digit| *digit == digits[0]);
    let decimal = matches!(candidate.after, [b'.', next, ..] if next.is_ascii_digit())
        || matches!(candidate.before, [.., digit, b'.'] if digit.is_ascii_digit());
    known && sum.is_multiple_of(10) && even && !alike && !decimal && !candidate.touches(b"-")
}

/// A number of the United States' social security.
pub(super) fn is_social_security(candidate: &Candidate<'_>) -> bool {
    let number =
        |from: usize, to: usize| candidate.text().get(from..to).and_then(|part| part.parse::<u32>().ok());
    let (Some(area), Some(group), Some(serial)) = (number(0, 3), number(4, 6), number(7, 11)) else {
        return false;
    };
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !candidate.touches(b"-.")
}

/// Text that nobody wrote and no compiler made: all kinds of characters, in no order.
///
/// Hashes in hexadecimal digits have one kind of letter and stay, and so do those that say what they are. In random
/// text of 64 characters every second character is of another kind than the one before; in identifiers and
/// paths every fifth.
pub(super) fn is_random(candidate: &Candidate<'_>) -> bool {
    let text = candidate.text().trim_end_matches('=');
    let lower = text.to_ascii_lowercase();
    let before = candidate.before.to_ascii_lowercase();
    let names_itself = |name: &str| {
        lower.starts_with(&format!("{name}-")) || before.ends_with(format!("{name}:").as_bytes())
    };
    // Names of many short words, with digits in some.
    let words = || text.split('_');
    let name = words().count() * 7 >= text.len() && words().all(|word| word.len() <= 12);
    let mangled = ["_Z", "_R", "__Z", "_D"].iter().any(|start| text.starts_with(start));
    if name || mangled || ["sha1", "sha256", "sha384", "sha512", "md5", "h1"].into_iter().any(names_itself) {
        return false;
    }
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        _ => 3,
    };
    let kinds: Vec<u8> = text.bytes().map(kind).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let distinct = text.bytes().collect::<std::collections::BTreeSet<u8>>().len();
    (0..3).all(|wanted| kinds.contains(&wanted))
        && changes * 100 >= kinds.len() * 42
        && distinct >= 16
        && !text.split('-').all(|group| group.len() <= 12)
}
