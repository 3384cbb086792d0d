//! Installing, standing in and uninstalling, on a machine made of files.

use super::*;

struct Machine {
    root: tempfile::TempDir,
    places: Places,
}

impl Machine {
    fn new(pattern: &str) -> Machine {
        let root = tempfile::tempdir().unwrap();
        let places = Places::system(&root.path().join("r"));
        let machine = Machine { root, places };
        fs::create_dir_all(machine.settings().join("kernel")).unwrap();
        fs::create_dir_all(machine.settings().join("fs")).unwrap();
        machine.set("kernel/core_pattern", pattern);
        machine.set("kernel/core_pipe_limit", "16");
        machine.set("fs/suid_dumpable", "0");
        machine
    }

    fn settings(&self) -> PathBuf {
        self.root.path().join("sys")
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.settings().join(name), format!("{value}\n")).unwrap();
    }

    fn value(&self, name: &str) -> String {
        fs::read_to_string(self.settings().join(name)).unwrap().trim_end().to_owned()
    }

    fn installation(&self) -> Installation<'_> {
        let program = PathBuf::from("/usr/lib/foretrace/foretrace-coredump");
        Installation { places: &self.places, settings: self.settings(), program, release: "6.18.0".into() }
    }

    // Somebody who answers the socket, for as many askings.
    fn answer(&self, askings: usize) -> std::thread::JoinHandle<()> {
        fs::create_dir_all(self.places.runtime()).unwrap();
        let socket = self.installation().socket();
        let _ = fs::remove_file(&socket);
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || (0..askings).for_each(|_| drop(listener.accept().unwrap())))
    }
}

#[test]
fn uninstall_brings_back_what_install_found() {
    let machine = Machine::new("|/usr/lib/systemd/systemd-coredump %P");
    let written = machine.installation().install(Mode::Pipe, false).unwrap();
    assert!(written.core_pattern.ends_with("%P %u %g %s %t %c %h %d %F"));
    assert_eq!(machine.value("kernel/core_pattern"), written.core_pattern);
    assert_eq!(machine.value("kernel/core_pipe_limit"), "256");
    assert!(machine.installation().status().unwrap().installed);
    let removed = machine.installation().uninstall().unwrap();
    assert_eq!(removed.left, Vec::<String>::new());
    assert_eq!(machine.value("kernel/core_pattern"), "|/usr/lib/systemd/systemd-coredump %P");
    assert_eq!(machine.value("kernel/core_pipe_limit"), "16");
    assert_eq!(machine.value("fs/suid_dumpable"), "0");
}

#[test]
fn installing_twice_does_not_forget_what_was_there_first() {
    let machine = Machine::new("core.%p");
    machine.installation().install(Mode::Pipe, false).unwrap();
    machine.installation().install(Mode::Pipe, false).unwrap();
    machine.installation().uninstall().unwrap();
    assert_eq!(machine.value("kernel/core_pattern"), "core.%p");
}

#[test]
fn what_somebody_else_has_set_meanwhile_is_left_alone() {
    let machine = Machine::new("core");
    machine.installation().install(Mode::Pipe, false).unwrap();
    machine.set("kernel/core_pattern", "|/other");
    let status = machine.installation().status().unwrap();
    assert!(!status.installed && !status.problems.is_empty());
    let removed = machine.installation().uninstall().unwrap();
    assert_eq!(removed.left, ["kernel.core_pattern = |/other"]);
    assert_eq!(machine.value("kernel/core_pattern"), "|/other");
    assert_eq!(machine.value("kernel/core_pipe_limit"), "16");
}

#[test]
fn the_socket_is_taken_only_where_somebody_answers_it() {
    let machine = Machine::new("core");
    let old = Installation { release: "6.1.0-37-amd64".into(), ..machine.installation() };
    assert_eq!((old.best(), machine.installation().best()), (Mode::Pipe, Mode::Pipe));
    assert!(matches!(
        machine.installation().install(Mode::Socket, false),
        Err(InstallError::NobodyAnswers(_))
    ));
    assert!(matches!(old.install(Mode::Socket, false), Err(InstallError::NoSocket(_))));
    assert_eq!(machine.value("kernel/core_pattern"), "core");
    let server = machine.answer(3);
    assert_eq!(machine.installation().best(), Mode::Socket);
    machine.installation().install(Mode::Socket, false).unwrap();
    let pattern = machine.value("kernel/core_pattern");
    assert!(pattern.starts_with("@@/") && pattern.ends_with("/run/foretrace/coredump.socket"), "{pattern}");
    let status = machine.installation().status().unwrap();
    assert_eq!((status.mode, status.answered, status.problems), (Some(Mode::Socket), true, vec![]));
    server.join().unwrap();
    let status = machine.installation().status().unwrap();
    assert!(status.problems[0].contains("nobody answers"), "{:?}", status.problems);
}

