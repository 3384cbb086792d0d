//! The process's state, reduced to what a report may keep. Pure: bytes in, bytes out.
//!
//! Arguments and environment hold what people type and what services are told in secret. Of the arguments only the
//! first is kept, the program's own name; of the environment only variables that are known to say where and how a
//! program runs, and those that the administrator added.

use foretrace_report::environment::is_allowed;
use foretrace_report::text::escape;

use crate::core::auxv_entries;
use crate::elf::Class;

/// The variables that are allowed, one a line; `allow` extends the built-in list.
pub fn environment(environ: &[u8], allow: &[String]) -> Vec<u8> {
    let mut kept = String::new();
    for variable in environ.split(|byte| *byte == 0) {
        if is_allowed(variable, allow) {
            kept.push_str(&escape(&String::from_utf8_lossy(variable)));
            kept.push('\n');
        }
    }
    kept.into_bytes()
}

/// The first argument, as a line.
pub fn command_line(arguments: &[u8]) -> Vec<u8> {
    let first = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut line = escape(&String::from_utf8_lossy(first)).into_bytes();
    line.push(b'\n');
    line
}

/// Open descriptors, one a line: the number, and what it points to.
pub fn descriptors(records: &[u8]) -> Vec<u8> {
    let mut listing = String::new();
    for record in records.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let text = String::from_utf8_lossy(record);
        let (number, target) = text.split_once('\t').unwrap_or(("?", &text));
        listing.push_str(&format!("{} {}\n", escape(number), escape(target)));
    }
    listing.into_bytes()
}

/// Records of a name and a text, each text under its name.
pub fn records(records: &[u8]) -> Vec<u8> {
    let mut listing = String::new();
    for record in records.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let text = String::from_utf8_lossy(record);
        let (name, content) = text.split_once('\t').unwrap_or(("?", &text));
        listing.push_str(&format!("{}:\n{}\n", escape(name), content.trim_end()));
    }
    listing.into_bytes()
}

/// The auxiliary vector, one entry a line, in hex.
pub fn auxiliary_vector(vector: &[u8], class: Class) -> Vec<u8> {
    let entries = auxv_entries(vector, class);
    let lines: String = entries.iter().map(|(key, value)| format!("{key} {value:#x}\n")).collect();
    lines.into_bytes()
}

/// The first processor's description: the others say the same.
pub fn processor(cpuinfo: &[u8]) -> &[u8] {
    let end = cpuinfo.windows(2).position(|pair| pair == b"\n\n").map_or(cpuinfo.len(), |end| end + 1);
    &cpuinfo[..end]
}

/// The value of a key in an os-release file, without its quotes.
pub fn os_release_value(text: &[u8], key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?.trim();
    let unquoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
    Some(unquoted.unwrap_or(value).to_owned())
}

/// The kernel's lines that are not older than `seconds` before `now`, both since boot. Lines without a time stay with
/// the line before them.
pub fn recent_lines(log: &[u8], now: f64, seconds: f64) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut recent = false;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        if let Some(time) = kernel_time(line) {
            recent = time >= now - seconds;
        }
        if recent {
            kept.extend_from_slice(line);
        }
    }
    kept
}

// <6>[   12.345678] text
fn kernel_time(line: &[u8]) -> Option<f64> {
    let start = line.iter().position(|byte| *byte == b'[').filter(|start| *start <= 5)?;
    let end = line.iter().position(|byte| *byte == b']')?;
    std::str::from_utf8(line.get(start + 1..end)?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_variables_are_kept() {
        let environ = b"PATH=/bin\0AWS_SECRET_ACCESS_KEY=x\0LC_TIME=de\0LANGUISH=de\0MY_FLAG=1\0broken\0LANG=a\nHOME=/h\0";
        let kept = environment(environ, &["MY_*".into()]);
        assert_eq!(kept, b"PATH=/bin\nLC_TIME=de\nMY_FLAG=1\nLANG=a\\u{a}HOME=/h\n");
        assert_eq!(environment(b"", &[]), b"");
    }

    #[test]
    fn of_the_arguments_only_the_first_is_kept() {
        assert_eq!(command_line(b"/bin/login\0--password=hunter2\0"), b"/bin/login\n");
        assert_eq!(command_line(b"a\nb"), b"a\\u{a}b\n");
        assert_eq!(command_line(b""), b"\n");
    }

    #[test]
    fn a_file_name_cannot_add_a_descriptor() {
        assert_eq!(
            descriptors(b"3\t/a\n4 /etc/shadow\x005\tpipe:[1]\0"),
            b"3 /a\\u{a}4 /etc/shadow\n5 pipe:[1]\n"
        );
    }

    #[test]
    fn the_systems_name_is_found_with_and_without_quotes() {
        let text = b"NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        assert_eq!(os_release_value(text, "PRETTY_NAME").unwrap(), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os_release_value(text, "ID").unwrap(), "debian");
        assert_eq!(os_release_value(text, "PRETTY"), None);
    }

    #[test]
    fn old_lines_of_the_kernel_are_left_out() {
        let log = b"<6>[   10.0] old\n<6>[  100.5] a\n continued\n<4>[  101.0] b [1.0]\n";
        assert_eq!(recent_lines(log, 110.0, 20.0), b"<6>[  100.5] a\n continued\n<4>[  101.0] b [1.0]\n");
        assert_eq!(recent_lines(b"no times at all\n", 110.0, 20.0), b"");
    }

    #[test]
    fn one_processor_stands_for_all() {
        assert_eq!(processor(b"processor: 0\nmodel: x\n\nprocessor: 1\n"), b"processor: 0\nmodel: x\n");
        assert_eq!(processor(b"processor: 0"), b"processor: 0");
    }
}
