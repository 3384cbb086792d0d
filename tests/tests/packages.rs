//! Packages of every kind that a crashed program may come from, each made with the tools of its kind.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_report::Report;
use foretrace_report::schema::Package;
use foretrace_tests::command::run;
use foretrace_tests::control_group::Group;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::mount::Mounted;
use foretrace_tests::world::{Installed, World, built_programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn report(world: &Installed, victim: &mut Command) -> Result<Report> {
    let id = world.crash(victim)?;
    Ok(Evidence::open(world, &id)?.report)
}

fn is_of(report: &Report, name: &str, version: &str) -> Result<()> {
    let expected = Package { name: name.to_owned(), version: version.to_owned() };
    ensure!(report.program.package.as_ref() == Some(&expected), "{:?}, not {expected:?}", report.program);
    Ok(())
}

/// An empty root directory for a static program.
fn root(world: &World) -> Result<PathBuf> {
    let root = world.work("jail");
    for folder in ["usr/bin", "etc", "proc", "snap", "run", "var/lib/snapd"] {
        fs::create_dir_all(root.join(folder))?;
    }
    Ok(root)
}

/// Becomes `program` in namespaces and a root directory of its own.
fn within(root: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--root"]).arg(root).arg(program);
    command
}

#[test]
fn a_program_of_dpkgs_has_its_package_under_whichever_name_dpkg_lists_it() -> Result<()> {
    let world = Installed::new()?;
    // Both begin in /usr/bin; dpkg lists the one as it was before /usr was merged.
    for program in [&["sleep", "30"][..], &["tail", "-f", "/dev/null"]] {
        let mut victim = Command::new(Path::new("/usr/bin").join(program[0])).args(&program[1..]).spawn()?;
        let known = world.ids()?;
        kill(Pid::from_raw(victim.id() as i32), Signal::SIGSEGV)?;
        victim.wait()?;
        let id = world.wait_for_new_report(&known)?;
        let report = Evidence::open(&world, &id)?.report;
        let version =
            run(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "coreutils"]))?.success()?.text();
        is_of(&report, "coreutils", &version)?;
    }
    Ok(())
}

#[test]
fn what_the_linker_noted_of_a_package_is_told_where_no_list_has_the_program() -> Result<()> {
    let world = Installed::new()?;
    let (source, program) = (world.work("noted.c"), world.work("noted"));
    fs::write(&source, "int main(void) { *(volatile int *)0 = 1; }\n")?;
    let note = r#"--package-metadata={"type":"rpm","name":"ft-noted","version":"7-1.fc40","os":"fedora"}"#;
    run(Command::new("gcc").arg("-o").arg(&program).arg(&source).args(["-Xlinker", note]))?.success()?;
    is_of(&report(&world, &mut Command::new(&program))?, "ft-noted", "7-1.fc40")
}

#[test]
fn a_program_that_rpm_installed_has_its_package_and_another_in_its_place_has_none() -> Result<()> {
    let world = Installed::new()?;
    let root = root(&world)?;
    let spec = world.work("ft-shop.spec");
    let program = built_programs()?.join("bare");
    let text = format!(
        "Name: ft-shop\nEpoch: 2\nVersion: 1.4\nRelease: 7.el9\nSummary: a shop\nLicense: none\n%description\nA shop.\n\
         %global debug_package %{{nil}}\n%global __os_install_post %{{nil}}\n%install\nmkdir -p %{{buildroot}}/usr/bin\n\
         cp {} %{{buildroot}}/usr/bin/ft-shop\n%files\n/usr/bin/ft-shop\n",
        program.display()
    );
    fs::write(&spec, text)?;
    let top = format!("_topdir {}", world.work("build").display());
    run(Command::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(&spec))?.success()?;
    let packages = world.work("build/RPMS").join(std::env::consts::ARCH);
    let package = fs::read_dir(packages)?.next().context("rpmbuild made nothing")??.path();
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(&root).args(["--dbpath", "/var/lib/rpm", "--nodeps", "-i"]).arg(package);
    run(&mut rpm)?.success()?;
    let mut shop = within(&root, "/usr/bin/ft-shop");
    is_of(&report(&world, &mut shop)?, "ft-shop", "2:1.4-7.el9")?;
    // Fedora and openSUSE keep it elsewhere, with a link in the old place.
    fs::create_dir_all(root.join("usr/lib/sysimage"))?;
    fs::rename(root.join("var/lib/rpm"), root.join("usr/lib/sysimage/rpm"))?;
    symlink("../../usr/lib/sysimage/rpm", root.join("var/lib/rpm"))?;
    is_of(&report(&world, &mut shop)?, "ft-shop", "2:1.4-7.el9")?;
    let other = fs::read(&program).map(|bytes| [bytes, vec![0]].concat())?;
    fs::write(root.join("usr/bin/ft-shop"), other)?;
    let found = report(&world, &mut shop)?.program.package;
    ensure!(found.is_none(), "a changed program was taken for {found:?}");
    Ok(())
}

