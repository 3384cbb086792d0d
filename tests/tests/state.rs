//! What surrounded a crashed program: its control group, pressure, package files, and what a real journal gets told.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_report::Report;
use foretrace_tests::command::run;
use foretrace_tests::control_group::Group;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::journal::Journal;
use foretrace_tests::mount::Mounted;
use foretrace_tests::world::{Installed, built_programs};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn report(world: &Installed, victim: &mut Command) -> Result<(String, Report)> {
    let id = world.crash(victim)?;
    let report = Evidence::open(world, &id)?.report;
    Ok((id, report))
}

#[test]
fn a_crash_in_a_service_or_a_container_is_told_with_their_names() -> Result<()> {
    let world = Installed::new()?;
    let bare = built_programs()?.join("bare");
    let service = Group::new("ft-test.slice/ft-shop.service")?;
    let (id, found) = report(&world, &mut service.within(&bare))?;
    let around = found.surroundings.context("nothing surrounded it")?;
    ensure!(around.unit.as_deref() == Some("ft-shop.service"), "{around:?}");
    ensure!(around.slice.as_deref() == Some("ft-test.slice"), "{around:?}");
    ensure!(around.container.is_none(), "{around:?}");
    ensure!(around.namespaces.is_empty() && around.inner_pid.is_none(), "{around:?}");
    let pressure = around.pressure.context("no pressure")?;
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let total = meminfo.split_whitespace().nth(1).context("no MemTotal")?.parse::<u64>()? * 1024;
    ensure!(pressure.memory_total == Some(total), "{pressure:?}, not {total}");
    ensure!(pressure.memory_available.is_some_and(|free| free < total), "{pressure:?}");
    let said = world.ask(&["info", &id])?.text();
    ensure!(said.contains("Service:   ft-shop.service, in ft-test.slice"), "{said}");
    ensure!(said.contains("memory available"), "{said}");

    let podman = Group::new(&format!("ft-test.slice/libpod-{ID}.scope/container"))?;
    let (id, found) = report(&world, &mut podman.within(&bare))?;
    let container = found.surroundings.and_then(|around| around.container).context("no container")?;
    ensure!((container.engine.as_str(), container.id.as_deref()) == ("podman", Some(ID)), "{container:?}");
    ensure!(world.ask(&["info", &id])?.text().contains("Container: podman, 0123456789ab"));
    Ok(())
}

#[test]
fn a_crashed_programs_sockets_are_told_with_their_addresses_and_no_one_elses_are() -> Result<()> {
    let world = Installed::new()?;
    let stranger = std::net::TcpListener::bind("127.0.0.1:0")?;
    let path = world.work("a socket");
    // What this test was started with may be open in the program as well.
    let script = "import ctypes, os, socket, sys
os.closerange(3, 4096)
listening = socket.create_server(('127.0.0.1', 0))
near = socket.create_connection(listening.getsockname())
far, _ = listening.accept()
local = socket.socket(socket.AF_UNIX)
local.bind(sys.argv[1])
local.listen()
six = socket.create_server(('::1', 0), family=socket.AF_INET6)
ctypes.string_at(0)";
    let id = world.crash(Command::new("/usr/bin/python3").args(["-c", script]).arg(&path))?;
    let listing = String::from_utf8(world.part(&id, "process/sockets")?)?;
    let lines: Vec<&str> = listing.lines().collect();
    ensure!(lines.len() == 5, "{listing}");
    let (server, client) = (lines[0], lines[1]);
    ensure!(server.starts_with("3 tcp 127.0.0.1:") && server.ends_with(" listening"), "{listing}");
    let port = server.split_whitespace().nth(2).context("no address")?;
    ensure!(client.ends_with(&format!("-> {port} established")), "{listing}");
    ensure!(lines[3] == format!("6 unix stream {}", path.display()), "{listing}");
    ensure!(lines[4].starts_with("7 tcp6 [::1]:") && lines[4].ends_with(" listening"), "{listing}");
    ensure!(!listing.contains(&stranger.local_addr()?.to_string()), "a stranger's: {listing}");
    Ok(())
}

