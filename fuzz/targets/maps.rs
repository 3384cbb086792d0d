//! `/proc/PID/maps` of a process that chose its own mappings' names: what was parsed can be printed and parsed again.
#![no_main]

use foretrace_capture::maps;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mappings, problems) = maps::parse(data);
    assert!(problems.len() < 10);
    for pair in mappings.windows(2) {
        assert!(pair[0].start <= pair[1].start, "mappings are out of order");
    }
    for mapping in &mappings {
        if let Some(found) = maps::find(&mappings, mapping.start) {
            assert!(found.contains(mapping.start));
        }
    }
    maps::text(&mappings);
});
