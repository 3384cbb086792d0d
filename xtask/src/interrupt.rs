//! Ctrl-C as a request: whoever waits looks here, ends in order and so puts the machine back.
//!
//! Child programs of the same terminal get the signal themselves: a handler, unlike a blocked signal, is not
//! inherited through exec.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static REQUESTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: i32) {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Starts to watch for SIGINT and SIGTERM.
///
/// # Errors
/// Handlers that cannot be installed.
pub fn watch() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("cannot take over Ctrl-C")?;
    }
    Ok(())
}

/// Whether an end was asked for.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Ends the present work if an end was asked for.
///
/// # Errors
/// After Ctrl-C.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}
