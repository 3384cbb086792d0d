//! What surrounded a program, in plain words: a name and a sentence for each fact that is known.

use foretrace_report::schema::{Container, Pressure, Surroundings};
use foretrace_report::text::escape;

use crate::sentence::size;
use crate::words::Words;

/// From this share of the last ten seconds on, in percent, a wait is worth a word.
const NOTABLE: f64 = 1.0;
/// Names shown of changed files.
const FILES: usize = 8;

/// The facts in the order in which they are read, each with its name in the catalogue; a fact that is not known has an
/// empty sentence.
pub fn facts(around: &Surroundings, words: &Words) -> [(&'static str, String); 5] {
    [
        ("info-service", service(around, words)),
        ("info-container", around.container.as_ref().map(|it| container(it, words)).unwrap_or_default()),
        ("info-namespaces", namespaces(around, words)),
        ("info-changed", changed(&around.modified, words)),
        ("info-pressure", around.pressure.as_ref().map(|it| pressure(it, words)).unwrap_or_default()),
    ]
}

fn service(around: &Surroundings, words: &Words) -> String {
    let unit = around.user_unit.as_deref().or(around.unit.as_deref());
    let Some(unit) = unit else { return String::new() };
    let manager = around.user_unit.as_ref().map(|_| words.say("around-manager")).unwrap_or_default();
    let slice = around.slice.as_deref().map(escape);
    let slice = slice.map(|slice| words.tell("around-slice", &[("slice", &slice)])).unwrap_or_default();
    format!("{}{manager}{slice}", escape(unit))
}

fn container(container: &Container, words: &Words) -> String {
    const SHORT: usize = 12;
    let Container { engine, id, name, image, os } = container;
    let known = match engine.as_str() {
        "other" => words.say("around-other-root"),
        engine => escape(engine),
    };
    let id = id.as_deref().map(|id| escape(&id.chars().take(SHORT).collect::<String>()));
    let image = image.as_deref().map(|image| words.tell("around-image", &[("image", &escape(image))]));
    let inside = os.as_deref().map(|os| words.tell("around-os", &[("os", &escape(os))]));
    let facts = [Some(known), name.as_deref().map(escape), id, image, inside];
    facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn namespaces(around: &Surroundings, words: &Words) -> String {
    if around.namespaces.is_empty() {
        return String::new();
    }
    let kinds: Vec<String> = around.namespaces.iter().map(|kind| escape(kind)).collect();
    let inner = around.inner_pid.map(|pid| words.tell("around-inner", &[("pid", &pid.to_string())]));
    words.tell("around-own", &[("kinds", &kinds.join(", "))]) + &inner.unwrap_or_default()
}

fn changed(modified: &[String], words: &Words) -> String {
    if modified.is_empty() {
        return String::new();
    }
    let names: Vec<String> = modified.iter().take(FILES).map(|name| escape(name)).collect();
    let names = names.join(", ");
    match modified.len().saturating_sub(FILES) {
        0 => words.tell("around-changed", &[("files", &names)]),
        more => words.amount("around-more-changed", more, &[("files", &names)]),
    }
}

fn pressure(pressure: &Pressure, words: &Words) -> String {
    let mut said = Vec::new();
    let two = |key, one: u64, other: u64| words.tell(key, &[("one", &size(one)), ("other", &size(other))]);
    if let (Some(free), Some(total)) = (pressure.memory_available, pressure.memory_total) {
        said.push(two("around-memory", free, total));
    }
    match (pressure.group_memory, pressure.group_memory_limit) {
        (Some(used), Some(limit)) => said.push(two("around-group-memory-of", used, limit)),
        (Some(used), None) => said.push(words.tell("around-group-memory", &[("used", &size(used))])),
        (None, _) => {}
    }
    let waits = [
        ("around-wait-processors", pressure.cpu_stalled),
        ("around-wait-memory", pressure.memory_stalled),
        ("around-wait-disks", pressure.io_stalled),
        ("around-wait-group", pressure.group_memory_stalled),
    ];
    for (key, share) in waits {
        let share = share.filter(|share| *share >= NOTABLE).map(|share| format!("{share:.0}"));
        said.extend(share.map(|share| words.tell(key, &[("share", &share)])));
    }
    if let Some(kills @ 1..) = pressure.group_oom_kills {
        said.push(words.count("around-killed", usize::try_from(kills).unwrap_or(usize::MAX)));
    }
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Language;

    #[test]
    fn what_is_known_is_said_in_plain_words_and_nothing_else() {
        let around = Surroundings {
            unit: Some("user@7.service".into()),
            user_unit: Some("app\u{1b}.scope".into()),
            slice: Some("user-7.slice".into()),
            container: Some(Container {
                engine: "podman".into(),
                id: Some("0123456789abcdef".into()),
                name: Some("web".into()),
                image: None,
                os: Some("Alpine".into()),
            }),
            namespaces: vec!["mnt".into(), "pid".into()],
            inner_pid: Some(4),
            modified: vec!["/usr/bin/x".into()],
            pressure: Some(Pressure {
                memory_total: Some(2 << 30),
                memory_available: Some(1 << 30),
                memory_stalled: Some(12.4),
                io_stalled: Some(0.2),
                group_oom_kills: Some(1),
                ..Pressure::default()
            }),
            ..Surroundings::default()
        };
        let words = Words::new(Language::English);
        let said: Vec<String> = facts(&around, &words).into_iter().map(|(_, sentence)| sentence).collect();
        assert_eq!(said[0], "app\\u{1b}.scope of the user's own manager, in user-7.slice");
        assert_eq!(said[1], "podman, web, 0123456789ab, with Alpine");
        assert_eq!(said[2], "its own mnt, pid; process 4 inside");
        assert_eq!(said[3], "/usr/bin/x: not as the package installed");
        assert!(
            said[4].contains("12 % waiting for memory; 1 process of its group was killed"),
            "{}",
            said[4]
        );
        assert!(!said[4].contains("disks"));
        assert!(facts(&Surroundings::default(), &words).iter().all(|(_, sentence)| sentence.is_empty()));
    }
}
