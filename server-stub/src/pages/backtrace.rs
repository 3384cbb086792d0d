//! The backtraces of all threads, the crashed one first and open.

use foretrace_report::Report;
use foretrace_report::schema::{Frame, Kind, Thread, Trust};
use maud::{Markup, html};

use super::words;

/// Frames on one page at most, over all threads; the JSON has the rest.
const FRAMES: usize = 5000;
/// Frames of one thread at most.
const FRAMES_OF_A_THREAD: usize = 500;

/// The section.
pub fn section(report: &Report) -> Markup {
    let (mut first, mut others): (Vec<&Thread>, Vec<&Thread>) =
        report.threads.iter().partition(|thread| thread.crashed);
    if first.is_empty() && !others.is_empty() {
        first.push(others.remove(0));
    }
    let mut room = FRAMES;
    let fitting = others.iter().take_while(|thread| {
        room = room.saturating_sub(thread.frames.len().min(FRAMES_OF_A_THREAD) + 1);
        room > 0
    });
    let shown = fitting.count();
    let guessed =
        report.threads.iter().flat_map(|thread| &thread.frames).any(|frame| frame.trust == Trust::Scan);
    html! {
        section #backtrace aria-labelledby="backtrace-title" {
            h2 #backtrace-title { "Where it happened" }
            @if report.threads.is_empty() {
                p.empty { "There is no backtrace: it was not granted, or could not be had." }
            }
            @for thread in first.iter().take(8) {
                details.thread open { (summary(thread, report.kind)) (frames(thread)) }
            }
            @if guessed {
                p.quiet {
                    "A " span.badge.guess { "guess" } " is a word on the stack that looks like a return address: "
                    "the function may never have been called."
                }
            }
            @if !others.is_empty() {
                details.others {
                    summary { (words::count(others.len() as u64, "other thread", "other threads")) }
                    @for thread in &others[..shown] {
                        details.thread { (summary(thread, report.kind)) (frames(thread)) }
                    }
                    @if shown < others.len() {
                        p.quiet {
                            (words::count((others.len() - shown) as u64, "more thread", "more threads"))
                            ", in the JSON at the end of the page"
                        }
                    }
                }
            }
        }
    }
}

fn summary(thread: &Thread, kind: Kind) -> Markup {
    let top = thread.frames.iter().find_map(|frame| frame.function.as_deref());
    html! {
        summary {
            span.name { @if thread.name.is_empty() { "thread" } @else { (words::said_up_to(&thread.name, 40)) } }
            " " span.quiet.number { (thread.tid) }
            @if thread.crashed { " " span.badge.crashed { (words::mark(kind)) } }
            @else if let Some(top) = top { " " span.quiet.top-frame { (words::said_up_to(top, 120)) } }
        }
    }
}

fn frames(thread: &Thread) -> Markup {
    html! {
        @if thread.frames.is_empty() {
            p.empty { "No frames could be found." }
        } @else {
            div.wide { table.frames {
                caption.quiet { "Innermost first." }
                thead { tr {
                    th.right scope="col" { "#" } th scope="col" { "Function" } th scope="col" { "Source" }
                    th scope="col" { "Module" }
                } }
                tbody {
                    @for (number, one) in thread.frames.iter().take(FRAMES_OF_A_THREAD).enumerate() {
                        (row(number, one))
                    }
                }
            } }
            @if thread.frames.len() > FRAMES_OF_A_THREAD {
                p.quiet {
                    (words::count((thread.frames.len() - FRAMES_OF_A_THREAD) as u64, "more frame", "more frames"))
                    ", in the JSON at the end of the page"
                }
            }
        }
    }
}

fn row(number: usize, frame: &Frame) -> Markup {
    let (badge, why) = words::trust(frame);
    let file = frame.file.as_deref().map(|file| (file, file.rsplit('/').next().unwrap_or(file)));
    let module = frame.module.as_deref().map(|module| (module, module.rsplit('/').next().unwrap_or(module)));
    html! {
        tr class=[(frame.trust == Trust::Scan).then_some("guess")] {
            td.right.number { (number) }
            td.function title=(why) {
                @match &frame.function {
                    Some(function) => code { (words::said_up_to(function, 400)) },
                    None if frame.trust == Trust::Signal => span.quiet { "signal handler called" },
                    None => code.quiet { (words::said_up_to(&frame.ip, 40)) },
                }
                @if frame.inline { " " span.badge { "inlined" } }
                @if !badge.is_empty() {
                    " " span.badge.guess[frame.trust == Trust::Scan] { (badge) }
                }
            }
            td { @if let Some((path, name)) = file {
                span title=(words::said_up_to(path, 400)) {
                    (words::said_up_to(name, 80)) @if let Some(line) = frame.line { ":" (line) }
                }
            } }
            td { @if let Some((path, name)) = module {
                span.quiet title=(format!("{}{}", words::said_up_to(path, 400), build(frame))) {
                    (words::said_up_to(name, 80))
                }
            } }
        }
    }
}

fn build(frame: &Frame) -> String {
    frame.build_id.as_ref().map(|id| format!(", build-id {}", words::said_up_to(id, 80))).unwrap_or_default()
}
