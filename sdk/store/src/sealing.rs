//! Encryption with age: a user's key, the files that are sealed to it, and files sealed to somebody else's key.
//!
//! Whoever writes a report needs the public half alone, which lies on its user's shelf as `recipient`; the secret half
//! stays in the user's settings, readable to them alone, and no program of root's ever opens it. It may be encrypted in its
//! turn, with a passphrase that is asked for where a terminal is: by whom is not this file's business. The files are age's
//! own: `age --decrypt --identity …/foretrace/identity` opens them without this program.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::stream::StreamReader;
use age::x25519;
use foretrace_report::text::escape;

use crate::directory::{Directory, read_limited, require_regular};
use crate::incoming::Owner;
use crate::{Places, StoreError, as_user};

/// The public half of a key on its user's shelf.
pub(crate) const RECIPIENT: &str = "recipient";
/// How a file begins that age has encrypted.
const LOCKED: &[u8] = b"age-encryption.org/";
/// What trying a passphrase costs, as a power of two: as age's own program has it, a second and 256 MiB.
const WORK: u8 = 18;
/// What somebody's own choice may cost: 4 GiB.
const MOST_WORK: u8 = 22;
/// Wrong passphrases after which nobody is asked again.
const TRIES: usize = 3;
/// Why nothing can be opened with a locked key.
const NO_PASSPHRASE: &str =
    "its key is locked with a passphrase, which is asked for on a terminal: run this command on one";
/// The longest file with a key in it that is read.
pub(crate) const KEY_LIMIT: u64 = 16 << 10;

/// What locks a key; cleared from memory when it is dropped.
pub type Passphrase = SecretString;

/// The public half of a key: `age1…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Recipient, &'static str> {
        text.trim().parse().map(Recipient).map_err(|_| "it is no public key of age's, such as age1…")
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Recipient {
    /// Writes `plain` so that only the holder of the secret half can read it.
    ///
    /// # Errors
    /// Something that cannot be read or written.
    pub fn seal(&self, plain: &mut impl Read, into: impl Write) -> io::Result<()> {
        let mut sealed = self.sealing(into)?;
        io::copy(plain, &mut sealed)?;
        sealed.finish()?.flush()
    }

    /// A writer whose content only the holder of the secret half can read; it has to be finished.
    ///
    /// # Errors
    /// The head cannot be written.
    pub fn sealing<W: Write>(&self, into: W) -> io::Result<age::stream::StreamWriter<W>> {
        let to = std::iter::once(&self.0 as &dyn age::Recipient);
        age::Encryptor::with_recipients(to).map_err(io::Error::other)?.wrap_output(into)
    }
}

/// A user's key, both halves.
pub struct Key {
    public: Recipient,
    secret: Secret,
}

enum Secret {
    Plain(x25519::Identity),
    // A file of age's, encrypted with a passphrase.
    Locked(Vec<u8>),
}

/// Why a passphrase does not open a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is another one.
    #[error("that is not its passphrase")]
    Wrong,
    /// The file is none that a passphrase opens.
    #[error("{0}")]
    Damaged(String),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { public, .. } = self;
        f.debug_struct("Key").field("public", &public.to_string()).finish_non_exhaustive()
    }
}

