//! The ends of the journal and of the kernel's log, as bytes. Run by the broker, after the process has been let go.
//!
//! The journal is read by systemd's own program, which knows its format. Only lines of this very process and user are
//! asked for. Nothing is parsed here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

const JOURNAL_PROGRAM: &str = "/usr/bin/journalctl";
const JOURNAL_FOLDERS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
const JOURNAL_LINES: &str = "200";
const JOURNAL_BYTES: usize = 256 << 10;
const JOURNAL_PATIENCE: Duration = Duration::from_millis(1500);
const KERNEL_BYTES: usize = 64 << 10;

/// Whether this machine keeps a journal.
pub fn has_journal() -> bool {
    let kept = JOURNAL_FOLDERS.iter().chain(&["/run/systemd/journal/socket"]);
    Path::new(JOURNAL_PROGRAM).exists() && kept.into_iter().any(|path| Path::new(path).exists())
}

/// The journal's last lines from this process and from this user's others in `unit`. `journalctl` runs with nothing but
/// the right to read the journal: as this process's user, in the group that the journal belongs to.
///
/// # Errors
/// `journalctl` could not be run, failed, or did not answer in time.
pub fn journal(pid: i32, uid: u32, unit: Option<&str>) -> io::Result<Vec<u8>> {
    let mut command = Command::new(JOURNAL_PROGRAM);
    command
        .args(["--boot", "--quiet", "--no-pager", "--output=short-iso-precise", "--lines", JOURNAL_LINES])
        .args(matches(pid, uid, unit))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // To be read, as nothing is opened for writing here: what it complains of is lost.
        .stderr(File::open("/dev/null")?);
    run(command, journal_group(), Instant::now() + JOURNAL_PATIENCE)
}

// Its directories are its readers' group's.
fn journal_group() -> Option<u32> {
    JOURNAL_FOLDERS.iter().find_map(|folder| Some(std::fs::metadata(folder).ok()?.gid()))
}

// What the command prints. One that takes too long is left behind, and ends with this process.
#[allow(unsafe_code)]
fn run(mut command: Command, group: Option<u32>, deadline: Instant) -> io::Result<Vec<u8>> {
    if let Some(group) = group {
        command.gid(group);
    }
    // SAFETY: the closure makes one system call, on numbers.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
    let mut program = command.spawn()?;
    let output = program.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let lines = read_until(output, deadline)?;
    let status = loop {
        match program.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    // What had more to say than is read was told so by the closed pipe.
    if status.success() || status.signal() == Some(libc::SIGPIPE) || lines.len() >= JOURNAL_BYTES {
        Ok(lines)
    } else {
        Err(io::Error::other(format!("journalctl ended with {status}")))
    }
}

/// The last lines of the kernel's log.
///
/// # Errors
/// The system refuses.
#[allow(unsafe_code)]
pub fn kernel() -> io::Result<Vec<u8>> {
    const SYSLOG_ACTION_READ_ALL: libc::c_int = 3;
    let mut buffer = vec![0u8; KERNEL_BYTES];
    // SAFETY: the kernel writes at most the given length into the buffer, which is that long.
    let length = unsafe {
        libc::klogctl(SYSLOG_ACTION_READ_ALL, buffer.as_mut_ptr().cast(), KERNEL_BYTES as libc::c_int)
    };
    buffer.truncate(nix::errno::Errno::result(length)? as usize);
    Ok(buffer)
}

// Whatever the unit: of other users' processes there is not a line.
fn matches(pid: i32, uid: u32, unit: Option<&str>) -> Vec<String> {
    let user = format!("_UID={uid}");
    let mut terms = vec![format!("_PID={pid}"), user.clone()];
    for field in ["_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT"] {
        terms.extend(unit.into_iter().flat_map(|unit| ["+".into(), format!("{field}={unit}"), user.clone()]));
    }
    terms
}

fn read_until(mut source: impl Read + AsFd, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut buffer = [0; 8192];
    while content.len() < JOURNAL_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut [PollFd::new(source.as_fd(), PollFlags::POLLIN)], patience)? == 0 {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        match source.read(&mut buffer)? {
            0 => break,
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(content)
}

/// Whether the kernel's log is root's alone.
pub fn is_restricted() -> bool {
    std::fs::read("/proc/sys/kernel/dmesg_restrict").is_ok_and(|value| value.starts_with(b"1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_asked_for_is_this_users() {
        assert_eq!(matches(7, 33, None), ["_PID=7", "_UID=33"]);
        let terms = matches(7, 33, Some("a.service")).join(" ");
        assert_eq!(terms.split('+').filter(|term| term.contains("_UID=33")).count(), 3, "{terms}");
        assert!(terms.contains("+ _SYSTEMD_UNIT=a.service _UID=33"), "{terms}");
    }

    #[test]
    fn a_program_that_never_ends_is_left_at_the_deadline_and_a_failing_one_is_an_error() {
        let started = Instant::now();
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            run(command, None, started + Duration::from_millis(300))
        };
        assert_eq!(shell("echo a line").unwrap(), b"a line\n");
        assert!(shell("exit 3").unwrap_err().to_string().contains("exit status: 3"));
        for script in ["exec sleep 5", "exec >&-; exec sleep 5"] {
            assert_eq!(shell(script).unwrap_err().kind(), io::ErrorKind::TimedOut, "{script}");
        }
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_source_that_never_ends_is_left_at_the_deadline() {
        let (input, _output) = nix::unistd::pipe().unwrap();
        let started = Instant::now();
        let error = read_until(std::fs::File::from(input), started + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
