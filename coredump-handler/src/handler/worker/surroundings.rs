//! What surrounded the process: named from what the kernel says, asked for while it stands still; and, once it is gone,
//! which of its files are not as their package installed them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use foretrace_report::schema::{Container, Surroundings};
use nix::sys::statfs::{FsType, fstatfs};

use super::collect::Held;
use super::{Worker, os_release};
use crate::handler::channel::Question;
use crate::handler::state;
use crate::package::{self, Claim};
use crate::surroundings as around;

/// How long a program's files may be compared with their packages'.
const COMPARISON: Duration = Duration::from_millis(400);
/// More of a container's files is not read.
const CLAIM_BYTES: u64 = 64 << 10;
/// How long its package database may be searched, and its debug files be opened: the process waits for both.
const INSIDE: Duration = Duration::from_millis(150);
const SQUASHFS: FsType = FsType(0x7371_7368);

impl Worker<'_> {
    // From the parts that are there already; a container's own files are asked for.
    pub(super) fn surroundings(&mut self, held: &mut Held, until: Instant) {
        let cgroup = self.kept("process/cgroup");
        let namespaces = self.kept("process/namespaces");
        let status = held.status.as_deref().unwrap_or_default();
        let pressure = self.collected.surroundings.pressure.take();
        let seen = around::seen(&cgroup, namespaces.as_bytes(), status, self.task.crash.pid);
        self.collected.surroundings = Surroundings { pressure, ..seen };
        if !self.task.effort.memory {
            return;
        }
        self.snap(held, until);
        if !held.own_root {
            self.inside(until);
            self.packages_inside(held, until);
            self.debug_files_inside(held, until);
        }
    }

    // The container's own package database.
    fn packages_inside(&mut self, held: &mut Held, until: Instant) {
        if self.collected.program.package.is_some() || held.executable.is_none() {
            return;
        }
        let Some(exe) = self.collected.program.exe.clone() else { return };
        let exe = around::path_inside(&exe, &held.root);
        let begun = Instant::now();
        held.claim = Claim::find(exe, &mut |name| {
            (begun.elapsed() < INSIDE).then(|| self.opened_inside(name, until)).flatten()
        });
    }

    // The container's own debug files. What they name is believed only if they bear their image's build-id.
    fn debug_files_inside(&mut self, held: &mut Held, until: Instant) {
        let Some(modules) = &mut held.modules else { return };
        let begun = Instant::now();
        for module in modules.iter_mut() {
            let Some(path) = module.debug_path().filter(|_| begun.elapsed() < INSIDE) else { continue };
            let question = Question::File(path.into_os_string().into_encoded_bytes());
            let answered = self.answered_by(&question, "a debug file", until);
            if let Some(Ok((_, Some(file)))) = answered {
                module.give_debug_file(File::from(file));
            }
        }
    }

    // What the container says of itself. The process's own rights open its files, within its own root.
    fn inside(&mut self, until: Instant) {
        for name in around::CLAIMS {
            let Some(content) = self.file_inside(name, until) else { continue };
            let (claimed, shipped) = around::claimed(name, &content);
            self.believe(claimed);
            self.collected.program.package = self.collected.program.package.take().or(shipped);
        }
        let text = self.file_inside("/etc/os-release", until);
        let Some(text) = text.or_else(|| self.file_inside("/usr/lib/os-release", until)) else { return };
        if os_release().is_some_and(|host| host == text.as_bytes()) {
            return;
        }
        let container = Container { engine: "other".into(), ..Container::default() };
        let container = self.collected.surroundings.container.get_or_insert(container);
        container.os = state::os_release_value(text.as_bytes(), "PRETTY_NAME");
        self.collected.parts.push(("process/os-release".into(), text.into_bytes()));
    }

    // A snap that is not confined has the machine's own root directory.
    fn snap(&mut self, held: &Held, until: Instant) {
        // Nobody but root can mount an image of this kind.
        let image = held.executable.as_ref().and_then(|file| fstatfs(file).ok());
        if image.is_none_or(|status| status.filesystem_type() != SQUASHFS) {
            return;
        }
        let exe = self.collected.program.exe.as_deref().map(|exe| around::path_inside(exe, &held.root));
        let Some((snap, file)) = exe.and_then(around::snap) else { return };
        if !held.own_root {
            self.believe(snap.container());
        }
        let said = self.file_inside(&file, until).unwrap_or_default();
        self.collected.program.package = Some(snap.package(&said));
    }

    // The control group's word goes first: a container's own only adds to it.
    fn believe(&mut self, claimed: Container) {
        match &mut self.collected.surroundings.container {
            None => self.collected.surroundings.container = Some(claimed),
            Some(known) if known.engine == claimed.engine => {
                known.id = known.id.take().or(claimed.id);
                known.name = known.name.take().or(claimed.name);
                known.image = known.image.take().or(claimed.image);
            }
            Some(_) => {}
        }
    }

    fn file_inside(&mut self, name: &str, until: Instant) -> Option<String> {
        let mut content = Vec::new();
        self.opened_inside(name, until)?.take(CLAIM_BYTES).read_to_end(&mut content).ok()?;
        Some(String::from_utf8_lossy(&content).into_owned())
    }

    fn opened_inside(&mut self, name: &str, until: Instant) -> Option<File> {
        let question = Question::File(name.as_bytes().to_vec());
        let (_, descriptor) = self.answered_by(&question, name, until)?.ok()?;
        descriptor.map(File::from)
    }

    fn kept(&self, name: &str) -> String {
        let part = self.collected.parts.iter().find(|(part, _)| part == name);
        part.map(|(_, content)| String::from_utf8_lossy(content).into_owned()).unwrap_or_default()
    }

    // A name in another root directory says nothing about this system's packages.
    pub(super) fn package(&mut self, held: &mut Held) {
        if self.collected.program.package.is_some() {
            return;
        }
        let Some(exe) = &self.collected.program.exe else { return };
        if !held.own_root {
            let executable = held.executable.as_ref();
            let claimed = held.claim.take().zip(executable);
            let proved = claimed.and_then(|(claim, file)| claim.proved(file, Instant::now() + COMPARISON));
            self.collected.program.package = proved.or_else(|| executable.and_then(package::noted));
            return;
        }
        self.collected.program.package = package::find(Path::new("/"), exe, held.executable.as_ref());
        let compared = package::modified(Path::new("/"), &held.files, Instant::now() + COMPARISON);
        self.collected.surroundings.modified = compared.modified;
        if compared.left_out > 0 {
            let what = format!(
                "{} of the program's files were not compared with what their packages installed: the time did not suffice",
                compared.left_out
            );
            self.collected.problem("package", what);
        }
    }

    // The unit whose lines of the journal concern the crash: a service or an application, but no whole session.
    pub(super) fn journal_unit(&self) -> Vec<u8> {
        let facts = &self.collected.surroundings;
        let unit = facts.user_unit.as_deref().or(facts.unit.as_deref()).unwrap_or_default();
        let broad = ["session-", "user@", "init."].iter().any(|start| unit.starts_with(start));
        if broad { Vec::new() } else { unit.as_bytes().to_vec() }
    }
}
