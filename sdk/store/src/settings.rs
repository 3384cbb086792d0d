//! The administrator's settings: what the keys mean, their defaults, and in which order files win.
//!
//! A bad file never stops anything: what cannot be understood becomes a warning with file and line, the default or
//! the last good value stays, everything else goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foretrace_report::Class;
use foretrace_report::receipt::Protocol;
use foretrace_report::text::escape;

use crate::ini::{self, Assignment};
use crate::{Places, Recipient, Standing, quantity};

/// A settings file longer than this was not written by a person.
const LIMIT: u64 = 1 << 20;

/// A line slower than this never gets a report across.
const SLOWEST: u64 = 16 << 10;

/// How long a report is kept, and how long a yes is good for, where nothing else is said.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[Upload]`
    pub upload: Upload,
    /// `[Consent]`
    pub consent: Consent,
    /// `[Storage]`
    pub storage: Storage,
    /// `[Capture]`
    pub capture: Capture,
    /// `[Symbols] Debuginfod=`
    pub debuginfod: Debuginfod,
    /// `[Privacy]`
    pub privacy: Privacy,
}

/// Where reports go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// `Url=`: the server; none means that nothing can be sent.
    pub url: Option<String>,
    /// `Protocol=`: its dialect.
    pub protocol: Protocol,
    /// `Ask=`: whether the server is asked about the signature before a report goes there; ours only.
    pub ask: bool,
    /// `Rate=`: bytes a second at most; none means no limit.
    pub rate: Option<u64>,
    /// `Certificates=`: a PEM file with further authorities whose servers are trusted.
    pub certificates: Option<PathBuf>,
    /// `Metered=`: whether reports go over a connection that is paid for by volume.
    pub metered: bool,
}

/// What may be decided for or by people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// `Default=`: what happens where a program has no standing answer.
    pub default: Standing,
    /// `Max=`: the widest class that anybody may grant.
    pub max: Class,
    /// `Lock=`: whether standing answers of users are ignored.
    pub lock: bool,
    /// `Expires=`: how long a yes is good for.
    pub expires: Duration,
}

/// How much is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// `MaxUse=`: bytes of all reports together; none means a tenth of the file system, 4 GiB at most.
    pub max_use: Option<u64>,
    /// `KeepFree=`: bytes left free on the file system; none means 15 % of it, 4 GiB at most.
    pub keep_free: Option<u64>,
    /// `MaxAge=`: how old a report may become.
    pub max_age: Duration,
    /// `Encrypt=`: whether reports are encrypted to their users' keys.
    pub encrypt: bool,
    /// `Core=`: whether a whole core is kept as well.
    pub core: CoreStorage,
    /// `Repeats=`: how many crashes of a program in the same way become whole reports; further ones are counted.
    pub repeats: u32,
    /// `RepeatsWithin=`: after this time they may become whole reports again.
    pub repeats_within: Duration,
    /// `CoreMaxUse=`: bytes of all kept cores together; none means a tenth of the file system, 4 GiB at most.
    pub core_max_use: Option<u64>,
}

/// Whether whole cores are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CoreStorage {
    /// They are not.
    #[default]
    None,
    /// They are, after the report is complete.
    Keep,
}

/// How a crash is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// `Timeout=`: how long a crashed process may be held.
    pub timeout: Duration,
    /// `Chain=`: whether the handler that was there before gets the core as well.
    pub chain: bool,
    /// `Ignore=`: executables and units whose crashes make no report; `*` fits anything.
    pub ignore: Vec<String>,
    /// `PlainCore=`: executables and units whose crashes also leave a plain core in their current directory.
    pub plain_core: Vec<String>,
}

/// Where names that a report lacks may be asked for, after consent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Debuginfod {
    /// Where the environment's `DEBUGINFOD_URLS` says, as other tools do.
    #[default]
    Environment,
    /// Nowhere.
    Never,
    /// `Debuginfod=`: at these servers, in this order.
    Servers(Vec<String>),
}

/// What is left out of what leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// `EnvironmentAllow=`: names of environment variables kept besides the built-in ones; a trailing `*` fits any end.
    pub environment_allow: Vec<String>,
    /// `Redact=`: what is looked for in every text that leaves, in the order of the files.
    pub redact: Vec<Redact>,
    /// `Recipient=`: the key that outgoing reports are encrypted to.
    pub recipient: Option<Addressee>,
}

