//! What the administrator wishes for one program or unit: no report at all, or a plain core as well. Pure.

use foretrace_store::settings::Capture;

use crate::surroundings::{Unit, group_path};

/// Who crashed, as settings name it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crashed<'a> {
    /// The executable's path.
    pub executable: &'a [u8],
    /// `/proc/PID/cgroup`.
    pub cgroup: &'a [u8],
}

/// What is wished for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// No report.
    pub ignore: bool,
    /// A core in its current directory.
    pub plain_core: bool,
}

impl Wishes {
    /// What the settings say of `crashed`.
    pub fn of(crashed: Crashed<'_>, capture: &Capture) -> Wishes {
        Wishes { ignore: fits(crashed, &capture.ignore), plain_core: fits(crashed, &capture.plain_core) }
    }
}

fn fits(crashed: Crashed<'_>, patterns: &[String]) -> bool {
    // A file that was replaced while it ran, as every update does, is still the same program.
    let executable = crashed.executable.strip_suffix(b" (deleted)").unwrap_or(crashed.executable);
    let cgroup = String::from_utf8_lossy(crashed.cgroup);
    let Unit { unit, user_unit, .. } = group_path(&cgroup).map(Unit::of).unwrap_or_default();
    let units = [unit, user_unit].map(Option::unwrap_or_default);
    patterns.iter().any(|pattern| {
        let fits = |subject: &[u8]| !subject.is_empty() && matches(pattern.as_bytes(), subject);
        if pattern.contains('/') || pattern == "*" {
            fits(executable)
        } else {
            units.iter().any(|unit| fits(unit.as_bytes()))
        }
    })
}

// `*` fits any bytes, also none. Never slower than the product of the lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut star = None;
    while next < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(byte) if *byte == text[next] => {
                at += 1;
                next += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    next = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(ignore: &str, executable: &str, cgroup: &str) -> bool {
        let capture =
            Capture { ignore: ignore.split_whitespace().map(str::to_owned).collect(), ..Capture::default() };
        let crashed = Crashed { executable: executable.as_bytes(), cgroup: cgroup.as_bytes() };
        Wishes::of(crashed, &capture).ignore
    }

    #[test]
    fn programs_are_meant_by_path_and_units_by_name() {
        assert!(wishes("/usr/bin/a", "/usr/bin/a", ""));
        assert!(wishes("/usr/bin/a", "/usr/bin/a (deleted)", ""));
        assert!(wishes("/opt/*/bin/* x.service", "/opt/t/v1/bin/tool", ""));
        assert!(wishes("*.service", "/x", "1:name=systemd:/\n0::/system.slice/db.service/worker\n"));
        assert!(wishes("db@*.service", "/x", "0::/system.slice/db@1.service\n"));
        assert!(wishes("db.service", "/x", "1:name=systemd:/system.slice/db.service\n0::/\n"));
        let app = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app.service\n";
        assert!(wishes("app.service", "/x", app) && wishes("user@*.service", "/x", app));
        for (ignore, executable, cgroup) in [
            ("/usr/bin/a", "/usr/bin/ab", ""),
            ("/usr/bin/a", "/evil/usr/bin/a", ""),
            ("a.service", "/a.service", ""),
            ("/usr/bin/*", "", ""),
            ("b.service", "/x", "0::/user.slice/a.service\n"),
            ("", "/x", ""),
        ] {
            assert!(!wishes(ignore, executable, cgroup), "{ignore} {executable} {cgroup}");
        }
    }

    #[test]
    fn a_star_fits_anything_also_nothing() {
        for (pattern, text, fit) in [
            ("*", "", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a--b-b-c", true),
            ("a*b*c", "a--b-b-", false),
            ("**a", "ba", true),
            ("a", "aa", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fit, "{pattern} {text}");
        }
        let (pattern, text) = ("a*".repeat(200) + "b", "a".repeat(5000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
