//! The trail as a picture: a lane for each thread, time running to the moment at the right edge.
//!
//! Owns which stretch of time is shown and how many events share a bar. [`Timeline::new`] is pure; the picture
//! stretches with the page, so a lane holds nothing but upright bars. Levels differ by height and place, not by
//! colour alone.

use std::collections::HashMap;

use foretrace_report::Report;
use foretrace_ring::Trail;
use foretrace_ring::trail::{Event, Level};
use maud::{Markup, html};

use super::{View, trail, words};

/// Bars in a lane.
const BARS: usize = 240;
/// The width of a bar in the picture's own units.
const WIDTH: usize = 4;
/// The height of a lane in the picture's own units.
const HEIGHT: usize = 44;
/// Of it, what stays free for warnings and errors.
const STRIP: usize = 14;
/// Lanes in the picture; the table has all threads.
const LANES: usize = 12;
/// What is shown when nothing was chosen, in nanoseconds.
const USUAL: u64 = 5_000_000_000;
/// What can be chosen, in nanoseconds.
const SPANS: [(&str, u64); 6] = [
    ("1ms", 1_000_000),
    ("10ms", 10_000_000),
    ("100ms", 100_000_000),
    ("1s", 1_000_000_000),
    ("5s", USUAL),
    ("30s", 30_000_000_000),
];
/// Divisions of the time axis.
const DIVISIONS: u64 = 5;

/// A stretch of time and what happened in it.
pub struct Timeline {
    /// How much time is shown.
    span: u64,
    /// How long before the moment the picture ends; 0 where it reaches it.
    silence: u64,
    /// From the first event to the end of the picture.
    whole: u64,
    /// What the moment is called.
    moment: &'static str,
    /// What is said of the thread that the report is about.
    mark: &'static str,
    lanes: Vec<Lane>,
    /// Threads with events in this stretch that have no lane.
    more: usize,
}

struct Lane {
    thread: u32,
    name: String,
    crashed: bool,
    events: u64,
    last: u64,
    bars: Vec<Bar>,
}

#[derive(Clone, Default)]
struct Bar {
    events: u64,
    errors: u64,
    warnings: u64,
    tip: String,
}

/// The moment to which a trail leads: the report's time, unless events are later (its time may be whole seconds).
pub fn moment_of(trail: &Trail, report: &Report) -> u64 {
    let last = trail.events.last().map_or(0, |event| event.time);
    let time = report.time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_nanosecond);
    last.max(u64::try_from(time).unwrap_or(0))
}

impl Timeline {
    /// The picture of the last `chosen` (one of the offered spans, or `all`); none where there are no events.
    pub fn new(trail: &Trail, report: &Report, chosen: Option<&str>) -> Option<Timeline> {
        let (first, last) = (trail.events.first()?.time, trail.events.last()?.time);
        let moment = moment_of(trail, report);
        let chosen = chosen.and_then(|name| match name {
            "all" => Some(moment - first.min(moment)),
            name => SPANS.iter().find(|(known, _)| *known == name).map(|(_, span)| *span),
        });
        let wanted = chosen.unwrap_or_else(|| USUAL.min(moment - first.min(moment)));
        // A program that was silent before its end would give an empty picture: show its last events instead.
        let end = if moment - last > wanted / 2 { last } else { moment };
        let whole = end - first.min(end);
        let span = round_up(wanted.min(whole).max(1_000));
        let mut timeline = Timeline {
            span,
            silence: moment - end,
            whole,
            moment: words::moment(Some(report.kind)),
            mark: words::mark(report.kind),
            lanes: Vec::new(),
            more: 0,
        };
        timeline.fill(trail, report, end);
        Some(timeline)
    }

    fn fill(&mut self, trail: &Trail, report: &Report, end: u64) {
        let start = end.saturating_sub(self.span);
        let from = trail.events.partition_point(|event| event.time < start);
        let mut lanes: HashMap<u32, Lane> = HashMap::new();
        for event in &trail.events[from..] {
            let lane = lanes.entry(event.thread).or_insert_with(|| Lane::of(event.thread, report));
            lane.events += 1;
            lane.last = event.time;
        }
        let mut chosen: Vec<Lane> = lanes.into_values().collect();
        chosen.sort_by_key(|lane| (!lane.crashed, std::cmp::Reverse(lane.last), lane.thread));
        self.more = chosen.len().saturating_sub(LANES);
        chosen.truncate(LANES);
        let places: HashMap<u32, usize> =
            chosen.iter().enumerate().map(|(place, lane)| (lane.thread, place)).collect();
        let mut newest: Vec<Vec<Option<&Event>>> = vec![vec![None; BARS]; chosen.len()];
        for lane in &mut chosen {
            lane.bars = vec![Bar::default(); BARS];
        }
        for event in &trail.events[from..] {
            let Some(place) = places.get(&event.thread) else { continue };
            let at = u128::from(event.time.saturating_sub(start)) * BARS as u128 / u128::from(self.span);
            let at = usize::try_from(at).map_or(BARS - 1, |at| at.min(BARS - 1));
            let bar = &mut chosen[*place].bars[at];
            bar.events += 1;
            match trail.kind_of(event).level {
                Level::Error => bar.errors += 1,
                Level::Warn => bar.warnings += 1,
                _ => {}
            }
            newest[*place][at] = Some(event);
        }
        for (lane, newest) in chosen.iter_mut().zip(newest) {
            for (bar, newest) in lane.bars.iter_mut().zip(newest) {
                if let Some(event) = newest {
                    bar.tip = bar.describe(trail, event, end);
                }
            }
        }
        self.lanes = chosen;
    }

