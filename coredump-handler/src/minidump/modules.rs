//! The module list: one module per ELF image, from its first PT_LOAD to its last. Contiguous mappings would make two
//! of a BOLT-processed library.

use minidump_writer::mem_writer::{Buffer, MemoryArrayWriter, MemoryWriter, write_string_to_location};
use minidump_writer::minidump_format::format::CvSignature;
use minidump_writer::minidump_format::{MDLocationDescriptor, MDRawModule};

use super::{Image, Written, bytes, joined};

/// Writes all images. One without a build-id is still listed.
pub(super) fn list(images: &[Image<'_>], buffer: &mut Buffer) -> Written {
    let mut modules = Vec::with_capacity(images.len());
    for image in images {
        let name = write_string_to_location(buffer, image.path)?;
        let cv_record = match image.build_id {
            Some(id) => {
                let signature = (CvSignature::Elf as u32).to_le_bytes();
                bytes(buffer, &[&signature, id].concat())
            }
            None => MDLocationDescriptor::default(),
        };
        modules.push(MDRawModule {
            base_of_image: image.base,
            size_of_image: u32::try_from(image.end.saturating_sub(image.base)).unwrap_or(u32::MAX),
            module_name_rva: name.rva,
            cv_record,
            ..MDRawModule::default()
        });
    }
    let count = MemoryWriter::<u32>::alloc_with_val(buffer, modules.len() as u32)?;
    let modules = MemoryArrayWriter::alloc_from_iter(buffer, modules)?;
    Ok(joined(count.location(), modules.location()))
}
