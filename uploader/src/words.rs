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

    #[test]
    fn every_key_that_the_program_says_is_in_the_catalogue() {
        let mut said = 0;
        for source in [include_str!("prompt.rs"), include_str!("sentence.rs"), include_str!("agent.rs")] {
            for call in [".say(\"", ".tell(\"", ".count(\"", ".tell(\n            \""] {
                for rest in source.split(call).skip(1) {
                    let key = rest.split('"').next().unwrap_or_default();
                    assert!(keys(Language::English).contains_key(key), "{key}");
                    said += 1;
                }
            }
        }
        assert!(said > 20, "only {said} keys found");
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
