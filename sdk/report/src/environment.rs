//! Which environment variables a report may hold: the one list that the handler collects by and the redaction checks by.
//!
//! Environments hold what services are told in secret, so only variables that are known to say where and how a program
//! runs are allowed, and those that an administrator added.

/// The variables that are allowed; a trailing `*` fits any end.
const ALLOWED: [&str; 13] = [
    "PATH",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TERM",
    "SHELL",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_CURRENT_DESKTOP",
    "XDG_SESSION_TYPE",
    "DESKTOP_SESSION",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
];

/// Whether a variable (`NAME=value`) may be kept; `more` extends the list by patterns of the same form. What has no `=`
/// is no variable but something that a program wrote over its environment.
pub fn is_allowed(variable: &[u8], more: &[String]) -> bool {
    let Some(end) = variable.iter().position(|byte| *byte == b'=') else { return false };
    let name = &variable[..end];
    ALLOWED.into_iter().chain(more.iter().map(String::as_str)).any(|pattern| {
        match pattern.strip_suffix('*') {
            Some(start) => !start.is_empty() && name.starts_with(start.as_bytes()),
            None => name == pattern.as_bytes(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_or_added_is_allowed() {
        let more = ["APP_*".to_owned(), "*".to_owned()];
        for (variable, alone, with_more) in [
            ("PATH=/bin", true, true),
            ("LC_ALL=C", true, true),
            ("PATHS=/bin", false, false),
            ("APP_MODE=x", false, true),
            ("TOKEN=secret", false, false),
            ("PATH", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_allowed(variable.as_bytes(), &[]), alone, "{variable}");
            assert_eq!(is_allowed(variable.as_bytes(), &more), with_more, "{variable}");
        }
    }
}