impl Key {
    /// This user's key; `None` where there is none.
    ///
    /// # Errors
    /// A file that others may read, that is another user's, or that holds no key.
    pub fn load(places: &Places) -> Result<Option<Key>, StoreError> {
        let path = places.identity();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(shown(&path), error)),
        };
        let metadata = file.metadata().map_err(|error| StoreError::io(shown(&path), error))?;
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(StoreError::Key { path, why: "it belongs to another user" });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(StoreError::Key { path, why: "others may read it; chmod 600 it" });
        }
        let content = read_limited(&mut file, &path, KEY_LIMIT)?;
        if content.starts_with(LOCKED) {
            let public = public_of(places)?;
            return Ok(Some(Key { public, secret: Secret::Locked(content) }));
        }
        match identity_in(&content) {
            Some(identity) => Ok(Some(Key::from(identity))),
            None => Err(StoreError::Key { path, why: "it holds no AGE-SECRET-KEY-1…" }),
        }
    }

    /// Draws a key and keeps it where [`Key::load`] finds it, encrypted where there is a passphrase. One that is there
    /// already is never replaced: what was sealed to it could not be read any more.
    ///
    /// # Errors
    /// There is one, or it cannot be written.
    pub fn create(places: &Places, passphrase: Option<&Passphrase>) -> Result<Key, StoreError> {
        let path = places.identity();
        let error = |error| StoreError::io(shown(&path), error);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(error)?;
        }
        let key = Key::from(x25519::Identity::generate());
        key.keep(places, passphrase, |draft| {
            fs::hard_link(draft, &path)?;
            fs::remove_file(draft)
        })?;
        Ok(key)
    }

    /// Keeps an open key with another passphrase, or with none. At every moment one of both files is there and whole.
    ///
    /// # Errors
    /// A key that is locked, or a file that cannot be written.
    pub fn relock(&self, places: &Places, passphrase: Option<&Passphrase>) -> Result<(), StoreError> {
        self.keep(places, passphrase, |draft| fs::rename(draft, places.identity()))
    }

    fn keep(
        &self,
        places: &Places,
        passphrase: Option<&Passphrase>,
        name: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = places.identity();
        let Secret::Plain(identity) = &self.secret else {
            return Err(StoreError::Key { path, why: "it is locked with a passphrase" });
        };
        let error = |error| StoreError::io(shown(&path), error);
        let text = format!(
            "# Opens the crash reports of this user that are encrypted. Without it they cannot be read.\n\
             # public key: {}\n{}\n",
            self.public,
            identity.to_string().expose_secret()
        );
        let content = match passphrase {
            Some(passphrase) => {
                let mut lock = age::scrypt::Recipient::new(passphrase.clone());
                lock.set_work_factor(WORK);
                age::encrypt(&lock, text.as_bytes()).map_err(|refused| error(io::Error::other(refused)))?
            }
            None => text.into_bytes(),
        };
        // Of a locked key nobody could tell the public half otherwise.
        write_alone(&places.public_identity(), format!("{}\n", self.public).as_bytes())
            .and_then(|draft| fs::rename(draft, places.public_identity()))
            .map_err(error)?;
        let draft = write_alone(&path, &content).map_err(error)?;
        name(&draft).map_err(|refused| {
            // What is left of it holds nothing that the key itself does not.
            let _ = fs::remove_file(&draft);
            error(refused)
        })?;
        let folder = path.parent().map(File::open);
        folder.transpose().and_then(|folder| folder.map_or(Ok(()), |it| it.sync_all())).map_err(error)
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        self.public.clone()
    }

    /// Whether it takes a passphrase to open anything with it.
    pub fn is_locked(&self) -> bool {
        matches!(self.secret, Secret::Locked(_))
    }

    /// The key, opened with its passphrase. Takes about a second, as it would for whoever tries many.
    ///
    /// # Errors
    /// Another passphrase, or a damaged file.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<Key, LockError> {
        let locked = match &self.secret {
            Secret::Plain(identity) => return Ok(Key::from(identity.clone())),
            Secret::Locked(locked) => locked,
        };
        let mut lock = age::scrypt::Identity::new(passphrase.clone());
        lock.set_max_work_factor(MOST_WORK);
        let content = age::decrypt(&lock, locked);
        let content = content.map_err(|error| match error {
            age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => LockError::Wrong,
            error => LockError::Damaged(format!("it cannot be unlocked: {error}")),
        })?;
        let key = identity_in(&content).map(Key::from).filter(|key| key.public == self.public);
        key.ok_or_else(|| LockError::Damaged("what its passphrase opens is another key".to_owned()))
    }

    /// Opens what was sealed to this key; can be read from any place on.
    ///
    /// # Errors
    /// A locked key; content that is damaged or sealed to another key: a sentence.
    pub fn open<R: Read>(&self, sealed: R) -> Result<StreamReader<R>, String> {
        let Secret::Plain(identity) = &self.secret else { return Err(NO_PASSPHRASE.to_owned()) };
        let reason = |error: age::DecryptError| match error {
            age::DecryptError::NoMatchingKeys => "it is encrypted to another key".to_owned(),
            error => format!("it cannot be decrypted: {error}"),
        };
        let decryptor = age::Decryptor::new(sealed).map_err(reason)?;
        decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(reason)
    }
}

