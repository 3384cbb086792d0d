//! `attaching FOLDER crash|wait`: attaches memory and files of FOLDER, some of which it may not have, and faults or waits.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foretrace::{AttachmentClass, attach_address, attach_file, attach_memory};
use foretrace_victims::crash_by_null_store;

static STATE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "attaching FOLDER crash|wait";
    let folder = Path::new(arguments.get(1).expect(usage));
    let crash = arguments.get(2).expect(usage) == "crash";
    std::env::set_current_dir(folder).expect("there is such a folder");

    attach_memory("state", &STATE, AttachmentClass::Trail).keep();
    attach_address("key", hidden_memory(), 4096, AttachmentClass::Memory).keep();
    let log = Path::new("app.log");
    attach_file("app.log", log, 10, AttachmentClass::Logs).keep();
    attach_file("forbidden", &folder.join("forbidden"), 100, AttachmentClass::Logs).keep();
    attach_file("pipe", &folder.join("pipe"), 100, AttachmentClass::Logs).keep();
    attach_file("environ", Path::new("/proc/self/environ"), 4096, AttachmentClass::Logs).keep();
    attach_file("link", &folder.join("link"), 100, AttachmentClass::Logs).keep();
    drop(attach_file("gone", log, 10, AttachmentClass::Logs));

    STATE[0].store(0x1111_2222_3333_4444, Ordering::Relaxed);
    STATE[1].store(7, Ordering::Relaxed);
    if crash {
        crash_by_null_store();
    }
    println!("attached");
    std::thread::sleep(Duration::from_secs(60));
}

/// A page that no core would hold.
fn hidden_memory() -> *const u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "no memory");
    // SAFETY: the page that was just mapped.
    unsafe { page.cast::<[u8; 16]>().write(*b"correct horse ba") };
    // SAFETY: the same page.
    unsafe { libc::madvise(page, 4096, libc::MADV_DONTDUMP) };
    page.cast()
}