/// A snap with one program, as an image.
fn snap(world: &World) -> Result<PathBuf> {
    let (content, image) = (world.work("snap"), world.work("ft-hello_42.snap"));
    for folder in ["meta", "bin"] {
        fs::create_dir_all(content.join(folder))?;
    }
    let text = "name: ft-hello\nversion: '2.10'\nsummary: x\ndescription: x\napps:\n  ft-hello:\n    command: bin/hello\n";
    fs::write(content.join("meta/snap.yaml"), text)?;
    fs::copy(built_programs()?.join("bare"), content.join("bin/hello"))?;
    fs::set_permissions(content.join("bin/hello"), Permissions::from_mode(0o755))?;
    run(Command::new("mksquashfs").arg(&content).arg(&image).args(["-quiet", "-no-progress"]))?.success()?;
    Ok(image)
}

#[test]
fn a_snap_has_its_name_version_and_revision_confined_or_not() -> Result<()> {
    let world = Installed::new()?;
    let (root, image) = (root(&world)?, snap(&world)?);
    let group = Group::new("ft-test.slice/snap.ft-hello.ft-hello-0a1b.scope")?;
    // As snapd shows it: in a root directory that is another snap's.
    let place = root.join("snap/ft-hello/42");
    fs::create_dir_all(&place)?;
    let mounted = Mounted::image(&place, &image, "ro")?;
    let mut confined = group.within(Path::new("unshare"));
    confined.args(["--mount", "--root"]).arg(&root).arg("/snap/ft-hello/42/bin/hello");
    let told = report(&world, &mut confined)?;
    is_of(&told, "ft-hello", "2.10@42")?;
    let container = told.surroundings.and_then(|around| around.container).context("no container")?;
    ensure!(
        (container.engine.as_str(), container.name.as_deref()) == ("snap", Some("ft-hello")),
        "{container:?}"
    );
    drop(mounted);
    // A classic one has the machine's root directory.
    let place = Path::new("/var/lib/snapd/snap/ft-hello/42");
    let missing: Vec<&Path> = place.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(place)?;
    let mounted = Mounted::image(place, &image, "ro");
    let told = mounted.and_then(|mounted| {
        let told = report(&world, &mut group.within(&place.join("bin/hello")));
        drop(mounted);
        told
    });
    missing.iter().try_for_each(fs::remove_dir)?;
    let told = told?;
    is_of(&told, "ft-hello", "2.10@42")?;
    let around = told.surroundings.context("nothing surrounded it")?;
    ensure!(around.container.is_none(), "{:?}", around.container);
    // Without an image it is just a path.
    let fake = root.join("snap/ft-hello/43/bin/hello");
    fs::create_dir_all(fake.parent().context("a folder")?)?;
    fs::copy(built_programs()?.join("bare"), &fake)?;
    let told = report(&world, &mut within(&root, "/snap/ft-hello/43/bin/hello"))?;
    ensure!(told.program.package.is_none(), "{:?}", told.program.package);
    Ok(())
}

#[test]
fn a_flatpak_has_its_name_branch_and_commit() -> Result<()> {
    let world = Installed::new()?;
    let home = world.work("home");
    for folder in ["runtime/usr/etc", "runtime/files", "app/files/bin", "app/export"] {
        fs::create_dir_all(home.join(folder))?;
    }
    let runtime = format!("org.ft.Platform/{}/1", std::env::consts::ARCH);
    for (folder, kind, name) in
        [("runtime", "Runtime", "org.ft.Platform"), ("app", "Application", "org.ft.Hello")]
    {
        let text = format!("[{kind}]\nname={name}\nruntime={runtime}\nsdk={runtime}\ncommand=hello\n");
        fs::write(home.join(folder).join("metadata"), text)?;
    }
    fs::copy(built_programs()?.join("bare"), home.join("app/files/bin/hello"))?;
    // As root, who needs no system bus for it.
    let flatpak = |words: &[&str]| {
        let mut command = Command::new("flatpak");
        command
            .args(words)
            .current_dir(&home)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &home)
            .env("FLATPAK_USER_DIR", home.join("installed"));
        command.env("XDG_DATA_HOME", home.join("data")).env("XDG_RUNTIME_DIR", &home);
        command
    };
    for words in [
        &["build-export", "--runtime", "repository", "runtime", "1"][..],
        &["build-export", "repository", "app", "stable"],
        &["--user", "remote-add", "--no-gpg-verify", "ft", "repository"],
        &["--user", "install", "-y", "--noninteractive", "ft", "org.ft.Platform//1"],
        &["--user", "install", "-y", "--noninteractive", "ft", "org.ft.Hello//stable"],
    ] {
        run(&mut flatpak(words))?.success().with_context(|| format!("{words:?}"))?;
    }
    let commit = run(&mut flatpak(&["--user", "info", "--show-commit", "org.ft.Hello"]))?.success()?.text();
    let known = world.ids()?;
    let ended = run(&mut flatpak(&["--user", "run", "org.ft.Hello"]))?;
    let id = world.wait_for_new_report(&known).with_context(|| format!("flatpak: {ended}"))?;
    let told = Evidence::open(&world, &id)?.report;
    is_of(&told, "org.ft.Hello", &format!("stable@{}", &commit[..12]))?;
    let container = told.surroundings.and_then(|around| around.container).context("no container")?;
    ensure!(
        (container.engine.as_str(), container.name.as_deref()) == ("flatpak", Some("org.ft.Hello")),
        "{container:?}"
    );
    ensure!(container.image.is_some_and(|image| image.ends_with(&runtime)), "another runtime");
    ensure!(told.threads[0].frames[0].function.as_deref() == Some("main"), "{:?}", told.threads[0]);
    Ok(())
}
