//! Data classes: what a person grants, and what each part of a report is marked with.
//!
//! Owns the six classes, sets of them, and the presets that a prompt offers. Decides nothing about a given report;
//! which classes a person may grant is policy and lives with the settings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of data a part of a report holds. A person grants sets of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Class {
    /// Program, version, signal, signature.
    Summary = 0,
    /// The frames of every thread.
    Stack = 1,
    /// The application's own events, annotations and messages.
    Trail = 2,
    /// Kernel and journal lines.
    Logs = 3,
    /// The minidump and the process's state, environment among it.
    Memory = 4,
    /// A whole core.
    Core = 5,
}

impl Class {
    /// All classes, narrowest first.
    pub const ALL: [Class; 6] =
        [Class::Summary, Class::Stack, Class::Trail, Class::Logs, Class::Memory, Class::Core];

    /// The name used in settings, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Class::Summary => "summary",
            Class::Stack => "stack",
            Class::Trail => "trail",
            Class::Logs => "logs",
            Class::Memory => "memory",
            Class::Core => "core",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no class name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no data class: use summary, stack, trail, logs, memory or core")]
pub struct UnknownClass(pub String);

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(word: &str) -> Result<Self, UnknownClass> {
        Class::ALL.into_iter().find(|class| class.name() == word).ok_or_else(|| UnknownClass(word.to_owned()))
    }
}

/// A set of data classes. In JSON an array of names, narrowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassSet(u8);

impl ClassSet {
    /// The set that grants nothing.
    pub const EMPTY: ClassSet = ClassSet(0);

    /// Whether `class` is in the set.
    pub fn contains(self, class: Class) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// The set with `class` added.
    #[must_use]
    pub fn with(self, class: Class) -> ClassSet {
        ClassSet(self.0 | 1 << class as u8)
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(self, other: ClassSet) -> ClassSet {
        ClassSet(self.0 & other.0)
    }

    /// Whether everything in this set is in `other`.
    pub fn is_subset(self, other: ClassSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether nothing is granted.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The classes, narrowest first.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.contains(*class))
    }
}

impl FromIterator<Class> for ClassSet {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        classes.into_iter().fold(ClassSet::EMPTY, ClassSet::with)
    }
}

impl fmt::Display for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, class) in self.iter().enumerate() {
            write!(f, "{}{class}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Parses `a,b,c` (as `--only` takes it).
impl FromStr for ClassSet {
    type Err = UnknownClass;

    fn from_str(list: &str) -> Result<Self, UnknownClass> {
        list.split(',').map(|word| word.trim().parse()).collect()
    }
}

impl Serialize for ClassSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for ClassSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Class>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// The steps that a prompt offers: each holds a class and everything narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preset(pub Class);

impl Preset {
    /// All presets, narrowest first; the last is *everything*.
    pub const ALL: [Preset; 6] = [
        Preset(Class::Summary),
        Preset(Class::Stack),
        Preset(Class::Trail),
        Preset(Class::Logs),
        Preset(Class::Memory),
        Preset(Class::Core),
    ];

    /// The one that a prompt marks as usual.
    pub const USUAL: Preset = Preset(Class::Trail);

    /// The classes that this preset grants.
    pub fn classes(self) -> ClassSet {
        Class::ALL.into_iter().filter(|class| *class <= self.0).collect()
    }
}

/// Accepts a class name, with or without a leading `+`, and `everything`.
impl FromStr for Preset {
    type Err = UnknownClass;

    fn from_str(word: &str) -> Result<Self, UnknownClass> {
        match word.trim_start_matches('+') {
            "everything" => Ok(Preset(Class::Core)),
            name => name.parse().map(Preset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_holds_its_class_and_everything_narrower() {
        assert_eq!(Preset::USUAL.classes().to_string(), "summary,stack,trail");
        assert_eq!("everything".parse::<Preset>().unwrap().classes().iter().count(), 6);
        assert_eq!("+logs".parse::<Preset>().unwrap(), Preset(Class::Logs));
    }

    #[test]
    fn an_exact_set_keeps_only_what_was_named() {
        let set: ClassSet = "trail,summary".parse().unwrap();
        assert_eq!(set.to_string(), "summary,trail");
        assert!(!set.contains(Class::Stack));
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["summary","trail"]"#);
        assert_eq!("summary,everything".parse::<ClassSet>(), Err(UnknownClass("everything".into())));
    }
}
