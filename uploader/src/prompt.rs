//! The question at a terminal: in plain words what happened, and exactly what would go to whom.
//!
//! Owns the order of what is said (the texts are the catalogue's, their version is
//! [`foretrace_report::receipt::WORDING`]) and what counts as an answer. It asks over any reader and writer, so that
//! tests can hold the other end. It never takes silence for an answer: an empty line asks again, and a closed input, a
//! time-out or nonsense means "later". It decides nothing and sends nothing.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use foretrace_report::text::escape;
use foretrace_report::{Class, ClassSet, Preset};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::comment;
use crate::sentence::{lines, shortened, size};
use crate::words::Words;

/// After this many answers that are none, the question waits for another day.
const PATIENCE: usize = 5;
/// No line of our own is longer: the narrowest terminal in use has 80 columns.
const WIDTH: usize = 76;
/// A program's name takes no more columns.
const PROGRAM: usize = 40;
/// And within a text, as a version there, no more than these.
const NAME: usize = 24;
/// Where the second column of letters begins.
const COLUMN: usize = 40;
/// What comes after this many bytes of a line is not kept.
const LONGEST_LINE: usize = 64 << 10;

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
    /// The version in which the problem is mended, where a server has said so.
    pub fixed_in: Option<String>,
    /// What the person has written about it before.
    pub comment: Option<String>,
    /// Whether an answer may be one for the program's next reports too.
    pub remembered: bool,
}

/// What else is done while the question stands.
pub trait Desk {
    /// What exactly would leave for a set of classes.
    fn preview(&mut self, classes: ClassSet) -> String;
    /// Keeps a comment; none takes it back.
    ///
    /// # Errors
    /// It cannot be kept.
    fn comment(&mut self, text: Option<&str>) -> io::Result<()>;
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
    /// Send these classes, and those of the program's next reports without a question.
    Always(ClassSet),
    /// Not this report.
    No,
    /// Not this one, and no question about this program again.
    Never,
    /// Ask again another time.
    Later,
}

/// Asks in the catalogue's language.
///
/// # Errors
/// The terminal cannot be written to. A read that fails is silence, and silence is [`Choice::Later`].
pub fn ask(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &Question,
    words: &Words,
    desk: &mut impl Desk,
) -> io::Result<Choice> {
    let usual = usual(&question.offers);
    introduce(output, question, usual, words)?;
    let Some(mut chosen) = usual.map(|offer| offer.preset.classes()) else {
        writeln!(output, "{}", words.say("nothing-may-leave"))?;
        return Ok(Choice::Later);
    };
    let mut comment = question.comment.clone();
    let mut patience = PATIENCE;
    while patience > 0 {
        choices(output, chosen, question, comment.as_deref(), words)?;
        let Some(said) = line(input) else {
            writeln!(output, "\n{}", words.say("no-answer"))?;
            return Ok(Choice::Later);
        };
        let answer = said.to_lowercase();
        let understood = match Key::meant(&answer, question.remembered, words) {
            Some(Key::Send) => return Ok(Choice::Send(chosen)),
            Some(Key::Always) => return Ok(Choice::Always(chosen)),
            Some(Key::No) => return Ok(Choice::No),
            Some(Key::Never) => return Ok(Choice::Never),
            Some(Key::Later) => return Ok(Choice::Later),
            Some(Key::Preview) => {
                writeln!(output, "\n{}", desk.preview(chosen).trim_end())?;
                continue;
            }
            Some(Key::Comment) => {
                comment = remarked(input, output, comment, words, desk)?;
                continue;
            }
            Some(Key::Choose) => choose(input, output, &question.offers, words)?,
            None => pick(&answer, &question.offers),
        };
        match understood {
            Some(classes) => chosen = classes,
            None => {
                patience -= 1;
                writeln!(output, "{}", words.say("not-an-answer"))?;
            }
        }
    }
    writeln!(output, "\n{}", words.say("given-up"))?;
    Ok(Choice::Later)
}

/// What a person can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Send,
    Choose,
    Comment,
    Preview,
    Always,
    Never,
    No,
    Later,
}

impl Key {
    /// All of them: the letter, the catalogue's text, and its words that count as this answer.
    const ALL: [(Key, char, &'static str, &'static str); 8] = [
        (Key::Send, 's', "key-send", "answers-send"),
        (Key::Preview, 'p', "key-preview", "answers-preview"),
        (Key::Choose, 'c', "key-choose", "answers-choose"),
        (Key::Comment, 'm', "key-comment", "answers-comment"),
        (Key::No, 'n', "key-no", "answers-no"),
        (Key::Later, 'l', "key-later", "answers-later"),
        (Key::Always, 'a', "key-always", "answers-always"),
        (Key::Never, 'v', "key-never", "answers-never"),
    ];

    /// Those that are offered: where the administrator answers for all programs, a person answers for one report.
    fn offered(remembered: bool) -> impl Iterator<Item = (Key, char, &'static str, &'static str)> {
        Key::ALL.into_iter().filter(move |(key, ..)| remembered || !matches!(key, Key::Always | Key::Never))
    }

    fn meant(answer: &str, remembered: bool, words: &Words) -> Option<Key> {
        let is = |list: &str| words.say(list).split_whitespace().any(|word| word == answer);
        Key::offered(remembered).find(|(.., list)| is(list)).map(|(key, ..)| key)
    }
}

