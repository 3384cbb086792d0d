//! The rows: one for each report, and for each problem the counts that its pages show.
//!
//! Owns the SQLite schema. A report and the counts that it changes are one transaction, which is on disk when
//! [`Reports::insert`] returns. Texts come from strangers: they are bound, never pasted into SQL.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;
use super::blobs::Blob;
use super::rows::{Facet, Order, ProblemRow, Record, ReportRow};
use super::{comments, marks};

/// The schema's version, in `user_version`.
const VERSION: i64 = 4;

/// Idle connections that are kept for the next reader.
const IDLE_READERS: usize = 4;

const SCHEMA: &str = "
    CREATE TABLE reports (
        id TEXT PRIMARY KEY,
        received INTEGER NOT NULL,
        happened TEXT NOT NULL,
        kind TEXT NOT NULL,
        program TEXT NOT NULL,
        version TEXT NOT NULL,
        system TEXT NOT NULL,
        signal TEXT NOT NULL,
        problem TEXT NOT NULL,
        bundle TEXT,
        bundle_bytes INTEGER,
        minidump TEXT,
        minidump_bytes INTEGER,
        annotations TEXT NOT NULL,
        notes TEXT NOT NULL
    );
    CREATE INDEX reports_of_a_problem ON reports (problem, received DESC);
    CREATE TABLE problems (
        key TEXT PRIMARY KEY,
        signature TEXT NOT NULL,
        count INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        newest TEXT NOT NULL
    );
    CREATE INDEX problems_by_last ON problems (last DESC);
    CREATE INDEX problems_by_count ON problems (count DESC);
    CREATE TABLE facets (
        problem TEXT NOT NULL,
        facet TEXT NOT NULL,
        value TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (problem, facet, value)
    ) WITHOUT ROWID;
";

/// What came with version 3.
const DIALECTS: &str = "
    ALTER TABLE reports ADD COLUMN dialect TEXT NOT NULL DEFAULT '';
    PRAGMA user_version = 3;
";

/// The database.
pub struct Reports {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Reports {
    /// Opens the database, making it where it is not there.
    ///
    /// # Errors
    /// A file that is no database, one of a later version, or one that cannot be written.
    pub fn open(path: PathBuf) -> Result<Reports, StoreError> {
        let mut writer = connect(&path)?;
        writer.pragma_update(None, "journal_mode", "wal")?;
        writer.pragma_update(None, "synchronous", "full")?;
        match writer.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            old @ 0..VERSION => {
                let transaction = writer.transaction()?;
                for schema in [SCHEMA, marks::SCHEMA, DIALECTS, comments::SCHEMA]
                    .iter()
                    .skip(usize::try_from(old).unwrap_or(0))
                {
                    transaction.execute_batch(schema)?;
                }
                transaction.commit()?;
            }
            VERSION => {}
            newer => return Err(StoreError::Newer(newer)),
        }
        Ok(Reports { path, writer: Mutex::new(writer), readers: Mutex::new(Vec::new()) })
    }

