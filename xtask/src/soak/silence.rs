//! Silence: real crashes whose handlers, questions and answers all run where every packet is seen. Not one before a yes;
//! after it, nothing but what `outgoing.zip` makes.
//!
//! Owns the crashes and the answers that are no yes; what leaves after a yes is [`yes`]'s, what the packets said
//! [`wire`]'s. The desktop's answers are `uploader/tests/sending/silence.rs`'s, which is the same proof in little.

mod wire;
mod yes;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use foretrace_tests::ledger;
use foretrace_tests::machine::KernelSettings;
use foretrace_tests::network::Network;
use foretrace_tests::terminal::Terminal;
use foretrace_tests::world::{World, built_programs};

use crate::build::{self, say};
use crate::{interrupt, setup};

/// Programs that crash at the same time.
const AT_A_TIME: usize = 4;
/// Events that each of a program's threads records.
const EVENTS: &str = "20000";
/// How long the last reports may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// From its start, the time in which a command is killed at some instant.
const SPAN: Duration = Duration::from_millis(150);

/// Where the proof is made.
struct Stage {
    world: World,
    network: Network,
    random: Random,
    // Whom somebody agreed to speak to.
    ports: Vec<u16>,
}

/// An answer that is no yes, and how it is given.
type Answer = (&'static str, fn(&mut Stage, &str) -> Result<()>);

const NO_YES: [Answer; 11] = [
    ("nobody is there", |stage, id| stage.run(&["send", "--now", id])),
    ("no", |stage, id| stage.run(&["consent", id, "--deny"])),
    ("later", |stage, id| stage.at_terminal(id, "l\n")),
    ("no, at the terminal", |stage, id| stage.at_terminal(id, "n\n")),
    ("only a look at what would leave", |stage, id| stage.at_terminal(id, "p\nl\n")),
    ("Ctrl-C", |stage, id| stage.at_terminal(id, "\u{3}")),
    ("the window is closed", |stage, id| {
        let mut terminal = stage.asked(id)?;
        terminal.close();
        terminal.end().map(drop)
    }),
    ("yes, taken back", |stage, id| {
        stage.run(&["consent", id, "--grant", "memory"])?;
        stage.run(&["consent", id, "--revoke"])
    }),
    ("an answer that is killed", |stage, id| {
        stage.killed(&["consent", id, "--grant", "trail"], SPAN)?;
        stage.killed(&["consent", id, "--revoke"], SPAN)?;
        stage.run(&["consent", id, "--deny"])
    }),
    ("a question that is killed", |stage, id| {
        let terminal = Terminal::start(stage.world.foretrace().args(["send", id]))?;
        thread::sleep(stage.random.below(SPAN));
        drop(terminal);
        Ok(())
    }),
    ("a preview and an agent that are killed", |stage, id| {
        stage.killed(&["preview", id], SPAN)?;
        stage.killed(&["agent"], SPAN)
    }),
];

/// Crashes that often and answers in every way.
///
/// # Errors
/// A packet that nobody agreed to, or a byte in one.
pub fn prove(crashes: usize) -> Result<()> {
    setup::install_missing(&[setup::TO_BUILD, setup::TO_TEST])?;
    if std::env::var_os("FORETRACE_BIN_DIR").is_none() {
        build::programs()?;
    }
    let network = Network::enter()?;
    let mut stage = Stage { world: World::new()?, network, random: Random(7), ports: Vec::new() };
    say(&format!("{crashes} crashes, handled where every packet is seen"));
    let ids = stage.crash(crashes)?;
    stage.is_silent("crashes")?;

    say("every answer but yes");
    stage.world.configure("[Upload]\nUrl=https://crash.example.org/reports\n")?;
    for (number, id) in ids.iter().enumerate() {
        interrupt::check()?;
        let (name, answer) = NO_YES[number % NO_YES.len()];
        answer(&mut stage, id)?;
        stage.is_silent(name)?;
    }
    stage.run(&["consent", "--program", "till", "--set", "never"])?;
    for arguments in
        [&["send", "--all", "--now"][..], &["list"], &["status"], &["status", "--login"], &["consent"]]
    {
        stage.run(arguments)?;
    }
    stage.run(&["consent", "--program", "till", "--set", "ask"])?;
    stage.run(&["send", "--all", "--now"])?;
    stage.is_silent("a look at all of them")?;
    println!("{crashes} crashes, {} ways to say anything but yes: 0 packets", NO_YES.len());
    yes::prove(&mut stage, &ids)
}

impl Stage {
    /// Crashes real programs; the kernel starts their handlers inside of the network.
    fn crash(&self, count: usize) -> Result<Vec<String>> {
        self.world.configure("[Storage]\nRepeats=infinity\n")?;
        let (script, handler) = (self.world.program("watched"), self.world.program("foretrace-coredump"));
        let inside = format!(
            "#!/bin/sh\nexec nsenter --net={} {} \"$@\"\n",
            self.network.namespace().display(),
            handler.display()
        );
        fs::write(&script, inside)?;
        fs::set_permissions(&script, Permissions::from_mode(0o755))?;
        let kernel = KernelSettings::take()?;
        kernel.set_core_pipe_limit(256)?;
        let (script, root) = (script.display(), self.world.root());
        kernel
            .set_core_pattern(&format!("|{script} --root {} %P %u %g %s %t %c %h %d %F", root.display()))?;
        let mut running: Vec<Child> = Vec::new();
        let book = self.world.work("ledger");
        ledger::create(&book, 4)?;
        for number in 0..count {
            interrupt::check()?;
            if running.len() == AT_A_TIME {
                ensure!(!running.remove(0).wait()?.success(), "a program did not crash");
            }
            let mut victim = Command::new(built_programs()?.join(["till", "victim-rust"][number % 2]));
            if number % 2 == 1 {
                // A long trail, for a report that is on its way for a while.
                victim.arg("null").arg(&book).args(["4", EVENTS]);
            }
            running.push(victim.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        }
        for mut victim in running {
            ensure!(!victim.wait()?.success(), "a program did not crash");
        }
        let began = Instant::now();
        loop {
            let ids = self.world.ids()?;
            if ids.len() >= count {
                return Ok(ids.into_iter().collect());
            }
            ensure!(began.elapsed() < PATIENCE, "{} reports of {count} crashes", ids.len());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_silent(&self, after: &str) -> Result<()> {
        let packets = self.network.packets();
        ensure!(packets == 0, "{packets} packets after: {after}");
        Ok(())
    }

    // Whatever it ends with: what it says is other tests' business.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.world.foretrace();
        foretrace_tests::command::run(command.args(arguments)).map(drop)
    }

    /// Starts a command and kills it at some instant of the next `span`.
    fn killed(&mut self, arguments: &[&str], span: Duration) -> Result<()> {
        let mut command = self.world.foretrace();
        let quiet = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.spawn()?;
        thread::sleep(self.random.below(span));
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn asked(&self, id: &str) -> Result<Terminal> {
        let mut terminal = Terminal::start(self.world.foretrace().args(["send", id]))?;
        terminal.wait_for("Your answer: ")?;
        Ok(terminal)
    }

    fn at_terminal(&self, id: &str, keys: &str) -> Result<()> {
        let mut terminal = self.asked(id)?;
        terminal.press(keys)?;
        terminal.end().map(drop)
    }
}

/// Numbers without a pattern, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, span: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        span.mul_f64((self.0 >> 33) as f64 / (1u64 << 31) as f64)
    }
}
