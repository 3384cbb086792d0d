//! An ELF file that a process had mapped: its headers, build-id, symbol tables, debug information (lines and inline
//! chains) and compressed images. No panic, no hang, and every address gets at most a bounded answer.
#![no_main]

#[path = "../process.rs"]
mod process;

use foretrace_capture::symbol::symbolize;
use foretrace_capture::unwind::Step;
use foretrace_report::schema::Trust;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let modules = process::modules(data);
    for module in modules.iter() {
        assert!(module.base < module.end, "a module without extent");
        module.build_id_hex();
    }
    let steps: Vec<Step> = process::addresses(data, data.len())
        .map(|ip| Step { ip, trust: Trust::Cfi, lookup: ip.wrapping_sub(1) })
        .collect();
    let frames = symbolize(&steps, &modules);
    assert!(frames.len() >= steps.len(), "a frame was lost");
});
