//! `key`: the key that this user's reports are encrypted to while they lie here.
//!
//! Owns what happens with reports that were written before the key was there, or by somebody who did not find it. The key
//! itself, and what is done with it, are the store's.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use foretrace_report::text::escape;
use foretrace_store::Key;
use serde_json::json;

use crate::arguments;
use crate::context::Context;
use crate::{output, passphrase};

/// Makes or shows the key.
///
/// # Errors
/// A key that cannot be read or written, or reports that cannot be encrypted.
pub fn run(context: &Context, arguments: &arguments::Key) -> Result<ExitCode> {
    let not_kept = || context.words.say("key-not-kept");
    match Key::load(&context.places)? {
        None if arguments.create => {
            let passphrase = if arguments.passphrase { passphrase::new(context)? } else { None };
            Key::create(&context.places, passphrase.as_ref()).with_context(not_kept)?;
        }
        Some(_) if arguments.passphrase => {
            // The old one first: who does not know it changes nothing.
            let key = context.key()?;
            let passphrase = passphrase::new(context)?;
            key.relock(&context.places, passphrase.as_ref()).with_context(not_kept)?;
        }
        _ => {}
    }
    let key = Key::load(&context.places)?;
    let encrypted_now = catch_up(context)?;
    let listing = context.store().reports();
    let own = || listing.reports.iter().filter(|report| !report.is_foreign());
    let sealed = own().filter(|report| report.is_sealed()).count();
    let plain = own().count() - sealed;
    let asked = context.settings.storage.encrypt;
    let locked = key.as_ref().is_some_and(Key::is_locked);
    let recipient = key.map(|key| key.recipient().to_string());
    let identity = context.places.identity();
    let mut out = output::standard();
    if context.json {
        let said = json!({
            "recipient": recipient, "identity": identity, "passphrase": locked, "encrypt": asked,
            "encrypted": sealed, "plain": plain, "encrypted_now": encrypted_now,
        });
        output::json_line(&mut out, &said)?;
    } else {
        let words = &context.words;
        let mut row = |name: &str, text: &str| writeln!(out, "{name:<10} {text}");
        let name = |key: &str| words.say(key) + ":";
        match &recipient {
            Some(recipient) => {
                row(&name("key-is"), recipient)?;
                row(&name("key-kept-in"), &escape(&identity.display().to_string()))?;
                row("", &words.say("key-copy"))?;
                if locked {
                    row("", &words.say("key-locked"))?;
                }
            }
            None => row(&name("key-is"), &words.say("key-none"))?,
        }
        let (encrypted, plain) = (sealed.to_string(), plain.to_string());
        let counts = [("sealed", encrypted.as_str()), ("plain", &plain)];
        row(&name("key-reports"), &words.tell("key-sealed", &counts))?;
        if !asked {
            writeln!(out, "{}", words.say("key-not-asked"))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the key where those find it who write reports, and encrypts what lies here in plain, where the settings ask for
/// that and there is a key. Returns how many reports were encrypted.
///
/// # Errors
/// A key that cannot be read, or a report that cannot be encrypted.
pub fn catch_up(context: &Context) -> Result<usize> {
    if !context.settings.storage.encrypt {
        return Ok(0);
    }
    let Some(key) = Key::load(&context.places)? else { return Ok(0) };
    let (store, recipient) = (context.store(), key.recipient());
    if !store.is_trusted(&recipient) {
        store.trust(&recipient)?;
    }
    let mut done = 0;
    for mut report in store.reports().reports {
        if !report.is_foreign() {
            let id = report.id().to_string();
            let sealed = report.seal(&recipient);
            let sealed = sealed.with_context(|| context.words.tell("key-stays", &[("id", &id)]))?;
            done += usize::from(sealed);
        }
    }
    Ok(done)
}