/// The key that an administrator named. What is no key keeps everything here, as with [`Redact`]: nothing leaves in plain
/// that was to be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The key, or what was written instead of one.
    pub key: Result<Recipient, String>,
    /// The file that it stands in.
    pub file: PathBuf,
    /// The line in it.
    pub line: u32,
}

/// An administrator's own rule for text. Whoever applies it compiles it, and refuses to let anything leave where it
/// cannot be compiled: the place says what to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redact {
    /// A regular expression.
    pub pattern: String,
    /// The file that it stands in.
    pub file: PathBuf,
    /// The line in it.
    pub line: u32,
}

impl Default for Upload {
    fn default() -> Self {
        Upload {
            url: None,
            protocol: Protocol::Foretrace,
            ask: true,
            rate: None,
            certificates: None,
            metered: false,
        }
    }
}

impl Default for Consent {
    fn default() -> Self {
        Consent { default: Standing::Ask, max: Class::Core, lock: false, expires: MONTH }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            max_use: None,
            keep_free: None,
            max_age: MONTH,
            encrypt: false,
            core: CoreStorage::None,
            repeats: 5,
            repeats_within: Duration::from_secs(3600),
            core_max_use: None,
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Capture { timeout: Duration::from_secs(8), chain: false, ignore: Vec::new(), plain_core: Vec::new() }
    }
}

/// Something in a settings file that was not understood or not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub file: PathBuf,
    /// The line; none where the whole file is meant.
    pub line: Option<u32>,
    /// What is wrong, and what happens instead.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.file.display().to_string()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", escape(&self.text))
    }
}

