//! `list`: one line for each report, newest first.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use foretrace_report::Report;
use foretrace_report::text::escape;
use foretrace_store::{Counted, ReportDir, StoreError};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::arguments::List;
use crate::context::Context;
use crate::filter::Filter;
use crate::output::{self, NoMatch, Paint};
use crate::state::State;
use crate::words::Words;
use crate::{moment, sentence};

/// Columns that a line needs before its signature.
const FIXED: usize = 86;
/// A signature cut shorter tells nothing.
const SIGNATURE: usize = 16;

/// A row, as `list --json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    time: String,
    kind: &'static str,
    program: String,
    signal: Option<String>,
    signature: String,
    bytes: u64,
    consent: &'static str,
    delivery: &'static str,
    // How many crashes the row stands for, the first and the last of them: a whole report stands for itself, and for
    // those that came after it in the same way and were only counted.
    count: u64,
    first: String,
    last: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_in: Option<String>,
    #[serde(skip)]
    what: String,
    #[serde(skip)]
    foreign_uid: Option<u32>,
}

/// Lists reports.
///
/// # Errors
/// Wrong arguments; nothing that fits.
pub fn run(context: &Context, arguments: &List) -> Result<ExitCode> {
    let filter = Filter::parse(&arguments.matches, &context.words)?;
    let since = arguments
        .since
        .as_deref()
        .map(|text| moment::since(text, &Zoned::now(), &context.words))
        .transpose()?;
    let store = context.store();
    let listing = store.reports();
    for problem in store.problems().iter().chain(&listing.problems) {
        output::complain(&problem.to_string());
    }
    let total = listing.reports.len();
    let mut rows = Vec::new();
    for report_dir in listing.reports {
        match report_dir.report() {
            Ok(report) if wanted(&report, &report_dir, &filter, since) => {
                let counted = report_dir.counted().unwrap_or_else(|error| {
                    output::complain(&error.to_string());
                    None
                });
                rows.push(row(&report_dir, report, counted));
            }
            Ok(_) => {}
            // What can be known of it without its key.
            Err(error @ StoreError::Sealed(_))
                if filter.is_empty() && recent(report_dir.modified(), since) =>
            {
                output::complain(&format!("{}: {error}", report_dir.id()));
                rows.push(sealed(&report_dir, &context.words));
            }
            Err(error) => output::complain(&format!("{}: {error}", report_dir.id())),
        }
    }
    spread_news(&mut rows);
    // An imported core is as old as its crash. Within a second the store's order stays, that of the files' times: the
    // kernel tells the second of a crash and no more.
    rows.sort_by_key(|row| std::cmp::Reverse(instant(&row.time).map(Timestamp::as_second)));
    rows.truncate(arguments.number.unwrap_or(usize::MAX));
    if rows.is_empty() {
        let sentence = match total {
            0 => context.words.say("list-none"),
            _ => context.words.say("list-none-fits"),
        };
        return Err(NoMatch(sentence).into());
    }
    let mut out = output::standard();
    if context.json {
        rows.iter().try_for_each(|row| output::json_line(&mut out, row))?;
    } else {
        table(&rows, &context.words, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(report: &Report, report_dir: &ReportDir, filter: &Filter, since: Option<Timestamp>) -> bool {
    let recent = since.is_none_or(|since| instant(&report.time).is_none_or(|time| time >= since));
    recent && (filter.is_empty() || filter.fits(report, report_dir.uid()))
}

fn recent((seconds, _): (i64, i64), since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| seconds >= since.as_second())
}

/// What a server said of one report is true of all with its signature.
fn spread_news(rows: &mut [Row]) {
    let told = |row: &Row| Some(((row.program.clone(), row.signature.clone()), row.fixed_in.clone()?));
    let news: HashMap<_, _> = rows.iter().filter(|row| !row.signature.is_empty()).filter_map(told).collect();
    for row in rows.iter_mut().filter(|row| row.fixed_in.is_none()) {
        row.fixed_in = news.get(&(row.program.clone(), row.signature.clone())).cloned();
    }
}

fn instant(rfc3339: &str) -> Option<Timestamp> {
    rfc3339.parse().ok()
}

fn row(report_dir: &ReportDir, report: Report, counted: Option<Counted>) -> Row {
    let state = State::of(report_dir);
    let others = counted.as_ref().map_or(0, |counted| counted.count);
    Row {
        what: sentence::what(&report),
        id: report_dir.id().to_string(),
        kind: report.kind.name(),
        program: report.program.name,
        signal: report.signal.map(|signal| signal.name),
        signature: report.signature,
        bytes: report_dir.size(),
        consent: state.consent_word(),
        delivery: state.delivery_word(),
        count: others.saturating_add(1),
        fixed_in: state.fixed_in().map(str::to_owned),
        first: report.time.clone(),
        last: counted.map_or_else(|| report.time.clone(), |counted| counted.last),
        time: report.time,
        foreign_uid: report_dir.is_foreign().then(|| report_dir.uid()),
    }
}

/// A report that cannot be opened here.
fn sealed(report_dir: &ReportDir, words: &Words) -> Row {
    let state = State::of(report_dir);
    let written = Timestamp::from_second(report_dir.modified().0).unwrap_or_default().to_string();
    Row {
        what: words.say("list-encrypted"),
        id: report_dir.id().to_string(),
        kind: "encrypted",
        program: "?".into(),
        signal: None,
        signature: String::new(),
        bytes: report_dir.size(),
        consent: state.consent_word(),
        delivery: state.delivery_word(),
        count: 1,
        fixed_in: state.fixed_in().map(str::to_owned),
        first: written.clone(),
        last: written.clone(),
        time: written,
        foreign_uid: report_dir.is_foreign().then(|| report_dir.uid()),
    }
}

fn table(rows: &[Row], words: &Words, out: &mut impl Write) -> io::Result<()> {
    let (paint, zone) = (Paint::standard(), TimeZone::system());
    // The signature takes what a terminal leaves of its line, and is left out where that is too little; elsewhere nothing
    // is cut.
    let width = match terminal_size::terminal_size_of(io::stdout()) {
        Some((width, _)) => usize::from(width.0).saturating_sub(FIXED),
        None => usize::MAX,
    };
    let narrow = width < SIGNATURE;
    let header = words.say("list-columns");
    let mut titles = header.split_whitespace();
    let header: [&str; 8] = std::array::from_fn(|_| titles.next().unwrap_or_default());
    let line = |cells: [&str; 8]| {
        let [id, time, program, what, size, consent, delivery, signature] = cells;
        let text = if narrow {
            // Neither seconds nor signature: what is left fits 80 columns.
            let minute = time.get(..16).unwrap_or(time);
            format!("{id:<8}  {minute:<16} {program:<15}  {what:<9} {size:>7}  {consent:<8} {delivery}")
        } else {
            format!(
                "{id:<8}  {time:<19}  {program:<15}  {what:<9} {size:>8}  {consent:<8} {delivery:<10} {signature}"
            )
        };
        text.trim_end().to_owned()
    };
    writeln!(out, "{}", paint.bold(line(header)))?;
    for row in rows {
        let program = match row.foreign_uid {
            Some(uid) => format!("{} ({uid})", escape(&row.program)),
            None => escape(&row.program),
        };
        let cells = [
            &row.id[..8],
            &moment::local(&row.time, &zone),
            &sentence::shortened(&program, if narrow { 15 } else { 24 }),
            &row.what,
            &sentence::size(row.bytes),
            &shown(row.consent, words),
            &shown(row.delivery, words),
            &sentence::shortened(&escape(&row.signature), width),
        ];
        writeln!(out, "{}", line(cells))?;
        if let Some(others) = others(row, &zone, words) {
            writeln!(out, "          {}", paint.dim(others))?;
        }
        if let Some(version) = &row.fixed_in {
            let fixed = words.tell("list-fixed", &[("version", &escape(version))]);
            writeln!(out, "          {fixed}")?;
        }
    }
    Ok(())
}

/// What the row stands for besides its own crash.
fn others(row: &Row, zone: &TimeZone, words: &Words) -> Option<String> {
    let others = row.count.checked_sub(1).filter(|others| *others > 0)?;
    let count = usize::try_from(others).unwrap_or(usize::MAX);
    Some(words.amount("list-others", count, &[("last", &moment::local(&row.last, zone))]))
}

/// A column full of "none" hides the rows where something is.
fn shown(word: &str, words: &Words) -> String {
    if word == "none" { "-".to_owned() } else { words.say(&format!("state-{word}")) }
}
