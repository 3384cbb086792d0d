//! The question at a terminal: in plain words what happened, and exactly what would go to whom.
//!
//! Owns the words (their version is [`foretrace_report::receipt::WORDING`]) and what counts as an answer. It
//! asks over any reader and writer, so that tests can hold the other end. It never takes silence for an
//! answer: an empty line asks again, and a closed input, a time-out or nonsense means "later". It decides
//! nothing and sends nothing.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use foretrace_report::text::escape;
use foretrace_report::{Class, ClassSet, Preset};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sentence::{lines, shortened, size};

/// After this many answers that are none, the question waits for another day.
const PATIENCE: usize = 5;
/// No line of our own is longer: the narrowest terminal in use has 80 columns.
const WIDTH: usize = 76;
/// A program's name takes no more columns.
const PROGRAM: usize = 40;
/// A longer line is no answer.
const LONGEST_LINE: u64 = 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The program, as a person knows it; safe to print.
    pub program: String,
    /// The program's command name, for a standing answer.
    pub name: String,
    /// When it happened; safe to print.
    pub when: String,
    /// What happened, one sentence; safe to print.
    pub happened: String,
    /// Where it would go.
    pub destination: String,
    /// What may be sent, narrowest first.
    pub offers: Vec<Offer>,
    /// What the protocol cannot carry, although it may be granted.
    pub not_carried: ClassSet,
}

/// A preset, and how much would leave with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The preset.
    pub preset: Preset,
    /// What leaves, in bytes.
    pub bytes: u64,
    /// Whether that is more than with the preset before: a report need not have something of every class.
    pub more: bool,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Send these classes.
    Send(ClassSet),
    /// Not this report.
    No,
    /// Not this one, and no question about this program again.
    Never,
    /// Ask again another time.
    Later,
}

/// Asks. `preview` tells what exactly would leave for a set of classes.
///
/// # Errors
/// The terminal cannot be written to. A read that fails is silence, and silence is [`Choice::Later`].
pub fn ask(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &Question,
    preview: &mut dyn FnMut(ClassSet) -> String,
) -> io::Result<Choice> {
    let usual = usual(&question.offers);
    introduce(output, question, usual)?;
    let Some(mut chosen) = usual.map(|offer| offer.preset.classes()) else {
        writeln!(output, "The settings let nothing of it leave.")?;
        return Ok(Choice::Later);
    };
    let mut patience = PATIENCE;
    while patience > 0 {
        choices(output, chosen, &question.name)?;
        let Some(answer) = line(input) else {
            writeln!(output, "\nNo answer: nothing is sent, and you will be asked again.")?;
            return Ok(Choice::Later);
        };
        let meant = match answer.as_str() {
            "s" | "send" | "y" | "yes" => return Ok(Choice::Send(chosen)),
            "n" | "no" => return Ok(Choice::No),
            "v" | "never" => return Ok(Choice::Never),
            "l" | "later" => return Ok(Choice::Later),
            "p" | "preview" => {
                writeln!(output, "\n{}", preview(chosen).trim_end())?;
                continue;
            }
            "c" | "choose" => choose(input, output, &question.offers)?,
            other => pick(other, &question.offers),
        };
        match meant {
            Some(classes) => chosen = classes,
            None => {
                patience -= 1;
                writeln!(output, "That is none of the answers; nothing has changed.")?;
            }
        }
    }
    writeln!(output, "\nNothing is sent, and you will be asked again.")?;
    Ok(Choice::Later)
}

fn choices(output: &mut impl Write, chosen: ClassSet, program: &str) -> io::Result<()> {
    writeln!(output, "\nSend {}?", listed(chosen))?;
    writeln!(output, "  s  send it             p  preview exactly what would leave")?;
    writeln!(output, "  c  choose how much     v  never for {}", shortened(&escape(program), PROGRAM))?;
    writeln!(output, "  n  do not send it      l  ask again later")?;
    write!(output, "Your answer: ")?;
    output.flush()
}