impl From<x25519::Identity> for Key {
    fn from(identity: x25519::Identity) -> Key {
        Key { public: Recipient(identity.to_public()), secret: Secret::Plain(identity) }
    }
}

/// The secret key in a file of age's; none where it is another file.
fn identity_in(content: &[u8]) -> Option<x25519::Identity> {
    let text = std::str::from_utf8(content).ok()?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next()?.parse().ok()
}

fn public_of(places: &Places) -> Result<Recipient, StoreError> {
    let path = places.public_identity();
    let mut file = File::open(&path).map_err(|error| StoreError::io(shown(&path), error))?;
    let text = read_limited(&mut file, &path, KEY_LIMIT)?;
    let key = String::from_utf8(text).ok().and_then(|text| text.parse().ok());
    key.ok_or(StoreError::Key { path, why: "it holds no public key" })
}

/// Writes a file beside `path` that only this user may read; returns its name.
fn write_alone(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(draft)
}

/// What a container is read from.
pub trait Content: Read + Seek + Send {}

impl<T: Read + Seek + Send> Content for T {}

/// Asks a person for the passphrase of a key; the argument says whether an answer before was a wrong one. `None` where
/// nobody can be asked, or nothing was answered.
pub type Asker = dyn Fn(bool) -> Option<Passphrase> + Send + Sync;

/// A user's key, looked up when something that was sealed to it is first opened, and unlocked once.
pub struct Keyring {
    places: Places,
    asker: Option<Box<Asker>>,
    key: OnceLock<Result<Key, String>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Keyring {
    /// The key in these places; without an asker, what is sealed to a locked one stays closed.
    pub fn new(places: &Places, asker: Option<Box<Asker>>) -> Keyring {
        Keyring { places: places.clone(), asker, key: OnceLock::new() }
    }

    /// The key, unlocked; asks for its passphrase once, a few times over where a wrong one is given.
    ///
    /// # Errors
    /// There is none, it cannot be read, or nobody has unlocked it.
    pub fn key(&self) -> Result<&Key, StoreError> {
        let found = self.key.get_or_init(|| match Key::load(&self.places) {
            Ok(Some(key)) if key.is_locked() => self.unlocked(&key),
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(format!("its key is not in {}", escape(&shown(&self.places.identity())))),
            Err(error) => Err(error.to_string()),
        });
        found.as_ref().map_err(|why| StoreError::Sealed(why.clone()))
    }

    fn unlocked(&self, key: &Key) -> Result<Key, String> {
        for attempt in 0..TRIES {
            let said = self.asker.as_ref().and_then(|ask| ask(attempt > 0));
            let Some(passphrase) = said else { return Err(NO_PASSPHRASE.to_owned()) };
            match key.unlock(&passphrase) {
                Err(LockError::Wrong) => {}
                other => return other.map_err(|error| error.to_string()),
            }
        }
        Err(LockError::Wrong.to_string())
    }
}

/// The key that the owner of a shelf has put there. One that cannot be read or understood is none: the report matters
/// more, and `foretrace status` tells its owner.
pub(crate) fn recipient_on(shelf: &Directory, owner: Owner) -> Option<Recipient> {
    let mut file = if owner == Owner::current() {
        shelf.open_file(RECIPIENT).ok()?
    } else {
        let file = as_user::open(shelf.as_fd(), owner, RECIPIENT).ok()?;
        require_regular(&file).ok()?;
        file
    };
    let text = read_limited(&mut file, shelf.path(), KEY_LIMIT).ok()?;
    String::from_utf8(text).ok()?.parse().ok()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
