//! Building the product and the victims, with cargo's own progress on the terminal.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_tests::world::checkout;

use crate::interrupt;

/// Builds the programs, the libraries and the victims in release form; returns the folder that holds them.
///
/// # Errors
/// A build that fails; the compiler has said why.
pub fn programs() -> Result<PathBuf> {
    say("building the programs, the libraries and the victims (release)");
    cargo(["build", "--release", "--workspace"])?;
    let folder = release_folder();
    link_by_soname(&folder)?;
    let include = checkout().join("sdk/capi/include");
    let (headers, libraries) = (format!("-I{}", include.display()), format!("-L{}", folder.display()));
    compile_victim("victim-c", &[&headers, &libraries, "-lforetrace", "-Wl,-rpath,$ORIGIN"])?;
    Ok(folder)
}

/// The folder that holds the programs and all victims: `FORETRACE_BIN_DIR`, or where they are built now.
///
/// # Errors
/// As [`programs`] and [`test_victims`].
pub fn programs_and_victims() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("FORETRACE_BIN_DIR") {
        return Ok(folder.into());
    }
    let folder = programs()?;
    test_victims()?;
    Ok(folder)
}

// Programs look for the library under its soname; an installation makes this link with ldconfig.
fn link_by_soname(folder: &Path) -> Result<()> {
    let link = folder.join("libforetrace.so.0");
    match std::os::unix::fs::symlink("libforetrace.so", &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", link.display()))
        }
        _ => Ok(()),
    }
}

/// Compiles the victims that only the tests need.
///
/// # Errors
/// A compiler that fails, or libfuse3's headers missing.
pub fn test_victims() -> Result<()> {
    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs", "fuse3"])
        .output()
        .context("cannot run pkg-config")?;
    ensure!(
        flags.status.success(),
        "pkg-config does not know fuse3: {}",
        String::from_utf8_lossy(&flags.stderr)
    );
    let flags = String::from_utf8(flags.stdout)?;
    compile_victim("bare", &["-static"])?;
    compile_victim(
        "narrow",
        &["-m32", "-static", "-nostdlib", "-fno-pie", "-no-pie", "-fno-stack-protector"],
    )?;
    compile_victim("mute-fs", &flags.split_whitespace().collect::<Vec<_>>())?;
    compile_victim("mute-stack", &[])?;
    compile_victim("secret", &[])
}

/// Compiles what measures the handler from between it and the kernel.
///
/// # Errors
/// A compiler that fails.
pub fn meter() -> Result<()> {
    compile_victim("meter", &[])
}

/// Builds the server with full debug information in a folder of its own; returns the program.
///
/// # Errors
/// A build that fails.
pub fn server_with_debug_information() -> Result<PathBuf> {
    let folder = release_folder().with_file_name("full-debug");
    let target = folder.display().to_string();
    cargo([
        "build",
        "--package",
        "foretrace-server",
        "--target-dir",
        &target,
        "--config",
        "profile.dev.debug=2",
        "--config",
        "profile.dev.package.\"*\".debug=2",
    ])?;
    Ok(folder.join("debug/foretrace-server"))
}

fn compile_victim(name: &str, flags: &[&str]) -> Result<()> {
    let source = checkout().join("tests/victims/c").join(name).with_extension("c");
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-pthread", "-o"]);
    run(compiler.arg(release_folder().join(name)).arg(source).args(flags))
}

/// Where release programs are built.
pub fn release_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from);
    target.join("release")
}

/// Runs cargo in the checkout.
///
/// # Errors
/// An exit code other than 0.
pub fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<()> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(program).args(arguments))
}

/// Runs a program with the terminal as it is, in the checkout.
///
/// # Errors
/// An exit code other than 0, or Ctrl-C.
pub fn run(command: &mut Command) -> Result<()> {
    let name = Path::new(command.get_program()).display().to_string();
    let status = command.current_dir(checkout()).status().with_context(|| format!("cannot run {name}"))?;
    interrupt::check()?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Says what is being done.
pub fn say(what: &str) {
    eprintln!("\x1b[1m==>\x1b[0m {what}");
}
