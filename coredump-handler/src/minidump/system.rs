//! The machine, texts that are carried as they are, and the program's annotations.

use std::borrow::Cow;

use minidump_writer::mem_writer::{Buffer, MemoryWriter, write_string_to_location};
use minidump_writer::minidump_format::format::{CPU_INFORMATION, GUID, MINIDUMP_CRASHPAD_INFO};
use minidump_writer::minidump_format::{
    MDCPUArchitecture, MDLocationDescriptor, MDRawSystemInfo, MDStreamType, PlatformId,
};

use super::{Input, MinidumpError, Written, bytes};
use crate::core::{EM_386, EM_AARCH64, EM_X86_64};
use crate::maps;

/// Writes the operating system and the processor.
pub(super) fn info(input: &Input<'_>, buffer: &mut Buffer) -> Written {
    let architecture = match input.head.machine {
        EM_X86_64 => MDCPUArchitecture::PROCESSOR_ARCHITECTURE_AMD64,
        EM_386 => MDCPUArchitecture::PROCESSOR_ARCHITECTURE_INTEL,
        EM_AARCH64 => MDCPUArchitecture::PROCESSOR_ARCHITECTURE_ARM64_OLD,
        other => return Err(MinidumpError::Machine(other)),
    };
    let version = write_string_to_location(buffer, input.system)?;
    let [major, minor, build] = kernel_version(input.system);
    let cpu = Cpu::parse(input.files.cpuinfo.unwrap_or_default());
    let info = MDRawSystemInfo {
        processor_architecture: architecture as u16,
        processor_level: cpu.family,
        processor_revision: cpu.model << 8 | cpu.stepping & 0xff,
        number_of_processors: u8::try_from(cpu.count).unwrap_or(u8::MAX),
        product_type: 0,
        major_version: major,
        minor_version: minor,
        build_number: build,
        platform_id: PlatformId::Linux as u32,
        csd_version_rva: version.rva,
        suite_mask: 0,
        reserved2: 0,
        cpu: CPU_INFORMATION { data: cpu.vendor },
    };
    Ok(MemoryWriter::alloc_with_val(buffer, info)?.location())
}

// `Linux 6.1.0-13-amd64 #1 SMP …`: the first three numbers of the release.
fn kernel_version(system: &str) -> [u32; 3] {
    let release = system.split(' ').nth(1).unwrap_or_default();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// The texts that are there. Environment and command line are not among them.
pub(super) fn texts<'a>(input: &Input<'a>) -> Vec<(MDStreamType, Cow<'a, [u8]>)> {
    let files = &input.files;
    let maps = match files.maps {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(maps::text(input.maps).into_bytes()),
    };
    let auxv = &input.head.auxv_raw;
    [
        (MDStreamType::LinuxCpuInfo, files.cpuinfo.map(Cow::Borrowed)),
        (MDStreamType::LinuxProcStatus, files.status.map(Cow::Borrowed)),
        (MDStreamType::LinuxLsbRelease, files.os_release.map(Cow::Borrowed)),
        (MDStreamType::MozLinuxLimits, files.limits.map(Cow::Borrowed)),
        (MDStreamType::LinuxAuxv, (!auxv.is_empty()).then_some(Cow::Borrowed(auxv.as_slice()))),
        (MDStreamType::LinuxMaps, Some(maps)),
    ]
    .into_iter()
    .filter_map(|(kind, text)| Some((kind, text?)))
    .collect()
}

/// Writes the annotations as Crashpad's simple annotations, the trail's place under `foretrace.trail`.
pub(super) fn annotations(input: &Input<'_>, buffer: &mut Buffer) -> Written {
    let note = input.trail_note.map(|note| ("foretrace.trail", note));
    let given = input.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut entries = Vec::new();
    for (key, value) in given.chain(note) {
        entries.push((text(buffer, key), text(buffer, value)));
    }
    let mut dictionary = (entries.len() as u32).to_le_bytes().to_vec();
    for (key, value) in entries {
        dictionary.extend(key.to_le_bytes());
        dictionary.extend(value.to_le_bytes());
    }
    let dictionary = bytes(buffer, &dictionary);
    let nobody = || GUID { data1: 0, data2: 0, data3: 0, data4: [0; 8] };
    let info = MINIDUMP_CRASHPAD_INFO {
        version: MINIDUMP_CRASHPAD_INFO::VERSION,
        report_id: nobody(),
        client_id: nobody(),
        simple_annotations: dictionary,
        module_list: MDLocationDescriptor::default(),
    };
    Ok(MemoryWriter::alloc_with_val(buffer, info)?.location())
}

// Crashpad's UTF-8 strings: length, bytes, a NUL that the length does not count, aligned to 4.
fn text(buffer: &mut Buffer, content: &str) -> u32 {
    while !buffer.position().is_multiple_of(4) {
        buffer.write_all(&[0]);
    }
    let length = (content.len() as u32).to_le_bytes();
    bytes(buffer, &[&length, content.as_bytes(), &[0]].concat()).rva
}

#[derive(Default)]
struct Cpu {
    count: usize,
    family: u16,
    model: u16,
    stepping: u16,
    vendor: [u8; 24],
}

impl Cpu {
    fn parse(cpuinfo: &[u8]) -> Cpu {
        let mut cpu = Cpu::default();
        let text = String::from_utf8_lossy(cpuinfo);
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            let number = || value.parse().unwrap_or(0);
            match key.trim() {
                "processor" => cpu.count += 1,
                "cpu family" => cpu.family = number(),
                "model" => cpu.model = number(),
                "stepping" => cpu.stepping = number(),
                "vendor_id" => {
                    let length = value.len().min(12);
                    cpu.vendor[..length].copy_from_slice(&value.as_bytes()[..length]);
                }
                _ => {}
            }
        }
        cpu
    }
}
