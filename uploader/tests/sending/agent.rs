//! The desktop asks: only the button that says so is a yes, and whatever else happens to the question leaves it open.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foretrace_report::ReportId;
use foretrace_report::receipt::{Answer, Consent, DeliveryState, How};

use crate::desktop::{Bus, Shower, signal};
use crate::server::Server;
use crate::world::World;

const USUAL: [&str; 3] = ["actions", "body", "body-markup"];

/// A report that waits, a server, and a desktop.
struct Scene {
    server: Server,
    world: World,
    bus: Bus,
    id: ReportId,
}

impl Scene {
    fn new() -> Scene {
        let server = Server::start([]);
        let world = World::with_server(&server.url());
        let id = world.painter();
        Scene { server, world, bus: Bus::start(), id }
    }

    fn agent(&self, arguments: &[&str]) -> Agent {
        let arguments = [&["agent"], arguments].concat();
        let mut command = self.world.command(&arguments);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus.address).env("LC_ALL", "C");
        // Terminals are the test's own.
        let path = std::env::join_paths([self.world.path("bin")]).unwrap();
        Agent::start(command.env("PATH", path))
    }

    fn nothing_left(&self) {
        assert!(!self.world.file(self.id, "consent.json").exists(), "silence became an answer");
        assert!(!self.world.file(self.id, "outgoing.zip").exists());
        assert_eq!(self.server.connections(), 0);
    }
}

/// An agent; it ends with the test.
pub struct Agent(Child);

impl Agent {
    /// Starts one.
    pub fn start(command: &mut Command) -> Agent {
        Agent(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits for its end: the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the agent goes on");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_button_that_says_send_sends_the_usual_and_nothing_left_before() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    let mut agent = scene.agent(&["--once"]);
    let question = desktop.wait_for(1);
    assert_eq!(question.title, "painter stopped working");
    for part in
        ["painter crashed in main", "Nothing has been sent so far", &scene.server.url(), "summary, stack"]
    {
        assert!(question.body.contains(part), "{part:?} is not in {question:?}");
    }
    let buttons = ["default", "Details…", "send", "Send", "details", "Details…", "later", "Later"];
    assert_eq!(question.actions, buttons);
    scene.nothing_left();
    desktop.press(question.id, "send");
    assert!(desktop.wait_for(2).body.contains("It was sent"));
    assert_eq!(desktop.closed(), [question.id], "an answered question stays on the screen");
    assert_eq!(agent.end(), Some(0));
    let consent: Consent =
        serde_json::from_slice(&std::fs::read(scene.world.file(scene.id, "consent.json")).unwrap()).unwrap();
    assert_eq!((consent.how, consent.language.as_str()), (How::Notification, "en"));
    let Answer::Granted(receipt) = consent.answer else { panic!("granted") };
    assert_eq!(receipt.classes.to_string(), "summary,stack,trail");
    assert_eq!(scene.world.delivery(scene.id).state, DeliveryState::Sent);
    assert_eq!(scene.server.connections(), 1);
}

#[test]
fn whatever_is_no_press_of_that_button_leaves_the_question_open() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    let stranger = scene.bus.connect();
    let mut number = 0;
    for answer in ["later", "expired", "dismissed", "closed", "unknown", "empty", "SEND"] {
        let mut agent = scene.agent(&["--once"]);
        number += 1;
        let id = desktop.wait_for(number).id;
        // Another notification's button, and somebody who only says that it was pressed.
        desktop.press(id + 1000, "send");
        signal(&stranger, "ActionInvoked", &(id, "send"));
        // And what cannot be understood.
        signal(&stranger, "ActionInvoked", &("send", id));
        match answer {
            "expired" => desktop.close(id, 1),
            "dismissed" => desktop.close(id, 2),
            "closed" => desktop.close(id, 3),
            "unknown" => desktop.press(id, "buy"),
            "empty" => desktop.press(id, ""),
            action => desktop.press(id, action),
        }
        assert_eq!(agent.end(), Some(0), "{answer}");
        assert_eq!(desktop.shown().len(), number, "{answer}");
        scene.nothing_left();
    }
}

#[test]
fn a_click_beside_the_buttons_opens_the_whole_question_in_a_terminal() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    std::fs::create_dir_all(scene.world.path("bin")).unwrap();
    let (terminal, opened) = (scene.world.path("bin/xdg-terminal-exec"), scene.world.path("opened"));
    std::fs::write(&terminal, format!("#!/bin/sh\necho \"$@\" > {}\n", opened.display())).unwrap();
    std::fs::set_permissions(&terminal, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (number, action) in ["default", "details"].into_iter().enumerate() {
        let mut agent = scene.agent(&["--once"]);
        desktop.press(desktop.wait_for(number + 1).id, action);
        assert_eq!(agent.end(), Some(0));
        let began = Instant::now();
        while !std::fs::read_to_string(&opened).is_ok_and(|text| text.ends_with('\n')) {
            assert!(began.elapsed() < Duration::from_secs(10), "no terminal opened");
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = std::fs::read_to_string(&opened).unwrap();
        assert!(said.trim().ends_with(&format!("send {}", scene.id)), "{said}");
        std::fs::remove_file(&opened).unwrap();
        scene.nothing_left();
    }
    // Where there is none, the notification says how to go on.
    std::fs::remove_file(&terminal).unwrap();
    let mut agent = scene.agent(&["--once"]);
    desktop.press(desktop.wait_for(3).id, "details");
    assert!(desktop.wait_for(4).body.contains(&format!("foretrace send {}", scene.id.short())));
    assert_eq!(agent.end(), Some(0));
    scene.nothing_left();
}

#[test]
fn a_desktop_without_notifications_or_buttons_leaves_it_to_the_line_at_login() {
    let scene = Scene::new();
    assert_eq!(scene.agent(&["--once"]).end(), Some(0));
    scene.nothing_left();
    let desktop = Shower::on(&scene.bus, &["body"]);
    assert_eq!(scene.agent(&["--once"]).end(), Some(0));
    assert!(desktop.shown().is_empty());
    scene.nothing_left();
    let said = scene.world.done(&["status", "--login"]);
    assert!(said.text.starts_with("1 crash report waits for your answer"), "{said:?}");
}

#[test]
fn a_question_dies_with_whoever_showed_it() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    let mut agent = scene.agent(&["--once"]);
    desktop.wait_for(1);
    desktop.die();
    assert_eq!(agent.end(), Some(0));
    scene.nothing_left();
}

#[test]
fn a_killed_agent_has_answered_nothing_and_the_next_one_asks_again() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    let agent = scene.agent(&[]);
    let id = desktop.wait_for(1).id;
    drop(agent);
    desktop.press(id, "send");
    scene.nothing_left();
    let _next = scene.agent(&[]);
    assert_eq!(desktop.wait_for(2).title, "painter stopped working");
    scene.nothing_left();
}

