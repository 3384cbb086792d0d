//! A person at a terminal: a program on a real pseudo-terminal of its own, and the keys pressed there.
//!
//! The program leads a session whose controlling terminal this is, so that Ctrl-C and a closed window reach it the way
//! they reach it at a desk.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};

/// How long a program may take to say or do the next thing.
const LIMIT: Duration = Duration::from_secs(60);

/// A program at a terminal of 80 columns.
pub struct Terminal {
    child: Child,
    person: Option<File>,
    // Held open, so that the terminal's modes can be read after the program has ended.
    desk: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
    watcher: Option<JoinHandle<()>>,
    away: Arc<AtomicBool>,
    // How often there was nothing more to see.
    idle: Arc<AtomicUsize>,
    // How much of the screen has been looked for already.
    seen: usize,
}

impl Terminal {
    /// Starts `command` at a terminal.
    ///
    /// # Errors
    /// No pseudo-terminal, or a program that cannot be started.
    pub fn start(command: &Command) -> Result<Terminal> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).context("cannot make a pseudo-terminal")?;
        // Whoever else held them would keep the window open.
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        // setsid makes the terminal the controlling one, then becomes the program.
        let mut seated = Command::new("setsid");
        seated.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => seated.env(name, value),
                None => seated.env_remove(name),
            };
        }
        let child = seated
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(pair.slave.try_clone()?))
            .stdout(Stdio::from(pair.slave.try_clone()?))
            .stderr(Stdio::from(pair.slave.try_clone()?))
            .spawn()
            .context("cannot start setsid")?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let person = File::from(pair.master);
        let (away, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let watcher = watch(person.try_clone()?, Arc::clone(&screen), Arc::clone(&away), Arc::clone(&idle));
        Ok(Terminal {
            child,
            person: Some(person),
            desk: pair.slave,
            screen,
            watcher: Some(watcher),
            away,
            idle,
            seen: 0,
        })
    }

    /// Everything shown so far, with the line ends of a file.
    pub fn screen(&self) -> String {
        let bytes = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    }

    /// Waits until `text` is shown after what was waited for before.
    ///
    /// # Errors
    /// It is not shown in time.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(at) = screen.get(self.seen..).and_then(|rest| rest.find(text)) {
                self.seen += at + text.len();
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                bail!("'{text}' is not shown, but:\n{screen}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Presses keys.
    ///
    /// # Errors
    /// A terminal that was closed.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let person = self.person.as_mut().context("the terminal is closed")?;
        person.write_all(keys.as_bytes()).context("cannot press keys")
    }

    /// The terminal's modes.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn modes(&self) -> Result<Termios> {
        tcgetattr(&self.desk).context("cannot read the modes")
    }

    /// Closes the window.
    pub fn close(&mut self) {
        self.away.store(true, Ordering::SeqCst);
        if let Some(watcher) = self.watcher.take() {
            // A watcher that panicked holds no descriptor either.
            let _ = watcher.join();
        }
        self.person = None;
    }

    /// Waits for the program's end, and until all that it wrote is on the screen.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn end(&mut self) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.see_all();
                return Ok(status);
            }
            ensure!(began.elapsed() < LIMIT, "the program does not end; it shows:\n{}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    // The first time that there is nothing more may have been before the last words.
    fn see_all(&self) {
        let enough = self.idle.load(Ordering::SeqCst) + 2;
        let watches = || self.watcher.as_ref().is_some_and(|watcher| !watcher.is_finished());
        while watches() && self.idle.load(Ordering::SeqCst) < enough {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads what is shown until the terminal is closed from either side.
fn watch(
    mut eyes: File,
    screen: Arc<Mutex<Vec<u8>>>,
    away: Arc<AtomicBool>,
    idle: Arc<AtomicUsize>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while !away.load(Ordering::SeqCst) {
            match poll(&mut [PollFd::new(eyes.as_fd(), PollFlags::POLLIN)], 20_u8) {
                Ok(0) => {
                    idle.fetch_add(1, Ordering::SeqCst);
                }
                Ok(_) => match eyes.read(&mut piece) {
                    Ok(n @ 1..) => {
                        screen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..n]);
                    }
                    _ => return,
                },
                Err(_) => return,
            }
        }
    })
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
