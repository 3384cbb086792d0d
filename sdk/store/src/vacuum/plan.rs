//! What goes when there is too much: a pure function of sizes, times and kinship.
//!
//! Fair among users, then among a user's programs, then among a program's ways to crash: what has most loses first, and
//! the last that is taken is a program's only report. So neither a storm nor another user's hoard costs it.

use std::collections::BTreeMap;

use foretrace_report::ReportId;

/// Why a report is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Older than `MaxAge=`.
    Age,
    /// More than `MaxUse=` allows together.
    Use,
    /// Less is free than `KeepFree=` wants.
    Free,
}

/// What the plan needs to know of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: ReportId,
    /// Whose it is.
    pub uid: u32,
    /// Reports of one program of a user have the same number here.
    pub program: u64,
    /// Reports of one way of a program to crash have the same number here.
    pub way: u64,
    /// When it was written: seconds since 1970 and nanoseconds. A storm makes many in a second.
    pub modified: (i64, i64),
    /// The space that it takes.
    pub bytes: u64,
}

/// The limits of one store at one moment, in bytes and seconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How much there may be.
    pub max_use: u64,
    /// How much is to be left where there is more than that.
    pub target: u64,
    /// How much must become free for `KeepFree=`.
    pub short_of_free: u64,
    /// How old anything may become.
    pub max_age: i64,
}

/// Which entries go, by their index, and why: what is too old; then, while there is too much, of the user who takes
/// most, of the program that takes most and has others left, the oldest of the way to crash that takes most.
pub fn plan(entries: &[Entry], now: i64, limits: &Limits) -> BTreeMap<usize, Reason> {
    let mut doomed = BTreeMap::new();
    let mut users: BTreeMap<u32, User> = BTreeMap::new();
    let (mut total, mut freed) = (0_u64, 0_u64);
    for (index, entry) in entries.iter().enumerate() {
        if now.saturating_sub(entry.modified.0) > limits.max_age {
            doomed.insert(index, Reason::Age);
            freed = freed.saturating_add(entry.bytes);
        } else {
            users.entry(entry.uid).or_default().add(index, entry);
            total = total.saturating_add(entry.bytes);
        }
    }
    users.values_mut().for_each(|user| user.sort(entries));
    let most = if total > limits.max_use { limits.target } else { limits.max_use };
    loop {
        let (why, spared) = match () {
            () if total > most => (Reason::Use, 0),
            // A disk that others have filled must not cost any program its only report.
            () if freed < limits.short_of_free => (Reason::Free, 1),
            () => return doomed,
        };
        let largest =
            users.values_mut().filter(|user| user.has_more_than(spared)).max_by_key(|user| user.bytes);
        let Some(index) = largest.and_then(|user| user.pop(entries)) else { return doomed };
        total -= entries[index].bytes;
        freed = freed.saturating_add(entries[index].bytes);
        doomed.insert(index, why);
    }
}

/// A user's reports, by program.
#[derive(Default)]
struct User {
    bytes: u64,
    programs: BTreeMap<u64, Program>,
}

/// A program's reports, by the way it crashed; newest first.
#[derive(Default)]
struct Program {
    bytes: u64,
    reports: usize,
    ways: BTreeMap<u64, (u64, Vec<usize>)>,
}

impl User {
    fn add(&mut self, index: usize, entry: &Entry) {
        let program = self.programs.entry(entry.program).or_default();
        let (bytes, queue) = program.ways.entry(entry.way).or_default();
        for sum in [&mut self.bytes, &mut program.bytes, bytes] {
            *sum = sum.saturating_add(entry.bytes);
        }
        program.reports += 1;
        queue.push(index);
    }

    fn sort(&mut self, entries: &[Entry]) {
        for (_, queue) in self.programs.values_mut().flat_map(|program| program.ways.values_mut()) {
            queue.sort_by_key(|index| (std::cmp::Reverse(entries[*index].modified), *index));
        }
    }

    fn has_more_than(&self, spared: usize) -> bool {
        self.programs.values().any(|program| program.reports > spared)
    }

    /// Takes out the report that is missed least.
    fn pop(&mut self, entries: &[Entry]) -> Option<usize> {
        let age = |program: &Program| {
            program.oldest(entries).map(|index| std::cmp::Reverse(entries[index].modified))
        };
        let with_others = self.programs.values_mut().filter(|p| p.reports > 1).max_by_key(|p| p.bytes);
        let program = match with_others {
            Some(program) => program,
            // Only single reports are left: the oldest.
            None => {
                self.programs.values_mut().filter(|p| p.reports > 0).max_by_key(|program| age(program))?
            }
        };
        let index = program.pop(entries)?;
        self.bytes -= entries[index].bytes;
        Some(index)
    }
}

impl Program {
    fn oldest(&self, entries: &[Entry]) -> Option<usize> {
        let oldest = self.ways.values().filter_map(|(_, queue)| queue.last().copied());
        oldest.min_by_key(|index| entries[*index].modified)
    }

