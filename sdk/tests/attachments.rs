//! What is attached is what the ring says of it.

mod rings;

use std::path::Path;

use foretrace::{AttachmentClass, attach_address, attach_file, attach_memory};
use foretrace_ring::reader::Attached;

fn said() -> Vec<(String, AttachmentClass, u64, Attached)> {
    let found = rings::snapshot().attachments.into_iter();
    let mut found: Vec<_> = found.map(|entry| (entry.name, entry.class, entry.most, entry.what)).collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn what_is_attached_is_there_until_its_guard_is_dropped() {
    assert!(foretrace::start());
    let clock = rings::snapshot().clock_cost;
    assert!((100..1_000_000).contains(&clock), "reading the clock takes {clock} ps");
    let value = [7_u32; 3];
    let memory = attach_memory("state", &value, AttachmentClass::Trail);
    let file = attach_file("app.log", Path::new("/var/log/app.log"), 100, AttachmentClass::Logs);
    let address = value.as_ptr() as u64;
    let path = Attached::File(b"/var/log/app.log".to_vec());
    let state = ("state".to_owned(), AttachmentClass::Trail, 12, Attached::Memory(address));
    assert_eq!(said(), [("app.log".to_owned(), AttachmentClass::Logs, 100, path), state.clone()]);

    drop(file);
    assert_eq!(said(), [state]);

    // A name has one attachment, and the guard of the first no longer stands for it.
    let other = attach_memory("state", "longer than before", AttachmentClass::Memory);
    drop(memory);
    assert_eq!(said()[0].2, 18);
    drop(other);
    assert_eq!(said(), []);

    // The root directory is as good a current one as any.
    std::env::set_current_dir("/").unwrap();
    let relative = attach_file("relative", Path::new("log/x"), 1, AttachmentClass::Logs);
    assert_eq!(said()[0].3, Attached::File(b"//log/x".to_vec()));
    drop(relative);

    let long = "x".repeat(65);
    for name in ["", ".", "..", "a/b", "a b", "ä", &long] {
        assert!(!attach_memory(name, &value, AttachmentClass::Trail).is_attached(), "{name}");
    }
    let long = format!("/{}", "x".repeat(320));
    for path in ["", &long] {
        assert!(!attach_file("file", Path::new(path), 1, AttachmentClass::Trail).is_attached(), "{path}");
    }
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let all: Vec<_> = names
        .iter()
        .map(|name| attach_address(name, std::ptr::null(), usize::MAX, AttachmentClass::Memory))
        .collect();
    assert!(all.iter().all(|attachment| attachment.is_attached()));
    assert!(!attach_memory("i", &value, AttachmentClass::Trail).is_attached());
    assert_eq!(said().len(), 8);
    assert_eq!(
        rings::snapshot().problems,
        ["10 attachments were refused: too many, or with a name or path that cannot be"]
    );
    drop(all);
    assert_eq!(said(), []);
}
