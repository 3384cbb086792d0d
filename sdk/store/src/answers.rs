//! A user's standing answers: what they said once for all reports of a program.
//!
//! Owns the file `answers.json` in the user's state. The administrator's settings cap what it may grant; that rule is
//! applied by whoever asks.

use std::collections::BTreeMap;

use foretrace_report::Class;
use serde::{Deserialize, Serialize};

use crate::directory::{Directory, read_limited};
use crate::{Places, StoreError, Warning};

const NAME: &str = "answers.json";
const LIMIT: u64 = 1 << 20;

/// What happens with a report when nobody is asked about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Wait for an answer.
    #[default]
    Ask,
    /// Do not send.
    Never,
    /// Send without asking.
    Always,
}

impl Standing {
    /// The word used in settings, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Ask => "ask",
            Standing::Never => "never",
            Standing::Always => "always",
        }
    }
}

impl std::str::FromStr for Standing {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Standing::Ask, Standing::Never, Standing::Always]
            .into_iter()
            .find(|standing| standing.name() == word)
            .ok_or_else(|| {
                format!("'{}' is no answer: use ask, never or always", foretrace_report::text::escape(word))
            })
    }
}

/// The answer for one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingAnswer {
    /// What to do.
    pub answer: Standing,
    /// The widest class that `always` sends; the usual preset where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Class>,
}

/// All of a user's standing answers, by command name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingAnswers {
    programs: BTreeMap<String, StandingAnswer>,
}

impl StandingAnswers {
    /// Reads them; a file that cannot be understood means that everything is asked, and a warning.
    pub fn load(places: &Places) -> (StandingAnswers, Vec<Warning>) {
        let path = places.user_state().join(NAME);
        let content = Directory::open(&places.user_state())
            .and_then(|state| state.open_file(NAME))
            .and_then(|mut file| read_limited(&mut file, &path, LIMIT));
        let warned = |text: String| {
            (StandingAnswers::default(), vec![Warning { file: path.clone(), line: None, text }])
        };
        match content.map(|json| serde_json::from_slice(&json)) {
            Ok(Ok(answers)) => (answers, Vec::new()),
            Ok(Err(error)) => {
                warned(format!("cannot be understood ({error}): every report will be asked about"))
            }
            Err(error) if error.is_missing() => Default::default(),
            Err(error) => warned(error.to_string()),
        }
    }

    /// The answer for a program, by its command name.
    pub fn of(&self, program: &str) -> Option<StandingAnswer> {
        self.programs.get(program).copied()
    }

    /// Every program that has an answer.
    pub fn iter(&self) -> impl Iterator<Item = (&str, StandingAnswer)> {
        self.programs.iter().map(|(name, answer)| (name.as_str(), *answer))
    }

    /// Sets a program's answer; `ask` without a limit forgets it.
    pub fn set(&mut self, program: &str, answer: StandingAnswer) {
        if answer == (StandingAnswer { answer: Standing::Ask, max: None }) {
            self.programs.remove(program);
        } else {
            self.programs.insert(program.to_owned(), answer);
        }
    }

    /// Writes them back.
    ///
    /// # Errors
    /// The user's state directory cannot be written.
    pub fn save(&self, places: &Places) -> Result<(), StoreError> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| StoreError::io(NAME, std::io::Error::other(error)))?;
        Directory::create(&places.user_state(), 0o700)?.write_atomically(NAME, &json)
    }
}
