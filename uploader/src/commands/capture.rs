//! `snapshot`, `import` and names: all are foretrace-capture's work; here it is found and started.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::arguments::{Import, Snapshot};
use crate::context::Context;

const PROGRAM: &str = "foretrace-capture";

/// Makes a report of a running process.
///
/// # Errors
/// foretrace-capture cannot be started.
pub fn snapshot(context: &Context, arguments: &Snapshot) -> Result<ExitCode> {
    let mut command = command(context)?;
    command.arg("snapshot").arg(arguments.pid.to_string());
    if let Some(reason) = &arguments.reason {
        command.arg("--reason").arg(reason);
    }
    replace(context, command)
}

/// Makes a report from a core file.
///
/// # Errors
/// foretrace-capture cannot be started.
pub fn import(context: &Context, arguments: &Import) -> Result<ExitCode> {
    let mut command = command(context)?;
    command.arg("import").arg(&arguments.core);
    if let Some(exe) = &arguments.exe {
        command.arg("--exe").arg(exe);
    }
    replace(context, command)
}

/// foretrace-capture, ready to be given its arguments.
///
/// # Errors
/// It is not installed.
pub fn command(context: &Context) -> Result<Command> {
    let program = std::env::var_os("FORETRACE_CAPTURE")
        .map(PathBuf::from)
        .or_else(|| candidates().into_iter().find(|path| path.is_file()))
        .with_context(|| context.words.say("capture-missing"))?;
    let mut command = Command::new(program);
    if let Some(root) = &context.root {
        command.env("FORETRACE_ROOT", std::path::absolute(root).unwrap_or_else(|_| root.clone()));
    }
    if context.json {
        command.arg("--json");
    }
    Ok(command)
}

fn candidates() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join(PROGRAM)));
    let installed =
        ["/usr/libexec/foretrace", "/usr/libexec", "/usr/bin"].map(|folder| Path::new(folder).join(PROGRAM));
    beside.into_iter().chain(installed).collect()
}

fn replace(context: &Context, mut command: Command) -> Result<ExitCode> {
    let error = command.exec();
    let program = command.get_program().to_string_lossy().into_owned();
    Err(error).with_context(|| context.words.tell("cannot-start", &[("program", &program)]))
}
