//! `[Storage] Encrypt=yes` with the real handler: it encrypts to a key whose secret half it never sees.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::world::{Installed, built_programs};

fn report(world: &Installed, id: &str) -> PathBuf {
    world.root().join("var/lib/foretrace/reports/0").join(id)
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
    let opened = Command::new("age")
        .args(["--decrypt", "--identity"])
        .arg(world.work("identity"))
        .arg(folder.join("bundle.zip.age"))
        .output()?;
    ensure!(opened.status.success() && opened.stdout.starts_with(b"PK"), "age does not open it");
    fs::rename(world.work("identity"), &identity)?;
    let info = world.info(&id)?;
    ensure!(info["program"]["name"] == "till" && !info["threads"][0]["frames"].is_null(), "{info}");
    ensure!(info["problems"].to_string().contains("the whole core was not kept"), "{}", info["problems"]);
    Ok(())
}
