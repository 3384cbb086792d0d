//! Containers that are not what they seem: nothing is opened by a name from inside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, built_programs};

use super::{USER, as_user, victim};

const SECRET: &[u8] = b"root-only-marker-4711";

/// A root directory of the user's making, in which every name that a handler might look for leads to the host's
/// `secret`.
fn forged_root(world: &Installed, secret: &Path, program: &str) -> Result<PathBuf> {
    let jail = world.work("jail");
    for folder in ["etc", "usr/bin", "usr/lib", "var/lib/dpkg/info", "proc", "root"] {
        fs::create_dir_all(jail.join(folder))?;
    }
    for name in
        ["etc/os-release", "usr/lib/os-release", "etc/passwd", "etc/foretrace.conf", "var/lib/dpkg/status"]
    {
        symlink(secret, jail.join(name))?;
    }
    symlink(secret.parent().context("a secret lies somewhere")?, jail.join("usr/lib/debug"))?;
    fs::copy(built_programs()?.join("bare"), jail.join(program))?;
    chown(&jail, Some(USER), Some(USER))?;
    Ok(jail)
}

fn secret(world: &Installed) -> Result<PathBuf> {
    let folder = world.root().join("secret");
    fs::create_dir(&folder)?;
    let secret = folder.join("file");
    fs::write(&secret, SECRET)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    Ok(secret)
}

#[test]
fn links_in_a_forged_root_give_nothing_of_the_host() -> Result<()> {
    let world = Installed::new()?;
    let secret = secret(&world)?;
    let jail = forged_root(&world, &secret, "usr/bin/program")?;
    let mut inside = as_user("unshare", USER);
    inside.args(["--user", "--map-root-user", "--mount", "--root"]).arg(&jail).arg("/usr/bin/program");
    let id = world.crash(&mut inside)?;
    let evidence = Evidence::open(&world, &id)?;
    ensure!(evidence.holds(SECRET).is_none(), "the host's file is in {:?}", evidence.holds(SECRET));
    ensure!(evidence.report.program.name == "program", "{:?}", evidence.report.program);
    ensure!(
        evidence.crashed_functions().first().is_some_and(|name| name == "main"),
        "no backtrace from inside"
    );
    Ok(())
}

#[test]
fn a_program_under_a_packages_name_is_not_the_package() -> Result<()> {
    let world = Installed::new()?;
    let real = fs::canonicalize("/usr/bin/python3")?;
    let fake = victim(&world, "bare", "fake")?;
    let script = format!("mount --bind {} {} && exec {1}", fake.display(), real.display());
    let mut inside = as_user("unshare", USER);
    let id = world.crash(inside.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]))?;
    let report = Evidence::open(&world, &id)?.report;
    ensure!(report.program.exe.as_deref() == real.to_str(), "{:?}", report.program);
    ensure!(report.program.package.is_none(), "taken for {:?}", report.program.package);
    ensure!(
        report.threads[0].frames[0].function.as_deref() == Some("main"),
        "{:?}",
        report.threads[0].frames[0]
    );
    Ok(())
}
