//! The handler that was there before: started as the kernel would start it, with the core on its standard input.
//!
//! Only what was a program in core_pattern can be chained to. Its words are split first and expanded then, as the
//! kernel does: no value can add a word.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::OFlag;

use super::arguments::Crash;
use super::child::{self, Child};
use super::forward::{Receiver, Who};
use super::sandbox;

/// What the previous handler may ask for and the kernel does not tell us.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The process's number in its own namespace.
    pub inner_pid: Option<u32>,
    /// The command name.
    pub name: Vec<u8>,
    /// The executable's path.
    pub executable: Vec<u8>,
}

/// The number under which the previous handler finds the process's pidfd, as the kernel would give it.
const PIDFD: RawFd = 3;

/// The words of a core_pattern's program, expanded for this crash; `None` where it names no program.
///
/// `%i` and `%I` are the process's numbers: which thread crashed, the core says.
pub fn words(pattern: &str, crash: &Crash, names: &Names) -> Option<Vec<OsString>> {
    let template = pattern.strip_prefix('|')?;
    let words: Vec<OsString> =
        template.split_ascii_whitespace().map(|word| expand(word.as_bytes(), crash, names)).collect();
    words.first().is_some_and(|program| program.as_bytes().starts_with(b"/")).then_some(words)
}

fn expand(word: &[u8], crash: &Crash, names: &Names) -> OsString {
    let mut expanded = Vec::new();
    let mut rest = word.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            expanded.push(*byte);
            continue;
        }
        let inner = names.inner_pid.map_or(i64::from(crash.pid), i64::from);
        let number = |number: &dyn ToString| number.to_string().into_bytes();
        expanded.extend(match rest.next() {
            Some(b'%') => b"%".to_vec(),
            Some(b'P' | b'I') => number(&crash.pid),
            Some(b'p' | b'i') => number(&inner),
            Some(b'u') => number(&crash.uid),
            Some(b'g') => number(&crash.gid),
            Some(b'd') => number(&crash.dumpable),
            Some(b's') => number(&crash.signal),
            Some(b't') => number(&crash.time),
            Some(b'c') => number(&crash.core_limit),
            Some(b'C') => b"0".to_vec(),
            Some(b'F') => number(&PIDFD),
            Some(b'h') => escaped(crash.host.as_bytes()),
            Some(b'e') => escaped(&names.name),
            Some(b'E') => escaped(&names.executable),
            Some(b'f') => escaped(names.executable.rsplit(|byte| *byte == b'/').next().unwrap_or_default()),
            // Unknown ones and a last percent sign vanish, as in the kernel.
            _ => Vec::new(),
        });
    }
    OsString::from_vec(expanded)
}

// As the kernel writes names, which must not become paths.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut name: Vec<u8> = name.iter().map(|byte| if *byte == b'/' { b'!' } else { *byte }).collect();
    if matches!(name.as_slice(), b"" | b"." | b"..") {
        name.splice(..name.len().min(1), [b'!']);
    }
    name
}

/// Starts the previous handler. It keeps all of root's rights, as it had them from the kernel.
///
/// # Errors
/// The system has no processes or descriptors. A program that cannot be run ends with code 127.
pub fn start(words: &[OsString], pidfd: Option<BorrowedFd<'_>>) -> io::Result<Receiver> {
    let (input, output) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let process = Child::spawn(None, || {
        let given = || -> io::Result<()> {
            nix::unistd::dup2_stdin(&input)?;
            if let Some(pidfd) = pidfd {
                child::pass_on(pidfd, PIDFD)?;
            }
            sandbox::keep_only(pidfd.map(|_| PIDFD).as_slice())
        };
        match given() {
            Ok(()) => run(words),
            Err(_) => 126,
        }
    })?;
    Receiver::new(Who::Previous, process, output)
}

fn run(words: &[OsString]) -> i32 {
    let Some((program, arguments)) = words.split_first() else { return 127 };
    // The kernel's own environment for handlers.
    let mut command = Command::new(OsStr::new(program));
    command.args(arguments).env_clear().env("HOME", "/").env("TERM", "linux");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let path = "/sbin:/usr/sbin:/bin:/usr/bin";
    // Comes back only when it failed.
    let _ = command.env("PATH", path).exec();
    127
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash() -> Crash {
        let words = "41 1000 1001 11 1700000000 99 my/host 1 3".split(' ').map(Into::into);
        Crash::parse(&words.collect::<Vec<_>>()).unwrap()
    }

    fn expanded(pattern: &str) -> Option<Vec<String>> {
        let names =
            Names { inner_pid: Some(7), name: b"a b/c".to_vec(), executable: b"/opt/x y/prog".to_vec() };
        let words = words(pattern, &crash(), &names)?;
        Some(words.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn every_specifier_is_what_the_kernel_would_have_put_there() {
        let all = "|/h %P %p %I %i %u %g %d %s %t %c %F %h %e %f %E -%%-%q- %";
        let expected = [
            "/h",
            "41",
            "7",
            "41",
            "7",
            "1000",
            "1001",
            "1",
            "11",
            "1700000000",
            "99",
            "3",
            "my!host",
            "a b!c",
            "prog",
            "!opt!x y!prog",
            "-%--",
            "",
        ];
        assert_eq!(expanded(all).unwrap(), expected);
    }

    #[test]
    fn no_value_adds_a_word_or_a_path() {
        assert_eq!(expanded("|/h x%ey").unwrap(), ["/h", "xa b!cy"]);
        assert_eq!(escaped(b".."), b"!.");
        assert_eq!(escaped(b"."), b"!");
        assert_eq!(escaped(b""), b"!");
    }

    #[test]
    fn what_is_no_program_is_not_chained_to() {
        for pattern in ["core", "/var/cores/%p", "@@/run/x", "|", "| ", "|relative"] {
            assert_eq!(expanded(pattern), None, "{pattern}");
        }
    }
}
