//! Minidumps assembled from what was collected: threads, stacks, modules, the signal, the machine.
//!
//! Uses minidump-writer's layouts and its buffer, not its dumper: that one needs ptrace, which the kernel refuses while
//! it dumps. Never reads `/proc` or a clock; memory comes only through the [`Memory`] it is given. Environment and
//! command line are left out on purpose.
//!
//! ```text
//! header │ directory │ one stream after another, each with what it points to in front of it
//! ```

mod handles;
mod loader;
mod memory;
mod modules;
mod system;
mod threads;

use foretrace_report::schema::Problem;
use minidump_writer::mem_writer::{Buffer, MemoryArrayWriter, MemoryWriter, MemoryWriterError};
use minidump_writer::minidump_format::{
    MD_HEADER_SIGNATURE, MD_HEADER_VERSION, MDLocationDescriptor, MDRawDirectory, MDRawHeader, MDStreamType,
};

use crate::core::CoreHead;
use crate::maps::Mapping;
use crate::memory::Memory;
use crate::module::Module;
use crate::stack::Stack;
use loader::Loader;

/// What a minidump is made of.
pub struct Input<'a> {
    /// Seconds since 1970.
    pub time: u32,
    /// Threads, signal and auxiliary vector.
    pub head: &'a CoreHead,
    /// The mappings, in order of their addresses.
    pub maps: &'a [Mapping],
    /// The process's memory, restricted to what may be dumped.
    pub memory: &'a dyn Memory,
    /// The stacks that were copied from it.
    pub stacks: &'a [Stack],
    /// The ELF images in it.
    pub images: &'a [Image<'a>],
    /// Thread IDs and names.
    pub thread_names: &'a [(i32, String)],
    /// The system's name as `uname -srvm` prints it.
    pub system: &'a str,
    /// Texts that are carried as they are.
    pub files: Files<'a>,
    /// What the program noted about itself.
    pub annotations: &'a [(String, String)],
    /// Where the trail of the same report is found.
    pub trail_note: Option<&'a str>,
}

/// Texts from `/proc` and `/etc`, where they could be had.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// `/proc/cpuinfo`
    pub cpuinfo: Option<&'a [u8]>,
    /// `/proc/PID/status`
    pub status: Option<&'a [u8]>,
    /// `/proc/PID/limits`
    pub limits: Option<&'a [u8]>,
    /// `/proc/PID/maps`; without it one is written from [`Input::maps`]
    pub maps: Option<&'a [u8]>,
    /// `/etc/os-release`
    pub os_release: Option<&'a [u8]>,
    /// Open descriptors: number, tab, target, NUL
    pub descriptors: Option<&'a [u8]>,
}

/// A loaded ELF image.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Where it starts.
    pub base: u64,
    /// The first address behind its last PT_LOAD.
    pub end: u64,
    /// Its file's path.
    pub path: &'a str,
    /// Its build-id, where it has one.
    pub build_id: Option<&'a [u8]>,
}

impl<'a> From<&'a Module> for Image<'a> {
    fn from(module: &'a Module) -> Self {
        Image { base: module.base, end: module.end, path: &module.path, build_id: module.build_id.as_deref() }
    }
}

/// Why no minidump could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MinidumpError {
    /// A machine whose thread contexts are not written.
    #[error("no minidump is written for machine {0} of the ELF header")]
    Machine(u16),
    /// The content does not fit the format.
    #[error("the minidump could not be laid out")]
    Layout(#[from] MemoryWriterError),
}

/// The type of our own stream: the text of [`Input::trail_note`]. Types above 0xffff are the user's; `FT`.
pub const TRAIL_STREAM: u32 = 0x4654_0001;

// A stream's place. Text and lists lie in front of the stream that points to them.
type Written = Result<MDLocationDescriptor, MinidumpError>;

/// Assembles a minidump. A stream that cannot be had is a problem.
///
/// # Errors
/// An unknown machine, or content beyond the format's 4 GiB.
pub fn write(input: &Input<'_>) -> Result<(Vec<u8>, Vec<Problem>), MinidumpError> {
    let mut buffer = Buffer::with_capacity(1 << 20);
    let mut header = MemoryWriter::<MDRawHeader>::alloc(&mut buffer)?;
    let mut problems = Vec::new();
    let mut streams = Vec::new();
    let mut stream = |kind: MDStreamType, location: MDLocationDescriptor| {
        streams.push(MDRawDirectory { stream_type: kind as u32, location });
    };

    let mut blocks = memory::Blocks::default();
    stream(MDStreamType::SystemInfoStream, system::info(input, &mut buffer)?);
    let (threads, crashed) = threads::list(input, &mut blocks, &mut buffer)?;
    stream(MDStreamType::ThreadListStream, threads);
    stream(MDStreamType::ThreadNamesStream, threads::names(input, &mut buffer)?);
    stream(MDStreamType::ExceptionStream, threads::exception(input, crashed, &mut buffer)?);
    blocks.add_code(input, &mut buffer);
    stream(MDStreamType::MemoryListStream, blocks.list(&mut buffer)?);
    stream(MDStreamType::MemoryInfoListStream, memory::info_list(input.maps, &mut buffer)?);
    stream(MDStreamType::ModuleListStream, modules::list(input.images, &mut buffer)?);
    match loader::debug(input, &mut buffer)? {
        Loader::Written(location) => stream(MDStreamType::LinuxDsoDebug, location),
        Loader::Cut(location) => {
            stream(MDStreamType::LinuxDsoDebug, location);
            problems
                .push(Problem::new("minidump", "the loader's list of libraries could be read in part only"));
        }
        Loader::None => {}
        Loader::Unreadable => {
            problems.push(Problem::new("minidump", "the loader's list of libraries could not be read"))
        }
    }
    for (kind, text) in system::texts(input) {
        stream(kind, bytes(&mut buffer, &text));
    }
    if let Some(records) = input.files.descriptors {
        stream(MDStreamType::HandleDataStream, handles::list(records, &mut buffer)?);
    }
    stream(MDStreamType::CrashpadInfoStream, system::annotations(input, &mut buffer)?);
    let known: Vec<&Problem> = input.head.problems.iter().chain(&problems).collect();
    if let Ok(text) = serde_json::to_vec(&known) {
        stream(MDStreamType::MozSoftErrors, bytes(&mut buffer, &text));
    }

    if let Some(note) = input.trail_note {
        let location = bytes(&mut buffer, note.as_bytes());
        streams.push(MDRawDirectory { stream_type: TRAIL_STREAM, location });
    }

    let count = streams.len() as u32;
    let directory = MemoryArrayWriter::alloc_from_iter(&mut buffer, streams)?.location();
    header.set_value(
        &mut buffer,
        MDRawHeader {
            signature: MD_HEADER_SIGNATURE,
            version: MD_HEADER_VERSION,
            stream_count: count,
            stream_directory_rva: directory.rva,
            checksum: 0,
            time_date_stamp: input.time,
            flags: 0,
        },
    )?;
    // Offsets are 32 bits wide; the buffer does not check that.
    u32::try_from(buffer.position()).map_err(MemoryWriterError::from)?;
    Ok((buffer.into(), problems))
}

fn bytes(buffer: &mut Buffer, content: &[u8]) -> MDLocationDescriptor {
    MemoryArrayWriter::write_bytes(buffer, content).location()
}

// A list is its count with the entries right behind it.
fn joined(head: MDLocationDescriptor, tail: MDLocationDescriptor) -> MDLocationDescriptor {
    MDLocationDescriptor { data_size: head.data_size + tail.data_size, rva: head.rva }
}
