//! rpm's database as a container may have made it: a file's package has a name and a version, or there is none.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use foretrace_capture::package::rpm;
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<File> = LazyLock::new(|| tempfile::tempfile().expect("a temporary file"));

fuzz_target!(|data: &[u8]| {
    FILE.set_len(data.len() as u64).expect("a temporary file");
    FILE.write_all_at(data, 0).expect("a temporary file");
    for path in ["/usr/bin/till", "/usr/share/till/same"] {
        if let Some(installed) = rpm::installed(&FILE, path) {
            assert!(installed.package.version.contains('-'), "no release: {:?}", installed.package);
        }
    }
});
