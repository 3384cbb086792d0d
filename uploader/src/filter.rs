//! MATCH, as coredumpctl's users know it: a PID, a command name, a path, or FIELD=VALUE. Pure.
//!
//! Matches of one field are alternatives; different fields must all fit.

use foretrace_report::Report;
use foretrace_report::text::escape;

use crate::output::WrongUse;
use crate::words::Words;

/// A field that can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Pid,
    Program,
    Exe,
    Signal,
    Kind,
    Package,
    Signature,
    Uid,
}

/// What `list` is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(Field, String)>);

impl Filter {
    /// Understands the MATCH arguments.
    ///
    /// # Errors
    /// An unknown field.
    pub fn parse(matches: &[String], words: &Words) -> Result<Filter, WrongUse> {
        matches.iter().map(|word| parse(word, words)).collect::<Result<_, _>>().map(Filter)
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a report, which belongs to `uid`, fits.
    pub fn fits(&self, report: &Report, uid: u32) -> bool {
        self.0.iter().all(|(field, _)| {
            self.0.iter().filter(|(other, _)| other == field).any(|(_, value)| is(*field, value, report, uid))
        })
    }
}

fn parse(word: &str, words: &Words) -> Result<(Field, String), WrongUse> {
    let Some((name, value)) = word.split_once('=') else {
        let field = match word {
            _ if word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty() => Field::Pid,
            _ if word.contains('/') => Field::Exe,
            _ => Field::Program,
        };
        return Ok((field, word.to_owned()));
    };
    let field = match name {
        "id" => Field::Id,
        "pid" | "COREDUMP_PID" => Field::Pid,
        "program" | "comm" | "COREDUMP_COMM" => Field::Program,
        "exe" | "COREDUMP_EXE" => Field::Exe,
        "signal" | "COREDUMP_SIGNAL" | "COREDUMP_SIGNAL_NAME" => Field::Signal,
        "kind" => Field::Kind,
        "package" | "COREDUMP_PACKAGE_NAME" => Field::Package,
        "signature" => Field::Signature,
        "uid" | "COREDUMP_UID" => Field::Uid,
        _ => {
            return Err(WrongUse(words.tell("match-field", &[("text", &escape(name))])));
        }
    };
    Ok((field, value.to_owned()))
}

fn is(field: Field, value: &str, report: &Report, uid: u32) -> bool {
    match field {
        Field::Id => report.id.to_string().starts_with(value),
        Field::Pid => value.parse() == Ok(report.program.pid),
        Field::Program => report.program.name == value,
        Field::Exe => report.program.exe.as_deref() == Some(value),
        Field::Signal => report.signal.as_ref().is_some_and(|signal| {
            let name = signal.name.strip_prefix("SIG").unwrap_or(&signal.name);
            value.parse() == Ok(signal.number) || value == signal.name || value == name
        }),
        Field::Kind => report.kind.name() == value,
        Field::Package => report.program.package.as_ref().is_some_and(|package| package.name == value),
        Field::Signature => report.signature == value,
        Field::Uid => value.parse() == Ok(uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Language;

    fn report() -> Report {
        serde_json::from_str(
            r#"{"schema":1,"id":"00017f80ff6162636465666768696a6b","kind":"crash","time":"2026-01-01T00:00:00Z",
            "program":{"name":"cat","exe":"/usr/bin/cat","pid":42,"package":{"name":"coreutils","version":"9"}},
            "signal":{"number":11,"name":"SIGSEGV"},"signature":"main"}"#,
        )
        .unwrap()
    }

    fn fits(matches: &[&str]) -> bool {
        let matches: Vec<String> = matches.iter().map(|word| word.to_string()).collect();
        Filter::parse(&matches, &Words::new(Language::English)).unwrap().fits(&report(), 1000)
    }

    #[test]
    fn each_form_finds_what_it_names_and_nothing_else() {
        for (word, expected) in [
            ("42", true),
            ("43", false),
            ("cat", true),
            ("ca", false),
            ("/usr/bin/cat", true),
            ("/bin/cat", false),
            ("signal=SIGSEGV", true),
            ("signal=SEGV", true),
            ("signal=11", true),
            ("signal=6", false),
            ("kind=crash", true),
            ("kind=error", false),
            ("COREDUMP_PID=42", true),
            ("COREDUMP_COMM=dog", false),
            ("uid=1000", true),
            ("uid=0", false),
            ("package=coreutils", true),
            ("id=00017f", true),
            ("signature=", false),
            ("pid=", false),
        ] {
            assert_eq!(fits(&[word]), expected, "{word}");
        }
    }

    #[test]
    fn one_fields_matches_are_alternatives_and_different_fields_must_all_fit() {
        assert!(fits(&["41", "42"]));
        assert!(fits(&["dog", "cat", "signal=SEGV"]));
        assert!(!fits(&["cat", "signal=ABRT"]));
        assert!(fits(&[]));
    }

    #[test]
    fn an_unknown_field_is_wrong_use() {
        assert!(Filter::parse(&["colour=red".into()], &Words::new(Language::English)).is_err());
    }
}