    /// The picture, with the choice of other spans.
    pub fn render(&self, id: &str, view: &View) -> Markup {
        let most = self.lanes.iter().flat_map(|lane| &lane.bars).map(|bar| bar.events).max().unwrap_or(1);
        html! {
            figure.timeline {
                figcaption {
                    span { "The last " (words::span(self.span)) @if self.silence > 0 {
                        " of the trail: nothing was recorded in the " (words::span(self.silence))
                        " before the " (self.moment)
                    } @else { " before the " (self.moment) } }
                    (self.spans(id, view))
                }
                div.lanes {
                    @for lane in &self.lanes {
                        div.label {
                            span.name { (words::said_up_to(&lane.name, 30)) } " "
                            span.quiet.number { (lane.thread) }
                            @if lane.crashed { " " span.badge.crashed { (self.mark) } }
                            div.quiet { (words::count(lane.events, "event", "events")) }
                        }
                        (lane.render(most, self.silence == 0))
                    }
                    div.label.axis-label aria-hidden="true" {}
                    div.axis aria-hidden="true" {
                        @for step in (1..=DIVISIONS).rev() {
                            span { "−" (words::span(self.span / DIVISIONS * step)) }
                        }
                        span.moment { @if self.silence == 0 { (self.moment) } @else { "last event" } }
                    }
                }
                @if self.more > 0 {
                    p.quiet { (words::count(self.more as u64, "more thread", "more threads")) " in the whole trail" }
                }
                p.legend.quiet {
                    span.key.events {} "events (taller: more) "
                    span.key.warn {} "warnings " span.key.error {} "errors "
                    @if self.silence == 0 { span.key.crash {} "the moment of the " (self.moment) }
                }
            }
        }
    }

    fn spans(&self, id: &str, view: &View) -> Markup {
        let offered = SPANS.into_iter().filter(|(_, span)| *span < self.whole);
        html! {
            nav.choices aria-label="How much of the trail" {
                @for (name, span) in offered {
                    a href=(view.with_last(id, name))
                        aria-current=[(self.span == span).then_some("true")] { (words::span(span)) }
                }
                a href=(view.with_last(id, "all"))
                    aria-current=[(view.last.as_deref() == Some("all")).then_some("true")] { "all" }
            }
        }
    }
}

impl Lane {
    fn of(thread: u32, report: &Report) -> Lane {
        let known = report.threads.iter().find(|known| known.trail_tid() == Some(thread));
        Lane {
            thread,
            name: known
                .map(|known| known.name.clone())
                .filter(|name| !name.is_empty())
                .unwrap_or("thread".into()),
            crashed: known.is_some_and(|known| known.crashed),
            events: 0,
            last: 0,
            bars: Vec::new(),
        }
    }

    fn render(&self, most: u64, reaches_the_moment: bool) -> Markup {
        let errors: u64 = self.bars.iter().map(|bar| bar.errors).sum();
        let warnings: u64 = self.bars.iter().map(|bar| bar.warnings).sum();
        let label = format!(
            "Thread {}: {}, {}, {}",
            self.thread,
            words::count(self.events, "event", "events"),
            words::count(errors, "error", "errors"),
            words::count(warnings, "warning", "warnings"),
        );
        // The last unit of width is the moment itself.
        let width = BARS * WIDTH + WIDTH;
        html! {
            svg.lane role="img" aria-label=(label) viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
                @for step in 0..DIVISIONS as usize {
                    rect.grid x=(BARS * WIDTH * step / DIVISIONS as usize) y="0" width="1" height=(HEIGHT) {}
                }
                @for (at, bar) in self.bars.iter().enumerate().filter(|(_, bar)| bar.events > 0) {
                    (bar.render(at * WIDTH, most))
                }
                @if reaches_the_moment {
                    rect.moment x=(BARS * WIDTH + 1) y="0" width="2.5" height=(HEIGHT) {}
                }
            }
        }
    }
}

impl Bar {
    fn describe(&self, trail: &Trail, newest: &Event, end: u64) -> String {
        let before = words::span(end - newest.time.min(end));
        let event = trail::line(trail, newest, 120);
        if self.events == 1 {
            return format!("−{before}: {event}");
        }
        let mut tip = format!("{} up to −{before}", words::count(self.events, "event", "events"));
        for (count, one, many) in [(self.errors, "error", "errors"), (self.warnings, "warning", "warnings")] {
            if count > 0 {
                tip.push_str(&format!(", {}", words::count(count, one, many)));
            }
        }
        format!("{tip}; the last: {event}")
    }

