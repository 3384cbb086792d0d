//! `debug`: a debugger on a report's minidump, or on its whole core where one was kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use foretrace_report::bundle::{BundleError, MINIDUMP};
use foretrace_store::StoreError;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::arguments::Debug;
use crate::context::Context;
use crate::output::NoMatch;
use crate::whole_core;
use crate::words::Words;

/// Replaces this program by a debugger that has the core or the minidump open.
///
/// # Errors
/// No such report, no minidump in it, or no debugger that reads one.
pub fn run(context: &Context, arguments: &Debug) -> Result<ExitCode> {
    let words = &context.words;
    let report_dir = context.find(&arguments.id)?;
    let wanted = arguments.debugger.as_deref().map(PathBuf::from);
    let wanted = wanted.or_else(|| std::env::var_os("FORETRACE_DEBUGGER").map(PathBuf::from));
    if let Some(core) = report_dir.core()?.filter(|_| wanted.as_deref().is_none_or(is_gdb)) {
        let executable = report_dir.report()?.program.exe;
        return on_core(core, &wanted.unwrap_or("gdb".into()), executable.as_deref(), words);
    }
    let minidump = match report_dir.bundle()?.part(MINIDUMP) {
        Err(BundleError::Missing(_)) => {
            return Err(NoMatch(words.say("debug-no-minidump")).into());
        }
        other => other.map_err(StoreError::from)?,
    };
    let debugger = match wanted {
        Some(named) if is_gdb(&named) => {
            bail!(words.say("debug-gdb"))
        }
        Some(named) => named,
        None => installed().with_context(|| words.say("debug-no-lldb"))?,
    };
    // A file without a name: nothing of the report stays behind, however the debugger ends.
    let mut file = File::from(memfd_create("minidump.dmp", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&minidump).with_context(|| words.say("debug-not-handed"))?;
    file.rewind()?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let error = Command::new(&debugger).arg("-c").arg(path).exec();
    Err(error).with_context(|| unstarted(&debugger, words))
}

// gdb on the whole core, which lies unpacked in a file without a name.
fn on_core(core: impl Read, debugger: &Path, executable: Option<&str>, words: &Words) -> Result<ExitCode> {
    let file = whole_core::nameless_file().with_context(|| words.say("debug-no-place"))?;
    whole_core::unpack_to_file(core, &file).with_context(|| words.say("debug-not-unpacked"))?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let executable = executable.map(Path::new).filter(|path| path.is_absolute() && path.is_file());
    let mut command = Command::new(debugger);
    command.args(executable).arg("-c").arg(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let error = command.exec();
    Err(error).with_context(|| unstarted(debugger, words))
}

fn unstarted(debugger: &Path, words: &Words) -> String {
    words.tell("cannot-start", &[("program", &debugger.display().to_string())])
}

fn is_gdb(debugger: &Path) -> bool {
    debugger.file_name().and_then(OsStr::to_str).is_some_and(|name| name.contains("gdb"))
}

/// lldb, or the newest of Debian's versioned names.
fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let version = |file: &Path| {
        let name = file.file_name()?.to_str()?;
        if name == "lldb" { Some(u32::MAX) } else { name.strip_prefix("lldb-")?.parse().ok() }
    };
    std::env::split_paths(&path)
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter_map(|file| version(&file).map(|version| (version, file)))
        .max_by_key(|(version, _)| *version)
        .map(|(_, file)| file)
}
