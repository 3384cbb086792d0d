//! Others who mean harm: another process, and whoever sets the environment of a privileged program.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::apart::{apart, fork, not_tried, step, steps, wait_for};

#[test]
fn another_process_can_neither_truncate_nor_write_the_ring() {
    let claim = "strangers::another_process_can_neither_truncate_nor_write_the_ring";
    apart(
        claim,
        |_| {},
        || {
            step(0);
            let path = format!("/proc/{}/fd/{}", std::process::id(), foretrace::descriptor().unwrap());
            wait_for(fork(|| {
                let ring = fs::File::options().read(true).write(true).open(&path).unwrap();
                let size = ring.metadata().unwrap().len();
                assert!(ring.set_len(0).is_err());
                assert!(ring.set_len(size + 4096).is_err());
                assert!(std::os::unix::fs::FileExt::write_at(&ring, b"x", 0).is_err());
                let ring = ring.as_raw_fd();
                let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                // SAFETY: takes numbers.
                assert_eq!(unsafe { libc::fallocate(ring, hole, 0, 1 << 20) }, -1, "a hole was punched");
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                // SAFETY: a new mapping, if it were allowed.
                let map =
                    unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, ring, 0) };
                assert_eq!(map, libc::MAP_FAILED);
                // SAFETY: takes numbers. The seals are sealed: nobody can make the owner's own mapping useless either.
                assert_eq!(unsafe { libc::fcntl(ring, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) }, -1);
            }));
            step(1);
            assert_eq!(steps(), [0, 1]);
        },
    );
}

#[test]
fn a_privileged_program_does_as_its_environment_says_in_nothing() {
    let claim = "strangers::a_privileged_program_does_as_its_environment_says_in_nothing";
    // SAFETY: no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let directory = std::env::temp_dir().join(format!("foretrace-privileged-{}", std::process::id()));
    let body = || {
        // SAFETY: no preconditions.
        assert_ne!(unsafe { libc::getauxval(libc::AT_SECURE) }, 0, "the program has no privileges");
        assert!(foretrace::start(), "the environment switched it off");
        step(7);
        // SAFETY: reads the program's own number.
        assert_eq!(crate::rings::snapshot().recorded, 1);
        assert!(!foretrace::report_error("who would hear it"));
    };
    if std::env::var_os("FORETRACE_TEST_CLAIM").is_some() {
        return body();
    }
    if !is_root {
        return not_tried("privileges", "only root can make a program that gives privileges");
    }
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let (program, evil, trace) = (directory.join("program"), directory.join("evil"), directory.join("trace"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(&evil, format!("#!/bin/sh\ntouch {}\n", trace.display())).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", claim, "--nocapture", "--test-threads=1"])
        .env("FORETRACE_TEST_CLAIM", claim)
        .env("FORETRACE", "off,what=ever")
        .env("FORETRACE_CAPTURE", &evil)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let ran = trace.exists();
    fs::remove_dir_all(&directory).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{complained}", String::from_utf8_lossy(&output.stdout));
    assert!(!complained.contains("FORETRACE"), "{complained}");
    assert!(!ran, "a privileged program ran what its environment named");
}