impl Settings {
    /// Reads every settings file in systemd's order: the main file, then the fragments of all three directories by
    /// name, where a name in /etc replaces the same name in /run, and that the one in /usr/lib.
    pub fn load(places: &Places) -> (Settings, Vec<Warning>) {
        let mut settings = Settings::default();
        let mut warnings = Vec::new();
        for file in files(places, &mut warnings) {
            match read(&file) {
                Ok(text) => settings.apply(&file, &text, &mut warnings),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warnings.push(Warning { file, line: None, text: format!("cannot be read: {error}") })
                }
            }
        }
        (settings, warnings)
    }

    /// Applies one file's text over what is set already.
    fn apply(&mut self, file: &Path, text: &str, warnings: &mut Vec<Warning>) {
        let mut warn = |line, text| warnings.push(Warning { file: file.to_owned(), line: Some(line), text });
        let (assignments, complaints) = ini::parse(text);
        for (line, complaint) in complaints {
            warn(line, format!("{complaint}; the line is ignored"));
        }
        for assignment in assignments {
            if let Err(complaint) = self.assign(file, &assignment) {
                warn(assignment.line, complaint);
            }
        }
    }

    fn assign(&mut self, file: &Path, assignment: &Assignment) -> Result<(), String> {
        let Assignment { section, key, value, line } = assignment;
        let bad = |expected: &str| format!("{key}={value} is ignored: it must be {expected}");
        let class = || value.parse::<Class>().map_err(|error| format!("{key}= is ignored: {error}"));
        // An empty value takes back what earlier files said, as everywhere in systemd.
        let default = Settings::default();
        let reset = value.is_empty();
        match (section.as_str(), key.as_str()) {
            ("Upload", "Url") if reset => self.upload.url = None,
            ("Upload", "Url") => {
                self.upload.url = Some(url(value).ok_or_else(|| bad("an http or https address"))?)
            }
            ("Upload", "Protocol") if reset => self.upload.protocol = default.upload.protocol,
            ("Upload", "Protocol") => {
                let known = Protocol::ALL.into_iter().find(|protocol| protocol.name() == value);
                self.upload.protocol = known.ok_or_else(|| bad("foretrace, socorro, sentry, faf or otlp"))?;
            }
            ("Upload", "Ask") if reset => self.upload.ask = default.upload.ask,
            ("Upload", "Ask") => {
                self.upload.ask = quantity::boolean(value).ok_or_else(|| bad("yes or no"))?
            }
            ("Upload", "Rate") if reset => self.upload.rate = None,
            ("Upload", "Rate") => {
                let rate = quantity::bytes(value).filter(|rate| *rate >= SLOWEST);
                self.upload.rate =
                    Some(rate.ok_or_else(|| bad("bytes a second such as 200K or 1M, 16K at least"))?);
            }
            ("Upload", "Certificates") if reset => self.upload.certificates = None,
            ("Upload", "Certificates") if value.starts_with('/') => {
                self.upload.certificates = Some(PathBuf::from(value));
            }
            ("Upload", "Certificates") => return Err(bad("the full path of a PEM file")),
            ("Upload", "Metered") if reset => self.upload.metered = default.upload.metered,
            ("Upload", "Metered") => {
                self.upload.metered = quantity::boolean(value).ok_or_else(|| bad("yes or no"))?
            }
            ("Consent", "Default") if reset => self.consent.default = default.consent.default,
            ("Consent", "Default") => {
                self.consent.default = value.parse().map_err(|_| bad("ask, never or always"))?;
            }
            ("Consent", "Max") if reset => self.consent.max = default.consent.max,
            ("Consent", "Max") => self.consent.max = class()?,
            ("Consent", "Lock") if reset => self.consent.lock = default.consent.lock,
            ("Consent", "Lock") => {
                self.consent.lock = quantity::boolean(value).ok_or_else(|| bad("yes or no"))?
            }
            ("Consent", "Expires") if reset => self.consent.expires = default.consent.expires,
            ("Consent", "Expires") => {
                self.consent.expires =
                    quantity::span(value).ok_or_else(|| bad("a time such as 30d or 2w"))?;
            }
            ("Storage", "MaxUse") if reset => self.storage.max_use = None,
            ("Storage", "MaxUse") => {
                self.storage.max_use =
                    Some(quantity::bytes(value).ok_or_else(|| bad("a size such as 500M or 2G"))?);
            }
            ("Storage", "KeepFree") if reset => self.storage.keep_free = None,
            ("Storage", "KeepFree") => {
                self.storage.keep_free =
                    Some(quantity::bytes(value).ok_or_else(|| bad("a size such as 500M or 2G"))?);
            }
            ("Storage", "MaxAge") if reset => self.storage.max_age = default.storage.max_age,
            ("Storage", "MaxAge") => {
                self.storage.max_age =
                    quantity::span(value).ok_or_else(|| bad("a time such as 30d or 2w"))?;
            }
            ("Storage", "Encrypt") if reset => self.storage.encrypt = default.storage.encrypt,
            ("Storage", "Encrypt") => {
                self.storage.encrypt = quantity::boolean(value).ok_or_else(|| bad("yes or no"))?;
            }
            ("Storage", "Core") if reset => self.storage.core = default.storage.core,
            ("Storage", "Core") => {
                self.storage.core = match value.as_str() {
                    "none" => CoreStorage::None,
                    "keep" => CoreStorage::Keep,
                    _ => return Err(bad("none or keep")),
                }
            }
            ("Storage", "Repeats") if reset => self.storage.repeats = default.storage.repeats,
            ("Storage", "Repeats") => {
                self.storage.repeats =
                    repeats(value).ok_or_else(|| bad("a number from 1 on, or infinity"))?;
            }
            ("Storage", "RepeatsWithin") if reset => {
                self.storage.repeats_within = default.storage.repeats_within;
            }
            ("Storage", "RepeatsWithin") => {
                self.storage.repeats_within =
                    quantity::span(value).ok_or_else(|| bad("a time such as 1h or 10min"))?;
            }
            ("Storage", "CoreMaxUse") if reset => self.storage.core_max_use = None,
            ("Storage", "CoreMaxUse") => {
                self.storage.core_max_use =
                    Some(quantity::bytes(value).ok_or_else(|| bad("a size such as 500M or 2G"))?);
            }
            ("Capture", "Chain") if reset => self.capture.chain = default.capture.chain,
            ("Capture", "Chain") => {
                self.capture.chain = quantity::boolean(value).ok_or_else(|| bad("yes or no"))?;
            }
            ("Capture", "Ignore") if reset => self.capture.ignore.clear(),
            ("Capture", "Ignore") => self.capture.ignore.extend(programs(value).map_err(bad)?),
            ("Capture", "PlainCore") if reset => self.capture.plain_core.clear(),
            ("Capture", "PlainCore") => self.capture.plain_core.extend(programs(value).map_err(bad)?),
            ("Capture", "Timeout") if reset => self.capture.timeout = default.capture.timeout,
            ("Capture", "Timeout") => {
                self.capture.timeout = timeout(value).ok_or_else(|| bad("from 1s to 10s"))?
            }
            ("Symbols", "Debuginfod") if reset => self.debuginfod = Debuginfod::Environment,
            ("Symbols", "Debuginfod") => self.debuginfod = debuginfod(value).map_err(bad)?,
            ("Privacy", "EnvironmentAllow") if reset => self.privacy.environment_allow.clear(),
            ("Privacy", "EnvironmentAllow") => {
                self.privacy.environment_allow.extend(value.split_whitespace().map(str::to_owned));
            }
            ("Privacy", "Redact") if reset => self.privacy.redact.clear(),
            ("Privacy", "Redact") => {
                self.privacy.redact.push(Redact {
                    pattern: value.clone(),
                    file: file.to_owned(),
                    line: *line,
                });
            }
            ("Privacy", "Recipient") => {
                let key = || value.parse().map_err(|_| value.clone());
                let addressee = || Addressee { key: key(), file: file.to_owned(), line: *line };
                self.privacy.recipient = (!reset).then(addressee);
                if !reset && key().is_err() {
                    return Err(format!(
                        "{key_name}={value} is no public key of age's, such as age1…; nothing leaves until it is corrected",
                        key_name = assignment.key
                    ));
                }
            }
            ("Upload" | "Consent" | "Storage" | "Capture" | "Symbols" | "Privacy", _) => {
                return Err(format!("'{key}' is no setting in [{section}]; the line is ignored"));
            }
            _ => {
                return Err(format!(
                    "'[{section}]' is no section of foretrace's settings; the line is ignored"
                ));
            }
        }
        Ok(())
    }
}

