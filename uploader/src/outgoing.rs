//! From a report directory to `outgoing.zip`, and `foretrace preview`, which shows exactly those bytes.
//!
//! The edge around [`crate::redact`]: opens the report, keeps its salt, looks up the names to hide and
//! applies the administrator's cap. Both `preview` and the answer that grants call [`prepare`], so that what
//! was shown is what leaves.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{Cursor, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use foretrace_report::bundle::{BundleReader, REPORT};
use foretrace_report::receipt::{Destination, Protocol, Receipt};
use foretrace_report::text::escape;
use foretrace_report::wire;
use foretrace_report::{Class, ClassSet, Preset, Report};
use foretrace_store::{OUTGOING, Recipient, ReportDir, SALT, SEALED_OUTGOING, Settings};
use nix::unistd::{Uid, User};

use crate::arguments::{Grant, Preview};
use crate::comment;
use crate::context::Context;
use crate::output::{self, WrongUse};
use crate::pseudonym::Salt;
use crate::receipt;
use crate::redact::{Names, Outgoing, Patterns, Rules, TextRules, redact};
use crate::sentence::size;
use crate::words::Words;

/// From this ID on user IDs are people's; `nobody` is none.
const FIRST_PERSON: u32 = 1000;
const NOBODY: u32 = 65_534;
/// Host names that say nothing about anybody.
const GENERIC_HOSTS: [&str; 6] =
    ["localhost", "localhost.localdomain", "debian", "ubuntu", "fedora", "linux"];

/// Makes what would leave of a report when `classes` are granted.
///
/// # Errors
/// A report that cannot be read, or that belongs to another user.
pub fn prepare(
    report: &ReportDir,
    settings: &Settings,
    classes: ClassSet,
    words: &Words,
) -> Result<Outgoing> {
    addressee(settings, words)?;
    let salt = salt(report)?;
    let mut bundle = report.bundle()?;
    let rules = Rules {
        environment: settings.privacy.environment_allow.clone(),
        text: TextRules { names: names(report, &mut bundle), patterns: patterns(settings, words)? },
        comment: comment::read(report)?,
    };
    Ok(redact(&mut bundle, classes, &salt, &rules)?)
}

/// What is kept until it leaves, and the receipt for it.
pub struct Packed<'a> {
    /// The file's name in the report's directory.
    pub name: &'static str,
    /// `outgoing.zip`, or the same encrypted.
    pub bytes: Cow<'a, [u8]>,
    /// The receipt.
    pub receipt: Receipt,
}

/// Makes of `outgoing.zip` what leaves for `destination`: the same bytes, or those encrypted to the key that it names.
///
/// # Errors
/// An `outgoing.zip` that is no container, or a key that is none.
pub fn pack<'a>(
    report: &ReportDir,
    destination: &Destination,
    classes: ClassSet,
    outgoing: &'a Outgoing,
) -> Result<Packed<'a>> {
    let receipt = receipt::issue(report.id(), destination, classes, &outgoing.bytes)?;
    let Some(key) = &destination.recipient else {
        return Ok(Packed { name: OUTGOING, bytes: Cow::Borrowed(&outgoing.bytes), receipt });
    };
    let recipient: Recipient = key.parse().map_err(anyhow::Error::msg)?;
    let mut sealed = Vec::new();
    recipient.seal(&mut outgoing.bytes.as_slice(), &mut sealed).context("it cannot be encrypted")?;
    let receipt = receipt::seal(receipt, &salt(report)?.erasure_digest(), &sealed)?;
    Ok(Packed { name: SEALED_OUTGOING, bytes: Cow::Owned(sealed), receipt })
}

/// The key that everything which leaves is encrypted to, where the administrator names one.
///
/// # Errors
/// A key that is none, or a dialect whose servers have to read what they get: better that nothing leaves than that
/// something leaves in plain.
pub fn addressee<'a>(settings: &'a Settings, words: &Words) -> Result<Option<&'a Recipient>> {
    let Some(addressee) = &settings.privacy.recipient else { return Ok(None) };
    let place = || format!("{}:{}", escape(&addressee.file.display().to_string()), addressee.line);
    let protocol = settings.upload.protocol;
    match &addressee.key {
        Ok(_) if protocol != Protocol::Foretrace => {
            bail!(words.tell("recipient-protocol", &[("place", &place()), ("protocol", protocol.name())]))
        }
        Ok(key) => Ok(Some(key)),
        Err(text) => {
            bail!(words.tell("recipient-wrong", &[("place", &place()), ("text", &escape(text))]))
        }
    }
}

