//! Servers that others wrote: a real crash sent to each, and read back from it.
//!
//! Owns how they are installed (into the target directory, once), started on loopback and ended, and what must be found
//! in them. The files beside this one are theirs: a host for each, in its own language.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use foretrace_tests::command::run as run_command;
use foretrace_tests::line::Line;
use foretrace_tests::world::{Installed, World, built_programs};
use serde_json::Value;

use super::python;
use crate::build::{self, say};
use crate::pending::{self, Pending};
use crate::setup;

/// Versions that were tried.
const TUS: [&str; 2] = ["@tus/server@1", "@tus/file-store@1"];
const BUGSINK: &str = "bugsink==2.4.0";
const OPENTELEMETRY: &str = "opentelemetry-proto";
/// The report that is cut on its way to the tus server, and how often.
const CUT_BYTES: usize = 8 << 20;
const CUTS: usize = 20;

/// How long a server may take until it listens; Bugsink makes its database first.
const PATIENCE: Duration = Duration::from_secs(180);

/// Sends to each of them.
///
/// # Errors
/// A server that cannot be had, that refuses a report, or that holds something else than was sent.
pub fn run() -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD])?;
    // Not installed here: whoever has a newer Node has it from elsewhere, and Debian's would be in its way.
    for (package, arguments) in
        [("npm", &["npm", "--version"][..]), ("python3-venv", &["python3", "-m", "venv", "-h"])]
    {
        let asked = Command::new(arguments[0])
            .args(&arguments[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        ensure!(
            asked.is_ok_and(|status| status.success()),
            "{package} is missing; apt-get install {package}"
        );
    }
    if std::env::var_os("FORETRACE_BIN_DIR").is_none() {
        build::programs()?;
    }
    let tools = build::release_folder().with_file_name("servers");
    fs::create_dir_all(&tools)?;
    tus(&tools)?;
    let installed = Installed::new()?;
    let till = built_programs()?.join("till");
    let ids = [installed.crash(&mut Command::new(&till))?, installed.crash(&mut Command::new(&till))?];
    let world = installed.uninstall();
    bugsink(&tools, &world, &ids[0])?;
    opentelemetry(&tools, &world, &ids[1])
}

fn tus(tools: &Path) -> Result<()> {
    let home = tools.join("tus");
    if !home.join("node_modules/@tus/server").exists() {
        say("installing the reference tus server");
        fs::create_dir_all(&home)?;
        build::run(
            Command::new("npm").args(["install", "--no-fund", "--no-audit", "--prefix"]).arg(&home).args(TUS),
        )?;
    }
    // Node looks for packages beside the script.
    let host = home.join("tus.mjs");
    fs::write(&host, include_str!("servers/tus.mjs"))?;
    for (bytes, cuts) in [(200_000, 0), (CUT_BYTES, CUTS)] {
        let pending = Pending::new(bytes, 1)?;
        let kept = pending.root().join("kept");
        let server = Host::start(Command::new("node").arg(&host).arg(&kept))?;
        let line = Line::to(&server.address, if cuts == 0 { vec![] } else { pending::cuts(bytes, cuts) })?;
        pending.grant(&format!("http://{}/files", line.address()))?;
        let twice = pending.send_over(&line, cuts)?;
        let sent = fs::read(pending.outgoing(pending.ids[0]))?;
        let held: Vec<_> = fs::read_dir(&kept)?.flatten().map(|entry| entry.path()).collect();
        let same = held.iter().filter(|path| fs::read(path).is_ok_and(|content| content == sent)).count();
        ensure!(same == 1, "{same} of {held:?} are the bytes that were sent");
        println!(
            "tus: {} bytes arrived over a line that broke {} times, {twice:.2} % sent twice",
            sent.len(),
            line.broken()
        );
    }
    Ok(())
}

fn bugsink(tools: &Path, world: &World, id: &str) -> Result<()> {
    let python = python::environment("bugsink", &[BUGSINK])?;
    let (host, home) = (tools.join("bugsink_host.py"), world.work("bugsink"));
    fs::write(&host, include_str!("servers/bugsink_host.py"))?;
    fs::create_dir(&home)?;
    let command = |what: &str| {
        let mut command = Command::new(&python);
        command.arg(&host).arg(what).current_dir(&home);
        command
    };
    let server = Host::start(&mut command("serve"))?;
    send(world, id, "memory", &format!("[Upload]\nUrl=http://{}\nProtocol=sentry\n", server.address))?;
    // Somebody who missed the answer sends again.
    fs::remove_file(world.root().join("var/lib/foretrace/reports/0").join(id).join("delivery.json"))?;
    world.ask(&["send", id])?;
    let said = run_command(&mut command("events"))?.success()?.text();
    let events: Vec<Value> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [event] = events.as_slice() else { bail!("Bugsink holds {} events", events.len()) };
    ensure!(event["event_id"] == id, "it holds {}", event["event_id"]);
    let report = world.info(id)?;
    let crashed = &report["threads"][0]["frames"];
    let names = |frames: &Value| -> Vec<String> {
        let name = |frame: &Value| frame["function"].as_str().map(str::to_owned);
        frames.as_array().into_iter().flatten().filter_map(name).collect()
    };
    let mut theirs = names(event.pointer("/exception/values/0/stacktrace/frames").unwrap_or(&Value::Null));
    theirs.reverse();
    ensure!(theirs == names(crashed) && theirs.len() > 2, "frames: {theirs:?}, and not {:?}", names(crashed));
    let crumbs = event.pointer("/breadcrumbs/values").and_then(Value::as_array).context("no breadcrumbs")?;
    ensure!(crumbs.iter().any(|crumb| crumb["message"] == "no card"), "the event is no breadcrumb");
    println!(
        "Bugsink: one event after two sendings, '{}': {} named frames in order, {} breadcrumbs, {} images",
        event["issue"].as_str().unwrap_or_default(),
        theirs.len(),
        crumbs.len(),
        event.pointer("/debug_meta/images").and_then(Value::as_array).map_or(0, Vec::len)
    );
    Ok(())
}

fn opentelemetry(tools: &Path, world: &World, id: &str) -> Result<()> {
    let python = python::environment("opentelemetry", &[OPENTELEMETRY])?;
    let host = tools.join("otlp.py");
    fs::write(&host, include_str!("servers/otlp.py"))?;
    let server = Host::start(Command::new(python).arg(&host))?;
    send(world, id, "logs", &format!("[Upload]\nUrl=http://{}/v1/logs\nProtocol=otlp\n", server.address))?;
    let line = server.lines.recv_timeout(PATIENCE).context("it took nothing")?;
    let logs: Value = serde_json::from_str(&line)?;
    let scopes = logs.pointer("/resourceLogs/0/scopeLogs").and_then(Value::as_array).context("no logs")?;
    let records: Vec<&Value> =
        scopes.iter().filter_map(|scope| scope["logRecords"].as_array()).flatten().collect();
    let trace = records.iter().find_map(|record| {
        let attributes = record["attributes"].as_array()?;
        let found = attributes.iter().find(|attribute| attribute["key"] == "exception.stacktrace")?;
        found.pointer("/value/stringValue")?.as_str()
    });
    let trace = trace.context("no exception.stacktrace")?;
    ensure!(trace.contains("first_card_digit"), "{trace}");
    ensure!(
        records.iter().any(|record| record["body"]["stringValue"] == "till:no card"),
        "the event is missing"
    );
    println!("OpenTelemetry: {} records decoded, with the backtrace and the events", records.len());
    Ok(())
}

fn send(world: &World, id: &str, grant: &str, settings: &str) -> Result<()> {
    world.configure(settings)?;
    world.ask(&["consent", id, "--grant", grant])?;
    world.ask(&["send", id])?;
    Ok(())
}

/// A server that tells its address in its first line; it ends with this.
struct Host {
    child: Child,
    address: String,
    // Read as they come: a server that waits for its reader answers nobody.
    lines: Receiver<String>,
}

impl Host {
    fn start(command: &mut Command) -> Result<Host> {
        let name = command.get_program().to_owned();
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = quiet.spawn().with_context(|| told(&name))?;
        let said = BufReader::new(child.stdout.take().context("no stdout")?).lines().map_while(Result::ok);
        let (line, lines) = mpsc::channel();
        thread::spawn(move || said.map_while(|said| line.send(said).ok()).for_each(drop));
        let first = lines.recv_timeout(PATIENCE).with_context(|| told(&name))?;
        let address = first.strip_prefix("listening on http://").with_context(|| told(&name))?.to_owned();
        Ok(Host { child, address, lines })
    }
}

fn told(name: &OsStr) -> String {
    format!("{} does not start", Path::new(name).display())
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