/// The settings files in the order in which they apply.
fn files(places: &Places, warnings: &mut Vec<Warning>) -> Vec<PathBuf> {
    let mut fragments = BTreeMap::new();
    for directory in places.settings_directories() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let text = format!("cannot be read: {error}");
                warnings.push(Warning { file: directory, line: None, text });
                continue;
            }
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().ends_with(".conf") {
                fragments.insert(entry.file_name(), entry.path());
            }
        }
    }
    // A link to /dev/null or an empty file masks what it replaces: read as a file without settings, it does.
    std::iter::once(places.main_settings()).chain(fragments.into_values()).collect()
}

fn read(file: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An address that a report could be sent to. Whether it may be (https, or http to this machine) the transport decides.
fn url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    (plain && !rest.is_empty() && !rest.starts_with('/')).then(|| text.to_owned())
}

fn debuginfod(text: &str) -> Result<Debuginfod, &'static str> {
    if quantity::boolean(text) == Some(false) {
        return Ok(Debuginfod::Never);
    }
    let servers: Option<Vec<String>> = text.split_whitespace().map(url).collect();
    servers.map(Debuginfod::Servers).ok_or("addresses of servers, or no")
}

fn repeats(text: &str) -> Option<u32> {
    match text {
        "infinity" => Some(u32::MAX),
        _ => text.parse().ok().filter(|number| *number > 0),
    }
}

fn timeout(text: &str) -> Option<Duration> {
    // The kernel holds the process for as long: more than ten seconds helps nobody.
    quantity::span(text).filter(|span| (Duration::from_secs(1)..=Duration::from_secs(10)).contains(span))
}

/// Executables by their whole path and units by their name with its suffix: what is neither would never fit anything.
fn programs(text: &str) -> Result<Vec<String>, &'static str> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let known = |word: &String| word.starts_with(['/', '*']) || word.contains('.');
    let all = words.iter().all(known);
    all.then_some(words).ok_or("paths of executables or names of units, such as /usr/bin/foo or foo.service")
}
