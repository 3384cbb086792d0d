//! A service manager's names for a process, from the path of its control group.
//!
//! The same reading as systemd's own: slices down to the first unit; below `user@N.service` the user's manager goes on
//! with slices and a unit of its own. A leading `_` only escapes names that the kernel would misread.

/// The names in a control group's path, each as far as it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// The system's unit.
    pub unit: Option<String>,
    /// The unit of a user's own manager.
    pub user_unit: Option<String>,
    /// The last slice before the system's unit.
    pub slice: Option<String>,
    /// The login session's number.
    pub session: Option<String>,
    /// The user whose slice it lies in.
    pub owner: Option<u32>,
}

impl Unit {
    /// Reads a path such as `/system.slice/nginx.service`.
    pub fn of(path: &str) -> Unit {
        let mut names = path.split('/').filter(|name| !name.is_empty()).map(unescaped);
        let mut found = Unit::default();
        for name in names.by_ref() {
            if name.ends_with(".slice") && is_unit_name(name) {
                if let Some(owner) = between(name, "user-", ".slice") {
                    found.owner = owner.parse().ok();
                }
                found.slice = Some(name.to_owned());
            } else if is_unit_name(name) {
                found.session = between(name, "session-", ".scope").map(str::to_owned);
                found.unit = Some(name.to_owned());
                break;
            } else {
                return found;
            }
        }
        if found.unit.as_deref().is_some_and(|unit| between(unit, "user@", ".service").is_some()) {
            let own = names.find(|name| !name.ends_with(".slice"));
            found.user_unit = own.filter(|name| is_unit_name(name)).map(str::to_owned);
        }
        found
    }
}

/// Whether this is a unit's name: the characters that systemd allows, and an ending that it knows.
pub fn is_unit_name(name: &str) -> bool {
    const LONGEST: usize = 255;
    const ENDINGS: [&str; 3] = ["service", "scope", "slice"];
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= LONGEST
        && name.bytes().all(allowed)
        && name.rsplit_once('.').is_some_and(|(start, end)| {
            !start.is_empty() && !start.starts_with('-') && ENDINGS.contains(&end)
        })
}

fn unescaped(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

fn between<'a>(name: &'a str, start: &str, end: &str) -> Option<&'a str> {
    name.strip_prefix(start)?.strip_suffix(end).filter(|middle| !middle.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &str) -> String {
        let found = Unit::of(path);
        let owner = found.owner.map(|owner| owner.to_string());
        let parts = [found.unit, found.user_unit, found.slice, found.session, owner];
        parts.map(|part| part.unwrap_or_else(|| "-".into())).join(" ")
    }

    #[test]
    fn a_path_names_unit_slice_session_and_owner() {
        for (path, expected) in [
            ("/system.slice/nginx.service", "nginx.service - system.slice - -"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service - system-getty.slice - -",
            ),
            ("/user.slice/user-1000.slice/session-2.scope", "session-2.scope - user-1000.slice 2 1000"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor-7.scope",
                "user@1000.service app-editor-7.scope user-1000.slice - 1000",
            ),
            ("/system.slice/nginx.service/worker.service", "nginx.service - system.slice - -"),
            ("/system.slice/_cpu.service", "cpu.service - system.slice - -"),
            ("/init.scope", "init.scope - - - -"),
            ("/docker/4711", "- - - - -"),
            ("/", "- - - - -"),
            ("", "- - - - -"),
        ] {
            assert_eq!(words(path), expected, "{path}");
        }
    }

    #[test]
    fn only_what_systemd_would_take_is_a_units_name() {
        for name in ["a.service", "a@b\\x2d.service", "a:1.scope", "x-y.slice"] {
            assert!(is_unit_name(name), "{name}");
        }
        for name in
            ["", ".service", "a.socket", "a b.service", "--root=.service", "a/b.service", "a\n.service"]
        {
            assert!(!is_unit_name(name), "{name}");
        }
        assert!(!is_unit_name(&format!("{}.service", "a".repeat(250))));
    }
}
