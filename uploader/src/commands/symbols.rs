//! `symbols`: names that a report lacks, from debug information that servers have.
//!
//! What would be told to whom is said first: the build-ids of the files in question, and nothing else. A yes writes a
//! receipt for each server, and only what it lists is asked for. What comes is hostile until it is known to bear the
//! build-id that was asked for; foretrace-capture reads it, without any rights.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use foretrace_report::Report;
use foretrace_report::receipt::{How, SymbolInquiry};
use foretrace_report::schema::Call;
use foretrace_report::text::escape;
use foretrace_store::settings::Debuginfod;
use foretrace_store::{ReportDir, SYMBOLS};
use jiff::Timestamp;
use serde_json::json;

use super::capture;
use crate::arguments::Symbols;
use crate::context::Context;
use crate::delivery::{Outcome, to_the_second};
use crate::prompt::Patient;
use crate::symbols::cache::Cache;
use crate::symbols::{Lack, Names, lacking};
use crate::transport::{Budget, Manner, Transport, check_address};
use crate::{asking, consent, output, policy, receipt, sentence};

/// The largest debug information that is taken; browsers' have half of it.
const LARGEST: u64 = 1 << 30;
/// A line slower than this is not waited for, in bytes a second.
const SLOWEST: u64 = 256 << 10;

/// Asks for names.
///
/// # Errors
/// No such report, no server, or a store that cannot be written.
pub fn run(context: &Context, arguments: &Symbols) -> Result<ExitCode> {
    let report_dir = context.find(&arguments.id)?;
    consent::own(&report_dir)?;
    let report = report_dir.report()?;
    let work = Work { context, report_dir: &report_dir, cache: Cache::from_environment() };
    let mut names = Names::read(&report_dir)?;
    let mut known = report.clone();
    let before = names.apply(&mut known);
    let mut lacks = lacking(&known);
    let lacked: usize = lacks.iter().map(|lack| lack.frames).sum();
    // What is here already is asked of nobody.
    lacks.retain(|lack| !work.learn_here(lack, &mut names));
    if !lacks.is_empty() {
        work.ask(arguments, &report, &lacks, &mut names)?;
    }
    names.write(&report_dir)?;
    let mut named = report;
    work.say_outcome(lacked, names.apply(&mut named) - before, &lacking(&named))
}

struct Work<'a> {
    context: &'a Context,
    report_dir: &'a ReportDir,
    cache: Option<Cache>,
}

