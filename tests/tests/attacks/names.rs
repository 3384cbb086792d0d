//! Names that crashed programs choose: shown, never obeyed.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::Installed;

use super::{USER, as_user, briefly, victim};

/// Fifteen bytes, all that a command name holds: a line of its own, the end of the name in `stat` with a state and a
/// parent behind it, a colour, and a turn of the line.
const NAME: &str = "a\n) R 1\x1b[31m\u{202e}";
/// Control characters beyond ASCII.
const OTHER_NAME: &str = "\u{9b}31m\u{85}x";

/// That a command's output cannot move a cursor or turn a line.
fn is_plain(output: &str) -> Result<()> {
    let bad = |c: &char| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c);
    ensure!(!output.chars().any(|c| bad(&c)), "{output:?}");
    Ok(())
}

#[test]
fn a_command_name_is_data_everywhere() -> Result<()> {
    let world = Installed::new()?;
    // With a ring, which is believed only if the start time behind the name was read.
    let hostile = victim(&world, "till", NAME)?;
    let first = world.crash(Command::new(&hostile).arg0("x\n\x1b]0;owned\x07"))?;
    let second = world.crash(Command::new(victim(&world, "bare", "bare")?).arg(OTHER_NAME))?;

    let shown = world.info(&first)?;
    ensure!(shown["program"]["name"] == NAME, "{shown}");
    ensure!(shown["program"]["exe"] == hostile.to_string_lossy().as_ref(), "{shown}");
    ensure!(world.info(&second)?["program"]["name"] == OTHER_NAME, "another name");
    let evidence = Evidence::open(&world, &first)?;
    ensure!(!evidence.trail.events.is_empty(), "no trail: {:?}", evidence.report.problems);

    let list = world.ask(&["list"])?.text();
    ensure!(list.lines().count() == 3, "a name has added lines: {list}");
    is_plain(&list)?;
    ensure!(world.list()?.len() == 2, "a name has added rows");
    for id in [&first, &second] {
        let trace = if id == &first { &["trace", id][..] } else { &["status"] };
        for command in [&["info", id][..], &["info", id, "--json"], &["preview", id], trace] {
            let said = briefly(world.foretrace().args(command))?.success()?;
            is_plain(&said.text()).with_context(|| format!("{command:?}"))?;
            is_plain(&said.errors()).with_context(|| format!("{command:?}"))?;
        }
    }
    ensure!(world.ask(&["info", &first])?.text().contains("a\\u{a}) R 1\\u{1b}[31m\\u{202e}"), "not escaped");
    Ok(())
}

#[test]
fn a_command_name_adds_no_field_to_the_journal() -> Result<()> {
    let world = Installed::new()?;
    let folder = world.root().join("run/systemd/journal");
    std::fs::create_dir_all(&folder)?;
    let journal = UnixDatagram::bind(folder.join("socket"))?;
    journal.set_read_timeout(Some(Duration::from_secs(8)))?;
    let name = "x\nPRIORITY=0";
    let id = world.crash(as_user(victim(&world, "bare", "bare")?, USER).arg(name))?;
    let mut entry = vec![0; 1 << 16];
    let length = journal.recv(&mut entry).context("nobody told the journal")?;
    let fields = fields(&entry[..length]).context("no entry of the native protocol")?;
    let value = |wanted: &str| {
        let found: Vec<_> = fields.iter().filter(|(name, _)| name == wanted).collect();
        ensure!(found.len() == 1, "{} fields {wanted}", found.len());
        Ok(String::from_utf8_lossy(&found[0].1).into_owned())
    };
    ensure!(value("COREDUMP_COMM")? == name, "{fields:?}");
    ensure!(value("PRIORITY")? == "2", "{fields:?}");
    ensure!(value("FORETRACE_REPORT")? == id, "{fields:?}");
    Ok(())
}

/// The fields of an entry: `NAME=value`, or the name, a length in 8 bytes and as many bytes of value.
fn fields(mut entry: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut fields = Vec::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| *byte == b'\n')?;
        let line = &entry[..end];
        entry = &entry[end + 1..];
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.push((String::from_utf8(line[..equals].to_vec()).ok()?, line[equals + 1..].to_vec()));
        } else {
            let length = u64::from_le_bytes(entry.get(..8)?.try_into().ok()?) as usize;
            fields.push((String::from_utf8(line.to_vec()).ok()?, entry.get(8..8 + length)?.to_vec()));
            entry = entry.get(8 + length + 1..)?;
        }
    }
    Some(fields)
}

#[test]
fn a_host_name_from_a_container_is_no_argument() -> Result<()> {
    let world = Installed::new()?;
    let bare = victim(&world, "bare", "bare")?;
    let elsewhere = world.work("elsewhere");
    let named =
        "import os, socket, sys\nsocket.sethostname(sys.argv[1])\nos.execv(sys.argv[2], [sys.argv[2]])";
    for name in ["", "--root", &format!("x --root {}", elsewhere.display()), "a\n1 0 0", "1 1 1 1"] {
        let mut inside = as_user("unshare", USER);
        inside.args(["--user", "--map-root-user", "--uts", "/usr/bin/python3", "-c", named, name]).arg(&bare);
        let id = world.crash(&mut inside).with_context(|| format!("a host called {name:?}"))?;
        let report = world.info(&id)?;
        ensure!(report["program"]["name"] == "bare", "{name:?}: {report}");
        ensure!(report["signal"]["name"] == "SIGSEGV", "{name:?}: {report}");
        ensure!(report["threads"][0]["frames"][0].is_object(), "{name:?}: {report}");
    }
    ensure!(!elsewhere.exists(), "a host name has named a place");
    Ok(())
}
