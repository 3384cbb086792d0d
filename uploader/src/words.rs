//! The message catalogue: what people are told, in their language.
//!
//! Owns which language is spoken (LC_ALL, LC_MESSAGES, LANG, in this order) and the texts in `words/*.ftl`, which are
//! part of the program. What stands in an argument is put in as it is: whoever gives text from elsewhere escapes it
//! first. Output for programs never goes through here.

use std::fmt;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};

/// A language that the catalogue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
}

impl Language {
    /// The language of this process's locale; English where that is none of ours.
    pub fn from_environment() -> Language {
        let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(set);
        Language::of(locale.as_deref().unwrap_or_default())
    }

    /// The language of a locale such as `de_AT.UTF-8`.
    fn of(locale: &str) -> Language {
        match locale.split(['_', '.', '@']).next() {
            Some("de") => Language::German,
            _ => Language::English,
        }
    }

    /// Its code, as a receipt keeps it.
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    fn texts(self) -> &'static str {
        match self {
            Language::English => include_str!("../words/en.ftl"),
            Language::German => include_str!("../words/de.ftl"),
        }
    }
}

/// The catalogue in one language.
pub struct Words {
    language: Language,
    bundle: FluentBundle<FluentResource>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("language", &self.language).finish_non_exhaustive()
    }
}

