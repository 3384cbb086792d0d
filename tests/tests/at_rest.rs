//! `[Storage] Encrypt=yes` with the real handler: it encrypts to a key whose secret half it never sees.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use foretrace_tests::world::{Installed, built_programs};

const USER: u32 = 1234;

fn report(world: &Installed, id: &str) -> PathBuf {
    shelf(world, 0).join(id)
}

fn shelf(world: &Installed, user: u32) -> PathBuf {
    world.root().join("var/lib/foretrace/reports").join(user.to_string())
}

/// What Debian's age makes of a file of a report.
fn opened(identity: &Path, file: &Path) -> Result<Vec<u8>> {
    let mut age = Command::new("age");
    let done = age.args(["--decrypt", "--identity"]).arg(identity).arg(file).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}

fn wait_for(core: &Path) -> Result<()> {
    let began = Instant::now();
    while !core.exists() {
        ensure!(began.elapsed() < Duration::from_secs(20), "no {}", core.display());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_crash_becomes_a_report_that_only_its_users_key_opens() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nEncrypt=yes\nCore=keep\n")?;
    let crash = || world.crash(&mut Command::new(built_programs()?.join("till")));
    // Without a key it is plain, and encrypted as soon as there is one.
    let early = crash()?;
    ensure!(report(&world, &early).join("bundle.zip").exists());
    wait_for(&report(&world, &early).join("core.gz"))?;
    world.ask(&["key", "--create"])?;
    ensure!(report(&world, &early).join("bundle.zip.age").exists());
    let identity = world.root().join("root/.config/foretrace/identity");
    fs::rename(&identity, world.work("identity"))?;
    let id = crash()?;
    let folder = report(&world, &id);
    wait_for(&folder.join("core.gz.age"))?;
    let mut names: Vec<_> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    ensure!(names == ["bundle.zip.age", "core.gz.age"], "{names:?}");
    ensure!(opened(&world.work("identity"), &folder.join(&names[0]))?.starts_with(b"PK"));
    let packed = world.work("core.gz");
    fs::write(&packed, opened(&world.work("identity"), &folder.join(&names[1]))?)?;
    let core = Command::new("gzip").arg("-dc").arg(&packed).output()?;
    ensure!(core.status.success() && core.stdout.starts_with(b"\x7fELF"));
    fs::rename(world.work("identity"), &identity)?;
    let info = world.info(&id)?;
    ensure!(info["program"]["name"] == "till" && !info["threads"][0]["frames"].is_null(), "{info}");
    // The early one's core was plain at first; both come out whole.
    ensure!(
        report(&world, &early).join("core.gz.age").exists()
            && !report(&world, &early).join("core.gz").exists()
    );
    for id in [&early, &id] {
        ensure!(world.part(id, "core")?.starts_with(b"\x7fELF"), "{id}");
    }
    ensure!(world.part(&id, "core")? == core.stdout, "it is another core than Debian's age finds");
    Ok(())
}

#[test]
fn the_handler_takes_the_key_of_the_user_whose_program_crashed() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nEncrypt=yes\n")?;
    let crash = || world.crash(Command::new(built_programs()?.join("till")).uid(USER).gid(USER));
    let early = crash()?;
    ensure!(shelf(&world, USER).join(&early).join("bundle.zip").exists());
    let identity = world.work("identity");
    ensure!(Command::new("age-keygen").arg("-o").arg(&identity).output()?.status.success());
    let public = Command::new("age-keygen").arg("-y").arg(&identity).output()?.stdout;
    let recipient = shelf(&world, USER).join("recipient");
    fs::write(&recipient, public)?;
    chown(&recipient, Some(USER), Some(USER))?;
    let folder = shelf(&world, USER).join(crash()?);
    ensure!(!folder.join("bundle.zip").exists());
    ensure!(opened(&identity, &folder.join("bundle.zip.age"))?.starts_with(b"PK"));
    Ok(())
}