/// The classes that anybody may grant here: the administrator's limit, and what the dialect can carry.
pub fn widest(settings: &Settings) -> ClassSet {
    Preset(settings.consent.max).classes().intersection(wire::carried(settings.upload.protocol))
}

/// The classes that `--grant` or `--only` name, or `otherwise` where there is neither. What the dialect
/// cannot carry is left out; what the administrator does not allow is refused.
///
/// # Errors
/// A set without `summary`, or one beyond the administrator's limit.
pub fn chosen(grant: &Grant, settings: &Settings, otherwise: ClassSet, words: &Words) -> Result<ClassSet> {
    let asked = match (grant.grant, grant.only) {
        (Some(preset), _) => preset.classes(),
        (None, Some(only)) => only,
        (None, None) => return Ok(otherwise),
    };
    allowed(asked, settings, words)
}

/// `asked`, as far as the dialect carries it.
///
/// # Errors
/// As [`chosen`].
pub fn allowed(asked: ClassSet, settings: &Settings, words: &Words) -> Result<ClassSet> {
    if !asked.contains(Class::Summary) {
        return Err(WrongUse(words.say("consent-without-summary")).into());
    }
    let asked = asked.intersection(wire::carried(settings.upload.protocol));
    if !asked.is_subset(widest(settings)) {
        let most = settings.consent.max.to_string();
        return Err(WrongUse(words.tell("consent-capped", &[("most", &most)])).into());
    }
    Ok(asked)
}

