//! The syntax of settings files, as systemd reads it: sections, `Key=Value`, comments, continued lines.
//!
//! Pure: text in, assignments and complaints with line numbers out. Knows no key.

/// One `Key=Value` line in its section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: u32,
}

/// Splits a file into assignments; what is none is returned with its line and a sentence.
pub(crate) fn parse(text: &str) -> (Vec<Assignment>, Vec<(u32, String)>) {
    let (mut assignments, mut complaints) = (Vec::new(), Vec::new());
    let mut section = None;
    for (line, content) in logical_lines(text) {
        if let Some(name) = content.strip_prefix('[') {
            section = match name.strip_suffix(']') {
                Some(name) => Some(name.trim().to_owned()),
                None => {
                    complaints.push((line, "a section's name ends with ']'".to_owned()));
                    None
                }
            };
        } else if let Some((key, value)) = content.split_once('=') {
            match &section {
                Some(section) => assignments.push(Assignment {
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                    line,
                }),
                None => complaints.push((line, "this setting stands in no section".to_owned())),
            }
        } else {
            complaints.push((line, "this is neither a section, nor Key=Value, nor a comment".to_owned()));
        }
    }
    (assignments, complaints)
}

/// Lines with content, continued ones joined, each with the number at which it starts.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut lines: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (number, raw) in (1..).zip(text.lines()) {
        let trimmed = raw.trim();
        // A comment between continued lines does not end them.
        if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && !open) {
            continue;
        }
        let (content, continues) = match trimmed.strip_suffix('\\') {
            Some(content) => (content.trim_end(), true),
            None => (trimmed, false),
        };
        match lines.last_mut().filter(|_| open) {
            Some((_, joined)) => {
                joined.push(' ');
                joined.push_str(content);
            }
            None => lines.push((number, content.to_owned())),
        }
        open = continues;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, u32)> {
        let assignments = parse(text).0;
        assignments.into_iter().map(|a| (format!("{}.{}={}", a.section, a.key, a.value), a.line)).collect()
    }

    #[test]
    fn comments_blank_lines_and_spaces_mean_nothing() {
        let text = "# a\n; b\n\n [ Upload ] \n  Url = http://x/?a=b  \n\tProtocol=socorro\n";
        assert_eq!(
            pairs(text),
            [("Upload.Url=http://x/?a=b".into(), 5), ("Upload.Protocol=socorro".into(), 6)]
        );
    }

    #[test]
    fn a_continued_line_counts_from_where_it_began() {
        let text = "[Privacy]\nEnvironmentAllow=A \\\n# not part of it\n  B \\\n  C\nRecipient=x\n";
        assert_eq!(
            pairs(text),
            [("Privacy.EnvironmentAllow=A B C".into(), 2), ("Privacy.Recipient=x".into(), 6)]
        );
    }

    #[test]
    fn what_is_no_setting_is_told_with_its_line() {
        let (assignments, complaints) = parse("Url=x\n[Upload\nnonsense\n[Upload]\nUrl=y");
        assert_eq!(assignments.len(), 1);
        assert_eq!(complaints.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
