//! `ring-holder`: records an event, prints the `/proc` path of its ring, and ends with its input. Its ring is what
//! another process shows as its own.

use std::fs;
use std::io::Read;

use foretrace::event;

fn main() -> std::io::Result<()> {
    event!(info, "mine", number = 1u32);
    for entry in fs::read_dir("/proc/self/map_files")? {
        let mapping = entry?.path();
        let target = fs::read_link(&mapping)?;
        if target.to_string_lossy().starts_with("/memfd:foretrace.v1") {
            let name = mapping.file_name().expect("a mapping has a name").to_string_lossy().into_owned();
            println!("/proc/{}/map_files/{name}", std::process::id());
        }
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
