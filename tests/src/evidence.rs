//! What a report holds, opened the way its readers do: the bundle, the decoded trail, and the comparison with what
//! the victim's threads noted in their ledger.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use foretrace_report::Report;
use foretrace_report::bundle::{BundleReader, Limits, REPORT, hex};
use foretrace_ring::Trail;
use foretrace_ring::trail::{Event, Value};
use sha2::{Digest, Sha256};

use crate::ledger::Account;
use crate::world::World;

/// One report, opened.
pub struct Evidence {
    /// `report.json`.
    pub report: Report,
    /// All entries of the bundle, by name.
    pub parts: Vec<(String, Vec<u8>)>,
    /// The decoded trail of all rings.
    pub trail: Trail,
}

impl Evidence {
    /// Takes the whole bundle out of a world's report with the person's own command, and opens it.
    ///
    /// # Errors
    /// A report that cannot be read.
    pub fn open(world: &World, id: &str) -> Result<Evidence> {
        let file = world.work("bundle.zip");
        world.ask(&["dump", id, "-o", &file.display().to_string()])?;
        let evidence = Evidence::read(&file)?;
        std::fs::remove_file(file)?;
        Ok(evidence)
    }

    /// Opens a bundle file.
    ///
    /// # Errors
    /// No bundle, or a part of another size or sum than the report says.
    pub fn read(bundle: &Path) -> Result<Evidence> {
        let mut reader = BundleReader::open(File::open(bundle)?, Limits::default())?;
        let report = reader.report()?;
        let names = reader.names();
        let parts = names
            .into_iter()
            .map(|name| Ok((name.clone(), reader.part(&name)?)))
            .collect::<Result<Vec<_>>>()?;
        for (name, content) in parts.iter().filter(|(name, _)| name != REPORT) {
            let said = report.parts.iter().find(|part| part.name == *name);
            let said = said.with_context(|| format!("{name} is not in the report's list"))?;
            let (bytes, sha256) = (content.len() as u64, hex(&Sha256::digest(content)));
            ensure!(
                (bytes, &sha256) == (said.bytes, &said.sha256),
                "{name} is not what the report says: {said:?}"
            );
        }
        let metadata =
            parts.iter().find(|(name, _)| name.starts_with("trace/") && name.ends_with("/metadata"));
        let trail = match metadata {
            None => Trail::default(),
            Some((_, text)) => {
                let streams: Vec<(&str, &[u8])> = parts
                    .iter()
                    .filter(|(name, _)| name.starts_with("trace/") && name.ends_with(".ctf"))
                    .map(|(name, content)| (name.as_str(), content.as_slice()))
                    .collect();
                Trail::decode(std::str::from_utf8(text).context("the metadata is no text")?, &streams)
            }
        };
        Ok(Evidence { report, parts, trail })
    }

    /// The names of the crashed thread's functions, innermost first, where they are known.
    pub fn crashed_functions(&self) -> Vec<String> {
        let crashed = self.report.threads.iter().find(|thread| thread.crashed);
        crashed.map_or(vec![], |thread| {
            thread.frames.iter().filter_map(|frame| frame.function.clone()).collect()
        })
    }

    /// Whether any part, or the report itself, holds these bytes.
    pub fn holds(&self, bytes: &[u8]) -> Option<&str> {
        let found = |content: &[u8]| {
            content.windows(bytes.len()).any(|window| window[0] == bytes[0] && window == bytes)
        };
        self.parts.iter().find(|(_, content)| found(content)).map(|(name, _)| name.as_str())
    }

    /// The events with this name.
    pub fn events(&self, name: &str) -> Vec<&Event> {
        self.trail.events.iter().filter(|event| self.trail.kind_of(event).name == name).collect()
    }

    /// Holds the trail of a victim's numbered `step` events against its threads' ledger.
    ///
    /// # Errors
    /// A last event that is missing, a torn or repeated event, or counts that do not add up.
    pub fn compare_with(&self, accounts: &[Account], check: fn(u64, u64) -> u64) -> Result<()> {
        ensure!(self.trail.problems.is_empty(), "the trail has problems: {:?}", self.trail.problems);
        let mut newest: HashMap<u64, (u64, u32)> = HashMap::new();
        let steps = self.events("step");
        for event in &steps {
            let [Value::Unsigned(thread), Value::Unsigned(number), Value::Unsigned(sum)] = event.values[..]
            else {
                anyhow::bail!("an event of another shape: {event:?}");
            };
            ensure!(sum == check(thread, number), "a torn event: {event:?}");
            if let Some((before, tid)) = newest.insert(thread, (number, event.thread)) {
                ensure!(before < number, "thread {thread}: event {number} after {before}");
                ensure!(
                    tid == event.thread,
                    "thread {thread} has two thread IDs: {tid} and {}",
                    event.thread
                );
            }
        }
        for account in accounts {
            let last = newest.get(&account.index).with_context(|| format!("no event of {account:?}"))?;
            ensure!(last.0 + 1 == account.recorded, "{account:?}, but the trail ends with event {}", last.0);
            ensure!(last.1 == account.tid, "{account:?}, but its events carry thread {}", last.1);
        }
        let written: u64 = accounts.iter().map(|account| account.recorded).sum();
        let kept = steps.len() as u64;
        let losses = self.report.losses;
        ensure!(losses.recorded == kept + losses.overwritten, "{kept} kept do not fit {losses:?}");
        ensure!(
            written == kept + losses.overwritten + losses.discarded,
            "{written} written, {kept} kept, {losses:?}"
        );
        Ok(())
    }
}

/// The check that victims put into each event: `tests/victims` computes the same.
pub fn check(thread: u64, number: u64) -> u64 {
    (number ^ thread.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
