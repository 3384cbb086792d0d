//! Programs that know nothing of foretrace: a whole report without a trail, and nothing in it that was not to be
//! dumped.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::world::{Installed, built_programs};

#[test]
fn a_stripped_python_yields_a_whole_report_with_package_and_version() -> Result<()> {
    let world = Installed::new()?;
    let id =
        world.crash(Command::new("/usr/bin/python3").args(["-c", "import ctypes; ctypes.string_at(0)"]))?;
    let evidence = Evidence::open(&world, &id)?;
    let report = &evidence.report;
    let package = report.program.package.as_ref().context("no package")?;
    let version =
        run(Command::new("dpkg-query").args(["-W", "-f", "${Version}", &package.name]))?.success()?.text();
    ensure!(package.name.starts_with("python3"), "{package:?}");
    ensure!(package.version == version, "{package:?}, dpkg-query says {version}");
    ensure!(report.signal.as_ref().is_some_and(|signal| signal.name == "SIGSEGV"), "{:?}", report.signal);
    ensure!(evidence.parts.iter().any(|(name, _)| name == "minidump.dmp"), "no minidump");
    ensure!(!evidence.parts.iter().any(|(name, _)| name.starts_with("trace/")), "a trail from nowhere");
    let crashed = report.threads.iter().find(|thread| thread.crashed).context("no crashed thread")?;
    ensure!(crashed.frames.len() > 10, "{} frames", crashed.frames.len());
    let functions = evidence.crashed_functions();
    ensure!(functions.iter().any(|function| function.contains("PyEval")), "{functions:?}");
    ensure!(functions.iter().any(|function| function.contains("libc_start")), "{functions:?}");
    ensure!(!report.signature.is_empty(), "no signature");
    Ok(())
}

#[test]
fn a_key_beside_the_stack_that_was_not_to_be_dumped_is_in_no_part() -> Result<()> {
    let world = Installed::new()?;
    let victim = built_programs()?.join("secret");
    let plain = world.crash(Command::new(&victim).arg("plain"))?;
    let found = Evidence::open(&world, &plain)?.holds(&key()).map(str::to_owned);
    ensure!(found.as_deref() == Some("minidump.dmp"), "the control's key was found in {found:?}");
    let hidden = world.crash(Command::new(&victim).arg("hidden"))?;
    let evidence = Evidence::open(&world, &hidden)?;
    ensure!(evidence.holds(&key()).is_none(), "the hidden key is in {:?}", evidence.holds(&key()));
    ensure!(evidence.holds(&key()[..16]).is_none(), "a piece of the hidden key is in the report");
    ensure!(evidence.crashed_functions().first().is_some_and(|function| function == "crash"), "no backtrace");
    Ok(())
}

/// The key that `secret.c` makes at run time.
fn key() -> Vec<u8> {
    let mut state: u32 = 20_131_107;
    (0..48)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}
