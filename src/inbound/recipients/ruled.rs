//! The rules of the mapping: those that stop decide alone, the others join what the stages find.

use super::{Case, absorb, ended, list_id};
use crate::mapping::{Decision, Direction, Found, Held, Mailbox, Question, Rule, Sender, Step};

impl<'a> Case<'a> {
    /// The rules that hold for this message, in their order.
    pub(super) fn matching(&self, direction: Direction, to: &[String], users: &dyn Fn() -> Vec<String>) -> Vec<&'a Rule> {
        let list = self.mail.header.first("List-Id").map(|field| list_id(&field.text()));
        let from: Vec<String> = self.from.iter().map(|address| address.key().to_owned()).collect();
        let sender = match self.sender {
            Some(Sender::User(user)) => Some(user.to_owned()),
            _ => None,
        };
        let users = || {
            let mut all = users();
            all.extend(sender.clone());
            all
        };
        self.mapping.rules(&Question {
            direction,
            header: self.mail.header,
            from: &from,
            to,
            list: list.as_deref(),
            size: self.mail.size,
            collector: self.source.name,
            users: &users,
        })
    }

    /// Stage 1, and the rules that join what the stages find.
    pub(super) fn ruled(
        &self,
        direction: Direction,
        to: &[String],
        users: &dyn Fn() -> Vec<String>,
        stages: &dyn Fn() -> Decision,
    ) -> Decision {
        let rules = self.matching(direction, to, users);
        if rules.is_empty() {
            return stages();
        }
        let replaces = |rule: &&Rule| rule.stop && rule.to.is_some() && rule.users().is_empty();
        let mut decision = if rules.iter().any(replaces) { Decision::default() } else { stages() };
        let (mut steps, mut joined): (Vec<Step>, Vec<Step>) = Default::default();
        let mut moved = None;
        for rule in &rules {
            let mut more = Vec::new();
            let mut parts = Vec::new();
            if let Some(to) = &rule.to {
                let mut found = self.follow(to, None, &mut more);
                if let Some(folder) = &rule.folder {
                    found.recipients.iter_mut().for_each(|one| one.folder = Some(folder.clone()));
                }
                name_hold(&mut found, rule);
                parts.push(found.words());
                if rule.stop && !rule.users().is_empty() {
                    leave_out(&mut decision, rule.users());
                }
                self.join(&mut decision, found);
            }
            for add in &rule.add {
                let mut found = self.follow(add, None, &mut more);
                name_hold(&mut found, rule);
                parts.push(format!("also {}", found.words()));
                self.join(&mut decision, found);
            }
            parts.extend(rule.approve.iter().map(|manager| format!("{manager} has to approve it")));
            if let (Some(folder), None) = (&rule.folder, &rule.to) {
                parts.push(format!("folder {folder}"));
                if rule.users().is_empty() {
                    moved.get_or_insert(folder.clone());
                } else {
                    into_folder(&mut decision, rule.users(), folder);
                }
            }
            let step =
                Step { stage: "rule", evidence: rule.title(), addresses: vec![], rule: Some(rule.place.clone()), result: parts.join(", ") };
            let into = if rule.stop { &mut steps } else { &mut joined };
            into.push(step);
            into.extend(more);
        }
        if let Some(folder) = moved {
            decision.recipients.iter_mut().for_each(|one| one.folder = Some(folder.clone()));
        }
        if direction != Direction::Out || rules.iter().any(replaces) {
            ended(&mut decision);
        }
        steps.append(&mut decision.steps);
        steps.append(&mut joined);
        decision.steps = steps;
        decision
    }

    fn join(&self, decision: &mut Decision, found: Found) {
        absorb(decision, &found);
        decision.discarded |= found.discarded;
        let reasons: Vec<String> = found.held.into_iter().chain(found.refused).collect();
        if !reasons.is_empty() {
            let held = decision.held.get_or_insert_with(|| Held { reason: String::new(), addresses: vec![] });
            for reason in reasons {
                held.reason = if held.reason.is_empty() { reason } else { format!("{}; {reason}", held.reason) };
            }
        }
        if found.remote {
            decision.remote.extend(self.source.address.cloned());
        }
    }
}

/// "hold" of a rule says which rule.
fn name_hold(found: &mut Found, rule: &Rule) {
    if found.held.is_some() {
        found.held = Some(format!("{} at {} says “hold”", rule.title(), rule.place));
    }
}

fn leave_out(decision: &mut Decision, users: &[String]) {
    decision.recipients.retain(|one| !matches!(&one.mailbox, Mailbox::User(name) if users.contains(name)));
}

fn into_folder(decision: &mut Decision, users: &[String], folder: &str) {
    for one in &mut decision.recipients {
        if matches!(&one.mailbox, Mailbox::User(name) if users.contains(name)) {
            one.folder = Some(folder.to_owned());
        }
    }
}
