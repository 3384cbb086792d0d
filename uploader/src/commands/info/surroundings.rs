//! What surrounded a program, in plain words: a name and a sentence for each fact that is known.

use foretrace_report::schema::{Container, Pressure, Surroundings};
use foretrace_report::text::escape;

use crate::sentence::size;

/// From this share of the last ten seconds on, in percent, a wait is worth a word.
const NOTABLE: f64 = 1.0;
/// Names shown of changed files.
const FILES: usize = 8;

/// The facts in the order in which they are read; a fact that is not known has an empty sentence.
pub fn facts(around: &Surroundings) -> [(&'static str, String); 5] {
    [
        ("Service", service(around)),
        ("Container", around.container.as_ref().map(container).unwrap_or_default()),
        ("Namespaces", namespaces(around)),
        ("Changed", changed(&around.modified)),
        ("Pressure", around.pressure.as_ref().map(pressure).unwrap_or_default()),
    ]
}

fn service(around: &Surroundings) -> String {
    let unit = around.user_unit.as_deref().or(around.unit.as_deref());
    let Some(unit) = unit else { return String::new() };
    let manager = if around.user_unit.is_some() { " of the user's own manager" } else { "" };
    let slice = around.slice.as_deref().map(|slice| format!(", in {}", escape(slice))).unwrap_or_default();
    format!("{}{manager}{slice}", escape(unit))
}

fn container(container: &Container) -> String {
    const SHORT: usize = 12;
    let Container { engine, id, name, image, os } = container;
    let known = match engine.as_str() {
        "other" => "another root directory".to_owned(),
        engine => escape(engine),
    };
    let id = id.as_deref().map(|id| escape(&id.chars().take(SHORT).collect::<String>()));
    let words =
        [name.as_deref().map(escape), id, image.as_deref().map(|image| format!("from {}", escape(image)))];
    let inside = os.as_deref().map(|os| format!("with {}", escape(os)));
    [Some(known)].into_iter().chain(words).chain([inside]).flatten().collect::<Vec<_>>().join(", ")
}

fn namespaces(around: &Surroundings) -> String {
    if around.namespaces.is_empty() {
        return String::new();
    }
    let kinds: Vec<String> = around.namespaces.iter().map(|kind| escape(kind)).collect();
    let inner = around.inner_pid.map(|pid| format!("; process {pid} inside")).unwrap_or_default();
    format!("its own {}{inner}", kinds.join(", "))
}

fn changed(modified: &[String]) -> String {
    if modified.is_empty() {
        return String::new();
    }
    let names: Vec<String> = modified.iter().take(FILES).map(|name| escape(name)).collect();
    let more = modified.len().saturating_sub(FILES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}: not as the package installed", names.join(", "))
}

fn pressure(pressure: &Pressure) -> String {
    let mut said = Vec::new();
    if let (Some(free), Some(total)) = (pressure.memory_available, pressure.memory_total) {
        said.push(format!("{} of {} memory available", size(free), size(total)));
    }
    match (pressure.group_memory, pressure.group_memory_limit) {
        (Some(used), Some(limit)) => said.push(format!("its group used {} of {}", size(used), size(limit))),
        (Some(used), None) => said.push(format!("its group used {}", size(used))),
        (None, _) => {}
    }
    let waits = [
        ("processors", pressure.cpu_stalled),
        ("memory", pressure.memory_stalled),
        ("disks", pressure.io_stalled),
        ("its group's memory", pressure.group_memory_stalled),
    ];
    for (what, share) in waits {
        said.extend(
            share.filter(|share| *share >= NOTABLE).map(|share| format!("{share:.0} % waiting for {what}")),
        );
    }
    match pressure.group_oom_kills {
        None | Some(0) => {}
        Some(1) => said.push("1 process of its group was killed for want of memory".into()),
        Some(many) => said.push(format!("{many} processes of its group were killed for want of memory")),
    }
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let said: Vec<String> = facts(&around).into_iter().map(|(_, sentence)| sentence).collect();
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
        assert!(facts(&Surroundings::default()).iter().all(|(_, sentence)| sentence.is_empty()));
    }
}
