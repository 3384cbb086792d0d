//! Header, program headers and notes of a core file: no panic, and no more memory than the input is worth.
#![no_main]

use foretrace_capture::{core, maps};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((head, bytes)) = core::read_head(&mut &data[..]) {
        assert!(bytes.len() <= data.len(), "more was read than is there");
        maps::text(&maps::from_core(&head).0);
        head.crashed();
        head.auxv_value(11);
    }
});