impl Work<'_> {
    /// Names what a debug file in the cache can name.
    fn learn_here(&self, lack: &Lack, names: &mut Names) -> bool {
        let Some(file) = self.cache.as_ref().and_then(|cache| cache.find(&lack.build_id)) else {
            return false;
        };
        // A damaged one is fetched anew.
        self.learn(lack, file, names).is_ok()
    }

    fn learn(&self, lack: &Lack, file: File, names: &mut Names) -> Result<()> {
        let mut command = capture::command(self.context)?;
        command.args(["names", "--build-id", &lack.build_id]);
        command.args(lack.offsets.iter().map(u64::to_string)).stdin(file).stderr(Stdio::piped());
        let ended = command.output().context("cannot start foretrace-capture")?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.trim().trim_start_matches("foretrace-capture: ");
            bail!("{}", if said.is_empty() { ended.status.to_string() } else { said.to_owned() });
        }
        let lines = ended.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let calls = lines.map(serde_json::from_slice).collect::<Result<Vec<Vec<Call>>, _>>()?;
        names.learn(lack, calls);
        Ok(())
    }

    /// Asks servers, where the person agrees.
    fn ask(&self, arguments: &Symbols, report: &Report, lacks: &[Lack], names: &mut Names) -> Result<()> {
        let words = &self.context.words;
        policy::forbidden(&self.context.settings, words)?;
        let servers = self.servers()?;
        let Some(cache) = &self.cache else { bail!("{}", words.say("symbols-no-cache")) };
        let how = match (arguments.ask, self.context.json) {
            (true, _) => How::Command,
            (false, false) if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                self.explain(report, &servers, lacks)?;
                if !self.agreed()? {
                    return Ok(writeln!(io::stdout(), "{}", words.say("symbols-not-asked"))?);
                }
                How::Prompt
            }
            _ => {
                self.explain(report, &servers, lacks)?;
                bail!("{}", words.tell("symbols-how-to-ask", &[("id", &report.id.short())]));
            }
        };
        let receipts = self.receipts(&servers, lacks, &how)?;
        let certificates = self.context.settings.upload.certificates.clone();
        let manner = Manner { certificates, slowest: SLOWEST, ..Manner::default() };
        let budget = Arc::new(Budget::new(None));
        let mut transport = Transport::new(manner, budget).with_context(|| words.say("no-connection"))?;
        for lack in lacks {
            if let Err(why) = self.fetch(lack, &receipts, cache, &mut transport, names) {
                output::complain(&format!("{}: {why:#}", lack.file));
            }
        }
        Ok(())
    }

    fn servers(&self) -> Result<Vec<String>> {
        let words = &self.context.words;
        let servers = match &self.context.settings.debuginfod {
            Debuginfod::Never => bail!("{}", words.say("symbols-forbidden")),
            Debuginfod::Servers(servers) => servers.clone(),
            // Other tools' markers stand among the addresses.
            Debuginfod::Environment => {
                let set = std::env::var("DEBUGINFOD_URLS").unwrap_or_default();
                set.split_whitespace().filter(|word| word.contains("://")).map(str::to_owned).collect()
            }
        };
        if servers.is_empty() {
            bail!("{}", words.say("symbols-no-server"));
        }
        servers
            .iter()
            .try_for_each(|server| check_address(server))
            .map_err(|error| anyhow!("Debuginfod: {error}"))?;
        Ok(servers)
    }

    /// What would be told, and to whom.
    fn explain(&self, report: &Report, servers: &[String], lacks: &[Lack]) -> Result<()> {
        let words = &self.context.words;
        let mut out = output::standard();
        if self.context.json {
            let files: Vec<_> = lacks
                .iter()
                .map(|lack| json!({"build_id": lack.build_id, "file": lack.file, "frames": lack.frames}))
                .collect();
            output::json_line(&mut out, &json!({"id": report.id, "servers": servers, "would_tell": files}))?;
            return Ok(out.flush()?);
        }
        let frames = lacks.iter().map(|lack| lack.frames).sum();
        writeln!(out, "{}: {}\n", sentence::program(report), words.count("symbols-lack", frames))?;
        writeln!(out, "{}", words.say("symbols-would-tell"))?;
        for server in servers {
            writeln!(out, "  {}", escape(server))?;
        }
        writeln!(out, "\n{}", words.say("symbols-told"))?;
        for lack in lacks {
            writeln!(out, "  {}  {}", lack.build_id, escape(&lack.file))?;
        }
        Ok(out.flush()?)
    }

    fn agreed(&self) -> Result<bool> {
        let words = &self.context.words;
        let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        asking::forget_keys(&terminal);
        let mut out = io::stdout().lock();
        write!(out, "\n{} ", words.say("symbols-question"))?;
        out.flush()?;
        let mut answer = String::new();
        // Silence is a no.
        let read = BufReader::new(Patient::new(terminal, asking::THINKING_TIME)).read_line(&mut answer);
        let answer = answer.trim().to_lowercase();
        Ok(read.is_ok() && words.say("symbols-yes").split_whitespace().any(|word| word == answer))
    }

    /// Writes the receipts, before anybody is connected to.
    fn receipts(&self, servers: &[String], lacks: &[Lack], how: &How) -> Result<Vec<SymbolInquiry>> {
        let new: Vec<SymbolInquiry> = servers
            .iter()
            .map(|server| SymbolInquiry {
                report: self.report_dir.id(),
                server: server.clone(),
                build_ids: lacks.iter().map(|lack| lack.build_id.clone()).collect(),
                who: consent::who(),
                how: how.clone(),
                when: to_the_second(Timestamp::now()),
            })
            .collect();
        let before = self.report_dir.read(SYMBOLS)?;
        let mut all: Vec<SymbolInquiry> =
            before.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        all.extend(new.iter().cloned());
        self.report_dir.write_atomically(SYMBOLS, &serde_json::to_vec_pretty(&all)?)?;
        Ok(new)
    }

    /// Fetches one file's debug information from the first server that has it, and learns its names.
    fn fetch(
        &self,
        lack: &Lack,
        receipts: &[SymbolInquiry],
        cache: &Cache,
        transport: &mut Transport,
        names: &mut Names,
    ) -> Result<()> {
        for receipt in receipts {
            let Some(request) = receipt::inquire(receipt, &lack.build_id) else { continue };
            let mut arriving = cache.begin(&lack.build_id).context("the cache of debug information")?;
            match transport.fetch(request, &mut arriving.file, LARGEST) {
                Outcome::Answered(answer) if answer.status == 200 => {
                    match self.learn(lack, arriving.file.try_clone()?, names) {
                        Ok(()) => return arriving.keep().context("the cache of debug information"),
                        Err(why) => output::complain(&format!("{}: {why:#}", receipt.server)),
                    }
                }
                Outcome::Answered(answer) if answer.status == 404 => {}
                Outcome::Answered(answer) => {
                    output::complain(&format!("{}: status {}", receipt.server, answer.status));
                }
                Outcome::Unreached { why } | Outcome::Broken { why, .. } => output::complain(&why),
            }
        }
        bail!("{}", self.context.words.say("symbols-unknown"))
    }

    fn say_outcome(&self, lacked: usize, named: usize, left: &[Lack]) -> Result<ExitCode> {
        let words = &self.context.words;
        let id = self.report_dir.id();
        let mut out = output::standard();
        if self.context.json {
            let unknown: Vec<&str> = left.iter().map(|lack| lack.build_id.as_str()).collect();
            let said = json!({"id": id, "lacked": lacked, "named": named, "without_names": unknown});
            output::json_line(&mut out, &said)?;
        } else if lacked == 0 {
            writeln!(out, "{}", words.say("symbols-complete"))?;
        } else {
            let (named, lacked) = (named.to_string(), lacked.to_string());
            let arguments = [("named", named.as_str()), ("lacked", &lacked), ("id", &id.short())];
            writeln!(out, "{}", words.tell("symbols-named", &arguments))?;
        }
        out.flush()?;
        Ok(if named > 0 || lacked == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
