//! `[Storage] Encrypt=yes` with the real handler: it encrypts to a key whose secret half it never sees.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::world::{Installed, built_programs};

const USER: u32 = 1234;

fn report(world: &Installed, id: &str) -> PathBuf {
    shelf(world, 0).join(id)
}

fn shelf(world: &Installed, user: u32) -> PathBuf {
    world.root().join("var/lib/foretrace/reports").join(user.to_string())
}

/// What Debian's age makes of a report.
fn opened(identity: &Path, report: &Path) -> Result<Vec<u8>> {
    let mut age = Command::new("age");
    let done =
        age.args(["--decrypt", "--identity"]).arg(identity).arg(report.join("bundle.zip.age")).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}

#[test]
fn a_crash_becomes_a_report_that_only_its_users_key_opens() -> Result<()> {
    let world = Installed::new()?;
    world.configure("[Storage]\nEncrypt=yes\nCore=keep\n")?;
    let crash = || world.crash(&mut Command::new(built_programs()?.join("till")));
    // Without a key it is plain, and encrypted as soon as there is one.
    let early = crash()?;
    ensure!(report(&world, &early).join("bundle.zip").exists());
    world.ask(&["key", "--create"])?;
    ensure!(report(&world, &early).join("bundle.zip.age").exists());
    let identity = world.root().join("root/.config/foretrace/identity");
    fs::rename(&identity, world.work("identity"))?;
    let id = crash()?;
    let folder = report(&world, &id);
    let names: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(names == ["bundle.zip.age"], "{names:?}");
    ensure!(opened(&world.work("identity"), &folder)?.starts_with(b"PK"));
    fs::rename(world.work("identity"), &identity)?;
    let info = world.info(&id)?;
    ensure!(info["program"]["name"] == "till" && !info["threads"][0]["frames"].is_null(), "{info}");
    ensure!(info["problems"].to_string().contains("the whole core was not kept"), "{}", info["problems"]);
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
    ensure!(opened(&identity, &folder)?.starts_with(b"PK"));
    Ok(())
}
