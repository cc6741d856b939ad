//! One address, several people: the answer to somebody's message goes to that person; else a `+tag`, else the display name decides.

use super::{Case, shown};
use crate::address::Address;
use crate::mapping::Step;
use crate::message::address_list;

/// Message-IDs of `References` that are looked up, the newest first.
const MAX_REFERENCES: usize = 50;

/// The member whom a message to a share is for; `None` if nobody can be told.
pub(super) fn member(case: &Case<'_>, address: Option<&Address>, members: &[String], steps: &mut Vec<Step>) -> Option<Vec<String>> {
    let one =
        by_reply(case, members, steps).or_else(|| by_tag(address?, members, steps)).or_else(|| by_name(case, address, members, steps));
    one.map(|member| vec![member])
}

fn by_reply(case: &Case<'_>, members: &[String], steps: &mut Vec<Step>) -> Option<String> {
    let mut tried = None;
    for (evidence, id) in answered(case) {
        if let Some(user) = (case.sent)(&id) {
            let is_member = members.contains(&user);
            let result = match is_member {
                true => format!("answers a message of {user}"),
                false => format!("answers a message of {user}, who does not share the address"),
            };
            steps.push(Step { stage: "reply", evidence, addresses: vec![], rule: None, result });
            if is_member {
                return Some(user);
            }
            tried = None;
            continue;
        }
        tried.get_or_insert(evidence);
    }
    if let Some(evidence) = tried {
        steps.push(Step { stage: "reply", evidence, addresses: vec![], rule: None, result: "answers none of ours".to_owned() });
    }
    None
}

/// The Message-IDs that this one answers, the nearest first, without angle brackets.
fn answered(case: &Case<'_>) -> Vec<(String, String)> {
    let header = case.mail.header;
    let mut answered = Vec::new();
    for name in ["In-Reply-To", "References"] {
        for field in header.all(name) {
            let text = String::from_utf8_lossy(&field.unfolded()).into_owned();
            let ids = text.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(id, _)| id.trim().to_owned());
            let ids: Vec<String> = ids.filter(|id| !id.is_empty()).collect();
            answered.extend(ids.into_iter().rev().take(MAX_REFERENCES).map(|id| (shown(field), id)));
        }
    }
    let returned = case.mail.returned.map(|id| (format!("Message-ID of the returned message: {id}"), id.to_owned()));
    answered.extend(returned);
    answered
}

fn by_tag(address: &Address, members: &[String], steps: &mut Vec<Step>) -> Option<String> {
    let tag = address.tag()?.to_lowercase();
    let member = members.iter().find(|member| **member == tag).cloned();
    let result = member.clone().unwrap_or_else(|| "nobody who shares the address is called so".to_owned());
    steps.push(Step { stage: "tag", evidence: format!("+{tag}"), addresses: vec![address.clone()], rule: None, result });
    member
}

fn by_name(case: &Case<'_>, address: Option<&Address>, members: &[String], steps: &mut Vec<Step>) -> Option<String> {
    let plain = |one: &Address| one.without_tag().unwrap_or_else(|| one.clone());
    let wanted = address.map(plain);
    let fields = ["Resent-To", "To", "Cc", "Apparently-To"].into_iter().flat_map(|name| case.mail.header.all(name));
    let mailboxes = fields.flat_map(|field| address_list::mailboxes(field.value));
    let mut names: Vec<String> = Vec::new();
    for mailbox in mailboxes.filter(|mailbox| wanted.as_ref().is_none_or(|wanted| plain(&mailbox.address) == *wanted)) {
        names.extend(mailbox.name.filter(|name| !names.contains(name)));
    }
    let mut meant: Vec<&str> = names.iter().filter_map(|name| case.mapping.named_member(name, members)).collect();
    meant.sort_unstable();
    meant.dedup();
    let (member, result) = match meant.as_slice() {
        [one] => (Some((*one).to_owned()), (*one).to_owned()),
        [] => (None, "tells nobody apart: the share's “otherwise” gets it".to_owned()),
        _ => (None, "names several people: the share's “otherwise” gets it".to_owned()),
    };
    let addresses = address.cloned().into_iter().collect();
    let evidence = if names.is_empty() { "no display name".to_owned() } else { names.join(", ") };
    steps.push(Step { stage: "name", evidence, addresses, rule: None, result });
    member
}
