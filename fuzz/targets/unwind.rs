//! A thread's way through code whose call frame information somebody chose: search tables, CFI, DWARF expressions, frame
//! pointers, guesses over any stack. No panic, no hang, a bounded walk.
#![no_main]

#[path = "../process.rs"]
mod process;

use foretrace_capture::core::{Registers, X86_64};
use foretrace_capture::unwind::Unwinder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let modules = process::modules(data);
    let memory = process::Mapped::of(data);
    let mut unwinder = Unwinder::new(&modules);
    for (number, rip) in process::addresses(data, data.len()).enumerate().take(8) {
        let rsp = process::STACK + 8 * number as u64;
        let registers = X86_64 { rip, rsp, rbp: rsp + 64, rbx: rip, ..X86_64::default() };
        let walk = unwinder.walk(&Registers::X86_64(registers), &memory);
        assert!(!walk.steps.is_empty() && walk.steps.len() <= 4096, "{} steps", walk.steps.len());
    }
});
