//! What happens with a report that nobody has answered: the person's standing answers under the administrator's settings.
//!
//! Pure. Asks nobody and sends nothing; [`crate::send`] does what comes out.

use anyhow::{Result, bail};
use foretrace_report::receipt::{Answer, Consent, How};
use foretrace_report::{ClassSet, Preset};
use foretrace_store::{Settings, Standing, StandingAnswer, StandingAnswers};

use crate::outgoing;
use crate::words::Words;

/// What happens with a report that nobody has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What to do.
    pub standing: Standing,
    /// What `always` sends.
    pub classes: ClassSet,
    /// Whose rule it is.
    pub by: String,
}

/// The policy for a program. Pure: a person's standing answer, unless the administrator locked them out; what
/// either of them lets go without a question is never more than the usual, unless the person named more, and
/// never more than the administrator's limit.
pub fn of(settings: &Settings, answers: &StandingAnswers, program: &str) -> Policy {
    let capped = |max: Option<foretrace_report::Class>| {
        max.map_or(Preset::USUAL, Preset).classes().intersection(outgoing::widest(settings))
    };
    match answers.of(program).filter(|_| !settings.consent.lock) {
        Some(StandingAnswer { answer, max }) => Policy {
            standing: answer,
            classes: capped(max),
            by: format!("the standing answer for {program}: {}", answer.name()),
        },
        None => Policy {
            standing: settings.consent.default,
            classes: capped(None),
            by: format!("[Consent] Default={}", settings.consent.default.name()),
        },
    }
}

/// Whether the rule by which an answer was given would still give it. What a person answered themselves stands.
///
/// # Errors
/// It would not.
pub fn stands(
    settings: &Settings,
    answers: &StandingAnswers,
    program: &str,
    consent: &Consent,
    words: &Words,
) -> Result<()> {
    let (How::Policy(by), Answer::Granted(receipt)) = (&consent.how, &consent.answer) else { return Ok(()) };
    let now = of(settings, answers, program);
    if now.standing != Standing::Always || !receipt.classes.is_subset(now.classes) {
        bail!(words.tell("consent-rule-over", &[("rule", by)]));
    }
    Ok(())
}

/// Whether the administrator keeps everything on this machine.
///
/// # Errors
/// They do.
pub fn forbidden(settings: &Settings, words: &Words) -> Result<()> {
    if settings.consent.lock && settings.consent.default == Standing::Never {
        bail!(words.say("consent-forbidden"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use foretrace_report::Class;

    use super::*;
    use crate::words::Language;

    fn answers(program: &str, answer: Standing, max: Option<Class>) -> StandingAnswers {
        let mut answers = StandingAnswers::default();
        answers.set(program, StandingAnswer { answer, max });
        answers
    }

    fn settings(default: Standing, max: Class, lock: bool) -> Settings {
        let mut settings = Settings::default();
        settings.consent = foretrace_store::settings::Consent { default, max, lock, ..settings.consent };
        settings
    }

    #[test]
    fn a_standing_answer_wins_unless_the_administrator_locked_it() {
        let always = answers("gimp", Standing::Always, Some(Class::Logs));
        let open = settings(Standing::Ask, Class::Core, false);
        assert_eq!(of(&open, &always, "gimp").standing, Standing::Always);
        assert_eq!(of(&open, &always, "gimp").classes.to_string(), "summary,stack,trail,logs");
        assert_eq!(of(&open, &always, "vi").standing, Standing::Ask);
        let locked = settings(Standing::Never, Class::Core, true);
        assert_eq!(of(&locked, &always, "gimp").standing, Standing::Never);
        let words = Words::new(Language::English);
        assert!(forbidden(&locked, &words).is_err());
        assert!(forbidden(&settings(Standing::Never, Class::Core, false), &words).is_ok());
    }

    #[test]
    fn what_goes_without_a_question_is_the_usual_at_most_and_never_beyond_the_limit() {
        let nobody = StandingAnswers::default();
        let wide = settings(Standing::Always, Class::Core, true);
        assert_eq!(of(&wide, &nobody, "x").classes.to_string(), "summary,stack,trail");
        let narrow = settings(Standing::Always, Class::Summary, true);
        assert_eq!(of(&narrow, &nobody, "x").classes.to_string(), "summary");
        let eager = answers("x", Standing::Always, Some(Class::Memory));
        assert_eq!(
            of(&settings(Standing::Ask, Class::Stack, false), &eager, "x").classes.to_string(),
            "summary,stack"
        );
    }
}