    fn render(&self, x: usize, most: u64) -> Markup {
        let room = (HEIGHT - STRIP) as f64;
        let height = 6.0 + (room - 6.0) * (self.events as f64).ln() / (most.max(2) as f64).ln();
        let top = HEIGHT as f64 - height;
        html! {
            g {
                title { (self.tip) }
                rect.events x=(x) y=(format!("{top:.1}")) width=(WIDTH) height=(format!("{height:.1}")) {}
                @if self.errors > 0 {
                    rect.error x=(x) y="0" width=(WIDTH) height=(HEIGHT) {}
                } @else if self.warnings > 0 {
                    rect.warn x=(x) y="2" width=(WIDTH) height=(STRIP - 4) {}
                }
            }
        }
    }
}

// The next of 1, 2, 5, 10, 20, 50, … so that the axis has round numbers.
fn round_up(nanoseconds: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for digit in [1, 2, 5] {
            match unit.checked_mul(digit) {
                Some(round) if round < nanoseconds => {}
                Some(round) => return round,
                None => return u64::MAX,
            }
        }
        match unit.checked_mul(10) {
            Some(next) => unit = next,
            None => return u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use foretrace_ring::trail::EventType;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const CRASH: u64 = 1_767_225_600 * SECOND;

    fn trail(events: &[(u64, u32, usize)]) -> Trail {
        let kind = |level| EventType {
            id: 0,
            provider: "app".into(),
            name: "e".into(),
            level,
            location: None,
            fields: vec![],
        };
        let event = |&(time, thread, kind)| Event { time, thread, kind, values: vec![] };
        Trail {
            types: vec![kind(Level::Info), kind(Level::Error)],
            events: events.iter().map(event).collect(),
            problems: vec![],
        }
    }

    fn report() -> Report {
        serde_json::from_value(serde_json::json!({
            "schema": 1, "id": "00017f80ff6162636465666768696a6b", "kind": "crash", "time": "2026-01-01T00:00:00Z",
            "program": {"name": "hello", "pid": 1},
            "threads": [{"tid": 7, "name": "worker", "crashed": true, "frames": []}],
        }))
        .unwrap()
    }

    #[test]
    fn no_events_make_no_picture() {
        assert!(Timeline::new(&trail(&[]), &report(), None).is_none());
    }

    #[test]
    fn every_event_in_the_stretch_is_in_one_bar() {
        let events: Vec<_> = (0..1000u64)
            .map(|n| (CRASH - 10 * SECOND + n * SECOND / 100, 7, usize::from(n == 990)))
            .collect();
        let timeline = Timeline::new(&trail(&events), &report(), Some("5s")).unwrap();
        let bars = &timeline.lanes[0].bars;
        assert_eq!(bars.iter().map(|bar| bar.events).sum::<u64>(), 500);
        assert_eq!(bars.iter().map(|bar| bar.errors).sum::<u64>(), 1);
        assert_eq!(bars.iter().position(|bar| bar.errors > 0), Some(235));
        assert_eq!(timeline.silence, 0);
    }

    #[test]
    fn the_crashed_thread_comes_first_and_the_latest_follow() {
        let mut events: Vec<_> = (0..20u32).map(|n| (CRASH - SECOND + u64::from(n), 100 + n, 0)).collect();
        events.insert(0, (CRASH - SECOND, 7, 0));
        let timeline = Timeline::new(&trail(&events), &report(), None).unwrap();
        let threads: Vec<_> = timeline.lanes.iter().map(|lane| lane.thread).collect();
        assert_eq!((threads[0], threads[1], threads.len(), timeline.more), (7, 119, LANES, 9));
        assert!(timeline.lanes[0].crashed);
    }

    #[test]
    fn a_silent_end_shows_the_last_events_and_says_so() {
        let timeline = Timeline::new(&trail(&[(CRASH - 900 * SECOND, 7, 0)]), &report(), Some("5s")).unwrap();
        assert_eq!(timeline.silence, 900 * SECOND);
        assert_eq!(timeline.lanes[0].events, 1);
    }

    #[test]
    fn times_that_cannot_be_are_no_panic() {
        for events in [
            &[(0, 7, 0), (u64::MAX, 7, 1)][..],
            &[(u64::MAX, 7, 0)],
            &[(0, 7, 0)],
            &[(u64::MAX, 7, 0), (u64::MAX, 8, 1)],
        ] {
            for last in [None, Some("all"), Some("1ms"), Some("nonsense")] {
                let timeline = Timeline::new(&trail(events), &report(), last).unwrap();
                timeline.render("id", &View::default());
            }
        }
    }

    #[test]
    fn spans_are_round_numbers() {
        assert_eq!((round_up(1), round_up(3), round_up(20), round_up(20_001)), (1, 5, 20, 50_000));
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }
}
