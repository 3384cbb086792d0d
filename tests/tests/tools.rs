//! The bundle's parts in the tools that people already have.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use foretrace_tests::command::run;
use foretrace_tests::world::{Installed, built_programs};

#[test]
fn unzip_jq_babeltrace2_and_lldb_open_the_bundles_parts() -> Result<()> {
    let world = Installed::new()?;
    let id = world.crash(&mut Command::new(built_programs()?.join("till")))?;
    let (bundle, folder) = (world.work("bundle.zip"), world.work("unpacked"));
    world.ask(&["dump", &id, "-o", &bundle.display().to_string()])?;
    run(Command::new("unzip").arg("-t").arg(&bundle))?.success()?;
    run(Command::new("unzip").args(["-q", "-d"]).arg(&folder).arg(&bundle))?.success()?;

    let query = ".signal.name, .threads[0].frames[0].function, (.parts | length > 3), .losses.recorded";
    let asked =
        run(Command::new("jq").args(["-r", query]).arg(folder.join("report.json")))?.success()?.text();
    let answers: Vec<_> = asked.lines().collect();
    ensure!(answers[0] == "SIGSEGV", "{answers:?}");
    ensure!(answers[1].contains("first_card_digit") || answers[1].contains("read_volatile"), "{answers:?}");
    ensure!(answers[2] == "true" && answers[3].parse::<u64>()? > 50, "{answers:?}");

    let source = fs::read_dir(folder.join("trace"))?.next().expect("a trail")?.path();
    let trail = run(Command::new("babeltrace2").arg(source))?.success()?.text();
    ensure!(trail.contains("no card"), "{trail}");

    let target = format!("target create --core {}", folder.join("minidump.dmp").display());
    let opened =
        run(Command::new("lldb").args(["--batch", "--no-lldbinit", "-o", &target, "-o", "bt"]))?.success()?;
    ensure!(opened.text().contains("frame #0"), "{}", opened.text());
    Ok(())
}