fn choices(
    output: &mut impl Write,
    chosen: ClassSet,
    question: &Question,
    comment: Option<&str>,
    words: &Words,
) -> io::Result<()> {
    writeln!(output, "\n{}", words.tell("send-which", &[("classes", &listed(chosen))]))?;
    if let Some(comment) = comment {
        let text = words.tell("comment-is", &[("comment", &escape(comment))]);
        lines(&text, WIDTH).try_for_each(|line| writeln!(output, "{line}"))?;
    }
    let program = shortened(&escape(&question.name), NAME);
    let said: Vec<(char, String)> = Key::offered(question.remembered)
        .map(|(_, letter, key, _)| (letter, words.tell(key, &[("program", &program)])))
        .collect();
    // Two in a line where they fit.
    let mut row = String::new();
    for (letter, text) in said {
        let cell = format!("  {letter}  {text}");
        let room = if row.is_empty() { WIDTH } else { WIDTH - COLUMN };
        let full = row.chars().count() > COLUMN || cell.chars().count() > room;
        if !row.is_empty() && full {
            writeln!(output, "{}", row.trim_end())?;
            row.clear();
        }
        match row.is_empty() {
            true => row = format!("{cell:<COLUMN$}"),
            false => {
                writeln!(output, "{row}{cell}")?;
                row.clear();
            }
        }
    }
    if !row.is_empty() {
        writeln!(output, "{}", row.trim_end())?;
    }
    write!(output, "{} ", words.say("your-answer"))?;
    output.flush()
}

fn introduce(
    output: &mut impl Write,
    question: &Question,
    usual: Option<Offer>,
    words: &Words,
) -> io::Result<()> {
    writeln!(output, "\n{}, {}", shortened(&question.program, PROGRAM), question.when)?;
    lines(&question.happened, WIDTH).try_for_each(|line| writeln!(output, "  {line}"))?;
    if let Some(version) = &question.fixed_in {
        let version = shortened(&escape(version), NAME);
        writeln!(output, "{}", words.tell("ask-fixed", &[("version", &version)]))?;
    }
    writeln!(output, "\n{}", words.say("ask"))?;
    writeln!(
        output,
        "{}",
        words.tell("ask-destination", &[("destination", &escape(&question.destination))])
    )?;
    writeln!(output, "{}", words.say("ask-offers"))?;
    for (number, offer) in question.offers.iter().enumerate() {
        let size = if offer.more { size(offer.bytes) } else { words.say("offer-nothing-more") };
        let mut title = title(offer.preset, words);
        if usual == Some(*offer) {
            title = words.tell("offer-usual", &[("offer", &title)]);
        }
        let what = words.say(&format!("offer-words-{}", offer.preset.0.name()));
        writeln!(output, "  {}  {title:<16} {size:>12}  {what}", number + 1)?;
    }
    if !question.not_carried.is_empty() {
        let classes = listed(question.not_carried);
        writeln!(output, "{}", words.tell("not-carried", &[("classes", &classes)]))?;
    }
    Ok(())
}

fn choose(
    input: &mut impl BufRead,
    output: &mut impl Write,
    offers: &[Offer],
    words: &Words,
) -> io::Result<Option<ClassSet>> {
    write!(output, "{} ", words.tell("choose", &[("last", &offers.len().to_string())]))?;
    output.flush()?;
    Ok(line(input).and_then(|answer| pick(&answer.to_lowercase(), offers)))
}

/// Asks for a comment; the one that stands from now on.
fn remarked(
    input: &mut impl BufRead,
    output: &mut impl Write,
    before: Option<String>,
    words: &Words,
    desk: &mut impl Desk,
) -> io::Result<Option<String>> {
    writeln!(output, "{}", words.say("comment-ask"))?;
    output.flush()?;
    // Silence changes nothing, here too.
    let Some(text) = line(input) else { return Ok(before) };
    if text.len() > comment::LIMIT {
        let limit = comment::LIMIT.to_string();
        writeln!(output, "{}", words.tell("comment-long", &[("limit", &limit)]))?;
        return Ok(before);
    }
    let text = Some(text).filter(|text| !text.is_empty());
    desk.comment(text.as_deref())?;
    Ok(text)
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
pub fn usual(offers: &[Offer]) -> Option<Offer> {
    offers.iter().rfind(|offer| offer.preset <= Preset::USUAL).copied()
}

fn title(preset: Preset, words: &Words) -> String {
    match preset.0 {
        Class::Summary => words.say("offer-summary"),
        Class::Core => words.say("offer-everything"),
        class => words.tell("offer-more", &[("class", class.name())]),
    }
}

/// Classes as a person reads them.
pub fn listed(classes: ClassSet) -> String {
    classes.to_string().replace(',', ", ")
}

/// One line of input, without surrounding space; `None` at the end of input. What is too long is read to its end: the
/// rest of a line is no answer to the next question.
fn line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let piece = input.fill_buf().ok()?;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(piece.len(), |end| end + 1);
        if taken == 0 {
            break;
        }
        any = true;
        let room = LONGEST_LINE.saturating_sub(line.len());
        line.extend_from_slice(&piece[..taken.min(room)]);
        input.consume(taken);
        if end.is_some() {
            break;
        }
    }
    any.then(|| String::from_utf8_lossy(&line).trim().to_owned())
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
mod tests;
