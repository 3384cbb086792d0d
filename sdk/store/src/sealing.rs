//! Encryption with age: a user's key, the files that are sealed to it, and files sealed to somebody else's key.
//!
//! Whoever writes a report needs the public half alone, which lies on its user's shelf as `recipient`; the secret half
//! stays in the user's settings, readable to them alone, and no program of root's ever opens it. The files are age's own:
//! `age --decrypt --identity …/foretrace/identity` opens them without this program.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use age::secrecy::ExposeSecret as _;
use age::stream::StreamReader;
use age::x25519;
use foretrace_report::text::escape;

use crate::directory::{Directory, read_limited, require_regular};
use crate::incoming::Owner;
use crate::{Places, StoreError, as_user};

/// The public half of a key on its user's shelf.
pub(crate) const RECIPIENT: &str = "recipient";
/// The longest file with a key in it that is read.
pub(crate) const KEY_LIMIT: u64 = 16 << 10;

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
pub struct Key(x25519::Identity);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.recipient().to_string()).finish()
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
        let text = read_limited(&mut file, &path, KEY_LIMIT)?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        match lines.next().map(str::parse) {
            Some(Ok(identity)) => Ok(Some(Key(identity))),
            _ => Err(StoreError::Key { path, why: "it holds no AGE-SECRET-KEY-1…" }),
        }
    }

    /// Draws a key and keeps it where [`Key::load`] finds it. One that is there already is never replaced: what was sealed
    /// to it could not be read any more.
    ///
    /// # Errors
    /// There is one, or it cannot be written.
    pub fn create(places: &Places) -> Result<Key, StoreError> {
        let path = places.identity();
        let error = |error| StoreError::io(shown(&path), error);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(error)?;
        }
        let key = Key(x25519::Identity::generate());
        let text = format!(
            "# Opens the crash reports of this user that are encrypted. Without it they cannot be read.\n\
             # public key: {}\n{}\n",
            key.recipient(),
            key.0.to_string().expose_secret()
        );
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(error)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(error)?;
        Ok(key)
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// Opens what was sealed to this key; can be read from any place on.
    ///
    /// # Errors
    /// Content that is damaged or sealed to another key, as a sentence.
    pub fn open<R: Read>(&self, sealed: R) -> Result<StreamReader<R>, String> {
        let reason = |error: age::DecryptError| match error {
            age::DecryptError::NoMatchingKeys => "it is encrypted to another key".to_owned(),
            error => format!("it cannot be decrypted: {error}"),
        };
        let decryptor = age::Decryptor::new(sealed).map_err(reason)?;
        decryptor.decrypt(std::iter::once(&self.0 as &dyn age::Identity)).map_err(reason)
    }
}

/// What a container is read from.
pub trait Content: Read + Seek + Send {}

impl<T: Read + Seek + Send> Content for T {}

/// A user's key, looked up when something that was sealed to it is first opened.
#[derive(Debug)]
pub(crate) struct Keyring {
    places: Places,
    key: OnceLock<Result<Key, String>>,
}

impl Keyring {
    pub(crate) fn new(places: &Places) -> Keyring {
        Keyring { places: places.clone(), key: OnceLock::new() }
    }

    pub(crate) fn key(&self) -> Result<&Key, StoreError> {
        let found = self.key.get_or_init(|| match Key::load(&self.places) {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(format!("its key is not in {}", escape(&shown(&self.places.identity())))),
            Err(error) => Err(error.to_string()),
        });
        found.as_ref().map_err(|why| StoreError::Sealed(why.clone()))
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
