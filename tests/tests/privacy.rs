//! What leaves of a crash whose program held 64 kinds of secrets wherever data can lie: nothing of them, and
//! everything that only looks like them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use foretrace_report::receipt::Protocol;
use foretrace_report::{Preset, wire};
use foretrace_ring::trail::Value;
use foretrace_tests::command::run;
use foretrace_tests::evidence::Evidence;
use foretrace_tests::plants::{self, Search, Secret};
use foretrace_tests::world::{Installed, built_programs};
use minidump_unwind::{Symbolizer, simple_symbol_supplier};

/// What leaves at most: everything below a whole core.
const WIDEST: &str = "memory";

/// Where the planter lies.
const FOLDER: &str = "anna.schmidt@work.example";

/// A crash of the planter; its report's ID.
fn crash(world: &Installed, secrets: &[Secret]) -> Result<String> {
    let (list, folder) = (world.work("list"), world.work(FOLDER));
    let texts = secrets.iter().map(|secret| secret.text.clone());
    let lines: Vec<String> = texts.chain(plants::look_alikes()?.into_iter().map(|(_, text)| text)).collect();
    fs::write(&list, lines.join("\n"))?;
    fs::create_dir_all(&folder)?;
    let program = folder.join("planter");
    fs::copy(built_programs()?.join("planter"), &program)?;
    log_to_the_kernel(secrets)?;
    let mut victim = Command::new(program);
    victim.arg(list).current_dir(&folder).env("PLANTER_FILES", &folder);
    for (number, secret) in secrets.iter().enumerate() {
        victim.arg(&secret.text).env(format!("PLANTED_{number}"), &secret.text);
    }
    world.crash(&mut victim)
}

/// Few long records: the kernel takes no more than ten in five seconds from a program.
fn log_to_the_kernel(secrets: &[Secret]) -> Result<()> {
    let mut log =
        fs::OpenOptions::new().write(true).open("/dev/kmsg").context("the kernel's log is closed")?;
    let mut record = String::new();
    for secret in secrets {
        if record.len() + secret.text.len() > 850 {
            log.write_all(format!("<6>planter: {record}").as_bytes())?;
            record.clear();
        }
        record += &format!("{} | ", secret.text.replace("\\n", " "));
    }
    Ok(log.write_all(format!("<6>planter: {record}").as_bytes())?)
}

/// `outgoing.zip`, and by name everything that a body made from it holds.
type Leaving = (Evidence, Vec<(String, Vec<u8>)>);

/// What leaves with a preset: `outgoing.zip` and every part of the body made from it.
fn leaving(world: &Installed, id: &str, preset: Preset) -> Result<Leaving> {
    let file = world.work("outgoing.zip");
    world.ask(&["preview", id, "--grant", preset.0.name(), "-o", &file.display().to_string()])?;
    let evidence = Evidence::read(&file)?;
    let bytes = fs::read(&file)?;
    let mut contents = evidence.parts.clone();
    let mut note = |plan: &wire::Plan| {
        contents.extend(wire::made(plan).map(|(name, content)| (name.to_owned(), content.to_vec())));
    };
    note(&wire::question::plan(&mut Cursor::new(&bytes))?);
    for protocol in Protocol::ALL {
        note(&wire::plan(protocol, &mut Cursor::new(&bytes), "")?);
    }
    Ok((evidence, contents))
}

