//! A report on its way from the worker to the store.
//!
//! The worker writes to a file in memory, and what is published is a copy of it: the worker goes on to look up names, and it may
//! have been taken over, so it must not be able to change what people read already. What it adds goes to a second
//! file, which replaces the first when the worker has ended.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;

use anyhow::{Context, bail};
use foretrace_store::{Incoming, Places, Revision, StoreKind};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// As much as the worker may write.
const LIMIT: u64 = 1 << 30;

/// A report that is being written.
pub struct Draft {
    /// Where the worker writes the first container.
    pub content: File,
    /// Where it writes the second one, if there can be one.
    pub revision: Option<Revision>,
    /// The report that it becomes.
    pub incoming: Incoming,
}

impl Draft {
    /// Starts a report in the system's store.
    ///
    /// # Errors
    /// The store cannot be written, or the system has no memory.
    pub fn begin(places: &Places) -> anyhow::Result<Draft> {
        let mut incoming = Incoming::begin(places, StoreKind::System)?;
        let content = File::from(memfd_create(c"foretrace-report", MFdFlags::MFD_CLOEXEC)?);
        let revision = incoming.revision().ok();
        Ok(Draft { content, revision, incoming })
    }

    /// Makes a copy of what the worker wrote, complete and ready to be published, in the place of an earlier one.
    ///
    /// # Errors
    /// It is no container, or it cannot be copied.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        let mut bundle = self.incoming.bundle()?;
        bundle.set_len(0)?;
        bundle.rewind()?;
        self.content.rewind()?;
        io::copy(&mut (&self.content).take(LIMIT), &mut bundle)?;
        verify(&bundle)
    }
}

/// Whether a file ends as a container does: at a fixed place and in a fixed form. What is in it is for its readers to doubt.
///
/// # Errors
/// It does not.
pub fn verify(bundle: &File) -> anyhow::Result<()> {
    const END: u64 = 22;
    const MARK: &[u8] = b"PK\x05\x06";
    let size = bundle.metadata()?.len();
    let mut mark = [0; MARK.len()];
    let at = size.checked_sub(END).context("the report's container is empty")?;
    bundle.read_exact_at(&mut mark, at)?;
    if mark != MARK {
        bail!("the report's container has no end");
    }
    Ok(())
}