#[test]
fn nobody_is_asked_twice_about_one_report() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    let _agent = scene.agent(&[]);
    let id = desktop.wait_for(1).id;
    // A second agent of the session sees the first; one of another session sees the question.
    assert_eq!(scene.agent(&["--once"]).end(), Some(0));
    let elsewhere = Bus::start();
    let other = Shower::on(&elsewhere, &USUAL);
    let mut command = scene.world.command(&["agent", "--once"]);
    assert!(command.env("DBUS_SESSION_BUS_ADDRESS", &elsewhere.address).status().unwrap().success());
    assert!(other.shown().is_empty(), "{:?}", other.shown());
    assert_eq!(desktop.shown().len(), 1);
    // Put off, it is not asked again in this session; a new report is.
    desktop.press(id, "later");
    let next = scene.world.report(9, "sculptor", &[]);
    assert_eq!(desktop.wait_for(2).title, "sculptor stopped working");
    assert!(!scene.world.file(next, "consent.json").exists());
    scene.nothing_left();
}

#[test]
fn the_desktop_is_spoken_to_in_its_language_and_without_markup_of_a_program() {
    let scene = Scene::new();
    scene.world.report(9, "<b>x&", &[]);
    let desktop = Shower::on(&scene.bus, &USUAL);
    let mut command = scene.world.command(&["agent", "--once"]);
    command.env("DBUS_SESSION_BUS_ADDRESS", &scene.bus.address).env("LC_ALL", "de_DE.UTF-8");
    let mut agent = Agent::start(&mut command);
    for number in [1, 2] {
        let question = desktop.wait_for(number);
        assert!(question.title.ends_with(" funktioniert nicht mehr"), "{question:?}");
        assert!(question.body.contains("Bisher wurde nichts gesendet"), "{question:?}");
        assert!(!question.body.contains("<b>"), "{question:?}");
        desktop.press(question.id, "later");
    }
    assert_eq!(agent.end(), Some(0));
}

/// A process that ends with the test.
struct Activator(Child);

impl Drop for Activator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `systemd-socket-activate`, which becomes the agent when somebody knocks.
fn activated(scene: &Scene, socket: &std::path::Path) -> Activator {
    let agent = scene.world.command(&["agent"]);
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(socket).arg("-E").arg(format!("DBUS_SESSION_BUS_ADDRESS={}", scene.bus.address));
    command.args(["-E", "LC_ALL=C"]).arg(agent.get_program()).args(agent.get_args());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let activator = Activator(child.expect("systemd-socket-activate, from the package systemd"));
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "no socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    activator
}

#[test]
fn a_knock_at_the_sessions_socket_starts_the_agent_and_another_one_asks_nobody_twice() {
    let scene = Scene::new();
    let desktop = Shower::on(&scene.bus, &USUAL);
    let socket = scene.world.path("agent.sock");
    let mut first = activated(&scene, &socket);
    std::thread::sleep(Duration::from_millis(300));
    assert!(desktop.shown().is_empty(), "it was started before anybody knocked");
    let knock = || std::os::unix::net::UnixStream::connect(&socket).unwrap();
    drop(knock());
    let question = desktop.wait_for(1);
    assert_eq!(question.title, "painter stopped working");
    // Knocking goes on while the question stands; it is still one question.
    (0..20).for_each(|_| drop(knock()));
    // The session's own agent finds that somebody asks; so does one that a second socket starts, and nobody is left standing.
    assert_eq!(scene.agent(&[]).end(), Some(0));
    let other = scene.world.path("other.sock");
    let mut second = activated(&scene, &other);
    drop(std::os::unix::net::UnixStream::connect(&other).unwrap());
    let began = Instant::now();
    let ended = loop {
        if let Some(status) = second.0.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the second agent stays");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success() && first.0.try_wait().unwrap().is_none());
    assert_eq!(desktop.shown().len(), 1);
    scene.nothing_left();
}
