//! A report's container as a file: as much of what was collected as can be written.
//!
//! Owns what is tried when a write fails: the same once more, then less and less. Never opens, names or publishes a file.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use foretrace_report::bundle::BundleError;
use foretrace_report::schema::Report;
use serde::Serialize;

use crate::assemble::{Collected, Extent, assemble};

/// Bytes that are written at once.
const BUFFER: usize = 1 << 18;

/// Writes the container of `collected`, with `threads` in the place of its own, into `file`, in the place of anything that was
/// there; returns the report as it was written. Where that fails even a second time, less than `extent` goes into it, and
/// `extent` says how much it was.
///
/// # Errors
/// Not even the report alone could be written.
pub fn write_what_fits<T: Serialize + Copy>(
    collected: &Collected,
    threads: T,
    file: &File,
    extent: &mut Extent,
) -> Result<Report<T>, BundleError> {
    loop {
        let error = match write(collected, threads, file, extent) {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        *extent = extent.less(&reason(&error)).ok_or(error)?;
    }
}

/// The same, of `extent` and no less.
///
/// # Errors
/// The file cannot be written, also not at a second try.
pub fn write<T: Serialize + Copy>(
    collected: &Collected,
    threads: T,
    file: &File,
    extent: &Extent,
) -> Result<Report<T>, BundleError> {
    let first = try_to_write(collected, threads, file, extent);
    first.or_else(|_| try_to_write(collected, threads, file, extent))
}

fn try_to_write<T: Serialize>(
    collected: &Collected,
    threads: T,
    mut file: &File,
    extent: &Extent,
) -> Result<Report<T>, BundleError> {
    file.set_len(0)?;
    file.rewind()?;
    let sink = BufWriter::with_capacity(BUFFER, file);
    let (mut sink, report) = assemble(collected, threads, sink, extent)?;
    sink.flush()?;
    Ok(report)
}

// The system's own words.
fn reason(error: &BundleError) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    match source.downcast_ref::<io::Error>() {
        Some(error) => error.to_string(),
        None => source.to_string(),
    }
}