#[test]
fn no_planted_secret_leaves_and_every_look_alike_and_name_does() -> Result<()> {
    let world = Installed::new()?;
    let secrets = plants::secrets()?;
    ensure!(secrets.len() >= 60, "{} kinds", secrets.len());
    let search = Search::new(&secrets);
    let id = crash(&world, &secrets)?;
    let whole = Evidence::open(&world, &id)?;
    the_search_finds_them_in_the_report(&search, &secrets, &whole)?;

    for preset in Preset::ALL.into_iter().filter(|preset| preset.0.name() != "core") {
        let (_, contents) = leaving(&world, &id, preset)?;
        for (name, content) in contents {
            let left: Vec<String> = search
                .find(&content)
                .into_iter()
                .map(|(index, piece)| format!("{} ({piece:?})", secrets[index].kind))
                .collect();
            ensure!(left.is_empty(), "with {} leaves in {name}: {}", preset.0, left.join(", "));
        }
    }

    let (outgoing, _) = leaving(&world, &id, Preset(WIDEST.parse()?))?;
    look_alikes_survive(&outgoing)?;
    ensure!(whole.report.threads[0].frames.len() > 100, "{} frames", whole.report.threads[0].frames.len());
    let names = |report: &Evidence| -> Vec<_> {
        let frames = report.report.threads.iter().flat_map(|thread| &thread.frames);
        frames.map(|frame| (frame.ip.clone(), frame.function.clone(), frame.line)).collect()
    };
    first_difference(&names(&whole), &names(&outgoing)).context("report.json's frames")?;
    ensure!(
        names(&whole)
            .iter()
            .flat_map(|(_, name, _)| name)
            .any(|name| name.contains("check_secret_key_4111111111111111")),
        "{:?}",
        names(&whole)
    );
    the_minidumps_backtraces_are_the_same(&world, &whole, &outgoing)?;
    no_vector_register_leaves(&whole, &outgoing)?;

    let account: serde_json::Value =
        serde_json::from_slice(&world.ask(&["preview", &id, "--grant", WIDEST, "--json"])?.stdout)?;
    for rule in
        ["password", "token", "private_key", "email", "address", "card", "memory", "register", "personal"]
    {
        ensure!(account["removed"][rule].as_u64() > Some(0), "{rule} is not counted: {}", account["removed"]);
    }
    Ok(())
}

/// The control: without redaction every kind is found, in the events, in memory and in the logs.
fn the_search_finds_them_in_the_report(search: &Search, secrets: &[Secret], whole: &Evidence) -> Result<()> {
    for (place, least) in [
        ("trace/", secrets.len()),
        ("minidump.dmp", secrets.len()),
        ("attachments/trail/notes", secrets.len()),
        ("attachments/memory/state", secrets.len()),
        ("logs/", secrets.len() * 9 / 10),
    ] {
        let parts = whole.parts.iter().filter(|(name, _)| name.starts_with(place));
        let found: BTreeSet<usize> =
            parts.flat_map(|(_, content)| search.find(content)).map(|(index, _)| index).collect();
        let lost: Vec<_> = (0..secrets.len())
            .filter(|index| !found.contains(index))
            .map(|index| &secrets[index].kind)
            .collect();
        ensure!(found.len() >= least, "{} of {} in {place}; not {lost:?}", found.len(), secrets.len());
    }
    for place in ["process/fds", "process/sockets"] {
        let names = whole.parts.iter().find(|(name, _)| name == place).context(place)?;
        let found = search.find(&names.1).len();
        ensure!(found > 10, "{found} names are in {place}: {}", String::from_utf8_lossy(&names.1));
    }
    Ok(())
}

