//! `[[rule]]`: conditions, what follows from them, and an index, so that a decision looks at the few rules that can match.

use super::glob::{Glob, Index};
use super::{Direction, Target};
use crate::document::Place;
use crate::message::header::Header;

/// A subject longer than this is compared by its beginning: nobody's pattern needs more, and patterns must not cost what a sender likes.
const MAX_TEXT: usize = 1000;

/// A `[[rule]]`.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Option<String>,
    pub(super) when: When,
    /// Instead of whom the stages would find; without `stop`, beside them.
    pub(crate) to: Option<Target>,
    pub(crate) add: Vec<Target>,
    pub(crate) folder: Option<String>,
    pub(crate) stop: bool,
    /// Who has to agree before it goes out.
    pub(crate) approve: Option<String>,
    pub(crate) place: Place,
}

/// Conditions: all must hold; in a list any; an empty one holds always.
#[derive(Debug, Default)]
pub(super) struct When {
    pub(super) from: Vec<Glob>,
    pub(super) to: Vec<Glob>,
    pub(super) subject: Vec<Glob>,
    pub(super) list: Vec<Glob>,
    pub(super) header: Vec<(String, Vec<Glob>)>,
    pub(super) larger: Option<u64>,
    pub(super) collector: Vec<String>,
    pub(super) user: Vec<String>,
    pub(super) direction: Vec<Direction>,
}

/// What the conditions look at.
pub(crate) struct Question<'a> {
    pub(crate) direction: Direction,
    pub(crate) header: &'a Header<'a>,
    /// Keys of the addresses in From.
    pub(crate) from: &'a [String],
    /// Keys of the addresses that it is for, as far as the message says.
    pub(crate) to: &'a [String],
    /// In lower case.
    pub(crate) list: Option<&'a str>,
    pub(crate) size: u64,
    pub(crate) collector: Option<&'a str>,
    /// Whom the stages find, or who sends. Asked only if a rule wants to know.
    pub(crate) users: &'a dyn Fn() -> Vec<String>,
}

impl Rule {
    /// The users whom a condition names: what follows is about them alone.
    pub(crate) fn users(&self) -> &[String] {
        &self.when.user
    }

    /// How explanations call it.
    pub(crate) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("rule “{name}”"),
            None => "rule".to_owned(),
        }
    }
}

/// All rules, in file order.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    /// Each rule stands in one of these, under the condition that is met least often.
    from: Index,
    to: Index,
    list: Index,
    others: Vec<u32>,
}

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut all = Self::default();
        for (number, rule) in (0..).zip(&rules) {
            let when = &rule.when;
            let (index, globs) = match () {
                () if !when.from.is_empty() => (&mut all.from, &when.from),
                () if !when.to.is_empty() => (&mut all.to, &when.to),
                () if !when.list.is_empty() => (&mut all.list, &when.list),
                () => {
                    all.others.push(number);
                    continue;
                }
            };
            for glob in globs {
                index.insert(glob.as_str(), number);
            }
        }
        all.rules = rules;
        all
    }

    /// The rules that match, in file order, up to the first that stops.
    pub(super) fn matching(&self, question: &Question<'_>) -> Vec<&Rule> {
        let mut matching = Vec::new();
        if self.rules.is_empty() {
            return matching;
        }
        let subject = std::cell::OnceCell::new();
        let subject = || subject.get_or_init(|| lower(&question.header.text("Subject").unwrap_or_default())).as_str();
        for number in self.candidates(question.from, question.to, question.list) {
            let rule = &self.rules[number as usize];
            if rule.when.holds(question, subject) {
                matching.push(rule);
                if rule.stop {
                    break;
                }
            }
        }
        matching
    }

    fn candidates(&self, from: &[String], to: &[String], list: Option<&str>) -> Vec<u32> {
        let mut numbers = self.others.clone();
        from.iter().for_each(|text| self.from.candidates(text, |number| numbers.push(number)));
        to.iter().for_each(|text| self.to.candidates(text, |number| numbers.push(number)));
        list.iter().for_each(|text| self.list.candidates(text, |number| numbers.push(number)));
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// For every rule an earlier one that takes all of its mail: (earlier, later).
    pub(super) fn covered(&self) -> Vec<(&Rule, &Rule)> {
        let texts = |globs: &[Glob]| globs.iter().map(|glob| glob.as_str().to_owned()).collect::<Vec<_>>();
        let earlier = |number: usize, rule: &Rule| {
            let when = &rule.when;
            let list = when.list.first().map(Glob::as_str);
            let mut candidates = self.candidates(&texts(&when.from), &texts(&when.to), list).into_iter().map(|n| n as usize);
            candidates.find(|&earlier| {
                let earlier_rule = &self.rules[earlier];
                let takes = earlier_rule.stop || (earlier_rule.folder.is_some() && rule.only_folder());
                earlier < number && takes && earlier_rule.when.covers(when)
            })
        };
        let later = self.rules.iter().enumerate();
        later.filter_map(|(number, rule)| Some((&self.rules[earlier(number, rule)?], rule))).collect()
    }
}

impl Rule {
    fn only_folder(&self) -> bool {
        self.folder.is_some() && self.to.is_none() && self.add.is_empty() && self.approve.is_none() && !self.stop
    }
}

impl When {
    fn holds<'s>(&self, question: &Question<'_>, subject: impl Fn() -> &'s str) -> bool {
        let any = |globs: &[Glob], texts: &[String]| globs.is_empty() || globs.iter().any(|glob| texts.iter().any(|t| glob.matches(t)));
        self.direction.contains(&question.direction)
            && any(&self.from, question.from)
            && any(&self.to, question.to)
            && (self.list.is_empty() || question.list.is_some_and(|list| self.list.iter().any(|glob| glob.matches(list))))
            && self.larger.is_none_or(|size| question.size > size)
            && (self.collector.is_empty() || question.collector.is_some_and(|name| self.collector.iter().any(|c| c == name)))
            && (self.subject.is_empty() || self.subject.iter().any(|glob| glob.matches(subject())))
            && self.header.iter().all(|(name, globs)| {
                question.header.all(name).any(|field| {
                    let value = lower(&field.text());
                    globs.iter().any(|glob| glob.matches(&value))
                })
            })
            && (self.user.is_empty() || (question.users)().iter().any(|user| self.user.contains(user)))
    }

    /// Whether everything that meets `other` meets this too, as far as the texts of the patterns tell.
    fn covers(&self, other: &When) -> bool {
        let globs = |mine: &[Glob], theirs: &[Glob]| {
            let covered = |other: &Glob| mine.iter().any(|glob| glob.covers(other.as_str()));
            mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(covered))
        };
        let words =
            |mine: &[String], theirs: &[String]| mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(|word| mine.contains(word)));
        globs(&self.from, &other.from)
            && globs(&self.to, &other.to)
            && globs(&self.subject, &other.subject)
            && globs(&self.list, &other.list)
            && words(&self.collector, &other.collector)
            && words(&self.user, &other.user)
            && self.larger.is_none_or(|size| other.larger.is_some_and(|other| other >= size))
            && other.direction.iter().all(|direction| self.direction.contains(direction))
            && self.header.iter().all(|(name, mine)| {
                let mut same = other.header.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
                same.any(|(_, theirs)| globs(mine, theirs))
            })
    }
}

/// In lower case, and not longer than [`MAX_TEXT`] characters.
fn lower(text: &str) -> String {
    text.chars().take(MAX_TEXT).flat_map(char::to_lowercase).collect()
}
