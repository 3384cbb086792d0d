//! The page of one report: what happened, where, what led to it, and what is missing.

use std::collections::BTreeMap;

use foretrace_report::schema::Privacy;
use foretrace_report::{Class, ClassSet, Report};
use maud::{Markup, html};

use super::timeline::Timeline;
use super::{View, backtrace, frame, trail, words};
use crate::reading::Reading;
use crate::store::Mark;

/// Rows of annotations and parts at most.
const ROWS: usize = 500;

/// The page.
pub fn page(reading: &Reading, mark: &Mark, view: &View) -> Markup {
    let record = &reading.record;
    let problem = format!("/problem/{}", record.problem);
    let title = match &reading.report {
        Some(report) => words::headline(report),
        None if record.is_encrypted() => "An encrypted report".into(),
        None => "A report that cannot be read".into(),
    };
    let content = html! {
        (frame::path(&[("/", "Problems"), (&problem, "This problem")], &record.id[..8]))
        p.kicker { "Report " span.id { (record.id) } }
        h1 { (title) }
        @match &reading.report {
            Some(report) => {
                p.lead { (words::sentence(report)) }
                p.signature { a href=(problem) { (words::said(&record.signature)) } }
                (words::fixed_in(mark))
            }
            None if record.is_encrypted() => p.lead {
                "It was encrypted before it was sent, to a key that is not here: this server cannot read it. Whoever \
                 has the key opens the download with " code { "age --decrypt --identity KEY" } ", and then with any unzip."
            }
            None => p.lead {
                "It is kept as it came. What is known of it is below; the download has the rest."
            }
        }
        (comments(reading))
        (facts(reading))
        (problems(reading))
        @if let Some(report) = &reading.report {
            (backtrace::section(report))
            (what_led_to_it(reading, report, view))
            (annotations(report))
        }
        (submission(reading))
        (parts(reading))
    };
    frame::page(&title, content)
}

fn facts(reading: &Reading) -> Markup {
    let record = &reading.record;
    let report = reading.report.as_ref();
    let mut facts: Vec<(&str, Markup)> = Vec::new();
    let mut fact = |name, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push((name, html! { (words::said_up_to(value, 300)) }));
        }
    };
    fact("Program", Some(&record.program));
    let package = report.and_then(|report| report.program.package.as_ref());
    fact("Package", package.map(|package| format!("{} {}", package.name, package.version)).as_deref());
    if package.is_none() {
        fact("Version", Some(&record.version));
    }
    fact("Executable", report.and_then(|report| report.program.exe.as_deref()));
    if let Some(report) = report {
        let signal = report.signal.as_ref().map(|signal| {
            let code = signal.code.map(|code| format!(", code {code}")).unwrap_or_default();
            let address = signal.address.as_ref().map(|at| format!(", address {at}")).unwrap_or_default();
            format!("{} ({}{code}{address})", signal.name, signal.number)
        });
        fact("Signal", signal.as_deref());
        let kernel = format!("{} {}", report.system.kernel, report.system.arch);
        fact("System", Some(&report.system.os));
        fact("Kernel", Some(kernel.trim()));
        fact("Process", (report.program.pid != 0).then(|| report.program.pid.to_string()).as_deref());
    }
    fact("Happened", Some(&record.happened.replace('T', " ").replace('Z', " UTC")));
    fact("Came with", report.map(|report| classes(report).to_string().replace(',', ", ")).as_deref());
    fact("Came as", dialect(&record.dialect));
    facts.push((
        "Came in",
        html! { (words::exactly(record.received)) " (" (words::ago(record.received)) ")" },
    ));
    html! {
        dl.facts {
            @for (name, value) in &facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// The classes of data that somebody let go: what is there, not what was asked for.
fn classes(report: &Report) -> ClassSet {
    let stack = report.threads.iter().any(|thread| !thread.frames.is_empty()).then_some(Class::Stack);
    let parts = report.parts.iter().map(|part| part.class);
    parts.chain(stack).fold(ClassSet::EMPTY.with(Class::Summary), ClassSet::with)
}

/// What a dialect is called among those who run servers.
fn dialect(name: &str) -> Option<&'static str> {
    match name {
        "foretrace" => Some("a resumable upload"),
        "socorro" => Some("a Socorro submission"),
        "sentry" => Some("a Sentry envelope"),
        _ => None,
    }
}

fn comments(reading: &Reading) -> Markup {
    let first = reading.report.as_ref().and_then(|report| report.comment.as_deref());
    let first = first.filter(|comment| !comment.is_empty());
    html! {
        @if first.is_some() || !reading.comments.is_empty() {
            section aria-labelledby="comments" {
                h2 #comments { "What the person wrote" }
                @if let Some(text) = first { blockquote { (words::said_up_to(text, 2000)) } }
                @for (received, text) in &reading.comments {
                    blockquote { (words::said_up_to(text, 2000)) p.quiet { "added " (words::exactly(*received)) } }
                }
            }
        }
    }
}

fn problems(reading: &Reading) -> Markup {
    html! {
        @if !reading.problems.is_empty() {
            section.problems aria-labelledby="problems" {
                h2 #problems { "What could not be had" }
                ul {
                    @for problem in reading.problems.iter().take(ROWS) { li {
                        strong { (words::said_up_to(&problem.part, 60)) } " "
                        (words::said_up_to(&problem.what, 1000))
                    } }
                }
                @if reading.problems.len() > ROWS { p.quiet { "and more, in the JSON" } }
            }
        }
    }
}

fn what_led_to_it(reading: &Reading, report: &Report, view: &View) -> Markup {
    let events = reading.trail.events.len() as u64;
    html! {
        section #trail aria-labelledby="trail-title" {
            h2 #trail-title { "What led to it" }
            p { (words::losses(report, reading.rings, events)) }
            @if let Some(timeline) = Timeline::new(&reading.trail, report, view.last.as_deref()) {
                (timeline.render(&reading.record.id, view))
                (trail::latest(reading, report, view))
            }
        }
    }
}

