//! The lists of planted secrets and look-alikes that a crash on a real kernel is tested with as well, and what
//! each rule makes of its own.

use std::sync::LazyLock;

use super::super::TextRules;
use super::*;

const SECRETS: &str = include_str!("../../../../tests/fixtures/privacy/secrets.txt");
const LOOKALIKES: &str = include_str!("../../../../tests/fixtures/privacy/lookalikes.txt");

const FORMS: &str = include_str!("../../../../tests/fixtures/privacy/forms.txt");

fn salt() -> Salt {
    Salt::from_random([5; 32])
}

fn hidden(text: &str) -> (String, Removed) {
    static RULES: LazyLock<TextRules> = LazyLock::new(TextRules::default);
    let mut removed = Removed::default();
    let bytes = RULES.hide(text.as_bytes(), &salt(), &mut removed).into_owned();
    (String::from_utf8(bytes).unwrap(), removed)
}

fn entries(list: &str) -> Vec<(&str, String)> {
    let entries = list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    entries.map(|(kind, text)| (kind, text.replace('·', "").replace("\\n", "\n"))).collect()
}

#[test]
fn no_planted_secret_survives_in_whole_or_in_half() {
    let mut survivors = Vec::new();
    let secrets = entries(SECRETS);
    assert!(secrets.len() >= 60);
    for (kind, text) in secrets {
        let (before, rest) = text.split_once("[[").unwrap();
        let (needle, after) = rest.split_once("]]").unwrap();
        let (found, _) = hidden(&format!("{before}{needle}{after}"));
        let half = needle.len() / 2;
        if [needle, &needle[..half], &needle[half..]].iter().any(|part| found.contains(part)) {
            survivors.push(format!("{kind}: {found}"));
        }
    }
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
}

#[test]
fn look_alikes_survive() {
    let entries = entries(LOOKALIKES);
    assert!(entries.len() >= 200);
    let lost: Vec<String> = entries
        .iter()
        .filter(|(_, text)| hidden(text).0 != *text)
        .map(|(kind, text)| format!("{kind}: {text} became {}", hidden(text).0))
        .collect();
    assert!(lost.len() * 50 <= entries.len(), "{} of {}: {}", lost.len(), entries.len(), lost.join("\n"));
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn every_form_goes_but_those_that_have_a_reason_to_stay() {
    let forms = entries(FORMS);
    assert!(forms.len() > 150);
    let wrong: Vec<String> = forms
        .iter()
        .filter_map(|(kind, form)| {
            let (text, stays) =
                form.split_once('\t').map_or((form.as_str(), false), |(text, _)| (text, true));
            let found = hidden(text).0;
            ((found == text) != stays).then(|| format!("{kind}: {text} became {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_puts_its_mark_and_leaves_what_stands_around() {
    for (text, expected, rule) in [
        ("a password=hunter2 b", "a password=<password> b", Rule::Password),
        (r#"{"token":"abcdef123456","n":1}"#, r#"{"token":"<password>","n":1}"#, Rule::Password),
        (
            "Authorization: Basic QWxhZGRpbjpvcGVu\r\nHost: x",
            "Authorization: Basic <password>\r\nHost: x",
            Rule::Password,
        ),
        ("https://m:pw@h/p?q=1", "https://<login>@h/p?q=1", Rule::Login),
        ("GET /a?token=abc&b=1 HTTP", "GET /a?token=<value>&b=1 HTTP", Rule::Query),
        ("pay 4111 1111 1111 1111 now", "pay <card> now", Rule::Card),
        ("to DE89370400440532013000.", "to <account>.", Rule::Account),
        // A key that was cut short takes the letters behind it along.
        (
            "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\nAGE-SECRET-KEY-10QTBG7TQAH3DKIINHIOJYQU1WTLQU5 x",
            "<key><key> x",
            Rule::PrivateKey,
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----\nnext",
            "<key>\nnext",
            Rule::PrivateKey,
        ),
    ] {
        let (found, removed) = hidden(text);
        let marks = expected.matches("<key>").count().max(1) as u64;
        assert_eq!((found.as_str(), removed.of(rule)), (expected, marks), "{text}");
    }
}

#[test]
fn the_same_address_has_the_same_pseudonym_in_a_report_and_another_in_the_next() {
    let (text, _) = hidden("a@b.example, c@d.example, a@b.example");
    let marks: Vec<&str> = text.split(", ").collect();
    assert_eq!(marks[0], marks[2]);
    assert_ne!(marks[0], marks[1]);
    let other = Patterns::default()
        .hide(b"a@b.example", &Salt::from_random([6; 32]), &mut Removed::default())
        .into_owned();
    assert_ne!(marks[0].as_bytes(), other);
}

#[test]
fn what_was_redacted_once_stays_as_it_is() {
    for (_, text) in entries(SECRETS) {
        let once = hidden(&text.replace("[[", "").replace("]]", "")).0;
        assert_eq!(hidden(&once).0, once);
    }
}

#[test]
fn an_administrators_patterns_come_first_and_bad_ones_are_named() {
    let patterns = Patterns::new(&["CUST-[0-9]+".into(), "(?i)project \\w+".into()]).unwrap();
    let mut removed = Removed::default();
    let text = patterns.hide(b"CUST-4711 in Project Manhattan", &salt(), &mut removed).into_owned();
    assert_eq!((text, removed.of(Rule::Custom)), (b"<hidden> in <hidden>".to_vec(), 2));
    for bad in ["(", "a{1000}{1000}{1000}", "x*", ""] {
        let error = Patterns::new(&["ok".into(), bad.into()]).unwrap_err();
        assert_eq!(error.index, 1, "{bad}");
        assert!(!error.why.is_empty() && !error.why.contains('\n'), "{error:?}");
    }
}

#[test]
fn a_long_text_takes_time_in_proportion_to_its_length() {
    let started = std::time::Instant::now();
    for piece in
        ["a@", "password=", "1:", "-----BEGIN PRIVATE KEY-----", "4", "eyJa.", "://", "aA1/", "?key=", "\\\""]
    {
        hidden(&piece.repeat((256 << 10) / piece.len()));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(120), "{:?}", started.elapsed());
}
