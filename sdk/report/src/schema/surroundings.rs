//! What surrounded a program: which service it belonged to, which container, how short memory was.
//!
//! Names in it are the machine's own. A container's are what its directories and control group say: a user may name
//! both, so nothing may ever be decided by them.

use serde::{Deserialize, Serialize};

/// Service, container, namespaces, changed files and pressure; each as far as it was known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The system's unit, as in `nginx.service` or `session-2.scope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The unit of a user's own manager, as in `app-editor-417.scope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_unit: Option<String>,
    /// The slice of the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// The login session's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The kinds of namespaces that are not the handler's, which are the machine's first ones, as in `mnt`, `pid`, `user`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The process's number in its own PID namespace, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_pid: Option<u32>,
    /// Files that the program had mapped and that differ from what their package installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modified: Vec<String>,
    /// How short memory and time were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

impl Surroundings {
    /// Every text in it that may name people or machines.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let container = self.container.iter_mut().flat_map(|container| {
            let Container { engine: _, id, name, image, os } = container;
            [id, name, image, os].into_iter().flatten()
        });
        [&mut self.unit, &mut self.user_unit, &mut self.slice, &mut self.session]
            .into_iter()
            .flatten()
            .chain(container)
            .chain(&mut self.modified)
    }
}

/// A container, as its control group and its own files name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// `docker`, `podman`, `kubernetes`, `lxc`, `nspawn`, `containerd`, `flatpak` or `snap`.
    pub engine: String,
    /// What the engine calls it: 64 hex digits, or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `PRETTY_NAME` of the os-release in its root directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
}

/// How short memory and time were when the report was made. Sizes in bytes; stalls as the share of the last ten seconds
/// in which something waited, in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// The machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// What of it could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available: Option<u64>,
    /// Free swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_free: Option<u64>,
    /// The machine's wait for processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_stalled: Option<f64>,
    /// The machine's wait for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_stalled: Option<f64>,
    /// The machine's wait for disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_stalled: Option<f64>,
    /// Memory of the program's control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_memory: Option<u64>,
    /// The most that the group may have; none where it has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_memory_limit: Option<u64>,
    /// The group's wait for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_memory_stalled: Option<f64>,
    /// How many of the group's processes were killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_oom_kills: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_that_may_name_somebody_is_handed_out_for_hiding() {
        let text = |text: &str| Some(text.to_owned());
        let mut all = Surroundings {
            unit: text("a"),
            user_unit: text("b"),
            slice: text("c"),
            session: text("d"),
            container: Some(Container {
                engine: "podman".into(),
                id: text("e"),
                name: text("f"),
                image: text("g"),
                os: text("h"),
            }),
            namespaces: vec!["mnt".into()],
            inner_pid: Some(1),
            modified: vec!["i".into()],
            pressure: None,
        };
        assert_eq!(all.texts_mut().map(|text| text.clone()).collect::<String>(), "abcdefghi");
    }
}
