//! `cargo xtask qemu`: the handler on Debian's own kernel (6.1 on Debian 12, which has no coredump socket), in an emulated
//! machine that has nothing but that kernel, busybox, the programs and a few victims. Half a minute once the programs are
//! built, without KVM, which is rarely there where tests run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use foretrace_tests::command;
use serde_json::Value;

use crate::build::{self, run as run_on_terminal, say};
use crate::setup;

/// Crash victims under Debian's kernel.
#[derive(Args)]
pub struct Options {
    /// Take the programs and victims from this folder instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// The machine, started and done.
const LIMIT: Duration = Duration::from_secs(600);

/// What the machine does. Every line for us begins with a word that nothing else prints.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin FORETRACE_ROOT=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 none /sys/fs/cgroup
echo "FT-KERNEL $(uname -r)"
foretrace-coredump install && echo "FT-INSTALLED $(cat /proc/sys/kernel/core_pattern)"
foretrace-coredump install --mode socket 2>&1 | sed 's/^/FT-SOCKET /'
: >/tmp/ledger; dd if=/dev/zero of=/tmp/ledger bs=32 count=4 2>/dev/null; chmod 666 /tmp/ledger
victim-rust null /tmp/ledger 4 5000
victim-rust abort /tmp/ledger 4 5000
bare
su person -c bare
cat /proc/sys/kernel/core_pattern >/tmp/installed
sed 's/ %F//' /tmp/installed >/proc/sys/kernel/core_pattern
bare
cat /tmp/installed >/proc/sys/kernel/core_pattern
sleep 2
foretrace list --json | sed 's/^/FT-ROW /'
for id in $(foretrace list --json | sed 's/.*"id": *"\([0-9a-f]*\)".*/\1/'); do
    foretrace info $id --json | tr -d '\n' | sed 's/^/FT-REPORT /'
    echo
done
foretrace-coredump uninstall | sed 's/^/FT-UNINSTALLED /'
echo FT-DONE
poweroff -f
"#;

/// Builds the machine, runs it and checks what it says.
///
/// # Errors
/// Something is missing, the machine does not come to its end, or a report is not as it should be.
pub fn run(options: &Options) -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_EMULATE])?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => {
            let folder = build::programs()?;
            build::test_victims()?;
            folder
        }
    };
    let work = build::release_folder().with_file_name("qemu");
    fs::create_dir_all(&work)?;
    let kernel = kernel(&work)?;
    let image = image(&work, &programs)?;
    say("starting the emulated machine");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "1024",
        "-nographic",
        "-no-reboot",
    ]);
    qemu.args(["-nic", "none", "-append", "console=ttyS0 quiet panic=-1", "-kernel"]).arg(kernel);
    let finished = command::run_with_input(qemu.arg("-initrd").arg(image), b"", LIMIT)?;
    let said = finished.text();
    check(&said).with_context(|| format!("the machine said:\n{said}"))?;
    say(&format!("all as it should be, after {} s", finished.took.as_secs()));
    Ok(())
}

// Debian's newest kernel of this release, from its package.
fn kernel(work: &Path) -> Result<PathBuf> {
    let depends =
        command::run(Command::new("apt-cache").args(["depends", "linux-image-amd64"]))?.success()?.text();
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .context("apt knows no kernel: run apt-get update")?
        .to_owned();
    let kernel = work.join(package.replacen("linux-image", "vmlinuz", 1));
    if kernel.exists() {
        return Ok(kernel);
    }
    say(&format!("fetching {package}"));
    let fetched = work.join("package");
    if fetched.exists() {
        fs::remove_dir_all(&fetched)?;
    }
    fs::create_dir(&fetched)?;
    let download = command::run_with_input(
        Command::new("apt-get").args(["download", "-qq", &package]).current_dir(&fetched),
        b"",
        LIMIT,
    )?;
    download.success()?;
    let archive = fs::read_dir(&fetched)?.next().context("nothing was fetched")??.path();
    let unpack = "dpkg-deb --fsys-tarfile \"$1\" | tar -x --wildcards './boot/vmlinuz-*'";
    run_on_terminal(
        Command::new("sh").args(["-c", &format!("cd \"$2\" && {unpack}"), "sh"]).args([&archive, &fetched]),
    )?;
    let found = fs::read_dir(fetched.join("boot"))?.next().context("the package has no kernel")??.path();
    fs::copy(found, &kernel)?;
    fs::remove_dir_all(fetched)?;
    Ok(kernel)
}

