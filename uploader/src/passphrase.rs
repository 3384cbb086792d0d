//! The passphrase of this user's key, asked for on the terminal and nowhere else: no variable, argument or file gives one.
//!
//! Owns the terminal while it is typed: nothing of it is shown, and the terminal is as it was before, also after Ctrl-C.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use foretrace_report::text::escape;
use foretrace_store::{Asker, Passphrase};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::context::Context;
use crate::words::{Language, Words};

/// Nobody types more.
const LONGEST: usize = 1024;

/// Asks for the passphrase of the key in this file.
pub fn asker(language: Language, identity: PathBuf) -> Box<Asker> {
    Box::new(move |again| {
        let words = Words::new(language);
        let mut terminal = Hidden::open().ok()?;
        if again {
            terminal.say(&words.say("passphrase-wrong")).ok()?;
        }
        let file = escape(&identity.display().to_string());
        let said = terminal.ask(&words.tell("passphrase-ask", &[("file", &file)])).ok()??;
        (!said.is_empty()).then(|| Passphrase::from(said))
    })
}

/// A new passphrase, typed twice; `None` where it is empty.
///
/// # Errors
/// No terminal, nothing typed to its end, or two different ones.
pub fn new(context: &Context) -> Result<Option<Passphrase>> {
    let words = &context.words;
    let Ok(mut terminal) = Hidden::open() else { bail!(words.say("passphrase-no-terminal")) };
    let first = terminal.ask(&words.say("passphrase-new"))?;
    let second = match &first {
        Some(first) if !first.is_empty() => terminal.ask(&words.say("passphrase-again"))?,
        first => first.clone(),
    };
    match (first, second) {
        (Some(first), Some(second)) if first == second => {
            Ok((!first.is_empty()).then(|| Passphrase::from(first)))
        }
        (Some(_), Some(_)) => bail!(words.say("passphrase-differ")),
        _ => bail!(words.say("passphrase-given-up")),
    }
}

/// The terminal of this process, while it shows nothing of what is typed.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn open() -> io::Result<Hidden> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        // Ctrl-C comes as a character: a signal would leave the terminal without echo.
        hidden.local_flags &= !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Hidden { terminal, before })
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.terminal, "{line}")
    }

    /// One line; `None` where whoever types gives up.
    fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        write!(self.terminal, "{question} ")?;
        self.terminal.flush()?;
        let mut typed = Typed::default();
        let ended = loop {
            let mut byte = [0];
            let end = self.terminal.read(&mut byte)? == 0;
            match if end { Some(Key::GiveUp) } else { typed.take(byte[0]) } {
                None => {}
                Some(Key::Done) => break Some(String::from_utf8_lossy(&typed.0).into_owned()),
                Some(Key::GiveUp) => break None,
            }
        };
        writeln!(self.terminal)?;
        Ok(ended)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(&self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// What has been typed of a line.
#[derive(Default)]
struct Typed(Vec<u8>);

#[derive(Debug, PartialEq, Eq)]
enum Key {
    Done,
    GiveUp,
}

impl Typed {
    fn take(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'\n' | b'\r' => return Some(Key::Done),
            // Ctrl-C, Ctrl-D, Ctrl-\.
            0x03 | 0x04 | 0x1c => return Some(Key::GiveUp),
            // Backspace takes a whole character.
            0x08 | 0x7f => while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // Ctrl-U.
            0x15 => self.0.clear(),
            0x20.. if self.0.len() < LONGEST => self.0.push(byte),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (String, Option<Key>) {
        let mut typed = Typed::default();
        let end = keys.iter().find_map(|byte| typed.take(*byte));
        (String::from_utf8(typed.0).unwrap(), end)
    }

    #[test]
    fn keys_that_mend_a_line_are_no_part_of_a_passphrase() {
        assert_eq!(typed(b"geheim\r"), ("geheim".into(), Some(Key::Done)));
        assert_eq!(typed("aü\x7f\x7fb\n".as_bytes()), ("b".into(), Some(Key::Done)));
        assert_eq!(typed(b"\x7fwrong\x15right\n"), ("right".into(), Some(Key::Done)));
        assert_eq!(typed(b"a\x03b\n"), ("a".into(), Some(Key::GiveUp)));
        assert_eq!(typed(b"a\x1b\x1a\tb"), ("ab".into(), None));
        assert_eq!(typed(&[b'x'; 5000]).0.len(), LONGEST);
    }
}