fn introduce(output: &mut impl Write, question: &Question, usual: Option<Offer>) -> io::Result<()> {
    writeln!(output, "\n{}, {}", shortened(&question.program, PROGRAM), question.when)?;
    lines(&question.happened, WIDTH).try_for_each(|line| writeln!(output, "  {line}"))?;
    writeln!(output, "\nDo you want to send a report of it? Nothing has been sent so far.")?;
    writeln!(output, "It would go to {}.", escape(&question.destination))?;
    writeln!(output, "You can choose how much; each line holds those above it:\n")?;
    for (number, offer) in question.offers.iter().enumerate() {
        let size = if offer.more { size(offer.bytes) } else { "nothing more".to_owned() };
        let usual = if usual == Some(*offer) { " (usual)" } else { "" };
        let title = format!("{}{usual}", title(offer.preset));
        writeln!(output, "  {}  {title:<15} {size:>12}  {}", number + 1, words(offer.preset))?;
    }
    if !question.not_carried.is_empty() {
        writeln!(output, "\nThis server's protocol cannot carry: {}.", listed(question.not_carried))?;
    }
    Ok(())
}

fn choose(
    input: &mut impl BufRead,
    output: &mut impl Write,
    offers: &[Offer],
) -> io::Result<Option<ClassSet>> {
    write!(output, "How much? A number from 1 to {}, or classes such as summary,trail: ", offers.len())?;
    output.flush()?;
    Ok(line(input).and_then(|answer| pick(&answer, offers)))
}

/// A number, a preset's name, or classes; within what is offered.
fn pick(answer: &str, offers: &[Offer]) -> Option<ClassSet> {
    let widest = offers.last()?.preset.classes();
    let classes = match answer.parse::<usize>() {
        Ok(number) => offers.get(number.checked_sub(1)?)?.preset.classes(),
        Err(_) if answer.contains(',') => answer.parse().ok()?,
        Err(_) => answer.parse::<Preset>().ok()?.classes(),
    };
    (classes.contains(Class::Summary) && classes.is_subset(widest)).then_some(classes)
}

/// The usual preset, or the widest that there is below it.
fn usual(offers: &[Offer]) -> Option<Offer> {
    offers.iter().rfind(|offer| offer.preset <= Preset::USUAL).copied()
}

fn title(preset: Preset) -> String {
    match preset.0 {
        Class::Summary => "summary".into(),
        Class::Core => "everything".into(),
        class => format!("+ {class}"),
    }
}

fn words(preset: Preset) -> &'static str {
    match preset.0 {
        Class::Summary => "program, version, system, and what went wrong",
        Class::Stack => "the functions that each thread was in",
        Class::Trail => "what the program recorded before it happened",
        Class::Logs => "lines of the system's logs from that time",
        Class::Memory => "pieces of its memory: your work may be in it",
        Class::Core => "all of its memory: your work will be in it",
    }
}

fn listed(classes: ClassSet) -> String {
    classes.to_string().replace(',', ", ")
}

/// One line of input, without case and surrounding space; `None` at the end of input.
fn line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let taken = input.take(LONGEST_LINE).read_until(b'\n', &mut line).ok()?;
    (taken > 0).then(|| String::from_utf8_lossy(&line).trim().to_lowercase())
}

/// Input that ends when nobody has typed anything for a while.
#[derive(Debug)]
pub struct Patient<F> {
    source: F,
    wait: Duration,
}

impl<F> Patient<F> {
    /// Reads `source`, waiting at most `wait` each time.
    pub fn new(source: F, wait: Duration) -> Patient<F> {
        Patient { source, wait }
    }
}

