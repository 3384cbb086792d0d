//! What senders said of their reports afterwards, as rows.

use foretrace_report::bundle::hex;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::reports::Reports;

/// Comments on one report at most.
const MOST: u64 = 50;

pub(super) const SCHEMA: &str = "
    CREATE TABLE comments (
        report TEXT NOT NULL,
        received INTEGER NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (report, text)
    );
    PRAGMA user_version = 4;
";

/// What became of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commented {
    /// It is kept, now or since it came before.
    Kept,
    /// The report has as many as it may have.
    TooMany,
    /// There is no such report with this token.
    Unknown,
}

impl Reports {
    /// Keeps a comment of whoever has the report's token.
    ///
    /// # Errors
    /// A database that could not be written.
    pub fn comment(&self, id: &str, token: &str, received: i64, text: &str) -> rusqlite::Result<Commented> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let digest: Option<String> = transaction
            .query_row("SELECT digest FROM erasures WHERE id = ?1 AND NOT erased", [id], |row| row.get(0))
            .optional()?;
        if digest != Some(hex(&Sha256::digest(token))) {
            return Ok(Commented::Unknown);
        }
        let there: u64 = transaction.query_row(
            "SELECT count(*) FROM comments WHERE report = ?1 AND text <> ?2",
            [id, text],
            |row| row.get(0),
        )?;
        if there >= MOST {
            return Ok(Commented::TooMany);
        }
        transaction.execute(
            "INSERT INTO comments VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![id, received, text],
        )?;
        transaction.commit()?;
        Ok(Commented::Kept)
    }

    /// The comments on a report, oldest first: when they came, in milliseconds since 1970, and the words.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn comments(&self, id: &str) -> rusqlite::Result<Vec<(i64, String)>> {
        self.reading(|database| {
            database
                .prepare_cached(
                    "SELECT received, text FROM comments WHERE report = ?1 ORDER BY received, text",
                )?
                .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }
}
