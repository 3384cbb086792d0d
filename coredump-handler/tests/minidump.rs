//! Minidumps made from cores with known answers, read back with another project's reader.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::PathBuf;

use foretrace_capture::core::{CoreHead, read_file};
use foretrace_capture::maps::{self, Mapping};
use foretrace_capture::memory::{CoreMemory, Memory};
use foretrace_capture::minidump::{Files, Image, Input, TRAIL_STREAM, write};
use foretrace_capture::module::Modules;
use foretrace_capture::stack::{self, Limits};
use minidump::format::MINIDUMP_STREAM_TYPE as Stream;
use minidump::system_info::{Cpu, Os};
use minidump::{
    Minidump, MinidumpCrashpadInfo, MinidumpException, MinidumpHandleDataStream, MinidumpMemoryInfoList,
    MinidumpMemoryList, MinidumpModuleList, MinidumpSystemInfo, MinidumpThreadList, MinidumpThreadNames,
    Module, UnifiedMemoryList,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cores").join(name)
}

struct Core {
    head: CoreHead,
    maps: Vec<Mapping>,
    memory: CoreMemory,
}

impl Core {
    fn open(name: &str) -> Core {
        let file = File::open(fixture(name)).unwrap();
        let head = read_file(&file).unwrap();
        Core { maps: maps::from_core(&head).0, memory: CoreMemory::new(file, &head.segments), head }
    }

    fn minidump(&self, names: &[(i32, String)], annotations: &[(String, String)]) -> Vec<u8> {
        let executable = |_: &Mapping| File::open(fixture("segv-x86_64.exe")).ok();
        let (modules, _) = Modules::new(&self.maps, &self.memory, &mut { executable });
        let images: Vec<Image<'_>> = modules.iter().map(Image::from).collect();
        let (stacks, _) = stack::copy(&self.head, &self.maps, &self.memory, &Limits::default());
        let cpuinfo =
            b"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n\nprocessor\t: 1\n";
        let input = Input {
            time: 1_700_000_000,
            head: &self.head,
            maps: &self.maps,
            memory: &self.memory,
            stacks: &stacks,
            images: &images,
            thread_names: names,
            system: "Linux 6.1.0 #1 SMP x86_64",
            files: Files {
                cpuinfo: Some(cpuinfo),
                descriptors: Some(b"0\t/dev/null\x007\tsocket:[81]\0no number\0"),
                ..Files::default()
            },
            annotations,
            trail_note: Some("trace/ring-1"),
        };
        write(&input).unwrap().0
    }
}

fn read(bytes: &[u8]) -> Minidump<'_, &[u8]> {
    Minidump::read(bytes).unwrap()
}

#[test]
fn another_reader_finds_thread_signal_address_and_module() {
    let core = Core::open("segv-x86_64.core");
    let bytes = core.minidump(&[], &[]);
    let dump = read(&bytes);
    assert_eq!(dump.header.time_date_stamp, 1_700_000_000);
    let system = dump.get_stream::<MinidumpSystemInfo>().unwrap();
    assert_eq!((system.os, system.cpu), (Os::Linux, Cpu::X86_64));
    assert_eq!(system.cpu_info().as_deref(), Some("family 6 model 85 stepping 0"));
    let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
    assert_eq!(exception.get_crashing_thread_id(), 32259);
    assert_eq!(exception.get_crash_reason(Os::Linux, Cpu::X86_64).to_string(), "SIGSEGV / SEGV_MAPERR");
    assert_eq!(exception.get_crash_address(Os::Linux, Cpu::X86_64), 0);
    let registers = exception.context(&system, None).unwrap();
    assert_eq!(registers.get_instruction_pointer(), 0x40_011c);
    assert_eq!(registers.get_stack_pointer(), core.head.threads[0].registers.stack());
    let modules = dump.get_stream::<MinidumpModuleList>().unwrap();
    let module = modules.module_at_address(0x40_011c).unwrap();
    assert_eq!(module.code_file(), "/home/labath/test/a.out");
    assert_eq!((module.base_address(), module.size() % 4096), (0x40_0000, 0));
    assert_eq!(module.code_identifier().unwrap().to_string(), "01df54a6045e657d3f8ffb9ce111878914f8bd6d");
}

