//! The trail as a table: the last events on the report's page, all of them page by page on their own.

use foretrace_report::Report;
use foretrace_report::trail::level_name;
use foretrace_ring::Trail;
use foretrace_ring::trail::{Event, EventType, Level, Privacy, Value};
use maud::{Markup, html};

use super::timeline::moment_of;
use super::{View, frame, words};
use crate::reading::Reading;

/// Events on the report's own page.
const LATEST: usize = 500;
/// Events on a page of the whole trail.
const ROWS: usize = 1000;
/// Characters of one value in a row.
const VALUE: usize = 300;
/// Fields in a row.
const FIELDS: usize = 40;
/// Bytes of one value that are shown.
const BYTES: usize = 48;

/// The last events, for the report's page.
pub fn latest(reading: &Reading, report: &Report, view: &View) -> Markup {
    let id = &reading.record.id;
    let trail = &reading.trail;
    let matching = || trail.events.iter().filter(|event| trail.kind_of(event).level <= view.level());
    let count = matching().count();
    let latest: Vec<&Event> = matching().rev().take(LATEST).collect();
    html! {
        h3 #events { "The last events" }
        (filter(view.level(), |level| view.with_level(id, level)))
        (table(trail, report, &latest, "Newest first; the moment is at the top."))
        @if count > latest.len() {
            p { a href=(format!("/report/{id}/trail?level={}", level_name(view.level()))) {
                "The whole trail: " (words::count(count as u64, "event", "events"))
            } }
        }
    }
}

/// The page of the whole trail.
pub fn page(reading: &Reading, view: &View) -> Markup {
    let id = &reading.record.id;
    let trail = &reading.trail;
    let level = view.level();
    let matching = || trail.events.iter().filter(|event| trail.kind_of(event).level <= level);
    let count = matching().count();
    let events: Vec<&Event> =
        matching().rev().skip((view.page() - 1).saturating_mul(ROWS)).take(ROWS).collect();
    let report_page = format!("/report/{id}");
    let problem_page = format!("/problem/{}", reading.record.problem);
    let address = |page| format!("/report/{id}/trail?level={}&page={page}", level_name(level));
    let content = html! {
        (frame::path(&[("/", "Problems"), (&problem_page, "This problem"), (&report_page, &id[..8])], "Trail"))
        h1 { "The whole trail" }
        @match &reading.report {
            Some(report) => {
                p.lead { (words::losses(report, reading.rings, trail.events.len() as u64)) }
                (filter(level, |level| format!("/report/{id}/trail?level={}", level_name(level))))
                (table(trail, report, &events, "Newest first."))
                (frame::pager(view.page() as u64, ROWS as u64, count as u64, address))
            }
            None => p.lead { "The report cannot be read, and its trail neither." }
        }
    };
    frame::page("Trail", content)
}

/// An event in one line, without its time.
pub fn line(trail: &Trail, event: &Event, characters: usize) -> String {
    let kind = trail.kind_of(event);
    let mut text = format!("{} {}", level_name(kind.level), kind.name);
    for (field, value) in kind.fields.iter().zip(&event.values).take(8) {
        text.push_str(&format!(" {}={}", field.name, shown(value)));
    }
    words::said_up_to(&text, characters)
}

fn filter(current: Level, address: impl Fn(Level) -> String) -> Markup {
    html! {
        nav.choices aria-label="Least important level" {
            @for level in words::LEVELS {
                a href=(address(level)) aria-current=[(level == current).then_some("true")] {
                    @match level {
                        Level::Error => "errors",
                        Level::Trace => "everything",
                        level => { (level_name(level)) " and above" }
                    }
                }
            }
        }
    }
}

fn table(trail: &Trail, report: &Report, events: &[&Event], caption: &str) -> Markup {
    let moment = moment_of(trail, report);
    html! {
        @if events.is_empty() {
            p.empty { "No event is this important. Choose another level." }
        } @else {
            div.wide { table.events {
                caption.quiet { (caption) }
                thead { tr {
                    th.right scope="col" { "Before" } th scope="col" { "Thread" } th scope="col" { "Level" }
                    th scope="col" { "Event" } th scope="col" { "Fields" }
                } }
                tbody { @for event in events { (row(trail, report, event, moment)) } }
            } }
        }
    }
}

fn row(trail: &Trail, report: &Report, event: &Event, moment: u64) -> Markup {
    let kind = trail.kind_of(event);
    let known = report.threads.iter().find(|thread| thread.trail_tid() == Some(event.thread));
    let level = level_name(kind.level);
    html! {
        tr class=(level) {
            td.right.number title=(exactly(event.time)) { "−" (words::span(moment - event.time.min(moment))) }
            td {
                span.number { (event.thread) }
                @if let Some(thread) = known { " " span.quiet { (words::said_up_to(&thread.name, 30)) } }
            }
            td { span.level { (level) } }
            td title=(origin(kind)) {
                strong { (words::said_up_to(&kind.name, 120)) }
                @if !kind.provider.is_empty() { " " span.quiet { (words::said_up_to(&kind.provider, 80)) } }
            }
            td.fields {
                @for (field, value) in kind.fields.iter().zip(&event.values).take(FIELDS) {
                    span.field {
                        span.quiet { (words::said_up_to(&field.name, 60)) "=" }
                        @if *value == Value::Withheld { em.quiet title="A secret: never recorded." { "withheld" } }
                        @else if field.privacy == Privacy::Personal {
                            span.pseudonym title="Personal: a pseudonym, the same within this report only." {
                                (words::said_up_to(&shown(value), VALUE))
                            }
                        }
                        @else { (words::said_up_to(&shown(value), VALUE)) }
                    }
                    " "
                }
            }
        }
    }
}

// Not escaped yet.
fn shown(value: &Value) -> String {
    match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        // A little more than is shown, so that the cut can be seen.
        Value::Text(text) => text.chars().take(VALUE + 1).collect(),
        Value::Bytes(bytes) => {
            let more = if bytes.len() > BYTES { "…" } else { "" };
            let shown = &bytes[..bytes.len().min(BYTES)];
            format!("{}{more}", foretrace_report::bundle::hex(shown))
        }
        Value::Withheld => "withheld".to_owned(),
    }
}

fn exactly(nanoseconds: u64) -> String {
    jiff::Timestamp::from_nanosecond(nanoseconds.into())
        .map(|time| time.to_string())
        .unwrap_or_else(|_| "an unknown time".into())
}

fn origin(kind: &EventType) -> String {
    match &kind.location {
        Some((file, line)) => format!("recorded at {}:{line}", words::said_up_to(file, 200)),
        None => String::new(),
    }
}
