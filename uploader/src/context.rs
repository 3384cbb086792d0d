//! What every command is given: places, settings, the stores, and where output goes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use foretrace_report::ReportId;
use foretrace_report::text::escape;
use foretrace_store::{FindError, Key, Keyring, Places, ReportDir, Settings, Store, StoreError, Warning};

use crate::output::NoMatch;
use crate::passphrase;
use crate::words::{Language, Words};

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// `--root` as it was given, for programs that are started.
    pub root: Option<PathBuf>,
    /// Where everything lies.
    pub places: Places,
    /// The administrator's settings.
    pub settings: Settings,
    /// What of them was not understood.
    pub warnings: Vec<Warning>,
    /// Whether to print JSON.
    pub json: bool,
    /// What is said to people.
    pub words: Words,
    keys: Arc<Keyring>,
}

impl Context {
    /// Reads the settings.
    pub fn new(root: Option<PathBuf>, json: bool) -> Context {
        let places = Places::from_environment(root.as_deref());
        let (settings, warnings) = Settings::load(&places);
        // What programs read is the same in every language.
        let words = Words::new(if json { Language::English } else { Language::from_environment() });
        let keys = Arc::new(Keyring::new(&places, None));
        Context { root, places, settings, warnings, json, words, keys }
    }

    /// Has the passphrase of this user's key asked for at the terminal, once, when something is first opened with it.
    pub fn asking_for_passphrases(self) -> Context {
        let asker = passphrase::asker(self.words.language(), self.places.identity());
        Context { keys: Arc::new(Keyring::new(&self.places, Some(asker))), ..self }
    }

    /// The stores that this user may read.
    pub fn store(&self) -> Store {
        Store::with_keys(&self.places, Arc::clone(&self.keys))
    }

    /// This user's key, unlocked.
    ///
    /// # Errors
    /// There is none, or nobody has unlocked it.
    pub fn key(&self) -> Result<&Key, StoreError> {
        self.keys.key()
    }

    /// The one report that `prefix` names.
    ///
    /// # Errors
    /// None or several; the exit code is 1.
    pub fn find(&self, prefix: &str) -> Result<ReportDir> {
        self.find_in(&self.store(), prefix)
    }

    /// The one report in `store` that `prefix` names.
    ///
    /// # Errors
    /// None or several; the exit code is 1.
    pub fn find_in(&self, store: &Store, prefix: &str) -> Result<ReportDir> {
        store.find(prefix).map_err(|error| NoMatch(self.not_found(&error)).into())
    }

    fn not_found(&self, error: &FindError) -> String {
        const SHOWN: usize = 4;
        match error {
            FindError::None(text) => self.words.tell("find-none", &[("text", &escape(text))]),
            FindError::NotAnId(text) => self.words.tell("find-no-id", &[("text", &escape(text))]),
            FindError::Ambiguous(text, ids) => {
                let mut shown: Vec<String> = ids.iter().take(SHOWN).map(ReportId::to_string).collect();
                shown.extend((ids.len() > SHOWN).then(|| "…".to_owned()));
                let shown = shown.join(", ");
                self.words.amount("find-several", ids.len(), &[("text", &escape(text)), ("shown", &shown)])
            }
            other => other.to_string(),
        }
    }
}