    fn pop(&mut self, entries: &[Entry]) -> Option<usize> {
        let oldest = self.oldest(entries)?;
        let repeated =
            self.ways.values_mut().filter(|(_, queue)| queue.len() > 1).max_by_key(|(bytes, _)| *bytes);
        let (bytes, queue) = match repeated {
            Some(way) => way,
            None => self.ways.get_mut(&entries[oldest].way)?,
        };
        let index = queue.pop()?;
        *bytes -= entries[index].bytes;
        self.bytes -= entries[index].bytes;
        self.reports -= 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The program is the user's only one, the way its only way.
    fn entry(n: u8, uid: u32, modified: i64, bytes: u64) -> Entry {
        Entry { id: ReportId::from_random([n; 16]), uid, program: 0, way: 0, modified: (modified, 0), bytes }
    }

    fn crash(n: u8, (program, way): (u64, u64), modified: i64, bytes: u64) -> Entry {
        Entry { program, way, ..entry(n, 1000, modified, bytes) }
    }

    const WIDE: Limits = Limits { max_use: u64::MAX, target: u64::MAX, short_of_free: 0, max_age: i64::MAX };

    fn at_most(bytes: u64) -> Limits {
        Limits { max_use: bytes, target: bytes, ..WIDE }
    }

    fn indices(entries: &[Entry], limits: &Limits) -> Vec<usize> {
        plan(entries, 100, limits).into_keys().collect()
    }

    #[test]
    fn of_two_that_were_written_in_one_second_the_earlier_goes() {
        let later = Entry { modified: (10, 900), ..entry(1, 1000, 10, 60) };
        let earlier = Entry { modified: (10, 100), ..entry(2, 1000, 10, 60) };
        for (entries, gone) in [([later, earlier], 1), ([earlier, later], 0)] {
            let doomed = plan(&entries, 20, &at_most(100));
            assert_eq!(doomed.keys().collect::<Vec<_>>(), [&gone]);
        }
    }

    #[test]
    fn nothing_goes_while_nothing_is_too_much() {
        assert!(plan(&[entry(1, 0, 10, 100)], 20, &Limits { max_age: 10, ..at_most(100) }).is_empty());
    }

    #[test]
    fn what_is_too_old_goes_whatever_its_size() {
        let doomed = plan(&[entry(1, 0, 10, 0), entry(2, 0, 11, 0)], 21, &Limits { max_age: 10, ..WIDE });
        assert_eq!(doomed.into_iter().collect::<Vec<_>>(), [(0, Reason::Age)]);
    }

    #[test]
    fn one_users_storm_does_not_cost_another_user_an_older_report() {
        let mut entries = vec![entry(0, 1000, 1, 50)];
        entries.extend((1..=10).map(|n| entry(n, 1001, i64::from(n) + 10, 50)));
        // Seven of the storm's go, oldest first.
        assert_eq!(indices(&entries, &at_most(200)), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn another_users_full_quota_costs_nobody_else_anything() {
        // Each of the hoarder's programs has one report alone; the other user has three of one program.
        let mut entries: Vec<Entry> = (0..9)
            .map(|n| Entry { program: u64::from(n), ..entry(n, 1001, 50 + i64::from(n), 100) })
            .collect();
        entries.extend((10..13).map(|n| entry(n, 1000, 1, 10)));
        assert_eq!(indices(&entries, &at_most(130)), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_storm_does_not_cost_another_program_of_the_same_user_its_only_report() {
        let mut entries = vec![crash(0, (1, 1), 1, 500)];
        entries.extend((1..=10).map(|n| crash(n, (2, 2), i64::from(n) + 10, 50)));
        assert_eq!(indices(&entries, &at_most(550)), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // When only single reports are left, the oldest.
        assert_eq!(indices(&entries, &at_most(50)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn within_a_program_the_most_repeated_way_to_crash_loses_its_oldest() {
        let entries = [
            crash(0, (1, 7), 1, 10),
            crash(1, (1, 8), 5, 10),
            crash(2, (1, 8), 4, 10),
            crash(3, (1, 8), 3, 10),
        ];
        assert_eq!(indices(&entries, &at_most(30)), [3]);
        assert_eq!(indices(&entries, &at_most(20)), [2, 3]);
        assert_eq!(indices(&entries, &at_most(10)), [0, 2, 3]);
    }

    #[test]
    fn too_little_free_space_takes_all_but_one_of_each_program() {
        let entries = [entry(1, 0, 1, 10), entry(2, 0, 2, 10), entry(3, 0, 3, 10), entry(4, 7, 1, 90)];
        let doomed = |short_of_free| indices(&entries, &Limits { short_of_free, ..WIDE });
        assert_eq!(doomed(5), [0]);
        assert_eq!(doomed(500), [0, 1]);
    }

    #[test]
    fn what_exceeds_the_quota_goes_down_to_the_target() {
        let entries: Vec<Entry> = (0..10).map(|n| entry(n, 0, i64::from(n), 10)).collect();
        assert!(indices(&entries, &Limits { target: 50, ..at_most(100) }).is_empty());
        assert_eq!(indices(&entries, &Limits { target: 70, ..at_most(90) }), [0, 1, 2]);
    }
}
