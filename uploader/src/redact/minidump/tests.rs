//! Minidumps from a writer that shares no code with ours, with secrets wherever the format has room, read back by
//! rust-minidump.

use std::sync::LazyLock;

use minidump::{Minidump, MinidumpMemoryList, MinidumpModuleList, MinidumpThreadList, Module as _};
use minidump_synth::{
    CrashpadInfo, DumpString, Exception, HandleDescriptor, Memory, MemoryInfo, Module, SimpleStream,
    SynthMinidump, SystemInfo, Thread, ThreadName, amd64_context,
};
use test_assembler::{Endian, Section};

use super::super::{Names, Patterns, Removed, Rule, Rules, TextRules};
use super::*;
use crate::pseudonym::Salt;

const LITTLE: Endian = Endian::Little;
const STACK: u64 = 0x7ffd_0000_1000;
const CODE_AT: u64 = 0x5555_5555_4000;
const HEAP: u64 = 0x5555_6666_0000;

/// A minidump of one thread whose stack, heap, registers and texts hold what must not leave.
pub(in crate::redact) fn dump() -> Vec<u8> {
    let endless =
        |section: Section| section.append_bytes(b"stack-secret-1!!").append_bytes(&wide("wide-secret"));
    let stack = Memory::with_section(
        endless(Section::with_endian(LITTLE).D64(CODE_AT + 0x120).D64(HEAP + 8).D64(7).D64(STACK + 64)),
        STACK,
    );
    let heap =
        Memory::with_section(Section::with_endian(LITTLE).append_bytes(b"heap-secret-2!!!").D64(HEAP), HEAP);
    let code = Memory::with_section(Section::with_endian(LITTLE).append_bytes(&[0x90; 32]), CODE_AT + 0x110);
    let mut context = amd64_context(LITTLE, CODE_AT + 0x110, STACK).get_contents().unwrap();
    context[0x78..0x80].copy_from_slice(b"reg-secr");
    context[0x100 + 160..0x100 + 176].copy_from_slice(b"vector-secret-3!");
    let context = Block(Section::with_endian(LITTLE).append_bytes(&context));
    let name = DumpString::new("/home/marianne/bin/shop", LITTLE);
    let thread_name = DumpString::new("worker of marianne", LITTLE);
    let (kind, file) = (DumpString::new("File", LITTLE), DumpString::new("/home/marianne/bill.pdf", LITTLE));
    let handle = HandleDescriptor::new(LITTLE, 3, Some(&kind), Some(&file), 0x6c64_6e68, 0, 0, 0);
    let build_id = Block(Section::with_endian(LITTLE).append_bytes(b"LEpB\x01\x02\x03\x04"));
    let info =
        |at, protection| MemoryInfo::new(LITTLE, at, at, protection, 0x1000, 0x1000, protection, 0x2_0000);
    SynthMinidump::with_endian(LITTLE)
        .add_system_info(SystemInfo::new(LITTLE).set_processor_architecture(9).set_platform_id(0x8201))
        .add_thread(Thread::new(LITTLE, 7, &stack, &context))
        .add_thread_name(ThreadName::new(LITTLE, 7, Some(&thread_name)))
        .add_module(Module::new(LITTLE, CODE_AT, 0x1000, &name, 1, 2, None).cv_record(&build_id))
        .add_exception(Exception::new(LITTLE))
        .add_memory_info(info(CODE_AT, 0x20))
        .add_memory_info(info(STACK, 0x04))
        .add_memory_info(info(HEAP, 0x04))
        .add_memory_info(info(u64::from_le_bytes(*b"hidden\0\0") & !0xfff, NO_ACCESS))
        .add_crashpad_info(CrashpadInfo::new(LITTLE).add_simple_annotation("mail", "marianne@muster.example"))
        .set_linux_maps(b"555555554000-555555555000 r-xp 0 08:01 7 /home/marianne/bin/shop\n")
        .set_linux_proc_status(b"Name:\tshop of marianne\n")
        .set_linux_environ(b"LANG=C\0TOKEN=environment-secret\0")
        .set_soft_errors(r#"["no access to /home/marianne"]"#)
        .add_handle_descriptor(handle)
        .add_stream(SimpleStream {
            stream_type: TRAIL,
            section: Section::new().append_bytes(b"trace/ring-7"),
        })
        .add_stream(SimpleStream {
            stream_type: 0x1234_5678,
            section: Section::new().append_bytes(b"unknown-secret"),
        })
        .add_memory(stack)
        .add_memory(heap)
        .add_memory(code)
        .add(context)
        .add(name)
        .add(thread_name)
        .add(kind)
        .add(file)
        .add(build_id)
        .finish()
        .unwrap()
}

type Redacted = Result<(Vec<u8>, Vec<Problem>), String>;

/// A piece of a file that others point to.
struct Block(Section);

impl From<Block> for Section {
    fn from(block: Block) -> Section {
        block.0
    }
}

impl minidump_synth::DumpSection for Block {
    fn file_offset(&self) -> test_assembler::Label {
        self.0.start()
    }
    fn file_size(&self) -> test_assembler::Label {
        self.0.final_size()
    }
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn redacted(content: &[u8]) -> (Redacted, Removed) {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        let names = Names::new(&["/home/marianne".into()], &["marianne".into()], &[]);
        Rules { environment: vec![], text: TextRules { names, patterns: Patterns::default() }, comment: None }
    });
    let salt = Salt::from_random([5; 32]);
    let mut redaction = Redaction::new(foretrace_report::ClassSet::EMPTY, &salt, &RULES);
    let result = redaction.minidump(content);
    (result, redaction.removed)
}