#[test]
fn a_changed_file_of_a_package_is_named_and_an_unchanged_one_is_not() -> Result<()> {
    let world = Installed::new()?;
    let script = "import ctypes; ctypes.string_at(0)";
    let mut plain = Command::new("/usr/bin/python3");
    let (_, found) = report(&world, plain.args(["-c", script]))?;
    let modified = found.surroundings.map(|around| around.modified).unwrap_or_default();
    ensure!(modified.is_empty(), "called changed: {modified:?}");
    let uncompared = found.problems.iter().any(|problem| problem.part == "package");
    ensure!(!uncompared, "{:?}", found.problems);
    // In place for the length of this test: the program's own view of the system stays the machine's.
    let real = fs::canonicalize("/usr/bin/python3")?;
    let changed = world.work("changed");
    fs::copy(&real, &changed)?;
    run(Command::new("sh").args(["-c", "printf x >>\"$1\"", "sh"]).arg(&changed))?.success()?;
    let bound = Mounted::over(&real, &changed)?;
    let (id, found) = report(&world, Command::new(&real).args(["-c", script]))?;
    drop(bound);
    let around = found.surroundings.context("nothing surrounded it")?;
    ensure!(around.modified == [real.to_str().context("a path")?], "{:?}", around.modified);
    ensure!(world.ask(&["info", &id])?.text().contains("not as the package installed"));
    Ok(())
}

#[test]
fn systemds_own_journal_takes_the_entry_and_gives_it_back_whole() -> Result<()> {
    let world = Installed::new()?;
    let journal = Journal::start(world.root().join("run"))?;
    let service = Group::new("ft-test.slice/ft-journal.service")?;
    let (id, found) = report(&world, &mut service.within(&built_programs()?.join("bare")))?;
    let entry = journal.entry_of(&id)?;
    let pid = found.program.pid.to_string();
    for (field, value) in [
        ("COREDUMP_PID", pid.as_str()),
        ("COREDUMP_UID", "0"),
        ("COREDUMP_SIGNAL", "11"),
        ("COREDUMP_SIGNAL_NAME", "SIGSEGV"),
        ("COREDUMP_COMM", "bare"),
        ("COREDUMP_UNIT", "ft-journal.service"),
        ("COREDUMP_SLICE", "ft-test.slice"),
        ("COREDUMP_ROOT", "/"),
        ("SYSLOG_IDENTIFIER", "foretrace-coredump"),
        ("PRIORITY", "2"),
        ("FORETRACE_REPORT", id.as_str()),
    ] {
        ensure!(entry[field] == value, "{field} is {}", entry[field]);
    }
    for (field, part) in [
        ("COREDUMP_PROC_STATUS", "Name:\tbare"),
        ("COREDUMP_PROC_MAPS", "/bare"),
        ("COREDUMP_PROC_LIMITS", "Max core file size"),
        ("COREDUMP_PROC_CGROUP", "ft-journal.service"),
        ("COREDUMP_PROC_MOUNTINFO", " / "),
        ("COREDUMP_EXE", "/bare"),
        ("COREDUMP_CWD", "/"),
        ("COREDUMP_OPEN_FDS", "0:pipe:["),
    ] {
        ensure!(entry[field].as_str().is_some_and(|text| text.contains(part)), "{field} is {}", entry[field]);
    }
    ensure!(entry["COREDUMP_PACKAGE_NAME"].is_null(), "a package of nobody's: {entry}");
    let mut python = Command::new("/usr/bin/python3");
    let (id, found) = report(&world, python.args(["-c", "import ctypes; ctypes.string_at(0)"]))?;
    let (package, exe) = found.program.package.zip(found.program.exe).context("no package")?;
    let entry = journal.entry_of(&id)?;
    ensure!(entry["COREDUMP_PACKAGE_NAME"] == package.name, "{package:?}: {entry}");
    ensure!(entry["COREDUMP_PACKAGE_VERSION"] == package.version, "{package:?}: {entry}");
    let json = entry["COREDUMP_PACKAGE_JSON"].as_str().context("no JSON")?;
    let json: serde_json::Value = serde_json::from_str(json)?;
    ensure!(json[&exe]["name"] == package.name && json[&exe]["version"] == package.version, "{json}");
    Ok(())
}
