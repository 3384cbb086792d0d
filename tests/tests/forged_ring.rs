//! A name in `maps` proves nothing: what only calls itself a ring, or belongs to someone else, is a problem in the
//! report and is not copied.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, built_programs};

/// Crashes a Python that maps what `open_it` leaves in `f`.
fn crash_with_mapping(world: &Installed, open_it: &str) -> Result<Evidence> {
    let script = format!(
        "import ctypes, fcntl, mmap, os\n{open_it}\nm = mmap.mmap(f, os.fstat(f).st_size, mmap.MAP_SHARED, mmap.PROT_READ)\nctypes.string_at(0)"
    );
    let id = world.crash(Command::new("/usr/bin/python3").args(["-c", &script]))?;
    Evidence::open(world, &id)
}

fn refused(evidence: &Evidence, why: &str) -> Result<()> {
    let problems = &evidence.report.problems;
    ensure!(problems.iter().any(|problem| problem.part == "trail"), "{why}: no problem among {problems:?}");
    let copied: Vec<_> = evidence.parts.iter().filter(|(name, _)| name.starts_with("trace/")).collect();
    ensure!(copied.is_empty(), "{why}: copied {} parts", copied.len());
    Ok(())
}

#[test]
fn a_memfd_that_only_bears_the_name_is_a_problem_and_not_copied() -> Result<()> {
    let world = Installed::new()?;
    let unsealed = "f = os.memfd_create('foretrace.v1')\nos.write(f, b'forged-ring-marker' * 4096)";
    refused(&crash_with_mapping(&world, unsealed)?, "unsealed")?;
    // F_ADD_SEALS with SEAL | SHRINK | GROW: all that the outside of a ring has.
    let sealed = "f = os.memfd_create('foretrace.v1', os.MFD_ALLOW_SEALING)\nos.write(f, b'forged-ring-marker' * 4096)\nfcntl.fcntl(f, 1033, 7)";
    let evidence = crash_with_mapping(&world, sealed)?;
    refused(&evidence, "sealed")?;
    let in_problems =
        evidence.report.problems.iter().any(|problem| problem.what.contains("forged-ring-marker"));
    ensure!(!in_problems, "the forgery's content is in a problem");
    Ok(())
}

#[test]
fn a_file_that_only_looks_like_a_memfd_is_a_problem_and_not_copied() -> Result<()> {
    let world = Installed::new()?;
    let on_tmpfs = "p = '/dev/shm/memfd:foretrace.v1'\nf = os.open(p, os.O_RDWR | os.O_CREAT | os.O_TRUNC)\nos.write(f, b'forged-ring-marker' * 4096)\nos.unlink(p)";
    let evidence = crash_with_mapping(&world, on_tmpfs)?;
    let copied = evidence.parts.iter().any(|(name, _)| name.starts_with("trace/"));
    ensure!(!copied, "an unlinked file was taken for a ring");
    Ok(())
}

#[test]
fn another_process_ring_is_a_problem_and_not_copied() -> Result<()> {
    let world = Installed::new()?;
    let mut owner = Command::new(built_programs()?.join("ring-holder"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut path = String::new();
    BufReader::new(owner.stdout.take().context("no stdout")?).read_line(&mut path)?;
    let open_it = format!("f = os.open('{}', os.O_RDONLY)", path.trim_end());
    let evidence = crash_with_mapping(&world, &open_it);
    drop(owner.stdin.take());
    owner.wait()?;
    let evidence = evidence?;
    refused(&evidence, "another's ring")?;
    ensure!(evidence.trail.events.is_empty(), "another process's events are in the report");
    Ok(())
}
