//! The rules for text: home directories, user names and host names, wherever they stand.
//!
//! Owns how a name is recognised. Works on bytes, because logs and paths need not be UTF-8; what was UTF-8
//! stays it. Who the people and hosts are is told to it; nothing is looked up here.

use std::borrow::Cow;

use super::{Removed, Rule};

/// What stands for a user's name.
const USER: &[u8] = b"<user>";
/// What stands for a host's name.
const HOST: &[u8] = b"<host>";
/// What stands for a home directory.
const HOME: &[u8] = b"~";
/// Where home directories lie, whoever's they are: here, and on the machines where others build programs.
const HOMES: [&[u8]; 2] = [b"/home/", b"/Users/"];
/// The same behind a drive's letter, in small letters and with plain strokes.
const WINDOWS_HOMES: [&[u8]; 3] = [b"/users/", b"/home/", b"/documents and settings/"];
/// The home of root.
const ROOT_HOME: &[u8] = b"/root";
/// A name of one letter is no name that could be told from text.
const SHORTEST: usize = 2;

/// The names to hide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    homes: Vec<Vec<u8>>,
    /// With the rule that each falls under; hosts first, because a host is often named after its user.
    words: Vec<(Rule, Vec<u8>)>,
}

impl Names {
    /// Names from lists; empty and one-letter names are left out, longer ones win over shorter ones that they
    /// contain.
    pub fn new(homes: &[String], users: &[String], hosts: &[String]) -> Names {
        let longest_first = |names: &[String]| {
            let mut names: Vec<Vec<u8>> = names
                .iter()
                .map(|name| name.trim().trim_end_matches('/'))
                .filter(|name| name.chars().count() >= SHORTEST)
                .map(|name| name.as_bytes().to_vec())
                .collect();
            names.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            names.dedup();
            names
        };
        let tagged = |rule, names: Vec<Vec<u8>>| names.into_iter().map(move |name| (rule, name));
        let mut words: Vec<_> = tagged(Rule::Host, longest_first(hosts)).collect();
        words.extend(tagged(Rule::User, longest_first(users)));
        Names { homes: longest_first(homes), words }
    }

    /// Hides home directories and names in a text.
    pub fn hide<'a>(&self, text: &'a [u8], removed: &mut Removed) -> Cow<'a, [u8]> {
        self.scan(text, true, removed)
    }

    /// Hides home directories alone: for the names of functions, which must survive.
    pub fn hide_homes<'a>(&self, text: &'a [u8], removed: &mut Removed) -> Cow<'a, [u8]> {
        self.scan(text, false, removed)
    }

    fn scan<'a>(&self, text: &'a [u8], words: bool, removed: &mut Removed) -> Cow<'a, [u8]> {
        let mut out: Option<Vec<u8>> = None;
        let (mut at, mut copied) = (0, 0);
        while at < text.len() {
            let found = if text[at] == b'/' {
                self.home_at(text, at)
            } else if let Some(found) = windows_home_at(text, at) {
                Some(found)
            } else if words && starts_word(text, at) {
                self.word_at(text, at)
            } else {
                None
            };
            let Some((rule, length, replacement)) = found else {
                at += 1;
                continue;
            };
            let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(replacement);
            removed.count(rule, 1);
            at += length;
            copied = at;
        }
        match out {
            None => Cow::Borrowed(text),
            Some(mut out) => {
                out.extend_from_slice(&text[copied..]);
                Cow::Owned(out)
            }
        }
    }

    fn home_at(&self, text: &[u8], at: usize) -> Option<(Rule, usize, &'static [u8])> {
        let rest = &text[at..];
        let whole = |home: &[u8]| rest.starts_with(home) && ends_component(rest, home.len());
        // Deeper in a path (`/mnt/home/x`) only the component that names somebody is replaced.
        let at_start = at == 0 || !is_path(text[at - 1]);
        let known = self.homes.iter().map(Vec::as_slice).chain([ROOT_HOME]);
        if at_start && let Some(home) = known.into_iter().find(|home| whole(home)) {
            return Some((Rule::Home, home.len(), HOME));
        }
        let parent = HOMES.into_iter().find(|parent| rest.starts_with(parent))?;
        let length = component(&rest[parent.len()..]);
        match (length, at_start) {
            (0, _) => None,
            (_, true) => Some((Rule::Home, parent.len() + length, HOME)),
            (_, false) if parent == HOMES[0] => Some((Rule::Home, parent.len() + length, b"/home/<user>")),
            (_, false) => Some((Rule::Home, parent.len() + length, b"/Users/<user>")),
        }
    }

    fn word_at(&self, text: &[u8], at: usize) -> Option<(Rule, usize, &'static [u8])> {
        let rest = &text[at..];
        let (rule, name) = self.words.iter().find(|(_, name)| {
            rest.len() >= name.len()
                && rest[..name.len()].eq_ignore_ascii_case(name)
                && !rest.get(name.len()).is_some_and(|next| is_word(*next))
        })?;
        Some((*rule, name.len(), if *rule == Rule::Host { HOST } else { USER }))
    }
}

