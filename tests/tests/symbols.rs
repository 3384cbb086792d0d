//! Names that a report lacks come from a real debuginfod, and only after a yes: before it nobody is connected to, and
//! what the server is told is the build-id alone.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::door::Door;
use foretrace_tests::terminal::Terminal;
use foretrace_tests::world::Installed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Two static functions and one that is inlined into the inner one: a stripped program knows none of them.
const PROGRAM: &str = r"
static inline __attribute__((always_inline)) void weigh(volatile int *scale) { *scale = 7; }
static __attribute__((noinline)) int label(int *volatile parcel) { weigh(parcel); return 1; }
static __attribute__((noinline)) int deliver(int *volatile parcel) { return label(parcel) + 1; }
int main(void) { return deliver(0); }
";

/// How long debuginfod may take to have read a folder.
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    world: Installed,
    door: Door,
    id: String,
    build_id: String,
    server: Debuginfod,
}

impl Scene {
    /// A stripped program has crashed; a debuginfod has its debug information.
    fn new() -> Result<Scene> {
        let world = Installed::new()?;
        let (source, victim, debug) = (world.work("courier.c"), world.work("courier"), world.work("debug"));
        fs::write(&source, PROGRAM)?;
        fs::create_dir(&debug)?;
        run(Command::new("gcc").args(["-g", "-O1", "-Wl,--build-id", "-o"]).args([&victim, &source]))?
            .success()?;
        let separate = debug.join("courier.debug");
        run(Command::new("objcopy").arg("--only-keep-debug").args([&victim, &separate]))?.success()?;
        run(Command::new("strip").arg(&victim))?.success()?;
        let id = world.crash(&mut Command::new(&victim))?;
        let report = world.info(&id)?;
        let frame = &report["threads"][0]["frames"][0];
        ensure!(frame["function"].is_null(), "the stripped program has names: {frame}");
        let build_id = frame["build_id"].as_str().context("no build-id")?.to_owned();
        let server = Debuginfod::start(&world, &build_id)?;
        let door = Door::to(&server.address)?;
        world.configure(&format!("[Symbols]\nDebuginfod={}\n", door.address))?;
        Ok(Scene { world, door, id, build_id, server })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.foretrace();
        command
            .env("XDG_CACHE_HOME", self.world.work("cache"))
            .env_remove("DEBUGINFOD_CACHE_PATH")
            .args(arguments);
        command
    }

    fn info(&self) -> Result<String> {
        Ok(run(&mut self.command(&["info", &self.id]))?.success()?.text())
    }
}