#[test]
fn no_secret_survives_in_any_corner_of_the_format() {
    let (result, removed) = redacted(&dump());
    let (out, problems) = result.unwrap();
    for secret in [
        "stack-se",
        "secret-1",
        "heap-sec",
        "secret-2",
        "reg-secr",
        "vector-s",
        "marianne",
        "hndl",
        "environment-secret",
        "unknown",
        "muster",
    ] {
        for needle in [secret.as_bytes().to_vec(), wide(secret)] {
            assert!(
                dump().windows(needle.len()).any(|w| w == needle) || needle.contains(&0),
                "{secret} is planted"
            );
            assert!(!out.windows(needle.len()).any(|window| window == needle), "{secret} survives");
        }
    }
    assert!(!out.windows(8).any(|window| window == &wide("wide")[..]), "wide text survives");
    assert_eq!(removed.of(Rule::Register), 2);
    assert!(removed.of(Rule::Memory) >= 6, "{removed:?}");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("0x12345678"), "{problems:?}");
}

#[test]
fn what_a_debugger_needs_survives() {
    let (out, _) = redacted(&dump()).0.unwrap();
    let read = Minidump::read(out).unwrap();
    let threads = read.get_stream::<MinidumpThreadList<'_>>().unwrap();
    let memory = read.get_stream::<MinidumpMemoryList<'_>>().unwrap();
    let thread = &threads.threads[0];
    let unified = minidump::UnifiedMemoryList::Memory(memory);
    let stack = thread.stack_memory(&unified).unwrap();
    let words: Vec<u64> = (0..4).filter_map(|n| stack.get_memory_at_address(STACK + n * 8)).collect();
    assert_eq!(words, [CODE_AT + 0x120, HEAP + 8, 7, STACK + 64]);
    let code = unified.memory_at_address(CODE_AT + 0x110).unwrap();
    assert_eq!(code.get_memory_at_address::<u64>(CODE_AT + 0x110), Some(0x9090_9090_9090_9090));
    let system = read.get_stream::<minidump::MinidumpSystemInfo>().unwrap();
    let context = thread.context(&system, None).unwrap();
    assert_eq!((context.get_instruction_pointer(), context.get_stack_pointer()), (CODE_AT + 0x110, STACK));
    let modules = read.get_stream::<MinidumpModuleList>().unwrap();
    let module = modules.main_module().unwrap();
    assert_eq!(module.code_file(), "~/bin/shop");
    assert_eq!(
        module.debug_identifier().map(|id| id.to_string().to_lowercase().starts_with("04030201")),
        Some(true)
    );
    let names = read.get_stream::<minidump::MinidumpThreadNames>().unwrap();
    assert_eq!(names.get_name(7).as_deref(), Some("worker of <user>"));
    let crashpad = read.get_stream::<minidump::MinidumpCrashpadInfo>().unwrap();
    assert!(crashpad.simple_annotations["mail"].starts_with("<email-"));
    let status = read.get_raw_stream(LINUX_STATUS).unwrap();
    assert_eq!(status, b"Name:\tshop of <user>\n");
    assert_eq!(read.get_raw_stream(LINUX_ENVIRONMENT).unwrap(), b"LANG=C\0");
    let open = read.get_stream::<minidump::MinidumpHandleDataStream>().unwrap();
    let named =
        |handle: &minidump::MinidumpHandleDescriptor| (handle.type_name.clone(), handle.object_name.clone());
    let names: Vec<_> = open.handles.iter().map(named).collect();
    assert_eq!(names, [(Some("File".into()), Some("~/bill.pdf".into()))]);
    assert_eq!(read.get_raw_stream(TRAIL).unwrap(), b"trace/ring-7");
}

#[test]
fn a_damaged_minidump_never_panics_and_gives_nothing_more() {
    let whole = dump();
    for length in (0..whole.len()).step_by(7) {
        let _ = redacted(&whole[..length]);
    }
    // Every byte of the structures, flipped in turn: what is left must still hold no text of the stack.
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        if let Ok((out, _)) = redacted(&damaged).0 {
            assert!(!out.windows(14).any(|window| window == b"stack-secret-1"), "byte {at}");
        }
    }
    assert!(redacted(b"").0.is_err());
    assert!(redacted(b"MDMP\xff\0\0shop\0").0.is_err());
}

#[test]
fn a_minidump_that_points_at_the_same_place_again_and_again_is_bounded() {
    // A thousand names for the same 64 KiB of stack, each at another address.
    let mut file = vec![0; 32];
    file[..4].copy_from_slice(MAGIC);
    let block = file.len();
    file.resize(block + (64 << 10), b'x');
    let list = file.len();
    file.extend(4000u32.to_le_bytes());
    for n in 0..4000u64 {
        file.extend((0x10_0000 + n * 8).to_le_bytes());
        file.extend((64u32 << 10).to_le_bytes());
        file.extend((block as u32).to_le_bytes());
    }
    let directory = file.len();
    for word in [MEMORY_LIST, (directory - list) as u32, list as u32] {
        file.extend(word.to_le_bytes());
    }
    file[8..12].copy_from_slice(&1u32.to_le_bytes());
    file[12..16].copy_from_slice(&(directory as u32).to_le_bytes());
    let (out, problems) = redacted(&file).0.unwrap();
    assert!(problems[0].what.contains(TOO_MUCH), "{problems:?}");
    assert!(!out.windows(8).any(|window| window == b"xxxxxxxx"));
}
