//! The rules for text that know a secret by its shape or by the name beside it.
//!
//! Owns the patterns, their order and what stands for a finding; [`super::findings`] decides about candidates
//! that a pattern alone cannot tell from harmless text. All matching takes time linear in the text. Never
//! looks at who the user is: that is [`super::names`].

use std::borrow::Cow;

use regex::bytes::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::findings::{self, Candidate};
use super::{Removed, Rule};
use crate::pseudonym::Salt;

/// What stands for a finding.
#[derive(Clone, Copy)]
enum Mark {
    /// The same for all: what was there says nothing, and must not be compared.
    Fixed(&'static str),
    /// `<name-…>`, the same for the same text within one report, so that its traces can be followed.
    Pseudonym(&'static str),
}

/// A built-in rule. The last group that took part in a match is what goes; without one the whole match.
struct Shape {
    rule: Rule,
    mark: Mark,
    pattern: &'static str,
    accept: fn(&Candidate<'_>) -> bool,
}

/// The name of a value that is nobody's business, as the end of an identifier.
macro_rules! secret_name {
    () => {
        r"[a-z0-9_.-]*(?:passw(?:or)?d|passcode|secret|credential|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key|account[_-]?key|shared[_-]?key|encryption[_-]?key|signing[_-]?key|master[_-]?key|session[_-]?(?:id|key)|sessid|sess_id|csrf|xsrf|(?:\b|_)pwd|\b(?:otp|cvv|cvc|sid))[a-z0-9_-]*"
    };
}

/// What a value looks like: quoted, or up to the next separator.
macro_rules! value {
    () => {
        r#"(?:\\?"((?:[^"\\]|\\[^"])+)|\\?'((?:[^'\\]|\\[^'])+)|([^\s:="'\\<>][^\s"'\\<>]*))"#
    };
}

fn always(_: &Candidate<'_>) -> bool {
    true
}

/// In the order in which they apply: what is longer and surer first.
const SHAPES: &[Shape] = &[
    Shape {
        rule: Rule::PrivateKey,
        mark: Mark::Fixed("<key>"),
        pattern: r"-----BEGIN[A-Z0-9 ]{0,40}(?:PRIVATE|PUBLIC) KEY[A-Z ]{0,10}-----(?:(?:[A-Za-z0-9+/=\s\\:,.]|-[A-Za-z0-9])*?-----END[A-Z0-9 ]{0,40}-----|[A-Za-z0-9+/=\s\\]*)",
        accept: always,
    },
    Shape {
        rule: Rule::PrivateKey,
        mark: Mark::Fixed("<key>"),
        pattern: r"(?:\bAGE)?-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{20,}|\b[xyz]prv[1-9A-HJ-NP-Za-km-z]{90,}|Private-Lines: \d+[A-Za-z0-9+/=\s\\]*",
        accept: always,
    },
    Shape {
        rule: Rule::Token,
        mark: Mark::Fixed("<token>"),
        pattern: r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,3}",
        accept: always,
    },
    Shape {
        rule: Rule::Token,
        mark: Mark::Fixed("<token>"),
        pattern: concat!(
            r"\b(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AIPA|ANPA|ANVA|AROA|APKA|ASCA)[A-Z0-9]{16}\b",
            r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bgl(?:pat|dt|rt|ptt|soat)-[A-Za-z0-9_.-]{20,}",
            r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/[A-Za-z0-9/]+",
            r"|\b[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}|\bwhsec_[A-Za-z0-9+/=]{20,}",
            r"|\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[0-9A-Za-z_-]{20,}",
            r"|\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{16,}|\bcio[A-Za-z0-9]{32}\b|\brubygems_[0-9a-f]{48}",
            r"|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|\b(?:SK|AC)[0-9a-f]{32}\b|\bkey-[0-9a-f]{32}\b",
            r"|\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{30,}|\bdo[opr]_v1_[a-f0-9]{64}",
            r"|\b\d{8,10}:AA[A-Za-z0-9_-]{32,}|\b[MNO][A-Za-z0-9_-]{23,}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",
            r"|\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|\bsq0[a-z]{3}-[A-Za-z0-9_-]{22,}|\bdckr_pat_[A-Za-z0-9_-]{20,}",
            r"|\bhv[bs]\.[A-Za-z0-9_-]{20,}|\bsntry[su]_[A-Za-z0-9_=+/-]{20,}|\bglc_[A-Za-z0-9+/=]{32,}|\bdapi[0-9a-f]{32}",
            r"|\bEAA[A-Za-z0-9]{60,}|\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}|\blin_api_[A-Za-z0-9]{30,}|\bsecret_[A-Za-z0-9]{43}\b",
            r"|\bATATT3[A-Za-z0-9_=-]{30,}|\bATCTT3[A-Za-z0-9_=-]{30,}|\bntn_[A-Za-z0-9]{40,}|\bpul-[a-f0-9]{40}",
        ),
        accept: always,
    },
    Shape {
        rule: Rule::Login,
        mark: Mark::Fixed("<login>"),
        pattern: r#"\b[A-Za-z][A-Za-z0-9+.-]*:(?:/|\\/){2}([^\s/\\"'<>?#]+)@"#,
        accept: findings::is_no_mark,
    },
    Shape {
        rule: Rule::Query,
        mark: Mark::Fixed("<value>"),
        pattern: r#"(?i)[?&;](?:[a-z0-9_.~-]|%5b)*(?:token|key|sig|signature|secret|passw(?:or)?d|pass|auth|code|state|session|sid|jwt|credential|ticket|nonce|otp|hmac|assertion)(?:[a-z0-9_.~-]|%5d)*=([^&#\s"'<>;]+)"#,
        accept: findings::is_no_mark,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: r#"(?i)\b(?:proxy-|x-)?auth(?:orization)?\\?["']?\s*[:=]\s*\\?["']?(?:basic|bearer|digest|negotiate|ntlm|token|apikey|aws4-hmac-sha256)\s+([^\r\n"'\\]+)"#,
        accept: findings::is_no_mark,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: r#"(?i)\b(?:bearer|basic|token)\s+([A-Za-z0-9+/_=.~-]{8,})"#,
        accept: findings::is_drawn,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: r#"(?i)\bauth\\?["']?\s*[:=]\s*\\?["']?([A-Za-z0-9+/_=.~-]{12,})"#,
        accept: findings::is_drawn,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: r#"(?i)\b(?:set-)?cookie2?\\?["']?\s*[:=]\s*\\?["']?([a-z0-9_.-]+=[^\r\n"'\\]+)"#,
        accept: findings::is_no_mark,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: r#"(?i)\bpass[_-]?phrase\\?["']?\s*[:=]\s*\\?["']?([^\r\n"'\\,;&]+)"#,
        accept: findings::is_no_mark,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: concat!(r#"(?i)"#, secret_name!(), r#"\\?["']?\s*(?:=>|:=|=|:)\s*"#, value!()),
        accept: findings::is_secret_value,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: concat!(
            r#"(?i)[a-z0-9_.-]*(?:token|jwt)(?:[_-]?(?:id|key|value|secret))?\\?["']?\s*(?:=>|:=|=|:)\s*"#,
            value!()
        ),
        accept: findings::is_token_value,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: r#"(?i)\b(?:pin|puk|tan)\\?["']?\s*[:=]\s*\\?["']?(\d{4,8})\b"#,
        accept: always,
    },
    Shape {
        rule: Rule::Password,
        mark: Mark::Fixed("<password>"),
        pattern: concat!(
            r"(?i)(?:^|\s)--?[a-z0-9-]*(?:password|passwd|passphrase|token|secret|api-?key|auth)\s+",
            r#"["']?([^\s"'-][^\s"']*)|(?:^|\s)(?:-u|--user|--proxy-user)[ =][^\s:]+:(\S+)"#
        ),
        accept: findings::is_secret_value,
    },
    Shape {
        rule: Rule::Email,
        mark: Mark::Pseudonym("email"),
        pattern: r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\x80-\xff-]+(?:@|%40)[A-Za-z0-9\x80-\xff-]+(?:\.[A-Za-z0-9\x80-\xff-]+)*\.[A-Za-z\x80-\xff][A-Za-z0-9\x80-\xff-]*[A-Za-z\x80-\xff]",
        accept: findings::is_email,
    },
    Shape {
        rule: Rule::Hardware,
        mark: Mark::Pseudonym("hardware"),
        pattern: r"\bMAC=([0-9A-Fa-f:]{17,})|\b[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5}|(?::[0-9A-Fa-f]{2}){7})\b|\b[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\b",
        accept: findings::is_hardware_address,
    },
    Shape {
        rule: Rule::Hardware,
        mark: Mark::Pseudonym("hardware"),
        pattern: r"(?i)\b(?:imei(?:sv)?|meid)\W{0,3}(\d(?:-?\d){13,15})\b|\b\d{2}-\d{6}-\d{6}-\d\b",
        accept: always,
    },
    Shape {
        rule: Rule::Address,
        mark: Mark::Pseudonym("address"),
        pattern: r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:(?:\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f:]*)",
        accept: findings::is_ipv6,
    },
    Shape {
        rule: Rule::Address,
        mark: Mark::Pseudonym("address"),
        pattern: r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b",
        accept: findings::is_ipv4,
    },
    Shape {
        rule: Rule::Account,
        mark: Mark::Fixed("<account>"),
        pattern: r"\b[A-Za-z]{2}\d{2}[A-Za-z0-9]{11,30}\b|\b[A-Z]{2}\d{2}(?:[ -][A-Z0-9]{4}){2,7}(?:[ -][A-Z0-9]{1,4})?\b",
        accept: findings::is_iban,
    },
    Shape {
        rule: Rule::Card,
        mark: Mark::Fixed("<card>"),
        pattern: r"\b\d(?:[ -]?\d){12,18}\b",
        accept: findings::is_card,
    },
    Shape {
        rule: Rule::Account,
        mark: Mark::Fixed("<account>"),
        pattern: r"\b\d{3}-\d{2}-\d{4}\b",
        accept: findings::is_social_security,
    },
    Shape {
        rule: Rule::Account,
        mark: Mark::Fixed("<account>"),
        pattern: r"(?i)\bssn\W{0,3}(\d{9})\b",
        accept: always,
    },
    Shape {
        rule: Rule::Random,
        mark: Mark::Fixed("<random>"),
        pattern: r"[A-Za-z0-9+/_-]{32,}={0,2}",
        accept: findings::is_random,
    },
];

/// A pattern of the administrator's that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no pattern that can be looked for: {why}")]
pub struct BadPattern {
    /// Which of them.
    pub index: usize,
    /// What is wrong with it.
    pub why: String,
}

/// The patterns, compiled.
#[derive(Clone)]
pub struct Patterns {
    /// The administrator's, which come first.
    custom: Vec<Regex>,
    built_in: Vec<Regex>,
    /// All built-in ones at once: most texts hold nothing, and are read once.
    any: RegexSet,
}

impl Patterns {
    /// The built-in patterns and an administrator's.
    ///
    /// # Errors
    /// The first of `custom` that cannot be compiled within bounds.
    ///
    /// # Panics
    /// Never: the built-in patterns are constants, which the tests compile.
    pub fn new(custom: &[String]) -> Result<Patterns, BadPattern> {
        let compile = |(index, pattern): (usize, &String)| {
            let bad = |why: String| BadPattern { index, why };
            let regex = Regex::new(pattern).map_err(|error| bad(reason(&error)))?;
            if regex.is_match(b"") {
                return Err(bad("it matches everywhere, because it matches nothing".into()));
            }
            Ok(regex)
        };
        let sources = || SHAPES.iter().map(|shape| shape.pattern);
        let built_in = sources().map(|pattern| RegexBuilder::new(pattern).unicode(false).build());
        Ok(Patterns {
            custom: custom.iter().enumerate().map(compile).collect::<Result<_, _>>()?,
            built_in: built_in.collect::<Result<_, _>>().expect("the built-in patterns are valid"),
            any: RegexSetBuilder::new(sources())
                .unicode(false)
                .size_limit(64 << 20)
                .dfa_size_limit(16 << 20)
                .build()
                .expect("the built-in patterns are valid"),
        })
    }

