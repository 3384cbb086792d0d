//! What can be read of a process, by names and by numbers that travel between the handler's processes. Reads nothing.

/// What can be read of a process. The numbers travel between the handler's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Part {
    /// Its mappings.
    Maps = 1,
    /// Credentials, threads, signals, namespaced IDs.
    Status = 2,
    /// Start time and more, one line.
    Stat = 3,
    /// Resource limits.
    Limits = 4,
    /// Control groups.
    Cgroup = 5,
    /// Mounts.
    MountInfo = 6,
    /// The auxiliary vector, as the kernel keeps it.
    Auxv = 7,
    /// The environment. Reads the process's memory, and so may block for ever.
    Environ = 8,
    /// The arguments. Reads the process's memory, and so may block for ever.
    CommandLine = 9,
    /// The path of its executable.
    Executable = 10,
    /// The command name.
    Name = 11,
    /// Its open descriptors: number, a tab, what it points to, a zero byte; repeated.
    Descriptors = 12,
    /// Its threads: number as 4 bytes, name as 16 bytes padded with zeros; repeated.
    Threads = 13,
    /// One byte: 1 where its root directory and mounts are this process's own, 0 where they are others; then its root
    /// directory, as this process sees it.
    Root = 14,
    /// The machine's processors.
    Processors = 15,
    /// Its namespaces, one a line: kind, its own, that of the process that reads.
    Namespaces = 16,
    /// How short memory and time are, for the machine and for its control group: name, a tab, the file's content, a
    /// zero byte; repeated.
    Pressure = 17,
    /// Its threads' numbers: that of the host, a tab, those from the outermost PID namespace to their own, a zero byte;
    /// repeated.
    Numbers = 18,
    /// The sockets of its network namespace: the table's name, a tab, as much of the table as is read, a zero byte;
    /// repeated.
    Sockets = 19,
    /// The machine's mounts, as the process that reads has them.
    Mounts = 20,
    /// The path of its current directory.
    Directory = 21,
    /// How far its time namespace has moved its clocks.
    Clocks = 22,
}

impl Part {
    /// Every part, by number.
    pub const ALL: [Part; 22] = [
        Part::Maps,
        Part::Status,
        Part::Stat,
        Part::Limits,
        Part::Cgroup,
        Part::MountInfo,
        Part::Auxv,
        Part::Environ,
        Part::CommandLine,
        Part::Executable,
        Part::Name,
        Part::Descriptors,
        Part::Threads,
        Part::Root,
        Part::Processors,
        Part::Namespaces,
        Part::Pressure,
        Part::Numbers,
        Part::Sockets,
        Part::Mounts,
        Part::Directory,
        Part::Clocks,
    ];

    /// The part with this number.
    pub fn from_number(number: u32) -> Option<Part> {
        Part::ALL.into_iter().find(|part| *part as u32 == number)
    }

    /// Whether reading it reads the process's memory, which may block for ever.
    pub fn reads_memory(self) -> bool {
        matches!(self, Part::Environ | Part::CommandLine)
    }

    /// What it is, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Part::Maps => "its mappings",
            Part::Status => "its status",
            Part::Stat => "its start time",
            Part::Limits => "its limits",
            Part::Cgroup => "its control groups",
            Part::MountInfo => "its mounts",
            Part::Auxv => "its auxiliary vector",
            Part::Environ => "its environment",
            Part::CommandLine => "its arguments",
            Part::Executable => "its executable's path",
            Part::Name => "its command name",
            Part::Descriptors => "its descriptors",
            Part::Threads => "its threads' names",
            Part::Root => "its root directory",
            Part::Processors => "the machine's processors",
            Part::Namespaces => "its namespaces",
            Part::Pressure => "the pressure on memory and time",
            Part::Numbers => "its threads' numbers",
            Part::Sockets => "its sockets",
            Part::Mounts => "the machine's mounts",
            Part::Directory => "its current directory",
            Part::Clocks => "its clocks",
        }
    }

    pub(super) fn bound(self) -> u64 {
        match self {
            // A process may have 65,530 mappings by default, with paths of any length.
            Part::Maps => 64 << 20,
            Part::Processors => 64 << 10,
            _ => 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_one_number() {
        for part in Part::ALL {
            assert_eq!(Part::from_number(part as u32), Some(part));
        }
        assert_eq!(Part::from_number(0), None);
    }
}