/// `foretrace preview`.
///
/// # Errors
/// No such report, or one that cannot be read; a file that cannot be written.
pub fn preview(context: &Context, arguments: &Preview) -> Result<ExitCode> {
    let report = context.find(&arguments.id)?;
    let (settings, words) = (&context.settings, &context.words);
    let classes = chosen(&arguments.grant, settings, widest(settings), words)?;
    let outgoing = prepare(&report, settings, classes, words)?;
    let destination = Destination {
        url: settings.upload.url.clone().unwrap_or_default(),
        protocol: settings.upload.protocol,
        recipient: addressee(settings, words)?.map(Recipient::to_string),
    };
    let receipt = pack(&report, &destination, classes, &outgoing)?.receipt;
    let to_output = arguments.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    match arguments.output.as_deref() {
        Some(_) if to_output => {
            let mut out = std::io::stdout().lock();
            if out.is_terminal() {
                return Err(WrongUse(words.say("preview-not-for-a-terminal")).into());
            }
            out.write_all(&outgoing.bytes)?;
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(path) => {
            std::fs::write(path, &outgoing.bytes).with_context(|| output::unwritable(path, words))?;
        }
        None => {}
    }
    let mut out = output::standard();
    if context.json {
        output::json_line(&mut out, &account(&outgoing, &receipt))?;
    } else {
        out.write_all(describe(&outgoing, &receipt, words).as_bytes())?;
        match arguments.output.as_deref() {
            Some(path) => {
                let file = escape(&path.display().to_string());
                writeln!(out, "\n{}", words.tell("preview-bytes-in", &[("file", &file)]))?;
            }
            None => {
                let id = report.id().short();
                writeln!(out, "\n{}", words.tell("preview-bytes", &[("id", &id)]))?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What would leave and what was taken out, for a person.
pub fn describe(outgoing: &Outgoing, receipt: &Receipt, words: &Words) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let place = match receipt.destination.url.as_str() {
        "" => words.say("preview-nowhere"),
        url => escape(url),
    };
    line(words.tell("preview-would-leave", &[("classes", &receipt.classes.to_string())]));
    line(words.tell("preview-to", &[("place", &place)]));
    if let Some(key) = &receipt.destination.recipient {
        line(words.tell("preview-encrypted", &[("key", &escape(key))]));
    }
    for part in &receipt.body {
        line(format!("  {:<28} {:>10}  {}", part.name, size(part.bytes), part.classes));
    }
    line(String::new());
    line(words.tell("preview-outgoing", &[("digest", &receipt.outgoing_sha256)]));
    let facts = serde_json::to_vec_pretty(&outgoing.report).map_or(0, |json| json.len() as u64);
    line(format!("  {REPORT:<44} {:>10}  {}", size(facts), facts_in(&outgoing.report, words)));
    for part in &outgoing.report.parts {
        line(format!("  {:<44} {:>10}  {}", escape(&part.name), size(part.bytes), part.class));
    }
    for (name, content) in made(&outgoing.bytes, receipt) {
        line(String::new());
        line(words.tell("preview-in", &[("name", name)]));
        content.iter().for_each(|content| line(format!("  {}", escape(content))));
    }
    if let Some(comment) = &outgoing.report.comment {
        line(String::new());
        line(words.tell("preview-comment", &[("comment", &escape(comment))]));
    }
    line(String::new());
    if outgoing.removed.iter().next().is_none() {
        line(words.say("preview-nothing-removed"));
    } else {
        line(words.say("preview-removed"));
        for (rule, count) in outgoing.removed.iter() {
            line(format!("  {count:>6}  {}", words.say(&format!("removed-{}", rule.name()))));
        }
    }
    for (class, key) in [(Class::Memory, "preview-memory"), (Class::Core, "preview-core")] {
        if outgoing.report.parts.iter().any(|part| part.class == class) {
            line(words.say(key));
        }
    }
    line(String::new());
    if outgoing.withheld.is_empty() {
        line(words.say("preview-nothing-stays"));
    } else {
        line(words.say("preview-stays"));
        for withheld in &outgoing.withheld {
            let name = escape(&withheld.name);
            line(format!("  {name:<44} {:>10}  {}", size(withheld.bytes), withheld.class));
        }
    }
    text
}

/// What `report.json` holds beyond the summary, in words.
fn facts_in(report: &Report, words: &Words) -> String {
    let counted = |key: &str, count: usize| (count > 0).then(|| words.count(key, count));
    let facts = [
        Some(words.say("preview-summary")),
        counted("preview-backtraces", report.threads.len()),
        counted("preview-annotations", report.annotations.len()),
        report.message.as_ref().map(|_| words.say("preview-message")),
        counted("preview-problems", report.problems.len()),
    ];
    facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The same for programs.
fn account(outgoing: &Outgoing, receipt: &Receipt) -> serde_json::Value {
    let removed: serde_json::Map<String, serde_json::Value> =
        outgoing.removed.iter().map(|(rule, count)| (rule.name().to_owned(), count.into())).collect();
    let withheld: Vec<_> = outgoing
        .withheld
        .iter()
        .map(|part| serde_json::json!({"name": part.name, "class": part.class, "bytes": part.bytes}))
        .collect();
    serde_json::json!({
        "id": receipt.report,
        "classes": receipt.classes,
        "destination": receipt.destination,
        "sha256": receipt.outgoing_sha256,
        "bytes": receipt.outgoing_bytes,
        "body": receipt.body,
        "sealed": receipt.sealed,
        "parts": outgoing.report.parts,
        "removed": removed,
        "withheld": withheld,
    })
}

/// What stands in the parts that were made for this dialect, line by line, read back from the body itself.
fn made(outgoing: &[u8], receipt: &Receipt) -> Vec<(&'static str, Vec<String>)> {
    if receipt.sealed.is_some() {
        // Nothing of it is made but a description, whose digest is another at every encryption.
        return Vec::new();
    }
    let plan = wire::plan(receipt.destination.protocol, &mut Cursor::new(outgoing), &receipt.outgoing_sha256);
    let Ok(plan) = plan else { return Vec::new() };
    wire::made(&plan).map(|(name, content)| (name, legible(name, content))).collect()
}

fn legible(name: &str, content: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(content);
    if name == wire::foretrace::METADATA {
        let pairs = wire::foretrace::read_metadata(&text);
        return pairs.iter().map(|(key, value)| format!("{key:<20} {value}")).collect();
    }
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(members)) if members.values().all(serde_json::Value::is_string) => {
            let pairs = members.iter().map(|(key, value)| (key, value.as_str().unwrap_or_default()));
            pairs.map(|(key, value)| format!("{key:<20} {value}")).collect()
        }
        Ok(value) => match serde_json::to_string_pretty(&value) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(_) => vec![text.into_owned()],
        },
        Err(_) => vec![text.into_owned()],
    }
}

/// The token that has a report erased where it was sent to; `None` where nothing was ever made to be sent.
///
/// # Errors
/// A salt that cannot be read.
pub fn erasure_token(report: &ReportDir) -> Result<Option<String>> {
    let text = report.read(SALT)?;
    Ok(text.and_then(|text| Salt::from_text(&text)).map(|salt| salt.erasure_token()))
}

/// The report's salt; drawn when it is first needed and kept, so that a preview and what is sent are the same
/// bytes.
fn salt(report: &ReportDir) -> Result<Salt> {
    if let Some(text) = report.read(SALT)? {
        return Salt::from_text(&text).with_context(|| {
            format!("{} is damaged: remove it to have it drawn anew", report.path().join(SALT).display())
        });
    }
    let mut bytes = [0; 32];
    let (first, second) = bytes.split_at_mut(16);
    first.copy_from_slice(foretrace_store::random_id()?.bytes());
    second.copy_from_slice(foretrace_store::random_id()?.bytes());
    let salt = Salt::from_random(bytes);
    report.write_atomically(SALT, salt.to_text().as_bytes())?;
    Ok(salt)
}

/// The names that this report could give away: its owner's, those of whoever the process ran as, this host's.
fn names<R: std::io::Read + std::io::Seek>(report: &ReportDir, bundle: &mut BundleReader<R>) -> Names {
    let status = bundle.part("process/status").unwrap_or_default();
    let uids: BTreeSet<u32> = uids(&status).chain([report.uid(), nix::unistd::getuid().as_raw()]).collect();
    let (mut homes, mut users) = (Vec::new(), Vec::new());
    for uid in uids.into_iter().filter(|uid| *uid >= FIRST_PERSON && *uid != NOBODY) {
        let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { continue };
        // The first field of the comment is the person's name in words.
        let comment = user.gecos.to_string_lossy();
        users.extend(comment.split(',').next().map(str::to_owned));
        users.push(user.name);
        homes.extend(user.dir.to_str().filter(|home| home.len() > 1).map(str::to_owned));
    }
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let short = host.split('.').next().unwrap_or_default().to_owned();
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hosts: Vec<String> = [host, short, machine]
        .into_iter()
        .filter(|host| !GENERIC_HOSTS.contains(&host.to_lowercase().as_str()))
        .collect();
    Names::new(&homes, &users, &hosts)
}

/// The built-in patterns and the administrator's.
///
/// # Errors
/// One that cannot be compiled: better that nothing leaves than that something leaves which was to be hidden.
fn patterns(settings: &Settings, words: &Words) -> Result<Patterns> {
    let rules = &settings.privacy.redact;
    let custom: Vec<String> = rules.iter().map(|rule| rule.pattern.clone()).collect();
    Patterns::new(&custom).map_err(|bad| {
        let rule = &rules[bad.index];
        let place = format!("{}:{}", escape(&rule.file.display().to_string()), rule.line);
        let (pattern, why) = (escape(&rule.pattern), escape(&bad.why));
        let facts = [("place", place.as_str()), ("pattern", &pattern), ("why", &why)];
        anyhow!(words.tell("redact-wrong", &facts))
    })
}

/// The user IDs that `/proc/PID/status` names.
fn uids(status: &[u8]) -> impl Iterator<Item = u32> {
    let status = String::from_utf8_lossy(status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default().to_owned();
    line.split_whitespace().filter_map(|uid| uid.parse().ok()).collect::<Vec<u32>>().into_iter()
}

#[cfg(test)]
mod tests {
    use foretrace_report::receipt::Protocol;

    use super::*;

    #[test]
    fn the_administrators_limit_and_the_dialect_cap_what_may_be_granted() {
        let mut settings = Settings::default();
        assert_eq!(widest(&settings).to_string(), "summary,stack,trail,logs,memory,core");
        settings.upload.protocol = Protocol::Sentry;
        assert_eq!(widest(&settings).to_string(), "summary,stack,trail,logs,memory");
        settings.consent.max = Class::Trail;
        assert_eq!(widest(&settings).to_string(), "summary,stack,trail");
        let words = Words::new(crate::words::Language::English);
        let chosen = |grant: Grant| chosen(&grant, &settings, ClassSet::EMPTY, &words);
        let ask = |grant: &str| chosen(Grant { grant: Some(grant.parse().unwrap()), only: None });
        assert_eq!(ask("stack").unwrap().to_string(), "summary,stack");
        assert_eq!(ask("trail").unwrap().to_string(), "summary,stack,trail");
        assert!(ask("memory").unwrap_err().to_string().contains("'trail'"));
        let only = |set: &str| chosen(Grant { grant: None, only: Some(set.parse().unwrap()) });
        assert_eq!(only("summary,trail").unwrap().to_string(), "summary,trail");
        assert!(only("trail").unwrap_err().to_string().contains("summary"));
        assert!(only("summary,logs").is_err());
    }

    #[test]
    fn the_process_may_have_run_as_several_users() {
        let status = b"Name:\tx\nUid:\t1000\t1001\t0\t1000\nGid:\t5\t5\t5\t5\n";
        assert_eq!(uids(status).collect::<Vec<_>>(), [1000, 1001, 0, 1000]);
        assert_eq!(uids(b"\xff\xfe").count(), 0);
        assert_eq!(uids(b"Uid:\t99999999999999\t-1").count(), 0);
    }
}
