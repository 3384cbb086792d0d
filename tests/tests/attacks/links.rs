//! Links, pipes and directories that a user put where root works: root neither follows nor waits for them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::world::{Installed, World};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{OTHER, USER, as_user, briefly, owner_of, reports, victim};

const SECRET: &str = "root-only-marker-4711\n";

/// A file that only root may read, in a directory of its own.
fn secret(world: &World) -> Result<PathBuf> {
    let folder = world.root().join("secret");
    fs::create_dir(&folder)?;
    let secret = folder.join("file");
    fs::write(&secret, SECRET)?;
    fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    Ok(secret)
}

fn is_untouched(secret: &Path) -> Result<()> {
    let found = fs::symlink_metadata(secret)?;
    ensure!((found.uid(), found.mode()) == (0, 0o100600), "{} {:o}", found.uid(), found.mode());
    ensure!(fs::read_to_string(secret)? == SECRET, "the secret was changed");
    Ok(())
}

fn replace(path: &Path, with: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let _ = fs::remove_file(path);
    with(path)?;
    Ok(())
}

fn pipe(path: &Path) -> std::io::Result<()> {
    Ok(mkfifo(path, Mode::from_bits_truncate(0o666))?)
}

#[test]
fn what_a_user_put_into_their_reports_leads_root_nowhere() -> Result<()> {
    let world = Installed::new()?;
    let secret = secret(&world)?;
    let bare = victim(&world, "bare", "bare")?;
    let roots = world.crash(&mut Command::new(&bare))?;
    let roots_bundle = reports(&world).join("0").join(&roots).join("bundle.zip");
    let theirs = || world.crash(&mut as_user(&bare, USER));
    let (answered, linked, hard) = (theirs()?, theirs()?, theirs()?);
    let shelf = reports(&world).join(USER.to_string());

    replace(&shelf.join(&answered).join("consent.json"), |path| symlink(&secret, path))?;
    replace(&shelf.join(&answered).join("delivery.json"), |path| fs::hard_link(&secret, path))?;
    replace(&shelf.join(&answered).join("outgoing.zip"), |path| symlink(&roots_bundle, path))?;
    replace(&shelf.join(&answered).join("salt"), pipe)?;
    replace(&shelf.join(&answered).join("folder"), |path| symlink(secret.with_file_name(""), path))?;
    replace(&shelf.join(&linked).join("bundle.zip"), |path| symlink(&roots_bundle, path))?;
    replace(&shelf.join(&hard).join("bundle.zip"), |path| fs::hard_link(&roots_bundle, path))?;
    let made: Vec<String> = (0..4).map(|n| format!("{n}").repeat(32)).collect();
    symlink(roots_bundle.with_file_name(""), shelf.join(&made[0]))?;
    for id in &made[1..] {
        fs::create_dir(shelf.join(id))?;
        chown(shelf.join(id), Some(USER), Some(USER))?;
    }
    pipe(&shelf.join(&made[1]).join("bundle.zip"))?;
    fs::create_dir(shelf.join(&made[2]).join("bundle.zip"))?;
    symlink("/dev/zero", shelf.join(&made[3]).join("bundle.zip"))?;
    fs::write(shelf.join("a\n\x1b[31m"), "")?;

    let mut commands: Vec<Vec<&str>> =
        vec![vec!["list"], vec!["list", "--json"], vec!["status"], vec!["vacuum"], vec!["send", "--all"]];
    for id in [&answered, &linked, &hard].into_iter().chain(&made) {
        for command in ["info", "trace", "dump", "preview", "send", "forget"] {
            commands.push(vec![command, id]);
        }
        commands.push(vec!["consent", id, "--deny"]);
        commands.push(vec!["consent", id, "--grant", "summary"]);
    }
    for command in commands {
        let said = briefly(world.foretrace().args(&command).current_dir(world.work("")))?;
        let all = said.text() + &said.errors();
        ensure!(!all.contains("root-only-marker"), "{command:?} gives the secret away: {said}");
        ensure!(!all.contains("panicked"), "{command:?}: {said}");
        let followed = command.get(1).is_some_and(|id| *id != answered && id.len() == 32);
        ensure!(!followed || said.status.code() == Some(1), "{command:?} was followed: {said}");
        is_untouched(&secret)?;
    }
    world.info(&roots)?;
    ensure!(
        fs::symlink_metadata(shelf.join(&answered).join("salt"))?.file_type().is_fifo(),
        "the pipe is gone"
    );

    world.configure("[Storage]\nMaxUse=1K\n")?;
    let cleared = briefly(world.foretrace().arg("vacuum"))?;
    ensure!(!shelf.join(&answered).exists(), "nothing was removed: {cleared}");
    is_untouched(&secret)
}