fn look_alikes_survive(outgoing: &Evidence) -> Result<()> {
    let texts: BTreeSet<&str> = outgoing
        .events("planted")
        .iter()
        .filter_map(|event| match event.values.first() {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let wanted = plants::look_alikes()?;
    let lost: Vec<_> = wanted.iter().filter(|(_, text)| !texts.contains(text.as_str())).collect();
    ensure!(wanted.len() >= 200, "{} look-alikes", wanted.len());
    ensure!(lost.len() * 50 <= wanted.len(), "{} of {} are lost: {lost:?}", lost.len(), wanted.len());
    Ok(())
}

/// rust-minidump walks both minidumps to the same frames, and LLDB gives them the same names.
fn the_minidumps_backtraces_are_the_same(
    world: &Installed,
    whole: &Evidence,
    outgoing: &Evidence,
) -> Result<()> {
    let mut walked = Vec::new();
    let mut named = Vec::new();
    for (file, evidence) in [("whole.dmp", whole), ("outgoing.dmp", outgoing)] {
        let (_, content) =
            evidence.parts.iter().find(|(name, _)| name == "minidump.dmp").context("no minidump")?;
        let dump = minidump::Minidump::read(content.as_slice()).context("rust-minidump cannot read it")?;
        let symbols = Symbolizer::new(simple_symbol_supplier(vec![]));
        let state = tokio::runtime::Builder::new_current_thread()
            .build()?
            .block_on(minidump_processor::process_minidump(&dump, &symbols))
            .context("minidump-processor cannot process it")?;
        let frames = state.threads.iter().flat_map(|thread| &thread.frames);
        walked.push(frames.map(|frame| (frame.instruction, frame.trust.as_str())).collect::<Vec<_>>());
        let path = world.work(file);
        fs::write(&path, content)?;
        let opened = run(Command::new("lldb")
            .args(["--batch", "--no-lldbinit", "-o"])
            // The program's folder is one of the secrets: its file is found by name and build-id.
            .arg(format!("settings set target.exec-search-paths {}", world.work(FOLDER).display()))
            .args(["-o", &format!("target create --core {}", path.display())])
            .args(["-o", "bt all"]))?
        .success()?;
        let text = opened.text();
        let frames = text.lines().filter(|line| line.contains("frame #"));
        // Behind the name LLDB prints the arguments' values, which are gone.
        let name = |frame: &str| Some(frame.split_once('`')?.1.split('(').next()?.to_owned());
        named.push(frames.filter_map(name).collect::<Vec<_>>());
    }
    first_difference(&walked[0], &walked[1]).context("rust-minidump's frames")?;
    ensure!(walked[0].len() > 2, "{:?}", walked[0]);
    first_difference(&named[0], &named[1]).context("LLDB's frames")?;
    ensure!(named[0].len() > 100, "{:?}", named[0]);
    Ok(())
}

/// The victim died with secrets in two vector registers: the legacy area that holds them is zero in what leaves.
fn no_vector_register_leaves(whole: &Evidence, outgoing: &Evidence) -> Result<()> {
    // x86-64's context has FXSAVE's area from byte 256 on; its registers begin at byte 32 of that.
    const REGISTERS: std::ops::Range<usize> = 256 + 32..256 + 512;
    let vectors = |evidence: &Evidence| -> Result<Vec<u8>> {
        let dump = evidence.parts.iter().find(|(name, _)| name == "minidump.dmp").context("no minidump")?;
        let threads = minidump::Minidump::read(dump.1.as_slice())?;
        let threads = threads.get_stream::<minidump::MinidumpThreadList<'_>>()?;
        let contexts = threads.threads.iter().map(|thread| thread.raw.thread_context.rva as usize);
        let areas = contexts.map(|at| dump.1.get(at + REGISTERS.start..at + REGISTERS.end));
        Ok(areas.collect::<Option<Vec<_>>>().context("a context lies outside")?.concat())
    };
    if cfg!(target_arch = "x86_64") {
        ensure!(vectors(whole)?.iter().any(|byte| *byte != 0), "the control has no vector registers");
        ensure!(vectors(outgoing)?.iter().all(|byte| *byte == 0), "vector registers leave");
    }
    Ok(())
}

fn first_difference<T: PartialEq + std::fmt::Debug>(whole: &[T], outgoing: &[T]) -> Result<()> {
    let differs = |at: &usize| whole.get(*at) != outgoing.get(*at);
    match (0..whole.len().max(outgoing.len())).find(differs) {
        None => Ok(()),
        Some(at) => bail!("frame {at} was {:?} and is {:?}", whole.get(at), outgoing.get(at)),
    }
}
