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
}
