//! The page of one problem: how often, where, since when, and its reports.

use maud::{Markup, html};

use super::{Choice, PAGE, frame, problems, words};
use crate::service::Site;
use crate::store::{Facet, ProblemRow, Reports, StoreError};

/// Values of a facet that are shown.
const VALUES: u64 = 8;

/// The page.
pub fn page(site: &Site, problem: &ProblemRow, choice: &Choice) -> Result<Markup, StoreError> {
    let reports = &site.store.reports;
    let rows = reports.reports_of(&problem.key, choice.skip(), PAGE)?;
    let mark = reports.mark(&problem.key)?;
    let signature = words::said(&problem.signature);
    let content = html! {
        (frame::path(&[("/", "Problems")], "This problem"))
        p.kicker { "Problem" }
        h1.signature { (signature) }
        p.lead {
            (words::count(problem.count, "report", "reports"))
            ", first seen " (words::ago(problem.first)) ", last seen "
            a href=(format!("/report/{}", problem.newest)) { (words::ago(problem.last)) } "."
        }
        (words::fixed_in(&mark))
        section.cards aria-label="Counts" {
            div.card { h2 { "Programs" } (values(reports, problem, Facet::Program, "no name")?) }
            div.card { h2 { "Versions" } (values(reports, problem, Facet::Version, "unknown version")?) }
            div.card { h2 { "Systems" } (values(reports, problem, Facet::System, "unknown system")?) }
            div.card {
                h2 { "Last 30 days" }
                (problems::bars(reports, &problem.key, 30, "days")?)
                p.quiet.ends { span { "30 days ago" } span { "today" } }
            }
        }
        section {
            h2 { "Reports" }
            @if rows.is_empty() {
                p.empty { "There is no such page. " a href=(format!("/problem/{}", problem.key)) { "The first one" } }
            } @else {
                div.wide { table.reports {
                    caption.quiet { "Newest first." }
                    thead { tr {
                        th scope="col" { "Report" } th scope="col" { "Came in" } th scope="col" { "What" }
                        th scope="col" { "Program" } th scope="col" { "Version" } th scope="col" { "System" }
                    } }
                    tbody { @for row in &rows { tr {
                        th scope="row" { a.id href=(format!("/report/{}", row.id)) { (&row.id[..8]) } }
                        td.time { (words::ago(row.received)) }
                        td { (row.kind) @if !row.signal.is_empty() { " " span.quiet { (words::said(&row.signal)) } } }
                        td { (words::said(&row.program)) }
                        td { (words::said(&row.version)) }
                        td { (words::said(&row.system)) }
                    } } }
                } }
            }
            (frame::pager(choice.page(), PAGE, problem.count, |page| format!("/problem/{}?page={page}", problem.key)))
        }
    };
    Ok(frame::page(&words::said_up_to(&problem.signature, 100), content))
}

fn values(
    reports: &Reports,
    problem: &ProblemRow,
    facet: Facet,
    unknown: &str,
) -> Result<Markup, StoreError> {
    let mut counts = reports.counts(&problem.key, facet, VALUES + 1)?;
    let more = counts.len() as u64 > VALUES;
    counts.truncate(VALUES as usize);
    Ok(html! {
        ul.values {
            @for (value, count) in &counts { li {
                span.value { @if value.is_empty() { (unknown) } @else { (words::said(value)) } }
                span.number { (words::number(*count)) }
                svg.share viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                    rect.track width="100" height="4" {}
                    rect width=(100 * count / problem.count.max(1)) height="4" {}
                }
            } }
        }
        @if more { p.quiet { "and others" } }
    })
}
