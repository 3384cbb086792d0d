//! Environments of their own for programs in Python that we are compared with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{self, say};

/// The interpreter of an environment that has `packages` from the package index, made where it is not there yet.
///
/// # Errors
/// No Python, or packages that cannot be had.
pub fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = build::release_folder().with_file_name(name);
    let python = folder.join("bin/python");
    let (ready, wanted) = (folder.join("ready"), packages.join(" "));
    if fs::read_to_string(&ready).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    say(&format!("installing {wanted}"));
    build::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .with_context(|| format!("no environment for {name}"))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    build::run(Command::new(&python).args(install).args(packages))?;
    fs::write(ready, wanted)?;
    Ok(python)
}
