//! What the kernel says about a crash on the handler's command line: `%P %u %g %s %t %c %h %d %F`.
//!
//! Parsed by hand and by position: the host name is anybody's text and must not be taken for an option.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// The specifiers behind the handler's path in core_pattern, in the order that [`Crash::parse`] expects.
pub const SPECIFIERS: &str = "%P %u %g %s %t %c %h %d %F";

/// What the kernel knows of a crash when it starts the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Where state, settings and run-time files lie; `/` but in tests.
    pub root: PathBuf,
    /// `%P`: the process, numbered on the host.
    pub pid: i32,
    /// `%u`: its real user.
    pub uid: u32,
    /// `%g`: its real group.
    pub gid: u32,
    /// `%s`: the signal.
    pub signal: i32,
    /// `%t`: seconds since 1970.
    pub time: i64,
    /// `%c`: its limit for core files, in bytes. Says nothing about reports.
    pub core_limit: u64,
    /// `%h`: the host's name.
    pub host: OsString,
    /// `%d`: 0 never, 1 by its user, 2 by root alone.
    pub dumpable: u32,
    /// `%F`: the descriptor of its pidfd; kernels before 6.16 give none.
    pub pidfd: Option<RawFd>,
}

/// A command line that the kernel does not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's arguments are wrong at {what}: core_pattern must end in `{SPECIFIERS}`")]
pub struct WrongArguments {
    what: &'static str,
}

impl Crash {
    /// Whether these arguments (without the program's name) are the kernel's rather than a person's.
    pub fn is_meant(arguments: &[OsString]) -> bool {
        let first = match arguments {
            [option, _, first, ..] if option == "--root" => first,
            [first, ..] => first,
            [] => return false,
        };
        !first.is_empty() && first.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    }

    /// Parses the arguments that follow the program's name.
    ///
    /// # Errors
    /// A number that is missing or is none.
    pub fn parse(arguments: &[OsString]) -> Result<Crash, WrongArguments> {
        let (root, values) = match arguments {
            [option, root, rest @ ..] if option == "--root" => (PathBuf::from(root), rest),
            rest => (PathBuf::from("/"), rest),
        };
        let pid = number(values, 0, "%P")?;
        if pid <= 0 {
            return Err(WrongArguments { what: "%P" });
        }
        Ok(Crash {
            root,
            pid,
            uid: number(values, 1, "%u")?,
            gid: number(values, 2, "%g")?,
            signal: number(values, 3, "%s")?,
            time: number(values, 4, "%t")?,
            core_limit: number(values, 5, "%c")?,
            host: values.get(6).cloned().ok_or(WrongArguments { what: "%h" })?,
            dumpable: number(values, 7, "%d")?,
            // A kernel that does not know %F leaves the argument empty.
            pidfd: number(values, 8, "%F").ok().filter(|descriptor| *descriptor > 2),
        })
    }
}

fn number<T: std::str::FromStr>(
    values: &[OsString],
    index: usize,
    what: &'static str,
) -> Result<T, WrongArguments> {
    let text = values.get(index).and_then(|value| value.to_str());
    text.and_then(|text| text.parse().ok()).ok_or(WrongArguments { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    const LINE: &str = "41 1000 1000 11 1700000000 18446744073709551615 host 1 3";

    #[test]
    fn the_kernels_arguments_are_read_by_position() {
        let crash = Crash::parse(&words(LINE)).unwrap();
        assert_eq!((crash.pid, crash.uid, crash.signal, crash.dumpable), (41, 1000, 11, 1));
        assert_eq!((crash.core_limit, crash.pidfd), (u64::MAX, Some(3)));
        assert_eq!(crash.root, PathBuf::from("/"));
        let below = Crash::parse(&words(&format!("--root /tmp/r {LINE}"))).unwrap();
        assert_eq!(below.root, PathBuf::from("/tmp/r"));
    }

    #[test]
    fn a_host_name_is_never_an_option() {
        let mut hostile = words(LINE);
        hostile[6] = "--root".into();
        let crash = Crash::parse(&hostile).unwrap();
        assert_eq!((crash.root, crash.host), (PathBuf::from("/"), OsString::from("--root")));
    }

    #[test]
    fn an_older_kernel_gives_no_pidfd() {
        for last in ["", "%F", "0"] {
            let mut values = words(LINE);
            values[8] = last.into();
            assert_eq!(Crash::parse(&values).unwrap().pidfd, None);
        }
        assert_eq!(Crash::parse(&words(LINE)[..8]).unwrap().pidfd, None);
    }

    #[test]
    fn missing_and_wrong_values_are_named() {
        assert_eq!(Crash::parse(&words("41 1000 x")), Err(WrongArguments { what: "%g" }));
        assert_eq!(Crash::parse(&words("0 1 1 1 1 1 h 1 3")), Err(WrongArguments { what: "%P" }));
        assert_eq!(Crash::parse(&[]), Err(WrongArguments { what: "%P" }));
    }

    #[test]
    fn a_persons_words_are_not_the_kernels() {
        assert!(Crash::is_meant(&words(LINE)));
        assert!(Crash::is_meant(&words(&format!("--root /r {LINE}"))));
        for line in ["install", "--root /r status", "--help", "", "--root"] {
            assert!(!Crash::is_meant(&words(line)), "{line}");
        }
    }
}
