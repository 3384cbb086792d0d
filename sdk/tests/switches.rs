//! `FORETRACE` in the environment of real processes: this test runs itself.
#![allow(unsafe_code, clippy::unwrap_used)]

mod rings;

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use foretrace::{event, span};

/// Set for the process that records.
const CHILD: &str = "FORETRACE_TEST_CHILD";

/// Records, and says how often each site's value was asked for and what the ring holds.
fn record() {
    for _ in 0..3 {
        event!(target: "app::db", debug, "db debug");
        event!(target: "app::db::pool", trace, "pool trace");
        event!(target: "network", error, "net error");
        let _span = span!(target: "network", info, "net span");
        event!(target: "other", trace, "other trace");
    }
    let descriptor = foretrace::descriptor();
    let mut names: Vec<String> = match descriptor {
        Some(_) => {
            let trail = rings::trail(&rings::snapshot());
            trail.events.iter().map(|event| trail.kind_of(event).name.clone()).collect()
        }
        None => vec!["no ring".into()],
    };
    names.dedup();
    names.truncate(names.len().min(4));
    println!("said: {}", names.join(", "));
}

fn child(switches: Option<&str>, prepare: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "events_pass_as_the_environment_says", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1").env_remove("FORETRACE").envs(switches.map(|value| ("FORETRACE", value)));
    prepare(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "FORETRACE={switches:?}: {output:?}");
    output
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_once("said: ").map(|(_, said)| said.lines().next().unwrap_or("").into()).unwrap_or_default()
}

#[test]
fn events_pass_as_the_environment_says() {
    if std::env::var_os(CHILD).is_some() {
        return record();
    }
    let all = "db debug, pool trace, net error, net span begin";
    for (switches, passing) in [
        (None, all),
        (Some(""), all),
        (Some("app::db=debug,net*=off"), "db debug, other trace, db debug, other trace"),
        (Some("off"), "no ring"),
        (Some("off,app=trace"), "db debug, pool trace, db debug, pool trace"),
        (Some("error"), "net error"),
        (Some("nobody=off,off"), "no ring"),
    ] {
        let output = child(switches, |_| {});
        assert_eq!(said(&output), passing, "FORETRACE={switches:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("foretrace"), "{output:?}");
    }
}

#[test]
fn a_rule_that_is_wrong_is_said_and_harms_nobody() {
    let wrong = "app=loud,net*=off,=x";
    let output = child(Some(wrong), |_| {});
    assert_eq!(said(&output), "db debug, pool trace, other trace, db debug");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("FORETRACE, at character 1: `app=loud` is ignored: the level is one of off,"),
        "{complaint}"
    );
    assert!(complaint.contains("at character 19: `=x` is ignored: there is no provider"), "{complaint}");
    child(Some(&"x=off,".repeat(5000)), |_| {});

    // Standard error is closed, full, without a reader, at its limit.
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::process::CommandExt;
    child(Some(wrong), |command| {
        let close = || {
            // SAFETY: takes a number.
            unsafe { libc::close(2) };
            Ok(())
        };
        // SAFETY: between fork and exec, a system call.
        unsafe { command.pre_exec(close) };
    });
    let pipe = || {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors, which are nobody else's.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        // SAFETY: just made.
        ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) })
    };
    // The test harness inherits an ignored SIGPIPE; the host has the default.
    fn default_pipe() -> std::io::Result<()> {
        // SAFETY: sets a default action.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        Ok(())
    }
    let [reader, writer] = pipe();
    drop(reader);
    child(Some(wrong), |command| {
        // SAFETY: between fork and exec, a system call.
        unsafe { command.stderr(Stdio::from(writer)).pre_exec(default_pipe) };
    });
    let [_reader, writer] = pipe();
    let mut writer = File::from(writer);
    // SAFETY: takes numbers.
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_SETFL, libc::O_NONBLOCK) };
    while writer.write(&[0; 4096]).is_ok() {}
    // SAFETY: takes numbers.
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_SETFL, 0) };
    child(Some(wrong), |command| {
        command.stderr(Stdio::from(writer));
    });
    let full = tempfile();
    child(Some(wrong), |command| {
        let limit = || {
            let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: reads the structure it is given.
            unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) };
            Ok(())
        };
        // SAFETY: between fork and exec, a system call.
        unsafe { command.stderr(Stdio::from(full)).pre_exec(limit) };
    });
}

fn tempfile() -> File {
    // SAFETY: a terminated name.
    let descriptor = unsafe { libc::memfd_create(c"stderr".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(descriptor >= 0);
    // SAFETY: just made.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(descriptor) }
}
