//! Files that are not the ones that were mapped, that are missing, or that somebody has damaged.

use std::fs::{self, File};
use std::path::Path;

use foretrace_capture::core;
use foretrace_capture::maps::{self, Mapping};
use foretrace_capture::memory::ProcessMemory;
use foretrace_capture::module::Modules;

use crate::crash::{CALLS, Crash};

#[test]
fn another_program_in_the_files_place_names_nothing() {
    for build_id in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
        let crash = Crash::of(CALLS, &["gcc", "-O2", "-g", build_id], &[]);
        let true_names = crash.seen();
        assert_eq!(true_names.functions()[0], "crash");
        let other =
            Crash::of(&CALLS.replace("crash", "innocent_function"), &["gcc", "-O0", "-g", build_id], &[]);
        let (victim, replacement) = (crash.program(), other.program());
        let seen = crash.seen_through(&mut |mapping| {
            let path = Path::new(&mapping.path);
            File::open(if path == victim { &replacement } else { path }).ok()
        });
        assert!(!seen.functions().iter().any(|name| ["innocent_function", "crash", "main"].contains(name)));
        assert!(
            seen.problems.iter().any(|problem| problem.what.contains("not the one that was mapped")),
            "{:?}",
            seen.problems
        );
    }
}

#[test]
fn without_any_file_there_are_still_addresses() {
    let crash = Crash::of(CALLS, &["gcc", "-O1", "-g", "-fno-omit-frame-pointer"], &[]);
    let seen = crash.seen_through(&mut |_| None);
    let frames = &seen.crashed().2;
    assert_eq!(frames[0].ip, crash.gdb[0].frames[0].ip);
    assert!(frames.len() >= 4, "the frame pointers lead on: {frames:?}");
    assert!(!seen.problems.is_empty());
}

#[test]
fn the_images_of_this_very_process_are_found() {
    let program = fs::read("/proc/self/exe").unwrap();
    // A copy that is only read through a mapping is no image.
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    fs::write(&copy, program).unwrap();
    let data = unmoved_mapping(&copy);
    let (mut maps, _) = maps::parse(&fs::read("/proc/self/maps").unwrap());
    maps.push(data.clone());
    let memory = ProcessMemory(File::open("/proc/self/mem").unwrap());
    let mut open = |mapping: &Mapping| File::open(&mapping.path).ok();
    let (modules, problems) = Modules::new(&maps, &memory, &mut open);
    assert_eq!(problems, []);
    let of = |path: &str| modules.iter().find(|module| module.path.contains(path));
    let here = the_images_of_this_very_process_are_found as *const () as u64;
    assert_eq!(modules.find(here).unwrap().path, std::env::current_exe().unwrap().display().to_string());
    assert!(modules.is_executable(here) && !modules.is_executable(&raw const data as u64));
    for path in ["[vdso]", "libc.so.6", "ld-linux"] {
        assert!(
            of(path).unwrap_or_else(|| panic!("{path}")).build_id.as_ref().unwrap().len() >= 16,
            "{path}"
        );
    }
    assert!(of("copy").is_none());
}

// A line of `maps` as if the file were mapped whole, for reading.
fn unmoved_mapping(path: &Path) -> Mapping {
    Mapping {
        start: 0x1000_0000,
        end: 0x1000_0000 + fs::metadata(path).unwrap().len().next_multiple_of(4096),
        readable: true,
        inode: 1,
        path: path.display().to_string(),
        ..Mapping::default()
    }
}

/// Every byte that a walk reads may be an enemy's.
#[test]
fn damaged_files_and_stacks_end_a_walk_and_nothing_else() {
    let crash = Crash::of(CALLS, &["gcc", "-O2", "-g", "-static"], &[]);
    let (program, core) = (fs::read(crash.program()).unwrap(), fs::read(&crash.core).unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        let mut damaged = program.clone();
        for _ in 0..1 << (round % 10) {
            let at = random.below(damaged.len());
            damaged[at] = random.next() as u8;
        }
        if round % 7 == 0 {
            damaged.truncate(random.below(program.len()));
        }
        let replacement = crash.directory.path().join("damaged");
        fs::write(&replacement, &damaged).unwrap();
        let mut stack = core.clone();
        if round % 3 == 0 {
            let head = core::read_file(&File::open(&crash.core).unwrap()).unwrap();
            let segment = head.segments.iter().rev().find(|s| s.flags & 2 != 0).unwrap();
            let (from, size) = (segment.file_offset as usize, segment.file_size as usize);
            for _ in 0..2000 {
                stack[from + random.below(size)] = random.next() as u8;
            }
        }
        let damaged_core = Crash {
            core: crash.directory.path().join("damaged.core"),
            directory: tempfile::tempdir().unwrap(),
            gdb: Vec::new(),
        };
        fs::write(&damaged_core.core, &stack).unwrap();
        let seen = damaged_core.seen_through(&mut |_| File::open(&replacement).ok());
        assert!(!seen.crashed().2.is_empty());
    }
}

/// xorshift: the same damage every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 24
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }
}