// A root file system in memory: busybox, our programs, the libraries that they need.
fn image(work: &Path, programs: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "var/lib"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("busybox-static is not installed")?;
    for tool in ["sh", "mount", "uname", "cat", "sed", "tr", "dd", "chmod", "su", "sleep", "poweroff"] {
        symlink("busybox", root.join("bin").join(tool))?;
    }
    for program in ["foretrace-coredump", "foretrace", "victim-rust", "bare"] {
        let built = programs.join(program);
        fs::copy(&built, root.join("bin").join(program))
            .with_context(|| format!("{} is missing", built.display()))?;
        for library in libraries(&built)? {
            let place = root.join(library.strip_prefix("/")?);
            fs::create_dir_all(place.parent().context("a library at the root")?)?;
            fs::copy(&library, place)?;
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nperson:x:1000:1000::/tmp:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nperson:x:1000:\n")?;
    fs::copy("/etc/os-release", root.join("etc/os-release"))?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let image = work.join("image.gz");
    let pack = "cd \"$1\" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >\"$2\"";
    run_on_terminal(Command::new("sh").args(["-c", pack, "sh"]).args([&root, &image]))?;
    Ok(image)
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = command::run(Command::new("ldd").arg(program))?;
    // A static program has none, and ldd's exit code says so.
    let text = listed.text();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    Ok(paths.map(PathBuf::from).collect())
}

fn lines<'a>(said: &'a str, mark: &str) -> Vec<&'a str> {
    // The firmware's last line does not end.
    said.lines().filter_map(|line| line.trim_end().split_once(mark)?.1.strip_prefix(' ')).collect()
}

fn check(said: &str) -> Result<()> {
    ensure!(said.contains("FT-DONE"), "it did not come to its end");
    let kernel = lines(said, "FT-KERNEL").first().copied().unwrap_or_default().to_owned();
    let pattern = lines(said, "FT-INSTALLED").first().copied().unwrap_or_default();
    ensure!(pattern.starts_with("|/bin/foretrace-coredump %P"), "installed as '{pattern}'");
    let refused = lines(said, "FT-SOCKET").join(" ");
    let has_socket = !kernel.starts_with("6.1.") && !kernel.starts_with("5.");
    ensure!(has_socket || refused.contains("has no coredump socket"), "the socket on {kernel}: '{refused}'");
    // Newest first: the last crash had no pidfd.
    let reports = lines(said, "FT-REPORT")
        .into_iter()
        .map(|text| serde_json::from_str::<Value>(text).context("a report is no JSON"))
        .collect::<Result<Vec<_>>>()?;
    let rows = lines(said, "FT-ROW").len();
    ensure!(rows == 5 && reports.len() == 5, "{rows} rows and {} reports of 5 crashes", reports.len());
    println!("Linux {kernel}");
    println!("{:<12} {:<8} {:<40} {:>7} known by", "program", "signal", "crashed in", "events");
    for report in &reports {
        println!("{}", row(report)?);
    }
    ensure!(is_known_by_number(&reports[0])?, "no word of the missing pidfd: {}", reports[0]["problems"]);
    ensure!(
        lines(said, "FT-UNINSTALLED").iter().any(|line| line.contains("core_pattern = core")),
        "not put back"
    );
    Ok(())
}

// Without a pidfd from the kernel.
fn is_known_by_number(report: &Value) -> Result<bool> {
    let problems = report["problems"].as_array().context("no problems")?;
    let told = |problem: &Value| {
        problem["what"].as_str().is_some_and(|what| what.contains("recognised by its number"))
    };
    Ok(problems.iter().any(told))
}

fn row(report: &Value) -> Result<String> {
    let program = report["program"]["name"].as_str().context("no program")?;
    let signal = report["signal"]["name"].as_str().context("no signal")?;
    let frames = report["threads"][0]["frames"].as_array().context("no frames")?;
    let functions: Vec<&str> = frames.iter().filter_map(|frame| frame["function"].as_str()).collect();
    let recorded = report["losses"]["recorded"].as_u64().unwrap_or_default();
    let expected = match (program, signal) {
        ("bare", "SIGSEGV") => "main",
        ("victim-rust", "SIGSEGV") => "crash_by_null_store",
        ("victim-rust", "SIGABRT") => "abort",
        other => bail!("nobody crashed like {other:?}"),
    };
    let at = functions.iter().find(|name| name.contains(expected));
    let at = at.with_context(|| format!("'{expected}' is not among {functions:?}"))?;
    ensure!(program == "bare" || recorded == 20_000, "{recorded} events of {program}, 20,000 expected");
    let by_number = is_known_by_number(report)?;
    let problems = report["problems"].as_array().map_or(0, Vec::len) - usize::from(by_number);
    ensure!(problems == 0, "{program} {signal}: {}", report["problems"]);
    let known = if by_number { "its number" } else { "a pidfd" };
    Ok(format!("{program:<12} {signal:<8} {at:<40} {recorded:>7} {known}"))
}
