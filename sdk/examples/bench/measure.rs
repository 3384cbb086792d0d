//! Thread CPU time, and rows of it. Decides nothing: what a row's samples are to be is said beside them.
#![allow(unsafe_code)]

/// How often everything is measured, unless it says otherwise.
pub const ROUNDS: usize = 15;

/// What a row's value should be.
#[derive(Clone, Copy)]
pub enum Bar {
    Open,
    AtMost(f64),
    AtLeast(f64),
}

/// Thread CPU time in nanoseconds.
pub fn cpu_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds for one of `count`.
pub fn each(count: u64, body: impl FnOnce(u64)) -> f64 {
    let start = cpu_time();
    body(count);
    (cpu_time() - start) as f64 / count as f64
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What each round's values are to each other.
pub fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}

/// Prints a row.
pub fn row(what: &str, unit: &str, bar: Bar, samples: &[f64]) {
    let samples: Vec<String> = samples.iter().map(|sample| format!("{sample:.4}")).collect();
    let bar = match bar {
        Bar::Open => String::new(),
        Bar::AtMost(most) => format!(r#","at_most":{most}"#),
        Bar::AtLeast(least) => format!(r#","at_least":{least}"#),
    };
    println!(r#"{{"what":"{what}","unit":"{unit}","samples":[{}]{bar}}}"#, samples.join(","));
}