#[test]
fn a_place_that_was_made_before_is_used_only_if_it_is_its_users() -> Result<()> {
    let world = Installed::new()?;
    let bare = victim(&world, "bare", "bare")?;
    let elsewhere = world.work("elsewhere");
    fs::create_dir(&elsewhere)?;
    chown(&elsewhere, Some(USER), Some(USER))?;
    // So that the directory is there.
    world.crash(&mut Command::new(&bare))?;
    let shelf = reports(&world).join(USER.to_string());
    let traps: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("a link", &|| Ok(symlink(&elsewhere, &shelf)?)),
        ("a pipe", &|| Ok(pipe(&shelf)?)),
        ("a file", &|| Ok(fs::write(&shelf, "")?)),
        ("another user's directory", &|| {
            fs::create_dir(&shelf)?;
            Ok(chown(&shelf, Some(OTHER), Some(OTHER))?)
        }),
    ];
    for (what, make) in traps {
        make()?;
        let id = world.crash(&mut as_user(&bare, USER))?;
        ensure!(owner_of(&world, &id)? == 0, "{what} was used");
        let inside = if shelf.is_dir() { fs::read_dir(&shelf)?.count() } else { 0 };
        ensure!(inside == 0, "{what} was filled");
        fs::remove_file(&shelf).or_else(|_| fs::remove_dir(&shelf))?;
    }
    // Their own, but open to everybody and full of names.
    fs::create_dir(&shelf)?;
    fs::set_permissions(&shelf, Permissions::from_mode(0o777))?;
    chown(&shelf, Some(USER), Some(USER))?;
    for name in ["bundle.zip", "incoming", "0"] {
        symlink(&elsewhere, shelf.join(name))?;
    }
    let id = world.crash(&mut as_user(&bare, USER))?;
    ensure!(owner_of(&world, &id)? == USER, "their own directory was not used");
    ensure!(fs::read_dir(&elsewhere)?.next().is_none(), "something was written through a link");
    Ok(())
}

#[test]
fn nothing_is_written_where_the_process_stands_or_where_others_may_write() -> Result<()> {
    let world = Installed::new()?;
    let bare = victim(&world, "bare", "bare")?;
    let here = world.work("here");
    fs::create_dir(&here)?;
    fs::set_permissions(&here, Permissions::from_mode(0o777))?;
    let mut unlimited = as_user("sh", USER);
    unlimited.args(["-c", "ulimit -c unlimited; exec \"$0\""]).arg(&bare).current_dir(&here);
    world.crash(&mut unlimited)?;
    world.crash(&mut Command::new(&bare))?;
    ensure!(fs::read_dir(&here)?.next().is_none(), "something lies in the current directory");
    world.ask(&["vacuum"])?;
    let mut folders = vec![world.root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let found = fs::symlink_metadata(&path)?;
            ensure!(found.mode() & 0o022 == 0, "others may write to {}", path.display());
            ensure!(found.uid() == 0 || path.starts_with(reports(&world).join(USER.to_string())), "{path:?}");
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}