/// Debian's own server; dropping it ends it.
struct Debuginfod {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Debuginfod {
    fn start(world: &Installed, build_id: &str) -> Result<Debuginfod> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = world.work("debuginfod.log");
        let child = Command::new("debuginfod")
            .args(["-vvv", "-d", ":memory:", "-p", &port.to_string(), "-F"])
            .arg(world.work("debug"))
            .env_remove("DEBUGINFOD_URLS")
            .env("HOME", world.work("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot start debuginfod")?;
        let server = Debuginfod { child, address: format!("http://127.0.0.1:{port}"), log };
        let began = Instant::now();
        loop {
            let ready = run(Command::new("debuginfod-find")
                .args(["debuginfo", build_id])
                .env("DEBUGINFOD_URLS", &server.address)
                .env(
                    "DEBUGINFOD_CACHE_PATH",
                    world.work(&format!("probe-{}", began.elapsed().as_millis())),
                ))?;
            if ready.status.success() {
                return Ok(server);
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "debuginfod does not have it: {}",
                fs::read_to_string(&server.log)?
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Debuginfod {
    fn drop(&mut self) {
        // Its threads look at a signal before its database is there; a second one ends what is left.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[test]
fn a_stripped_programs_frames_get_names_from_debuginfod_after_a_yes_and_not_before() -> Result<()> {
    let scene = Scene::new()?;
    ensure!(scene.info()?.contains(&format!("foretrace symbols {}", &scene.id[..8])), "{}", scene.info()?);

    // Without a terminal nobody can say yes.
    let silent = run(&mut scene.command(&["symbols", &scene.id]))?;
    ensure!(!silent.status.success() && silent.text().contains(&scene.build_id), "{silent}");
    let mut terminal = Terminal::start(&scene.command(&["symbols", &scene.id]))?;
    terminal.wait_for("They would be told the build-ids of these files, and nothing else:")?;
    terminal.wait_for(&scene.build_id)?;
    terminal.wait_for("Ask them? (y/n)")?;
    terminal.press("n\n")?;
    terminal.wait_for("Nobody was asked.")?;
    terminal.end()?;
    ensure!(scene.door.opened() == 0, "{} connections before a yes", scene.door.opened());

    let original = scene.world.info(&scene.id)?;
    let mut terminal = Terminal::start(&scene.command(&["symbols", &scene.id]))?;
    terminal.wait_for("Ask them? (y/n)")?;
    terminal.press("y\n")?;
    terminal.wait_for("frames have names now")?;
    ensure!(terminal.end()?.success(), "{}", terminal.screen());
    ensure!(scene.door.opened() > 0, "nobody was asked");

    let shown = scene.info()?;
    for part in [
        "crashed in weigh",
        "weigh at ",
        "courier.c:2",
        "label at ",
        "deliver at ",
        "main at ",
        "named later",
    ] {
        ensure!(shown.contains(part), "'{part}' is not in:\n{shown}");
    }
    // In the order of the calls, and the inlined one marked.
    let places: Vec<_> =
        ["#0   weigh", "#1   label", "#2   deliver", "#3   main"].map(|name| shown.find(name)).into();
    ensure!(places.is_sorted() && places[0].is_some(), "{places:?}:\n{shown}");
    ensure!(scene.world.info(&scene.id)? == original, "the report itself has changed");

    // The server was told the build-id and nothing else of the report.
    let log = fs::read_to_string(&scene.server.log)?;
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("UA:foretrace/")).collect();
    ensure!(!asked.is_empty(), "the server saw no request of ours:\n{log}");
    let wanted = format!("/buildid/{}/debuginfo", scene.build_id);
    ensure!(asked.iter().all(|line| line.contains("GET /buildid/")), "{asked:?}");
    ensure!(asked.iter().any(|line| line.contains(&wanted)), "{asked:?}");
    let receipts =
        scene.world.root().join("var/lib/foretrace/reports/0").join(&scene.id).join("symbols.json");
    let receipts = fs::read_to_string(receipts)?;
    ensure!(receipts.contains(&scene.build_id) && receipts.contains(&scene.door.address), "{receipts}");

    // What is in the cache is asked of nobody, and a second look finds nothing to do.
    let before = scene.door.opened();
    run(&mut scene.command(&["symbols", "--ask", &scene.id]))?;
    let cached = scene.world.work("cache/debuginfod_client").join(&scene.build_id).join("debuginfo");
    ensure!(cached.is_file(), "{} is not in the cache", cached.display());
    ensure!(fs::read_to_string(&scene.server.log)?.matches(&wanted).count() <= log.matches(&wanted).count());
    ensure!(scene.door.opened() <= before + 1, "asked for what is here");
    Ok(())
}

#[test]
fn another_files_debug_information_is_never_believed() -> Result<()> {
    let scene = Scene::new()?;
    // A server that answers every question with the same file, which bears another build-id.
    let other = scene.world.work("other");
    run(Command::new("gcc")
        .args(["-g", "-Wl,--build-id", "-o"])
        .arg(&other)
        .arg(scene.world.work("courier.c")))?
    .success()?;
    let content = fs::read(&other)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    scene.world.configure(&format!("[Symbols]\nDebuginfod=http://{}\n", listener.local_addr()?))?;
    thread::spawn(move || {
        for mut guest in listener.incoming().flatten() {
            use std::io::{Read, Write};
            // Whatever is asked.
            let _ = guest.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            let _ = guest.write_all(head.as_bytes()).and_then(|()| guest.write_all(&content));
        }
    });
    let said = run(&mut scene.command(&["symbols", "--ask", &scene.id]))?;
    ensure!(!said.status.success(), "{said}");
    ensure!(said.errors().contains("no debug information of that build-id"), "{said}");
    let cached = scene.world.work("cache/debuginfod_client").join(&scene.build_id);
    ensure!(fs::read_dir(cached)?.next().is_none(), "it was kept");
    ensure!(!scene.info()?.contains("named later"), "{}", scene.info()?);
    Ok(())
}