    /// Hides what any pattern finds.
    pub fn hide<'a>(&self, text: &'a [u8], salt: &Salt, removed: &mut Removed) -> Cow<'a, [u8]> {
        let mut text = Cow::Borrowed(text);
        for regex in &self.custom {
            replace(&mut text, regex, |_, _| {
                removed.count(Rule::Custom, 1);
                Some(b"<hidden>".to_vec())
            });
        }
        for index in self.any.matches(&text) {
            let (shape, regex) = (&SHAPES[index], &self.built_in[index]);
            replace(&mut text, regex, |whole, found| {
                let candidate = Candidate::new(whole, found.0, found.1);
                if !(shape.accept)(&candidate) {
                    return None;
                }
                removed.count(shape.rule, 1);
                Some(match shape.mark {
                    Mark::Fixed(mark) => mark.as_bytes().to_vec(),
                    Mark::Pseudonym(name) => salt.mark(name, candidate.found()).into_bytes(),
                })
            });
        }
        text
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Patterns::new(&[]).unwrap_or_else(|bad| unreachable!("{bad}"))
    }
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patterns").field("custom", &self.custom).finish_non_exhaustive()
    }
}

/// Replaces findings: `decide` gets the text and the finding's range in it.
fn replace(
    text: &mut Cow<'_, [u8]>,
    regex: &Regex,
    mut decide: impl FnMut(&[u8], (usize, usize)) -> Option<Vec<u8>>,
) {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    for captures in regex.captures_iter(text) {
        let Some((from, to)) = target(&captures) else { continue };
        let Some(mark) = decide(text, (from, to)) else { continue };
        let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
        out.extend_from_slice(&text[copied..from]);
        out.extend_from_slice(&mark);
        copied = to;
    }
    if let Some(mut out) = out {
        out.extend_from_slice(&text[copied..]);
        *text = Cow::Owned(out);
    }
}

/// The range of the last group that took part.
fn target(captures: &Captures<'_>) -> Option<(usize, usize)> {
    let found = captures.iter().flatten().last()?;
    Some((found.start(), found.end()))
}

/// The last line of the library's drawing of an error says what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests;
