//! What developers decide about problems, and what senders may take back: marks and erasures, as rows.

use foretrace_report::bundle::hex;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::blobs::Blob;
use super::reports::{Reports, blob};
use super::rows::{Facet, Record};

/// What a developer said of a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The version in which it is mended; empty where it is not.
    pub fixed_in: String,
    /// The widest class that is wanted of it, `stop` for none; empty for all.
    pub wants: String,
}

/// What became of the wish to erase a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erased {
    /// It is gone; these files may have become nobody's.
    Now(Vec<Blob>),
    /// It was gone before.
    Before,
    /// The token is another report's, or nobody's.
    Forbidden,
    /// There is no such report, or none that came with a token.
    Unknown,
}

pub(super) const SCHEMA: &str = "
    CREATE TABLE marks (problem TEXT PRIMARY KEY, fixed_in TEXT NOT NULL, wants TEXT NOT NULL);
    CREATE TABLE erasures (id TEXT PRIMARY KEY, digest TEXT NOT NULL, erased INTEGER NOT NULL);
    PRAGMA user_version = 2;
";

impl Reports {
    /// What was said of a problem.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn mark(&self, problem: &str) -> rusqlite::Result<Mark> {
        self.reading(|database| {
            let found = database
                .prepare_cached("SELECT fixed_in, wants FROM marks WHERE problem = ?1")?
                .query_row([problem], |row| Ok(Mark { fixed_in: row.get(0)?, wants: row.get(1)? }))
                .optional()?;
            Ok(found.unwrap_or_default())
        })
    }

    /// Says something of a problem, which need not have been reported yet.
    ///
    /// # Errors
    /// A database that could not be written.
    pub fn set_mark(&self, problem: &str, mark: &Mark) -> rusqlite::Result<()> {
        self.writer()
            .execute(
                "INSERT INTO marks VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET fixed_in = ?2, wants = ?3",
                params![problem, mark.fixed_in, mark.wants],
            )
            .map(drop)
    }

    /// Whether a report of this name was erased.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn is_erased(&self, id: &str) -> rusqlite::Result<bool> {
        self.reading(|database| {
            database
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM erasures WHERE id = ?1 AND erased)")?
                .query_row([id], |row| row.get(0))
        })
    }

    /// Erases the report whose token this is: its row, its share of every count, and that it can come back.
    ///
    /// # Errors
    /// A database that could not be written: then nothing has changed.
    pub fn erase(&self, id: &str, token: &str) -> rusqlite::Result<Erased> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let known: Option<(String, bool)> = transaction
            .query_row("SELECT digest, erased FROM erasures WHERE id = ?1", [id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((digest, erased)) = known else { return Ok(Erased::Unknown) };
        if digest != hex(&Sha256::digest(token)) {
            return Ok(Erased::Forbidden);
        }
        if erased {
            return Ok(Erased::Before);
        }
        let row = transaction
            .query_row("SELECT * FROM reports WHERE id = ?1", [id], |row| {
                let counted =
                    [("program", Facet::Program), ("version", Facet::Version), ("system", Facet::System)];
                let mut facets = Vec::new();
                for (column, facet) in counted {
                    facets.push((facet, row.get::<_, String>(column)?));
                }
                facets.push((Facet::Day, super::day_of(row.get("received")?)));
                let blobs = [blob(row, "bundle", "bundle_bytes")?, blob(row, "minidump", "minidump_bytes")?];
                Ok((row.get::<_, String>("problem")?, facets, blobs))
            })
            .optional()?;
        let mut loose = Vec::new();
        if let Some((problem, facets, blobs)) = row {
            transaction.execute("DELETE FROM reports WHERE id = ?1", [id])?;
            transaction.execute("DELETE FROM comments WHERE report = ?1", [id])?;
            for (facet, value) in facets {
                transaction.execute(
                    "UPDATE facets SET count = count - 1 WHERE problem = ?1 AND facet = ?2 AND value = ?3",
                    params![problem, facet.name(), value],
                )?;
            }
            transaction.execute("DELETE FROM facets WHERE problem = ?1 AND count <= 0", [&problem])?;
            transaction.execute(
                "UPDATE problems SET count = count - 1,
                 first = coalesce((SELECT min(received) FROM reports WHERE problem = ?1), first),
                 last = coalesce((SELECT max(received) FROM reports WHERE problem = ?1), last),
                 newest = coalesce((SELECT id FROM reports WHERE problem = ?1 ORDER BY received DESC, id LIMIT 1), '')
                 WHERE key = ?1",
                [&problem],
            )?;
            transaction.execute("DELETE FROM problems WHERE key = ?1 AND count <= 0", [&problem])?;
            for blob in blobs.into_iter().flatten() {
                let used: bool = transaction.query_row(
                    "SELECT EXISTS (SELECT 1 FROM reports WHERE bundle = ?1 OR minidump = ?1)",
                    [&blob.sha256],
                    |row| row.get(0),
                )?;
                if !used {
                    loose.push(blob);
                }
            }
        }
        transaction.execute("UPDATE erasures SET erased = 1 WHERE id = ?1", [id])?;
        transaction.commit()?;
        Ok(Erased::Now(loose))
    }
}

/// Notes the digest of a report's token, where it came with one.
pub(super) fn note(transaction: &rusqlite::Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    if let Some(digest) = &record.erasure {
        transaction
            .prepare_cached("INSERT INTO erasures VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING")?
            .execute(params![record.id, digest])?;
    }
    Ok(())
}
