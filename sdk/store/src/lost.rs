//! How many crashes became no report, because the kernel ran as many handlers as it may, or because no report could be
//! written: added up from its log.
//!
//! The log forgets and leaves lines out, so the number is a least. It is kept in the system's state, where everybody may
//! read it: it says nothing about whose crashes they were. Only root reads the log.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use nix::fcntl::RenameFlags;
use nix::libc;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::directory::{Directory, read_limited};
use crate::{Places, StoreError};

const NAME: &str = "lost";
const DRAFT: &str = ".lost.new";
const LOG: &str = "/dev/kmsg";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// What the kernel says of a crash for which it has no handler left.
const SAID: &str = "over core_pipe_limit";
/// What it says of such lines that it left out, behind the function's name.
const LEFT_OUT: &str = " callbacks suppressed";
/// How the handler begins its own line there for a crash whose report could not be written.
pub const NO_REPORT: &str = "foretrace-coredump: no report of process ";
const FUNCTIONS: [&str; 2] = ["coredump_pipe: ", "do_coredump: "];
/// No log has more lines.
const LINES: usize = 1 << 20;

/// Crashes that became no report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// At least so many, since the machine was started.
    pub count: u64,
    // The machine's start, and the first line that was not looked at.
    boot: String,
    next: u64,
    // When the log was looked at, in seconds since 1970.
    at: i64,
}

/// What is known; as root, after a look at the kernel's log, unless the last look was less than `pause` seconds ago. Where
/// the number cannot be kept, as on a full disk, it is added up again at the next look.
///
/// # Errors
/// The store cannot be opened.
pub fn look(places: &Places, now: i64, pause: i64) -> Result<Lost, StoreError> {
    let state = match Directory::open(&places.state()) {
        Err(error) if error.is_missing() => return Ok(Lost::default()),
        other => other?,
    };
    let boot = std::fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned();
    let known = read(&state).filter(|known| known.boot == boot);
    let recent = known.as_ref().is_some_and(|known| (0..pause).contains(&now.saturating_sub(known.at)));
    let mut lost = known.unwrap_or_else(|| Lost { boot, ..Lost::default() });
    if recent || !geteuid().is_root() {
        return Ok(lost);
    }
    // A log that cannot be read says nothing.
    for line in lines().unwrap_or_default() {
        lost.hear(&line);
    }
    lost.at = now;
    let _ = write(&state, &lost);
    Ok(lost)
}

impl Lost {
    // A record of the log: `priority,sequence,time,flags;text`.
    fn hear(&mut self, record: &str) {
        let Some((head, text)) = record.split_once(';') else { return };
        let Some(number) = head.split(',').nth(1).and_then(|number| number.parse::<u64>().ok()) else {
            return;
        };
        if number < self.next {
            return;
        }
        self.next = number + 1;
        let text = text.lines().next().unwrap_or_default();
        let left_out = FUNCTIONS
            .iter()
            .find_map(|function| text.strip_prefix(function)?.strip_suffix(LEFT_OUT)?.parse::<u64>().ok());
        let lost = text.contains(SAID) || text.starts_with(NO_REPORT);
        self.count = self.count.saturating_add(left_out.unwrap_or(u64::from(lost)));
    }
}

fn read(state: &Directory) -> Option<Lost> {
    let mut file = state.open_file(NAME).ok()?;
    serde_json::from_slice(&read_limited(&mut file, NAME.as_ref(), 4096).ok()?).ok()
}

fn write(state: &Directory, lost: &Lost) -> Result<(), StoreError> {
    let text = serde_json::to_vec(lost).map_err(|error| state.error(NAME, io::Error::from(error)))?;
    match state.remove_file(DRAFT) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    let mut draft = state.create_file(DRAFT)?;
    draft
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| draft.write_all(&text))
        .map_err(|error| state.error(NAME, error))?;
    state.rename(DRAFT, state, NAME, RenameFlags::empty())
}

fn lines() -> io::Result<Vec<String>> {
    let mut log: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(LOG)?;
    let mut record = [0; 8192];
    let mut found = Vec::new();
    for _ in 0..LINES {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                if [SAID, LEFT_OUT, NO_REPORT].iter().any(|said| text.contains(said)) {
                    found.push(text.into_owned());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Lines were overwritten meanwhile; the next read goes on behind them.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_lines_left_out_are_added_up_once() {
        let mut lost = Lost::default();
        let log = [
            "4,7,1,-;coredump: 41(a over core_p): over core_pipe_limit, skipping core dump\n SUBSYSTEM=x\n",
            "4,8,1,-;coredump_pipe: 12 callbacks suppressed\n",
            "4,9,1,-;show_signal_msg: 99 callbacks suppressed\n",
            "6,10,1,-;something else\n over core_pipe_limit\n",
            "no record",
            "11,11,1,-;foretrace-coredump: no report of process 41 could be written: the disk is full\n",
            "11,12,1,-;foretrace-coredump: report 41 was not finished: no report of process 41\n",
            "6,13,1,-;traps: foretrace-coredump: no report of process 41\n",
        ];
        for _ in 0..2 {
            log.iter().for_each(|line| lost.hear(line));
        }
        assert_eq!(lost.count, 14);
        lost.hear("4,14,2,-;Pid 41(a) over core_pipe_limit");
        assert_eq!(lost.count, 15);
    }
}
