//! What recording costs, beside the physical limit L: one time stamp and 24 bytes of stores into a ring of the same size.
//!
//! Thread CPU time; what is compared alternates within one run of this program, so that a busy neighbour slows both, and
//! a ratio is taken within each round. One JSON object a row, with all its samples.
//!
//!     cargo run --release -p foretrace --features tracing --example bench
//!
//! With an argument it measures one thing only, which others compare with or which needs a process of its own; see
//! `main`.

mod cold;
mod crowd;
mod limit;
mod live;
mod measure;
mod off;
mod report;
mod single;
#[cfg(feature = "tracing")]
mod subscriber;

use std::process::{Command, Stdio};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    match arguments.first().map(String::as_str) {
        None => all(),
        Some("number") => println!("{:.3}", single::warm(single::numbers, number(1).unwrap_or(1_000_000))),
        Some("batch") => println!("{:.3}", single::warm(single::batches, number(1).unwrap_or(1_000_000))),
        Some("coarse") => println!("{:.3}", single::warm(single::coarsely, number(1).unwrap_or(1_000_000))),
        Some("given") => println!("{:.3}", single::warm(single::given, number(1).unwrap_or(1_000_000))),
        Some("text") => println!("{:.3}", single::warm(single::texts, number(1).unwrap_or(1_000_000))),
        Some("cold") => println!("{:.1}", cold::cold(number(1).unwrap_or(40))),
        Some("off") => off::rows(),
        Some("report") => report::some(number(1) == Some(1)),
        Some("reports") => report::rows(),
        Some("snapshots") => live::snapshots(),
        #[cfg(feature = "tracing")]
        Some("tracing") => subscriber::rows(),
        #[cfg(feature = "tracing")]
        Some("tracing-alone") => subscriber::alone_rows(number(1).map_or(0, |which| which as usize)),
        Some("short") => crowd::short_threads(),
        Some("idle") => live::idle(),
        Some("write") => live::write(number(1).map_or(1, |threads| threads as usize)),
        Some(other) => {
            eprintln!(
                "number | batch | coarse | given | text COUNT | cold COUNT | off | reports | tracing | tracing-alone 0..2 | short | idle | write THREADS; not {other}"
            );
            std::process::exit(2);
        }
    }
}

fn all() {
    single::rows();
    #[cfg(feature = "tracing")]
    {
        subscriber::rows();
        subscriber::alone();
    }
    itself(&["off"]).env("FORETRACE", "off").status().expect("this program runs itself");
    report::rows();
    live::memory();
    crowd::rows();
    live::instants();
    live::snapshots();
}

/// This program, in a process of its own.
fn itself(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(arguments).env_remove("FORETRACE").env_remove("FORETRACE_SIZE").stdin(Stdio::null());
    command
}
