use super::*;
use crate::words::Language;

fn question(widest: Class) -> Question {
    let offers = Preset::ALL
        .into_iter()
        .filter(|preset| preset.0 <= widest)
        .map(|preset| Offer { preset, bytes: 1000 * (preset.0 as u64 + 1), more: preset.0 != Class::Logs })
        .collect();
    Question {
        program: "painter (gimp 2.10-1)".into(),
        name: "painter".into(),
        when: "2026-11-20 21:30:00".into(),
        happened: "painter crashed.".into(),
        destination: "https://crash.example.org/submit".into(),
        offers,
        not_carried: ClassSet::EMPTY.with(Class::Core),
        fixed_in: None,
        comment: None,
        remembered: true,
    }
}

/// Shows a preview that can be recognised, and keeps comments.
#[derive(Default)]
struct Notepad(Vec<Option<String>>);

impl Desk for Notepad {
    fn preview(&mut self, classes: ClassSet) -> String {
        format!("PREVIEW OF {classes}")
    }

    fn comment(&mut self, text: Option<&str>) -> io::Result<()> {
        self.0.push(text.map(str::to_owned));
        Ok(())
    }
}

fn answered(input: &str, question: &Question, language: Language) -> (Choice, String, Notepad) {
    let (mut output, mut desk) = (Vec::new(), Notepad::default());
    let words = Words::new(language);
    let choice = ask(&mut input.as_bytes(), &mut output, question, &words, &mut desk).unwrap();
    (choice, String::from_utf8(output).unwrap(), desk)
}

fn asked(input: &str, widest: Class) -> (Choice, String) {
    let (choice, text, _) = answered(input, &question(widest), Language::English);
    (choice, text)
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
        ("a\n", Choice::Always(usual)),
        ("c\n2\nalways\n", Choice::Always(Preset(Class::Stack).classes())),
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
    // Nor is the end of a line that is too long.
    for length in [1 << 10, LONGEST_LINE, 1 << 20] {
        let endless = "x".repeat(length) + "y\n";
        assert_eq!(asked(&endless, Class::Memory).0, Choice::Later, "{length}");
    }
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
    hostile.happened = "it crashed in Vec<alloc::string::String, core::marker::PhantomData<()>> ".repeat(9);
    hostile.comment = Some("\u{1b}]0;x ".repeat(40));
    hostile.fixed_in = Some("2.3.1".repeat(40));
    for language in [Language::English, Language::German] {
        let (_, text, _) = answered("p\nc\n9\nm\nx\nl\n", &hostile, language);
        // At a terminal the person's own key ends the line.
        let (words, last) = (Words::new(language), hostile.offers.len().to_string());
        let asked = [words.say("your-answer"), words.tell("choose", &[("last", &last)])];
        let text = asked.iter().fold(text, |text, asked| text.replace(asked, &format!("{asked}\n")));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}

#[test]
fn a_comment_is_kept_shown_and_can_be_taken_back() {
    let (choice, text, desk) =
        answered("m\nI clicked on Ä, then it was gone.\ns\n", &question(Class::Trail), Language::English);
    assert_eq!(choice, Choice::Send(Preset::USUAL.classes()));
    assert_eq!(desk.0, [Some("I clicked on Ä, then it was gone.".to_owned())]);
    assert!(text.contains("goes with it: “I clicked on Ä"), "{text}");
    let noted = Question { comment: Some("before".into()), ..question(Class::Trail) };
    let (_, text, desk) = answered("m\n\nl\n", &noted, Language::English);
    assert_eq!(desk.0, [None]);
    assert_eq!(text.matches("“before”").count(), 1, "{text}");
    // Neither silence nor too much of it changes anything.
    let long = format!("m\n{}\nl\n", "x".repeat(comment::LIMIT + 1));
    for input in ["m\n", long.as_str()] {
        let (choice, _, desk) = answered(input, &noted, Language::English);
        assert_eq!((choice, desk.0.len()), (Choice::Later, 0));
    }
}

#[test]
fn a_yes_in_a_comment_is_no_yes() {
    let (choice, _, desk) = answered("m\ny\n", &question(Class::Trail), Language::English);
    assert_eq!((choice, desk.0), (Choice::Later, vec![Some("y".to_owned())]));
}

#[test]
fn where_the_administrator_answers_for_programs_nobody_else_can() {
    let locked = Question { remembered: false, ..question(Class::Trail) };
    for input in ["a\n", "always\n", "v\n", "never\n"] {
        let (choice, text, _) = answered(input, &locked, Language::English);
        assert_eq!(choice, Choice::Later);
        assert!(!text.contains("always from"), "{text}");
    }
}

#[test]
fn a_person_is_asked_in_german_and_may_answer_in_it() {
    let german = |input: &str| answered(input, &question(Class::Memory), Language::German);
    for (input, choice) in [
        ("ja\n", Choice::Send(Preset::USUAL.classes())),
        ("s\n", Choice::Send(Preset::USUAL.classes())),
        ("IMMER\n", Choice::Always(Preset::USUAL.classes())),
        ("nein\n", Choice::No),
        ("nie\n", Choice::Never),
        ("später\n", Choice::Later),
    ] {
        assert_eq!(german(input).0, choice, "{input}");
    }
    let text = german("l\n").1;
    for part in ["Möchten Sie", "Bisher wurde nichts gesendet", "(üblich)", "nie etwas von painter senden"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(asked("ja\n", Class::Memory).0, Choice::Later, "no word of another language");
}

#[test]
fn what_is_mended_is_said_before_the_question() {
    let fixed = Question { fixed_in: Some("2.3.1".into()), ..question(Class::Trail) };
    let (_, text, _) = answered("l\n", &fixed, Language::English);
    let (said, asked) = (text.find("fixed in 2.3.1: update?"), text.find("Do you want"));
    assert!(said.is_some() && said < asked, "{text}");
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
        "+ trail (usual)       2.9 KiB",
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
    let words = Words::new(Language::English);
    let mut desk = Notepad::default();
    let choice = ask(&mut input, &mut Vec::new(), &question(Class::Trail), &words, &mut desk).unwrap();
    assert_eq!(choice, Choice::Later);
}