    /// Adds a report and counts it. One that is already there stays as it is and is not counted again.
    ///
    /// # Errors
    /// A database that could not be written: nothing of the report is in it.
    pub fn insert(&self, record: &Record) -> rusqlite::Result<()> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let (bundle, bundle_bytes) = columns(record.bundle.as_ref());
        let (minidump, minidump_bytes) = columns(record.minidump.as_ref());
        let added = transaction
            .prepare_cached(
                "INSERT INTO reports VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                record.id,
                record.received,
                record.happened,
                record.kind,
                record.program,
                record.version,
                record.system,
                record.signal,
                record.problem,
                bundle,
                bundle_bytes,
                minidump,
                minidump_bytes,
                record.annotations,
                record.notes,
                record.dialect,
            ])?;
        if added == 0 {
            return Ok(());
        }
        transaction
            .prepare_cached(
                "INSERT INTO problems VALUES (?1, ?2, 1, ?3, ?3, ?4) ON CONFLICT (key) DO UPDATE SET
                 count = count + 1, first = min(first, ?3), last = max(last, ?3),
                 newest = CASE WHEN ?3 >= last THEN ?4 ELSE newest END",
            )?
            .execute(params![record.problem, record.signature, record.received, record.id])?;
        let day = day_of(record.received);
        let mut count = transaction.prepare_cached(
            "INSERT INTO facets VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE SET count = count + 1",
        )?;
        for (facet, value) in [
            (Facet::Program, &record.program),
            (Facet::Version, &record.version),
            (Facet::System, &record.system),
            (Facet::Day, &day),
        ] {
            count.execute(params![record.problem, facet.name(), value])?;
        }
        drop(count);
        marks::note(&transaction, record)?;
        transaction.commit()
    }

    // A thread that died while it held the connection has rolled back its transaction.
    pub(super) fn writer(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A report by its id.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn report(&self, id: &str) -> rusqlite::Result<Option<Record>> {
        self.reading(|database| {
            database
                .prepare_cached(
                    "SELECT reports.*, problems.signature FROM reports JOIN problems ON problem = key WHERE id = ?1",
                )?
                .query_row([id], |row| {
                    Ok(Record {
                        id: row.get("id")?,
                        received: row.get("received")?,
                        happened: row.get("happened")?,
                        kind: row.get("kind")?,
                        program: row.get("program")?,
                        version: row.get("version")?,
                        system: row.get("system")?,
                        signal: row.get("signal")?,
                        signature: row.get("signature")?,
                        problem: row.get("problem")?,
                        bundle: blob(row, "bundle", "bundle_bytes")?,
                        minidump: blob(row, "minidump", "minidump_bytes")?,
                        annotations: row.get("annotations")?,
                        notes: row.get("notes")?,
                        dialect: row.get("dialect")?,
                        erasure: None,
                    })
                })
                .optional()
        })
    }

    /// A problem by its key.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn problem(&self, key: &str) -> rusqlite::Result<Option<ProblemRow>> {
        self.reading(|database| {
            database
                .prepare_cached("SELECT * FROM problems WHERE key = ?1")?
                .query_row([key], problem)
                .optional()
        })
    }

    /// A page of the problems whose signature or program contains `text`, and how many there are.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn problems(
        &self,
        text: &str,
        order: Order,
        skip: u64,
        limit: u64,
    ) -> rusqlite::Result<(Vec<ProblemRow>, u64)> {
        const MATCHING: &str = "FROM problems WHERE ?1 = '' OR signature LIKE ?2 ESCAPE '\\' OR EXISTS (
            SELECT 1 FROM facets WHERE problem = key AND facet = 'program' AND value LIKE ?2 ESCAPE '\\')";
        let by = match order {
            Order::Last => "last DESC, key",
            Order::Count => "count DESC, last DESC, key",
        };
        let pattern = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        self.reading(|database| {
            let total = database
                .prepare_cached(&format!("SELECT count(*) {MATCHING}"))?
                .query_row([text, &pattern], |row| row.get(0))?;
            let mut page =
                database.prepare_cached(&format!("SELECT * {MATCHING} ORDER BY {by} LIMIT ?3 OFFSET ?4"))?;
            let rows = page.query_map(params![text, pattern, limit, skip], problem)?;
            Ok((rows.collect::<Result<_, _>>()?, total))
        })
    }

    /// A page of a problem's reports, newest first.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn reports_of(&self, key: &str, skip: u64, limit: u64) -> rusqlite::Result<Vec<ReportRow>> {
        self.reading(|database| {
            database
                .prepare_cached(
                    "SELECT id, received, kind, program, version, system, signal FROM reports
                     WHERE problem = ?1 ORDER BY received DESC, id LIMIT ?2 OFFSET ?3",
                )?
                .query_map(params![key, limit, skip], |row| {
                    Ok(ReportRow {
                        id: row.get(0)?,
                        received: row.get(1)?,
                        kind: row.get(2)?,
                        program: row.get(3)?,
                        version: row.get(4)?,
                        system: row.get(5)?,
                        signal: row.get(6)?,
                    })
                })?
                .collect()
        })
    }

    /// A problem's reports counted by a facet: the most frequent values first, days newest first.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn counts(&self, key: &str, facet: Facet, limit: u64) -> rusqlite::Result<Vec<(String, u64)>> {
        let by = if facet == Facet::Day { "value DESC" } else { "count DESC, value" };
        self.reading(|database| {
            database
                .prepare_cached(&format!(
                    "SELECT value, count FROM facets WHERE problem = ?1 AND facet = ?2 ORDER BY {by} LIMIT ?3"
                ))?
                .query_map(params![key, facet.name(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// How many reports there are.
    ///
    /// # Errors
    /// A database that could not be read.
    pub fn total(&self) -> rusqlite::Result<u64> {
        self.reading(|database| {
            database
                .prepare_cached("SELECT coalesce(sum(count), 0) FROM problems")?
                .query_row([], |row| row.get(0))
        })
    }

    // Readers have connections of their own: WAL lets them go on while a report is written.
    pub(super) fn reading<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let database = match idle {
            Some(database) => database,
            None => {
                let database = connect(&self.path)?;
                database.pragma_update(None, "query_only", true)?;
                database
            }
        };
        let answer = query(&database)?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(database);
        }
        Ok(answer)
    }
}

/// The day of a time in milliseconds since 1970, as in `2026-01-31` (UTC).
pub fn day_of(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map(|time| time.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default()
}

fn connect(path: &PathBuf) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(database)
}

fn columns(blob: Option<&Blob>) -> (Option<&str>, Option<u64>) {
    (blob.map(|blob| blob.sha256.as_str()), blob.map(|blob| blob.bytes))
}

pub(super) fn blob(row: &Row<'_>, sha256: &str, bytes: &str) -> rusqlite::Result<Option<Blob>> {
    let sha256: Option<String> = row.get(sha256)?;
    let bytes: Option<u64> = row.get(bytes)?;
    Ok(sha256.zip(bytes).map(|(sha256, bytes)| Blob { sha256, bytes }))
}

fn problem(row: &Row<'_>) -> rusqlite::Result<ProblemRow> {
    Ok(ProblemRow {
        key: row.get("key")?,
        signature: row.get("signature")?,
        count: row.get("count")?,
        first: row.get("first")?,
        last: row.get("last")?,
        newest: row.get("newest")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, signature: &str, received: i64) -> Record {
        Record {
            id: id.into(),
            received,
            happened: "2026-01-01T00:00:00Z".into(),
            kind: "crash".into(),
            program: "hello".into(),
            version: "1.0".into(),
            system: "Debian".into(),
            signal: "SIGSEGV".into(),
            signature: signature.into(),
            problem: format!("key of {signature}"),
            bundle: Some(Blob { sha256: "00".into(), bytes: 7 }),
            minidump: None,
            annotations: "{}".into(),
            notes: "[]".into(),
            dialect: "foretrace".into(),
            erasure: None,
        }
    }

    fn reports() -> (tempfile::TempDir, Reports) {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::open(folder.path().join("reports.sqlite")).unwrap();
        (folder, reports)
    }

    #[test]
    fn a_report_reads_back_as_it_was_written() {
        let (_folder, reports) = reports();
        let written = record("a", "f | g", 5);
        reports.insert(&written).unwrap();
        assert_eq!(reports.report("a").unwrap(), Some(written));
        assert_eq!(reports.report("b").unwrap(), None);
    }

    #[test]
    fn a_report_that_comes_twice_counts_once() {
        let (_folder, reports) = reports();
        reports.insert(&record("a", "f", 5)).unwrap();
        reports.insert(&record("a", "g", 9)).unwrap();
        let (problems, total) = reports.problems("", Order::Last, 0, 10).unwrap();
        assert_eq!((total, problems[0].count, problems[0].signature.as_str()), (1, 1, "f"));
        assert_eq!(reports.counts("key of f", Facet::Version, 10).unwrap(), [("1.0".to_owned(), 1)]);
    }

    #[test]
    fn a_problem_knows_its_first_its_last_and_its_newest() {
        let (_folder, reports) = reports();
        for (id, received) in [("b", 20), ("c", 30), ("a", 10)] {
            reports.insert(&record(id, "f", received)).unwrap();
        }
        let problem = reports.problem("key of f").unwrap().unwrap();
        assert_eq!((problem.count, problem.first, problem.last, problem.newest.as_str()), (3, 10, 30, "c"));
        let page: Vec<_> =
            reports.reports_of("key of f", 1, 5).unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(page, ["b", "a"]);
        assert_eq!(reports.total().unwrap(), 3);
    }

    #[test]
    fn a_search_takes_its_words_literally() {
        let (_folder, reports) = reports();
        reports.insert(&record("a", "100% | f_g", 1)).unwrap();
        reports.insert(&record("b", "100 | fxg", 2)).unwrap();
        let found = |text: &str| reports.problems(text, Order::Count, 0, 10).unwrap().1;
        assert_eq!((found("100%"), found("f_g"), found("F"), found("HELLO")), (1, 1, 2, 2));
        assert_eq!((found("' OR 1 --"), found("\\"), found("")), (0, 0, 2));
    }

    #[test]
    fn an_erased_report_takes_its_counts_along_and_does_not_come_back() {
        use super::super::marks::Erased;
        use sha2::{Digest, Sha256};
        let (_folder, reports) = reports();
        let digest = foretrace_report::bundle::hex(&Sha256::digest("token"));
        for (id, received) in [("a", 10), ("b", 20)] {
            let erasure = Some(digest.clone());
            reports.insert(&Record { erasure, ..record(id, "f", received) }).unwrap();
        }
        assert_eq!(reports.erase("b", "another").unwrap(), Erased::Forbidden);
        assert_eq!(reports.erase("c", "token").unwrap(), Erased::Unknown);
        assert_eq!(reports.erase("b", "token").unwrap(), Erased::Now(vec![]), "a's file is the same");
        assert_eq!(reports.erase("b", "token").unwrap(), Erased::Before);
        assert_eq!(reports.report("b").unwrap(), None);
        let problem = reports.problem("key of f").unwrap().unwrap();
        assert_eq!((problem.count, problem.last, problem.newest.as_str()), (1, 10, "a"));
        let Erased::Now(loose) = reports.erase("a", "token").unwrap() else { panic!("it is there") };
        assert_eq!(loose.len(), 1);
        assert_eq!((reports.total().unwrap(), reports.problem("key of f").unwrap()), (0, None));
        assert!(reports.is_erased("a").unwrap());
    }

    #[test]
    fn a_database_of_an_older_version_goes_on() {
        for schemas in [&[SCHEMA][..], &[SCHEMA, marks::SCHEMA]] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("reports.sqlite");
            let old = connect(&path).unwrap();
            schemas.iter().for_each(|schema| old.execute_batch(schema).unwrap());
            old.pragma_update(None, "user_version", schemas.len() as i64).unwrap();
            let columns = "'a', 5, '', '', '', '', '', '', 'p', NULL, NULL, NULL, NULL, '{}', '[]'";
            old.execute(&format!("INSERT INTO reports VALUES ({columns})"), []).unwrap();
            old.execute("INSERT INTO problems VALUES ('p', 'f', 1, 5, 5, 'a')", []).unwrap();
            drop(old);
            let reports = Reports::open(path).unwrap();
            assert_eq!(reports.mark("x").unwrap(), marks::Mark::default());
            assert_eq!(reports.report("a").unwrap().unwrap().dialect, "");
            reports.insert(&record("b", "f", 7)).unwrap();
        }
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let (folder, reports) = reports();
        reports.writer.lock().unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        drop(reports);
        let again = Reports::open(folder.path().join("reports.sqlite"));
        assert!(matches!(again, Err(StoreError::Newer(newer)) if newer == VERSION + 1));
    }

    #[test]
    fn an_answer_is_on_disk_before_it_is_given() {
        let (_folder, reports) = reports();
        let writer = reports.writer.lock().unwrap();
        let pragma =
            |name: &str| writer.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        assert_eq!(pragma("synchronous").unwrap(), rusqlite::types::Value::Integer(2));
        assert_eq!(pragma("journal_mode").unwrap(), rusqlite::types::Value::Text("wal".into()));
    }
}