impl<F: Read + AsFd> Read for Patient<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let timeout = PollTimeout::try_from(self.wait).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(self.source.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout)? {
            0 => Ok(0),
            _ => self.source.read(into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(widest: Class) -> Question {
        let offers = Preset::ALL
            .into_iter()
            .filter(|preset| preset.0 <= widest)
            .map(|preset| Offer {
                preset,
                bytes: 1000 * (preset.0 as u64 + 1),
                more: preset.0 != Class::Logs,
            })
            .collect();
        Question {
            program: "painter (gimp 2.10-1)".into(),
            name: "painter".into(),
            when: "2026-11-20 21:30:00".into(),
            happened: "painter crashed.".into(),
            destination: "https://crash.example.org/submit".into(),
            offers,
            not_carried: ClassSet::EMPTY.with(Class::Core),
        }
    }

    fn asked(input: &str, widest: Class) -> (Choice, String) {
        let mut output = Vec::new();
        let mut preview = |classes: ClassSet| format!("PREVIEW OF {classes}");
        let choice = ask(&mut input.as_bytes(), &mut output, &question(widest), &mut preview).unwrap();
        (choice, String::from_utf8(output).unwrap())
    }

    #[test]
    fn each_answer_means_what_it_says() {
        let usual = Preset::USUAL.classes();
        for (input, choice) in [
            ("s\n", Choice::Send(usual)),
            ("  SEND \n", Choice::Send(usual)),
            ("yes\n", Choice::Send(usual)),
            ("c\n1\ns\n", Choice::Send("summary".parse().unwrap())),
            ("c\nsummary,trail\ns\n", Choice::Send("summary,trail".parse().unwrap())),
            ("5\nsend\n", Choice::Send(Preset(Class::Memory).classes())),
            ("+logs\ns\n", Choice::Send(Preset(Class::Logs).classes())),
            ("p\ns\n", Choice::Send(usual)),
            ("no\n", Choice::No),
            ("n\n", Choice::No),
            ("v\n", Choice::Never),
            ("never\n", Choice::Never),
            ("l\n", Choice::Later),
        ] {
            assert_eq!(asked(input, Class::Memory).0, choice, "{input:?}");
        }
    }

    #[test]
    fn silence_and_nonsense_are_never_a_yes() {
        for input in [
            "",
            "\n",
            "\n\n\n\n\n\n\n\ns\n",
            "sure\nok\n1x\n\u{1b}[A\nc\n99\n",
            "c\n",
            "c\ntrail\n",
            "\0\u{ff}\n",
        ] {
            assert_eq!(asked(input, Class::Memory).0, Choice::Later, "{input:?}");
        }
        let endless = "x".repeat(1 << 20);
        assert_eq!(asked(&endless, Class::Memory).0, Choice::Later);
    }

    #[test]
    fn looking_closely_uses_up_no_patience() {
        let input = format!("{}s\n", "p\nc\n2\n".repeat(PATIENCE));
        assert_eq!(asked(&input, Class::Memory).0, Choice::Send("summary,stack".parse().unwrap()));
    }

    #[test]
    fn every_line_fits_a_terminal_of_80_columns() {
        let mut hostile = question(Class::Core);
        hostile.program = "x".repeat(200);
        hostile.name = "\u{1b}[2J".repeat(20);
        hostile.happened =
            "it crashed in Vec<alloc::string::String, core::marker::PhantomData<()>> ".repeat(9);
        let mut output = Vec::new();
        ask(&mut "p\nc\n9\nl\n".as_bytes(), &mut output, &hostile, &mut |_| String::new()).unwrap();
        // At a terminal the person's own key ends the line.
        let text = String::from_utf8(output).unwrap().replace(": That", ":\nThat");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn nothing_beyond_the_limit_can_be_chosen() {
        for input in ["4\ns\n", "memory\ns\n", "everything\ns\n", "summary,logs\ns\n"] {
            assert_eq!(asked(input, Class::Trail).0, Choice::Send(Preset::USUAL.classes()), "{input}");
        }
        assert_eq!(asked("s\n", Class::Stack).0, Choice::Send(Preset(Class::Stack).classes()));
    }

    #[test]
    fn the_question_says_what_would_go_to_whom_and_how_much() {
        let (_, text) = asked("p\nl\n", Class::Memory);
        for part in [
            "painter (gimp 2.10-1), 2026-11-20 21:30:00",
            "painter crashed.",
            "https://crash.example.org/submit",
            "Nothing has been sent",
            "+ trail (usual)      2.9 KiB",
            "+ memory",
            "nothing more",
            "your work may be in it",
            "cannot carry: core",
            "PREVIEW OF summary,stack,trail",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn input_that_stays_silent_ends() {
        let (reader, _writer) = io::pipe().unwrap();
        let mut input = io::BufReader::new(Patient::new(reader, Duration::from_millis(20)));
        let choice =
            ask(&mut input, &mut Vec::new(), &question(Class::Trail), &mut |_| String::new()).unwrap();
        assert_eq!(choice, Choice::Later);
    }
}