#[test]
fn every_thread_has_its_registers_and_name() {
    let core = Core::open("threads-x86_64.core");
    let names: Vec<(i32, String)> =
        core.head.threads.iter().map(|t| (t.tid, format!("name {}", t.tid))).collect();
    let bytes = core.minidump(&names, &[]);
    let dump = read(&bytes);
    let system = dump.get_stream::<MinidumpSystemInfo>().unwrap();
    let read_names = dump.get_stream::<MinidumpThreadNames>().unwrap();
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().unwrap();
    assert_eq!(threads.threads.len(), 3);
    for (thread, expected) in threads.threads.iter().zip(&core.head.threads) {
        assert_eq!(thread.raw.thread_id as i32, expected.tid);
        assert_eq!(*read_names.get_name(thread.raw.thread_id).unwrap(), *format!("name {}", expected.tid));
        let context = thread.context(&system, None).unwrap();
        assert_eq!(context.get_stack_pointer(), expected.registers.stack());
    }
    let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
    assert_eq!(exception.get_crashing_thread_id(), 5250);
    assert_eq!(exception.get_crash_reason(Os::Linux, Cpu::X86_64).to_string(), "SIGILL / SI_TKILL");
}

#[test]
fn the_stack_is_the_processs() {
    let core = Core::open("segv-x86_64.core");
    let bytes = core.minidump(&[], &[]);
    let dump = read(&bytes);
    let memory = UnifiedMemoryList::Memory(dump.get_stream::<MinidumpMemoryList<'_>>().unwrap());
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().unwrap();
    let pointer = core.head.threads[0].registers.stack();
    let stack = threads.threads[0].stack_memory(&memory).unwrap();
    for address in (pointer..0x7ffe_0c02_9000).step_by(8) {
        assert_eq!(
            stack.get_memory_at_address::<u64>(address),
            core.memory.read_u64(address),
            "{address:#x}"
        );
    }
    let code = memory.memory_at_address(0x40_011c).unwrap();
    assert_eq!(code.get_memory_at_address::<u64>(0x40_011c), core.memory.read_u64(0x40_011c));
}

#[test]
fn mappings_annotations_and_the_trails_place_are_in_it() {
    let core = Core::open("segv-x86_64.core");
    let bytes = core.minidump(&[], &[("channel".into(), "nightly \u{1f680}".into())]);
    let dump = read(&bytes);
    let regions = dump.get_stream::<MinidumpMemoryInfoList<'_>>().unwrap();
    assert_eq!(regions.iter().count(), core.maps.len());
    assert!(regions.memory_info_at_address(0x40_011c).unwrap().is_executable());
    let notes = dump.get_stream::<MinidumpCrashpadInfo>().unwrap().simple_annotations;
    assert_eq!(notes["channel"], "nightly \u{1f680}");
    assert_eq!(notes["foretrace.trail"], "trace/ring-1");
    assert_eq!(dump.get_raw_stream(TRAIL_STREAM).unwrap(), b"trace/ring-1");
    assert_eq!(dump.get_raw_stream(Stream::LinuxMaps as u32).unwrap(), maps::text(&core.maps).as_bytes());
    assert_eq!(dump.get_raw_stream(Stream::LinuxAuxv as u32).unwrap(), core.head.auxv_raw);
}

#[test]
fn open_descriptors_are_handles() {
    let bytes = Core::open("segv-x86_64.core").minidump(&[], &[]);
    let dump = read(&bytes);
    let handles = dump.get_stream::<MinidumpHandleDataStream>().unwrap();
    let seen: Vec<(u64, &str, &str)> = handles
        .iter()
        .map(|h| {
            let (kind, name) = (h.type_name.as_deref(), h.object_name.as_deref());
            (*h.raw.handle().unwrap(), kind.unwrap(), name.unwrap())
        })
        .collect();
    assert_eq!(seen, [(0, "Device", "/dev/null"), (7, "Socket", "socket:[81]")]);
}

#[test]
fn the_kernels_version_is_the_systems() {
    let bytes = Core::open("segv-x86_64.core").minidump(&[], &[]);
    let dump = read(&bytes);
    let system = dump.get_stream::<MinidumpSystemInfo>().unwrap();
    assert_eq!((system.raw.major_version, system.raw.minor_version, system.raw.build_number), (6, 1, 0));
}

#[test]
fn environment_and_command_line_are_in_no_minidump() {
    let bytes = Core::open("segv-x86_64.core").minidump(&[], &[]);
    let dump = read(&bytes);
    for kind in [Stream::LinuxEnviron, Stream::LinuxCmdLine] {
        assert!(dump.get_raw_stream(kind as u32).is_err());
    }
}