impl Words {
    /// The catalogue in `language`.
    pub fn new(language: Language) -> Words {
        let tag = language.code().parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![tag]);
        // Marks around arguments help where writing directions mix; terminals show them as rubbish.
        bundle.set_use_isolating(false);
        // A text with a mistake in it is left out, and a test finds it.
        let (Ok(texts) | Err((texts, _))) = FluentResource::try_new(language.texts().to_owned());
        bundle.add_resource_overriding(texts);
        Words { language, bundle }
    }

    /// The language.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The text called `key`, without arguments.
    pub fn say(&self, key: &str) -> String {
        self.tell(key, &[])
    }

    /// The text called `key`, with text for its arguments.
    pub fn tell(&self, key: &str, arguments: &[(&'static str, &str)]) -> String {
        self.format(key, arguments.iter().map(|(name, text)| (*name, FluentValue::from(*text))).collect())
    }

    /// The text called `key` about `count` things.
    pub fn count(&self, key: &str, count: usize) -> String {
        self.format(key, [("count", FluentValue::from(count))].into_iter().collect())
    }

    /// The text called `key` about `count` things, with text for its other arguments.
    pub fn amount(&self, key: &str, count: usize, arguments: &[(&'static str, &str)]) -> String {
        let others = arguments.iter().map(|(name, text)| (*name, FluentValue::from(*text)));
        self.format(key, others.chain([("count", FluentValue::from(count))]).collect())
    }

    fn format(&self, key: &str, arguments: FluentArgs<'_>) -> String {
        let message = self.bundle.get_message(key).and_then(|message| message.value());
        // A key without a text is a mistake of ours, which the tests find; its name is better than nothing.
        let Some(pattern) = message else { return key.to_owned() };
        self.bundle.format_pattern(pattern, Some(&arguments), &mut Vec::new()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const ALL: [Language; 2] = [Language::English, Language::German];

    /// Every key with the arguments that its text names.
    fn keys(language: Language) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut key = "";
        for line in language.texts().lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
                key = name;
                assert!(!keys.contains_key(key), "{key} is there twice");
            }
            let arguments = line.split('$').skip(1);
            let names = arguments.map(|rest| rest.split([' ', '}']).next().unwrap_or_default());
            keys.entry(key).or_default().extend(names);
        }
        keys.remove("");
        keys
    }

    #[test]
    fn every_language_has_every_key_with_the_same_arguments_and_no_mistake() {
        for language in ALL {
            assert_eq!(keys(language), keys(Language::English), "{language:?}");
            let parsed = FluentResource::try_new(language.texts().to_owned());
            assert!(parsed.is_ok(), "{language:?}: {:?}", parsed.err().map(|(_, errors)| errors));
            let words = Words::new(language);
            for key in keys(language).keys() {
                assert_ne!(words.say(key), *key, "{language:?} cannot say {key}");
            }
        }
        assert!(keys(Language::English).len() > 50);
    }

    /// The files that speak to people through the catalogue alone.
    const SPEAKING: [(&str, &str); 26] = [
        ("agent", include_str!("agent.rs")),
        ("attempt", include_str!("send/attempt.rs")),
        ("asking", include_str!("asking.rs")),
        ("capture", include_str!("commands/capture.rs")),
        ("comment", include_str!("comment.rs")),
        ("consent", include_str!("consent.rs")),
        ("context", include_str!("context.rs")),
        ("debug", include_str!("commands/debug.rs")),
        ("dump", include_str!("commands/dump.rs")),
        ("filter", include_str!("filter.rs")),
        ("forget", include_str!("commands/forget.rs")),
        ("info", include_str!("commands/info.rs")),
        ("key", include_str!("commands/key.rs")),
        ("list", include_str!("commands/list.rs")),
        ("moment", include_str!("moment.rs")),
        ("outgoing", include_str!("outgoing.rs")),
        ("output", include_str!("output.rs")),
        ("passphrase", include_str!("passphrase.rs")),
        ("prompt", include_str!("prompt.rs")),
        ("send", include_str!("send.rs")),
        ("sentence", include_str!("sentence.rs")),
        ("status", include_str!("commands/status.rs")),
        ("surroundings", include_str!("commands/info/surroundings.rs")),
        ("symbols", include_str!("commands/symbols.rs")),
        ("trace", include_str!("commands/trace.rs")),
        ("vacuum", include_str!("commands/vacuum.rs")),
    ];

    /// The texts between quotes of a file's code: no comments, no tests, nothing about files that somebody damaged.
    fn literals(source: &str) -> Vec<&str> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        // A cause that is said in English behind a sentence of the catalogue.
        let causes = [".context(\"", "context(|| format!(", "format!(\"{} is "];
        let spoken = |line: &&str| {
            let line = line.trim_start();
            !["//", "#["].iter().any(|start| line.starts_with(start))
                && !causes.iter().any(|cause| line.contains(cause))
        };
        code.lines().filter(spoken).flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
    }

    #[test]
    fn what_people_are_told_is_in_the_catalogue_and_nowhere_else() {
        let known = keys(Language::English);
        let is_letter = |byte: u8| byte.is_ascii_alphabetic();
        let (mut said, mut english): (BTreeSet<&str>, Vec<String>) = Default::default();
        for (file, source) in SPEAKING {
            for literal in literals(source) {
                let bare = literal.split('{').next().unwrap_or_default().trim_end();
                let words =
                    literal.split(' ').filter(|word| word.len() > 1 && word.bytes().all(is_letter)).count();
                if words >= 2 {
                    english.push(format!("{file}: '{literal}'"));
                }
                said.extend(
                    known
                        .keys()
                        .filter(|key| literal == **key || bare.ends_with('-') && key.starts_with(bare)),
                );
            }
        }
        assert!(english.is_empty(), "not in the catalogue:\n{}", english.join("\n"));
        // Said elsewhere, or in parts: what would leave, and the answers.
        let others = ["ago-", "preview-", "removed-", "answers-", "offer-", "key-"];
        let silent: Vec<_> = known
            .keys()
            .filter(|key| !said.contains(*key) && !others.iter().any(|start| key.starts_with(start)))
            .collect();
        assert!(silent.is_empty(), "nobody says {silent:?}");
        assert!(said.len() > 100, "only {} keys found", said.len());
    }

    #[test]
    fn every_key_that_the_program_says_is_in_the_catalogue() {
        let sources = SPEAKING
            .iter()
            .map(|(_, source)| *source)
            .chain([include_str!("moment.rs"), include_str!("outgoing.rs")]);
        let mut said = 0;
        for source in sources {
            let code = source.split("#[cfg(test)]").next().unwrap_or_default();
            for call in ["say(", "tell(", "count(", "amount("] {
                for rest in code.split(call).skip(1) {
                    let Some(key) =
                        rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                    else {
                        continue;
                    };
                    assert!(keys(Language::English).contains_key(key), "{key}");
                    said += 1;
                }
            }
        }
        assert!(said > 100, "only {said} keys found");
    }

    #[test]
    fn states_and_names_fit_their_columns() {
        for language in ALL {
            let words = Words::new(language);
            for (key, _) in keys(language) {
                let text = words.say(key);
                let limit = match key {
                    "state-pending" | "state-sent" | "state-maybe-sent" | "state-refused" => 10,
                    _ if key.starts_with("state-") => 8,
                    "status-reports" | "status-answers" | "status-sending" | "status-server"
                    | "status-crashes" | "status-lost" | "status-settings" | "status-problem" => 8,
                    "list-columns" => {
                        assert_eq!(text.split_whitespace().count(), 8, "{text}");
                        continue;
                    }
                    _ => continue,
                };
                assert!(text.chars().count() <= limit, "{language:?}: {key} is '{text}'");
            }
        }
    }

    #[test]
    fn no_word_is_two_answers() {
        for language in ALL {
            let words = Words::new(language);
            let mut taken = BTreeSet::new();
            for key in keys(language).keys().filter(|key| key.starts_with("answers-")) {
                for word in words.say(key).split_whitespace() {
                    assert!(taken.insert(word.to_owned()), "{language:?}: '{word}' is two answers");
                }
            }
        }
    }

    #[test]
    fn the_locale_names_the_language_and_english_is_the_rest() {
        for (locale, language) in [
            ("de_DE.UTF-8", Language::German),
            ("de", Language::German),
            ("de@euro", Language::German),
            ("en_GB.UTF-8", Language::English),
            ("C", Language::English),
            ("", Language::English),
            ("den", Language::English),
            ("\u{1b}[2J", Language::English),
        ] {
            assert_eq!(Language::of(locale), language, "{locale:?}");
        }
    }

    #[test]
    fn arguments_are_put_in_as_they_are_and_numbers_choose_the_form() {
        let words = Words::new(Language::German);
        let text = words.tell("happened-killed", &[("program", "{ $signal }"), ("signal", "SIGKILL")]);
        assert_eq!(text, "{ $signal } wurde von außen durch SIGKILL beendet.");
        assert!(words.count("login-waiting", 1).starts_with("1 Absturzbericht wartet"));
        assert!(words.count("login-waiting", 2).starts_with("2 Absturzberichte warten"));
    }
}