fn annotations(report: &Report) -> Markup {
    html! {
        @if !report.annotations.is_empty() {
            section aria-labelledby="annotations" {
                h2 #annotations { "What the program noted about itself" }
                div.wide { table {
                    caption.quiet { "The newest value of each note." }
                    thead { tr { th scope="col" { "Note" } th scope="col" { "Value" } } }
                    tbody { @for note in report.annotations.iter().take(ROWS) { tr {
                        th scope="row" { code { (words::said_up_to(&note.key, 100)) } }
                        td {
                            @match note.privacy {
                                Privacy::Public => (words::said_up_to(&note.value, 2000)),
                                Privacy::Personal => {
                                    (words::said_up_to(&note.value, 2000)) " " span.badge { "pseudonym" }
                                }
                                Privacy::Secret => span.quiet { "secret: never recorded" },
                            }
                        }
                    } } }
                } }
            }
        }
    }
}

fn submission(reading: &Reading) -> Markup {
    let sent: BTreeMap<String, String> =
        serde_json::from_str(&reading.record.annotations).unwrap_or_default();
    html! {
        @if !sent.is_empty() {
            section {
                details open[reading.report.is_none()] {
                    summary { h2 { "What the sender wrote on it" } }
                    div.wide { table {
                        caption.quiet { "The annotations of the submission." }
                        thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } } }
                        tbody { @for (name, value) in sent.iter().take(ROWS) { tr {
                            th scope="row" { code { (words::said_up_to(name, 100)) } }
                            td { (words::said_up_to(value, 2000)) }
                        } } }
                    } }
                }
            }
        }
    }
}

fn parts(reading: &Reading) -> Markup {
    let record = &reading.record;
    let parts = reading.report.as_ref().map_or(&[][..], |report| &report.parts);
    html! {
        section aria-labelledby="parts" {
            h2 #parts { "The report itself" }
            ul.downloads {
                @if let Some(blob) = &record.bundle { li {
                    a.button href=(format!("/report/{}/bundle.zip", record.id)) download { "Download the bundle" }
                    " " span.quiet {
                        (words::size(blob.bytes))
                        (if record.is_encrypted() { ", encrypted with age" } else { ", opens with any unzip" })
                    }
                } }
                @if let Some(blob) = &record.minidump { li {
                    a.button href=(format!("/report/{}/minidump.dmp", record.id)) download { "Download the minidump" }
                    " " span.quiet { (words::size(blob.bytes)) ", opens with lldb" }
                } }
                li { a href=(format!("/api/report/{}", record.id)) { "This page as JSON" } }
            }
            @if !parts.is_empty() {
                div.wide { table {
                    caption.quiet { "The bundle's parts, as the sender listed them, before compression." }
                    thead { tr {
                        th scope="col" { "Part" } th scope="col" { "What it is" } th.right scope="col" { "Size" }
                    } }
                    tbody { @for part in parts.iter().take(ROWS) { tr {
                        th scope="row" { code { (words::said_up_to(&part.name, 200)) } }
                        td { (part.class) }
                        td.right.number { (words::size(part.bytes)) }
                    } } }
                } }
            }
        }
    }
}
