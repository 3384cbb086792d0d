//! What a program attached is in the report of its crash, as far as the program itself could have had it.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::ledger;
use foretrace_tests::world::{Installed, World, built_programs};
use serde_json::Value;

const USER: u32 = 12_345;
const STATE: [u8; 16] = [0x44, 0x44, 0x33, 0x33, 0x22, 0x22, 0x11, 0x11, 7, 0, 0, 0, 0, 0, 0, 0];

/// A folder of that user with a log, root's own file, a FIFO, and a link to the former.
fn folder(world: &World) -> Result<PathBuf> {
    let folder = world.work("attached");
    fs::create_dir(&folder)?;
    fs::write(folder.join("app.log"), "first line\nlast line\n")?;
    fs::write(folder.join("forbidden"), "root's secret")?;
    fs::set_permissions(folder.join("forbidden"), Permissions::from_mode(0o600))?;
    nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o666))?;
    symlink("/../../../../../etc/shadow", folder.join("link"))?;
    chown(folder.join("app.log"), Some(USER), Some(USER))?;
    Ok(folder)
}

fn victim(folder: &Path, end: &str) -> Result<Command> {
    let mut command = Command::new(built_programs()?.join("attaching"));
    command.arg(folder).arg(end).uid(USER).gid(USER);
    Ok(command)
}

/// Names and classes of the parts below `attachments/`, and what is said of the others.
fn attached(info: &Value) -> (Vec<String>, String) {
    let parts = info["parts"].as_array().into_iter().flatten();
    let named = parts.filter_map(|part| Some((part["name"].as_str()?, part["class"].as_str()?)));
    let attached = named.filter(|(name, _)| name.starts_with("attachments/"));
    let mut parts: Vec<String> = attached.map(|(name, class)| format!("{name} {class}")).collect();
    parts.sort_unstable();
    let problems = info["problems"].as_array().into_iter().flatten();
    let about = problems.filter(|problem| problem["part"] == "attachments");
    let said: Vec<&str> = about.filter_map(|problem| problem["what"].as_str()).collect();
    (parts, said.join("\n"))
}

fn check(world: &World, id: &str) -> Result<()> {
    let (parts, said) = attached(&world.info(id)?);
    ensure!(parts == ["attachments/logs/app.log logs", "attachments/trail/state trail"], "{parts:?}\n{said}");
    ensure!(world.part(id, "attachments/trail/state")? == STATE);
    ensure!(world.part(id, "attachments/logs/app.log")? == b"last line\n");
    for refused in ["key: 0 of 4096 bytes", "forbidden: ", "pipe: ", "environ: ", "link: "] {
        ensure!(said.lines().any(|line| line.starts_with(refused)), "nothing is said of {refused}: {said}");
    }
    ensure!(said.lines().count() == 5, "{said}");
    Ok(())
}

#[test]
fn what_a_crashed_program_attached_is_in_the_report_and_nothing_that_it_could_not_have() -> Result<()> {
    let world = Installed::new()?;
    let folder = folder(&world)?;
    let id = world.crash(&mut victim(&folder, "crash")?)?;
    check(&world, &id)?;

    // It leaves with its class, and with that alone.
    for (grant, expected) in [
        ("stack", &[] as &[&str]),
        ("trail", &["attachments/trail/state"]),
        ("logs", &["attachments/logs/app.log", "attachments/trail/state"]),
    ] {
        let mut preview = world.foretrace();
        preview.args(["preview", &id, "--grant", grant, "--json"]).uid(USER).gid(USER);
        let preview = run(&mut preview)?.success()?;
        let preview: Value = serde_json::from_slice(&preview.stdout)?;
        let parts = preview["parts"].as_array().context("the preview lists parts")?;
        let mut names: Vec<&str> = parts
            .iter()
            .filter_map(|part| part["name"].as_str())
            .filter(|name| name.starts_with("attachments/"))
            .collect();
        names.sort_unstable();
        ensure!(names == expected, "{grant}: {names:?}");
    }
    Ok(())
}

#[test]
fn what_a_live_program_attached_is_in_its_snapshot() -> Result<()> {
    let world = World::new()?;
    let folder = folder(&world)?;
    let mut running = victim(&folder, "wait")?.stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    BufReader::new(running.stdout.take().context("it has an output")?).read_line(&mut said)?;
    let taken = world.ask(&["snapshot", &running.id().to_string()]);
    running.kill()?;
    running.wait()?;
    taken?;
    check(&world, world.list()?[0]["id"].as_str().context("there is a report")?)
}

#[test]
fn what_a_c_program_attached_is_in_the_report() -> Result<()> {
    let world = Installed::new()?;
    let book = world.work("ledger");
    ledger::create(&book, 1)?;
    let mut command = Command::new(built_programs()?.join("victim-c"));
    let id = world.crash(command.arg("null").arg(&book).args(["1", "100"]))?;
    let (parts, said) = attached(&world.info(&id)?);
    ensure!(parts == ["attachments/logs/ledger logs", "attachments/trail/events trail"], "{parts:?}\n{said}");
    ensure!(world.part(&id, "attachments/trail/events")? == 100_u64.to_le_bytes());
    ensure!(world.part(&id, "attachments/logs/ledger")? == fs::read(&book)?);
    Ok(())
}
