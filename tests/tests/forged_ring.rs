//! A name in `maps` proves nothing: what only calls itself a ring, or belongs to someone else, is a problem in the
//! report and is not copied.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use foretrace_ring::layout;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, built_programs};
use nix::fcntl::{FallocateFlags, fallocate};

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

/// A process with a ring, which ends with its input, and where its ring is.
fn ring_holder() -> Result<(Child, String)> {
    telling(&mut Command::new(built_programs()?.join("ring-holder")))
}

/// Starts what says where its ring is.
fn telling(command: &mut Command) -> Result<(Child, String)> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut path = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut path)?;
    ensure!(path.starts_with("/proc/"), "it has no ring");
    Ok((child, path.trim_end().to_owned()))
}

#[test]
fn another_process_ring_is_a_problem_and_not_copied() -> Result<()> {
    let world = Installed::new()?;
    let (mut owner, path) = ring_holder()?;
    let open_it = format!("f = os.open('{}', os.O_RDONLY)", path);
    let evidence = crash_with_mapping(&world, &open_it);
    drop(owner.stdin.take());
    owner.wait()?;
    let evidence = evidence?;
    refused(&evidence, "another's ring")?;
    ensure!(evidence.trail.events.is_empty(), "another process's events are in the report");
    Ok(())
}

/// Shows a memfd of so many bytes as its ring, to which others may write as well, and crashes when its input ends.
const SHARING: &str = "import ctypes, fcntl, mmap, os, sys
size = int(sys.argv[1])
f = os.memfd_create('foretrace.v1', os.MFD_ALLOW_SEALING)
os.ftruncate(f, size)
fcntl.fcntl(f, 1033, 7)
m = mmap.mmap(f, size)
print(f'/proc/{os.getpid()}/fd/{f}', flush=True)
sys.stdin.read()
ctypes.string_at(0)";

/// A victim that shares its ring, and the ring, which holds what `original` does, but is the victim's own.
fn sharing(original: &[u8]) -> Result<(Child, File, Vec<u8>)> {
    let mut victim = Command::new("/usr/bin/python3");
    victim.args(["-c", SHARING, &original.len().to_string()]);
    let (victim, path) = telling(&mut victim)?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", victim.id()))?;
    let start: u64 =
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)).context("no start")?.parse()?;
    let mut content = original.to_vec();
    let (pid, began) = (usize::try_from(layout::AT_OWNER)?, usize::try_from(layout::AT_OWNER_START)?);
    content[pid..pid + 4].copy_from_slice(&victim.id().to_le_bytes());
    content[began..began + 8].copy_from_slice(&start.to_le_bytes());
    let ring = OpenOptions::new().read(true).write(true).open(path)?;
    ring.write_all_at(&content, 0)?;
    Ok((victim, ring, content))
}

/// What an accomplice does to a ring, over and over; the number says for the how manieth time.
type Tampering = fn(&File, &[u8], usize) -> std::io::Result<()>;

const TAMPERINGS: [(&str, Tampering); 4] = [
    ("all of it is now there and now not", |ring, before, n| match n % 2 {
        0 => ring.write_all_at(&vec![0xff; before.len()], 0),
        _ => ring.write_all_at(before, 0),
    }),
    ("one word after the other says something else", |ring, before, n| {
        let place = (n.wrapping_mul(0x9e37_79b1) % (before.len() - 8)) & !7;
        ring.write_all_at(&[n as u8; 8], place as u64)?;
        ring.write_all_at(&before[place..place + 8], place as u64)
    }),
    ("its first page says something else", |ring, before, n| {
        ring.write_all_at(&u32::MAX.to_le_bytes(), (n * 4 % 4096) as u64)?;
        ring.write_all_at(&before[..4096], 0)
    }),
    ("its pages go and come back", |ring, before, n| {
        let page = n * 4096 % before.len();
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(ring, hole, page as i64, 4096)?;
        ring.write_all_at(&before[page..(page + 4096).min(before.len())], page as u64)
    }),
];

#[test]
fn a_ring_that_an_accomplice_changes_while_it_is_read_costs_no_report() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nRepeats=infinity\n")?;
    let (mut holder, path) = ring_holder()?;
    let original = fs::read(path)?;
    drop(holder.stdin.take());
    holder.wait()?;
    for (what, tampering) in TAMPERINGS {
        for _ in 0..2 {
            let (mut victim, ring, content) = sharing(&original)?;
            let known = world.ids()?;
            let (times, over) = (AtomicUsize::new(0), AtomicBool::new(false));
            let id = thread::scope(|scope| {
                let accomplice = scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        tampering(&ring, &content, times.fetch_add(1, Ordering::Relaxed))?;
                    }
                    Ok::<(), std::io::Error>(())
                });
                while times.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
                let before = times.load(Ordering::Relaxed);
                drop(victim.stdin.take());
                let reported =
                    victim.wait().map_err(Into::into).and_then(|_| world.wait_for_new_report(&known));
                over.store(true, Ordering::Relaxed);
                ensure!(times.load(Ordering::Relaxed) > before, "{what}: nothing was changed meanwhile");
                accomplice.join().map_err(|_| anyhow::anyhow!("the accomplice panicked"))?.context(what)?;
                reported
            })?;
            let evidence = Evidence::open(&world, &id)?;
            let report = &evidence.report;
            let whole =
                report.signal.is_some() && report.threads.iter().any(|thread| !thread.frames.is_empty());
            ensure!(whole && report.program.name == "python3", "{what}: {report:?}");
            ensure!(
                !report.problems.iter().any(|problem| problem.part == "handler"),
                "{what}: {:?}",
                report.problems
            );
            // Its one event, or not, and then the report says why.
            let mine = evidence.events("mine").len();
            let said = report.problems.iter().any(|problem| problem.part == "trail")
                || !evidence.trail.problems.is_empty();
            ensure!(mine == 1 || said || report.losses.recorded != 1, "{what}: {report:?}");
            ensure!(mine <= 1, "{what}: an event that was recorded once is there {mine} times");
        }
    }
    Ok(())
}
