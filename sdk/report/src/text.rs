//! Text that came from a process, made safe to print. Owns the one escaping rule that terminals, pages and logs share.

/// Escapes what could move a cursor, colour a terminal or reorder a line: control and bidirectional characters.
///
/// A newline is escaped too: a command name must not be able to add a line to a list.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidirectional(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same rule for a whole JSON text, whose writers escape only the control characters of ASCII: the others and the
/// bidirectional ones become JSON's own escapes, which changes nothing for who reads it as JSON.
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        // All of them stand in strings, and all have four hexadecimal digits.
        if c.is_control() && !matches!(c, '\t' | '\n' | '\r') || is_bidirectional(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(escape("a\x1b[31m\n\u{202e}b ü"), "a\\u{1b}[31m\\u{a}\\u{202e}b ü");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal_from_json_and_is_the_same_name() {
        let name = "\u{9b}31m\u{202e}\u{7f}\x1b\n ü";
        let text = format!("{{\n  \"name\": {}\n}}", serde_json::to_string(name).unwrap());
        let safe = escape_json(&text);
        assert_eq!(safe, "{\n  \"name\": \"\\u009b31m\\u202e\\u007f\\u001b\\n ü\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap()["name"], name);
    }
}
