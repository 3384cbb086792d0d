//! The front page: all problems, what to look at first.

use maud::{Markup, html};

use super::{Choice, PAGE, frame, words};
use crate::service::Site;
use crate::store::{Facet, Order, ProblemRow, Reports, StoreError};

/// The page.
pub fn page(site: &Site, choice: &Choice) -> Result<Markup, StoreError> {
    let reports = &site.store.reports;
    let (rows, found) = reports.problems(choice.text(), choice.order(), choice.skip(), PAGE)?;
    let total = reports.total()?;
    let rows = rows.iter().map(|problem| row(reports, problem)).collect::<Result<Vec<_>, _>>()?;
    let content = html! {
        h1 { "Problems" }
        @if total == 0 {
            (empty(site))
        } @else {
            p.lead {
                (words::count(found, "problem", "problems"))
                @if choice.text().is_empty() { " in " (words::count(total, "report", "reports")) "." }
                @else { " with “" (words::said_up_to(choice.text(), 100)) "”." }
            }
            (search(choice))
            @if rows.is_empty() {
                p.empty {
                    "Nothing here has these words in its signature or program. "
                    a href="/" { "Show all problems" } "."
                }
            } @else {
                div.wide {
                    table.problems {
                        caption.quiet { "Reports with the same signature are one problem." }
                        thead { tr {
                            th scope="col" { "Signature" }
                            th.right scope="col" { (sorter("Reports", "count", choice)) }
                            th scope="col" { "14 days" }
                            th scope="col" { "Program" }
                            th scope="col" { "First seen" }
                            th scope="col" { (sorter("Last seen", "last", choice)) }
                        } }
                        tbody { @for row in &rows { (row) } }
                    }
                }
                (frame::pager(choice.page(), PAGE, found, |page| address(choice, &choice.sort, page)))
            }
        }
    };
    Ok(frame::page("Problems", content))
}

/// A row of small bars, one for each of the last `days` days, today at the right.
pub fn bars(reports: &Reports, key: &str, days: u64, class: &str) -> Result<Markup, StoreError> {
    let counts = reports.counts(key, Facet::Day, days)?;
    let now = jiff::Timestamp::now().as_millisecond();
    let days: Vec<(String, u64)> = (0..days)
        .rev()
        .map(|back| {
            let day = crate::store::day_of(now - back as i64 * 86_400_000);
            let count = counts.iter().find(|(value, _)| *value == day).map_or(0, |(_, count)| *count);
            (day, count)
        })
        .collect();
    let most = days.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let sum = days.iter().map(|(_, count)| count).sum();
    let label = format!("{} in the last {} days", words::count(sum, "report", "reports"), days.len());
    Ok(html! {
        svg class=(class) role="img" aria-label=(label) preserveAspectRatio="none"
            viewBox=(format!("0 0 {} 24", days.len() * 6)) {
            @for (at, (day, count)) in days.iter().enumerate() {
                @let height = if *count == 0 { 1 } else { 3 + 21 * count / most };
                rect class=[(*count == 0).then_some("none")] x=(at * 6) y=(24 - height) width="5" height=(height) {
                    title { (day) ": " (words::count(*count, "report", "reports")) }
                }
            }
        }
    })
}

fn row(reports: &Reports, problem: &ProblemRow) -> Result<Markup, StoreError> {
    let programs = reports.counts(&problem.key, Facet::Program, 3)?;
    let versions = reports.counts(&problem.key, Facet::Version, 4)?;
    Ok(html! {
        tr {
            th.signature scope="row" {
                a href=(format!("/problem/{}", problem.key)) { (words::said_up_to(&problem.signature, 300)) }
            }
            td.right.number { (words::number(problem.count)) }
            td { (bars(reports, &problem.key, 14, "spark")?) }
            td {
                @for (program, _) in &programs { span.program { (words::said(program)) } " " }
                span.versions {
                    @for (version, _) in versions.iter().take(3).filter(|(version, _)| !version.is_empty()) {
                        span { (words::said(version)) } " "
                    }
                    @if versions.len() > 3 { "…" }
                }
            }
            td.time { (words::ago(problem.first)) }
            td.time { a href=(format!("/report/{}", problem.newest)) { (words::ago(problem.last)) } }
        }
    })
}

fn search(choice: &Choice) -> Markup {
    html! {
        form.search role="search" action="/" method="get" {
            label for="q" { "Search" }
            input #q name="q" type="search" value=(words::said(choice.text()))
                placeholder="signature, program or report id" maxlength="200";
            @if choice.order() == Order::Count { input type="hidden" name="sort" value="count"; }
            button type="submit" { "Search" }
        }
    }
}

fn sorter(name: &str, sort: &str, choice: &Choice) -> Markup {
    let here = (sort == "count") == (choice.order() == Order::Count);
    html! {
        @if here { span aria-current="true" { (name) " ↓" } }
        @else { a href=(address(choice, sort, 1)) { (name) } }
    }
}

fn address(choice: &Choice, sort: &str, page: u64) -> String {
    let sort = if sort == "count" { "count" } else { "last" };
    format!("/?q={}&sort={sort}&page={page}", frame::query(choice.text()))
}

fn empty(site: &Site) -> Markup {
    html! {
        section.empty {
            p.lead { "No reports yet. This server is ready for the first one." }
            ol {
                li {
                    "Tell a machine where to send reports, in " code { "/etc/foretrace.conf" } ":"
                    pre { code {
                        "[Upload]\nUrl=http://" (site.address) "/reports\n"
                    } }
                }
                li { "Let its kernel hand crashes to foretrace:" pre { code { "foretrace-coredump install" } } }
                li { "After a crash, answer the question:" pre { code { "foretrace send" } } }
            }
        }
    }
}