#[test]
fn while_nobody_answers_the_pipe_stands_in_for_the_socket_and_uninstalling_knows_both() {
    let machine = Machine::new("core.%p");
    let server = machine.answer(1);
    machine.installation().install(Mode::Socket, false).unwrap();
    server.join().unwrap();
    let socket = machine.value("kernel/core_pattern");
    assert!(!machine.installation().raise().unwrap());
    assert!(machine.installation().fall_back().unwrap());
    assert!(machine.value("kernel/core_pattern").starts_with("|/usr/lib/foretrace/"));
    assert!(!machine.installation().fall_back().unwrap());
    let status = machine.installation().status().unwrap();
    assert!(status.mode == Some(Mode::Pipe) && !status.problems.is_empty());
    assert!(machine.installation().raise().unwrap());
    assert_eq!(machine.value("kernel/core_pattern"), socket);
    machine.installation().fall_back().unwrap();
    machine.installation().uninstall().unwrap();
    assert_eq!(machine.value("kernel/core_pattern"), "core.%p");
}

#[test]
fn falling_back_and_rising_leave_another_programs_pattern_alone() {
    let machine = Machine::new("core");
    let server = machine.answer(1);
    machine.installation().install(Mode::Socket, false).unwrap();
    server.join().unwrap();
    machine.set("kernel/core_pattern", "|/other");
    assert!(!machine.installation().fall_back().unwrap() && !machine.installation().raise().unwrap());
    assert_eq!(machine.value("kernel/core_pattern"), "|/other");
}

#[test]
fn the_handler_before_is_chained_to_only_where_that_was_asked_for_and_it_is_a_program() {
    let machine = Machine::new("|/usr/lib/systemd/systemd-coredump %P");
    let before = Some("|/usr/lib/systemd/systemd-coredump %P".to_owned());
    assert_eq!(previous(&machine.places, true), None);
    machine.installation().install(Mode::Pipe, false).unwrap();
    assert_eq!((previous(&machine.places, false), previous(&machine.places, true)), (None, before.clone()));
    machine.installation().install(Mode::Pipe, true).unwrap();
    assert_eq!(previous(&machine.places, false), before);
    let machine = Machine::new("core.%p");
    assert!(matches!(machine.installation().install(Mode::Pipe, true), Err(InstallError::NothingToChain(_))));
    assert_eq!(machine.value("kernel/core_pattern"), "core.%p");
}

#[test]
fn uninstalling_what_was_never_installed_changes_nothing() {
    let machine = Machine::new("core");
    let removed = machine.installation().uninstall().unwrap();
    assert_eq!(removed, Removed { restored: vec![], left: vec![] });
    assert_eq!(machine.value("kernel/core_pattern"), "core");
}

#[test]
fn a_pattern_that_the_kernel_would_cut_or_split_is_refused() {
    let places = Places::system(Path::new("/"));
    let pattern = |program: &str| Installation::new(&places, Path::new(program)).pattern(Mode::Pipe);
    assert!(matches!(pattern(&format!("/{}", "a".repeat(120))), Err(InstallError::TooLong(_))));
    for program in ["/a b/c", "/a%b", "relative", "/a\nb"] {
        assert!(matches!(pattern(program), Err(InstallError::Path(_))), "{program}");
    }
    assert_eq!(pattern("/h").unwrap(), "|/h %P %u %g %s %t %c %h %d %F");
}

#[test]
fn a_setting_that_does_not_stay_is_an_error_and_the_others_are_put_back() {
    let machine = Machine::new("core");
    let path = machine.settings().join("kernel/core_pattern");
    fs::remove_file(&path).unwrap();
    // Reads as something else than what was written.
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(matches!(machine.installation().install(Mode::Pipe, false), Err(InstallError::NotKept { .. })));
    assert_eq!(machine.value("kernel/core_pipe_limit"), "16");
    assert!(!machine.installation().saved_path().exists());
}
