//! A bundle from the network: opened, listed, every part read within its limits.
#![no_main]

use std::io::Cursor;

use foretrace_report::bundle::{BundleReader, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { entries: 64, entry_bytes: 1 << 20 };
    let Ok(mut bundle) = BundleReader::open(Cursor::new(data), limits) else { return };
    let names = bundle.names();
    assert!(names.len() <= limits.entries);
    for name in names {
        let leaves = name.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(!leaves, "{name} leaves its folder");
        if let Ok(part) = bundle.part(&name) {
            assert!(part.len() as u64 <= limits.entry_bytes);
        }
    }
    let _ = bundle.report();
});
