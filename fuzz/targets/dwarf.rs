//! Debug information alone: units, abbreviations, inline chains, line programs, ranges and address tables of an image whose
//! ELF headers are right. No panic, no hang, and every address gets at most a bounded answer.
#![no_main]

#[path = "../process.rs"]
mod process;
#[path = "../sections.rs"]
mod sections;

use foretrace_capture::symbol::symbolize;
use foretrace_capture::unwind::Step;
use foretrace_report::schema::Trust;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (sections, rest) = sections::split(data);
    let modules = process::modules(&sections::image(&sections));
    assert_eq!(modules.iter().count(), 1, "the image is right");
    let steps: Vec<Step> = process::addresses(rest, sections::CODE)
        .map(|ip| Step { ip, trust: Trust::Cfi, lookup: ip })
        .collect();
    let frames = symbolize(&steps, &modules);
    assert!(frames.len() >= steps.len(), "a frame was lost");
});