/// `C:\Users\NAME` in its spellings: a stroke may be doubled, as in a quoted text.
fn windows_home_at(text: &[u8], at: usize) -> Option<(Rule, usize, &'static [u8])> {
    let rest = &text[at..];
    let drive = matches!(rest, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    if !drive || (at > 0 && is_word(text[at - 1])) {
        return None;
    }
    let mut length = 2;
    let mut plain = Vec::new();
    loop {
        let byte = *rest.get(length)?;
        length += 1;
        if byte == b'\\' && rest.get(length) == Some(&b'\\') {
            length += 1;
        }
        plain.push(if byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() });
        if WINDOWS_HOMES.contains(&plain.as_slice()) {
            break;
        }
        if !WINDOWS_HOMES.iter().any(|home| home.starts_with(&plain)) {
            return None;
        }
    }
    // A name may have spaces in it where a stroke ends it.
    let rest_of_path = &rest[length..];
    let spaced = rest_of_path.iter().take_while(|byte| is_word(**byte) || **byte == b' ').count();
    let name = match rest_of_path.get(spaced) {
        Some(b'/' | b'\\') => spaced,
        _ => component(rest_of_path),
    };
    (name > 0).then_some((Rule::Home, length + name, HOME))
}

/// The length of a path's first component.
fn component(path: &[u8]) -> usize {
    (0..=path.len()).find(|&end| ends_component(path, end)).unwrap_or(path.len())
}

/// Letters and digits; an underscore parts words, so that `alice_notes.txt` does not keep a name.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn is_path(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~')
}

fn starts_word(text: &[u8], at: usize) -> bool {
    is_word(text[at]) && (at == 0 || !is_word(text[at - 1]))
}

fn ends_component(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|next| {
        matches!(
            next,
            b'/' | b'\\' | b':' | b';' | b',' | b'"' | b'\'' | b'`' | b'(' | b')' | b'<' | b'>' | b'|' | b'&'
        ) || next.is_ascii_whitespace()
            || next.is_ascii_control()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(
            &["/home/alice".into(), "/srv/people/alice/".into()],
            &["alice".into(), "Alice Example".into(), "é".into()],
            &["alice-pc".into(), "alice-pc.example.org".into(), String::new()],
        )
    }

    fn hidden(text: &str) -> String {
        String::from_utf8(names().hide(text.as_bytes(), &mut Removed::default()).into_owned()).unwrap()
    }

    #[test]
    fn homes_users_and_hosts_are_hidden_wherever_they_stand() {
        for (text, expected) in [
            ("/home/alice/src/a.rs", "~/src/a.rs"),
            ("open(\"/home/alice\")", "open(\"~\")"),
            ("PATH=/usr/bin:/home/alice/bin:/home/bob/bin", "PATH=/usr/bin:~/bin:~/bin"),
            ("/srv/people/alice/x", "~/x"),
            ("/mnt/home/bob/x", "/mnt/home/<user>/x"),
            ("/root/.cargo", "~/.cargo"),
            ("/Users/eve/src/main.c", "~/src/main.c"),
            ("/mnt/c/Users/eve/x", "/mnt/c/Users/<user>/x"),
            ("at C:\\Users\\Eve\\x.c", "at ~\\x.c"),
            (r#""c:\\users\\eve\\x""#, r#""~\\x""#),
            ("D:/Documents and Settings/Eve Adams/x", "~/x"),
            ("alice@alice-pc:~$", "<user>@<host>:~$"),
            ("host alice-pc.example.org up", "host <host> up"),
            ("ALICE and Alice Example", "<user> and <user>"),
            ("alice_notes.txt", "<user>_notes.txt"),
            ("\0USER=alice\0", "\0USER=<user>\0"),
        ] {
            assert_eq!(hidden(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_name_stays() {
        for text in [
            "malice",
            "alices",
            "alice2",
            "/rooted/x",
            "/usr/root",
            "/home/",
            "/homework/x",
            "/Users/",
            "C:\\Users\\",
            "C:\\Windows\\x",
            "C:/Program Files/x",
            "ratio 1:/x",
            "root",
            "ändalice",
            "aliceü",
            "é",
            "6.1.0-44-amd64",
            "4c3a4a2e-7d1b-4b7e-9c3f-0123456789ab",
        ] {
            assert_eq!(hidden(text), text);
        }
    }

    #[test]
    fn removals_are_counted_by_rule() {
        let mut removed = Removed::default();
        names().hide(b"/home/alice /home/x alice alice-pc", &mut removed);
        assert_eq!((removed.of(Rule::Home), removed.of(Rule::User), removed.of(Rule::Host)), (2, 1, 1));
    }

    #[test]
    fn function_names_keep_the_words_that_a_user_happens_to_be_called() {
        let mut removed = Removed::default();
        assert_eq!(
            names().hide_homes(b"alice::main (/home/alice/m.rs)", &mut removed).as_ref(),
            b"alice::main (~/m.rs)"
        );
    }
}
