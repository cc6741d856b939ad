//! Evidence → addresses → [`Decision`]: whom a fetched message is for. Pure.
//!
//! [`decide`] goes through the stages in order and leaves a trace line for each: rules that stop ([`ruled`]); the collector's
//! binding; what the ISP wrote into the header ([`evidence`], at places that [`trust`] tells from those of the sender); the visible
//! recipients; the mailing list; the mailbox's own address. An address that several people share then goes through [`share`]. [`decide_for`]
//! does the same for mail whose envelope recipient is known: on the LAN, and by `smtp`. [`probe`] learns which header a provider writes.

mod evidence;
pub mod probe;
mod ruled;
mod share;
mod trust;

use std::cell::OnceCell;

use self::evidence::{Envelope, Evidence};
use crate::address::{Address, Domain};
use crate::config::{Collector, Deliver, EnvelopeHabit};
use crate::mapping::{Asker, Decision, Direction, Found, Held, Mailbox, Mapping, Sender, Step, Target};
use crate::message::address_list;
use crate::message::header::{Field, Header};

/// Recipients of one message that are looked up; a header that names more is somebody's game, or a newsletter's mistake.
pub const MAX_RECIPIENTS: usize = 50;
/// Bytes of blank lines that are passed over.
const MAX_BLANK: usize = 16;
/// Characters of a header that a trace line shows.
const MAX_SHOWN: usize = 1000;

/// What is looked at of a message.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Its header.
    pub header: &'a Header<'a>,
    /// Bytes of the whole message.
    pub size: u64,
    /// In a bounce: the Message-ID of the message that came back, without angle brackets.
    pub returned: Option<&'a str>,
}

/// The message without blank lines in front. Mail servers write their trace fields above everything; where blank lines stand above
/// those, they came in later, on the way from the mailbox to us.
pub fn without_blank_start(message: &[u8]) -> &[u8] {
    &message[blank_start(message)..]
}

/// Bytes of blank lines in front, see [`without_blank_start`]; 0 for what is nothing but blank.
pub fn blank_start(message: &[u8]) -> usize {
    message.iter().take(MAX_BLANK).position(|&b| !matches!(b, b'\r' | b'\n')).unwrap_or(0)
}

/// Where a fetched message comes from: what its collector says. The default is any mailbox, without a collector.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    /// The collector's name.
    pub name: Option<&'a str>,
    /// The mailbox's own address.
    pub address: Option<&'a Address>,
    /// Bind: all of it is for this target.
    pub deliver: Option<&'a Target>,
    /// For what no stage finds; default the tray.
    pub unclaimed: Option<&'a Target>,
    /// The one header that counts.
    pub pinned: Option<&'a EnvelopeHabit>,
    /// Tried before the usual headers. One with [`crate::config::Anchor::Last`] stands here only if the provider is known to append it.
    pub habits: &'a [EnvelopeHabit],
    /// Narrower than the office's domains; empty: all of those.
    pub domains: &'a [Domain],
    /// The local folder that the upstream folder belongs to; `None` is INBOX.
    pub folder: Option<&'a str>,
}

impl<'a> Source<'a> {
    /// A collector's, for one of its upstream folders.
    pub fn of(collector: &'a Collector, upstream_folder: &str) -> Self {
        let folder = collector.folders.iter().find(|(upstream, _)| upstream == upstream_folder).and_then(|(_, local)| local.as_deref());
        Self {
            name: Some(&collector.name),
            address: collector.address.as_ref(),
            deliver: match &collector.deliver {
                Deliver::Mapped => None,
                Deliver::To(target) => Some(target),
            },
            unclaimed: Some(&collector.unclaimed),
            pinned: collector.envelope.as_ref(),
            habits: &collector.habits,
            domains: &collector.domains,
            folder: folder.filter(|folder| !folder.eq_ignore_ascii_case("INBOX")),
        }
    }
}

/// Whom a fetched message is for. `sent` answers which user sent the message with a Message-ID (without angle brackets), if we did.
pub fn decide(mapping: &Mapping, mail: Mail<'_>, source: Source<'_>, sent: &dyn Fn(&str) -> Option<String>) -> Decision {
    let case = Case::new(mapping, mail, source, sent);
    let stages = OnceCell::new();
    let stages = || stages.get_or_init(|| case.stages());
    case.ruled(Direction::In, &case.rule_addresses(), &|| users_of(stages()), &|| stages().clone())
}

/// What becomes of a message for one envelope recipient: mail on the LAN (`direction` local), or in by `smtp` (`direction` in). A
/// recipient that nobody claims is held; who would rather refuse it asks [`crate::outbound::route`] first.
pub fn decide_for(
    mapping: &Mapping,
    recipient: &Address,
    direction: Direction,
    sender: Sender<'_>,
    mail: Mail<'_>,
    sent: &dyn Fn(&str) -> Option<String>,
) -> Decision {
    let mut case = Case::new(mapping, mail, Source::default(), sent);
    case.recipient = Some(recipient);
    case.sender = match sender {
        Sender::Outside(_) => None,
        ours => Some(ours),
    };
    let stages = OnceCell::new();
    let stages = || stages.get_or_init(|| case.for_recipient(recipient));
    case.ruled(direction, &[recipient.key().to_owned()], &|| users_of(stages()), &|| stages().clone())
}

/// What the rules with `direction = "out"` make of a message that one of ours sends outside.
pub fn decide_outgoing(mapping: &Mapping, sender: Sender<'_>, to: &[Address], mail: Mail<'_>) -> Outgoing {
    let mut case = Case::new(mapping, mail, Source::default(), &|_| None);
    case.sender = Some(sender);
    let keys: Vec<String> = to.iter().map(|address| address.key().to_owned()).collect();
    let user = if let Sender::User(user) = sender { Some(user) } else { None };
    let users = || user.map(str::to_owned).into_iter().collect();
    let rules = case.matching(Direction::Out, &keys, &users);
    let instead = rules.iter().any(|rule| rule.to.is_some() && rule.stop);
    let approve = rules.iter().find_map(|rule| rule.approve.clone()).filter(|manager| Some(manager.as_str()) != user);
    Outgoing { instead, approve, decision: case.ruled(Direction::Out, &keys, &users, &Decision::default) }
}

/// See [`decide_outgoing`].
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// A rule has a `to`: the message goes there and not out.
    pub instead: bool,
    /// This user has to agree before it goes out.
    pub approve: Option<String>,
    /// Copies for people here, or where it goes instead; empty if no rule says anything.
    pub decision: Decision,
}

/// One message with everything that deciding looks at.
struct Case<'a> {
    mapping: &'a Mapping,
    mail: Mail<'a>,
    source: Source<'a>,
    sent: &'a dyn Fn(&str) -> Option<String>,
    from: Vec<Address>,
    /// One of ours who hands it in; else the sender is outside.
    sender: Option<Sender<'a>>,
    /// The envelope's recipient, where it is known.
    recipient: Option<&'a Address>,
    envelope: OnceCell<Envelope>,
}

impl<'a> Case<'a> {
    fn new(mapping: &'a Mapping, mail: Mail<'a>, source: Source<'a>, sent: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let from = addresses(mail.header, &["From"]);
        Self { mapping, mail, source, sent, from, sender: None, recipient: None, envelope: OnceCell::new() }
    }

    fn is_ours(&self, address: &Address) -> bool {
        let narrowed = || self.source.domains.contains(address.domain()) || self.source.address == Some(address);
        self.mapping.is_ours(address) && (self.source.domains.is_empty() || narrowed())
    }

    fn envelope(&self) -> &Envelope {
        self.envelope.get_or_init(|| evidence::envelope(self))
    }

    /// The domains at which a bare name may be somebody.
    fn domains(&self) -> &[Domain] {
        if self.source.domains.is_empty() { self.mapping.domains() } else { self.source.domains }
    }

    /// Follows an address, and at a share finds out whom it is for; each of those looks leaves a step.
    fn find(&self, address: &Address, steps: &mut Vec<Step>) -> Option<Found> {
        self.asking(steps, |asker| self.mapping.find(address, asker))
    }

    /// Follows a target; `address` is the one that it stands for, if any.
    fn follow(&self, target: &Target, address: Option<&Address>, steps: &mut Vec<Step>) -> Found {
        self.asking(steps, |asker| self.mapping.follow(target, address, asker))
    }

    fn asking<T>(&self, steps: &mut Vec<Step>, ask: impl FnOnce(&mut Asker<'_>) -> T) -> T {
        let sender = self.sender.unwrap_or(Sender::Outside(&self.from));
        let share = &mut |address: Option<&Address>, members: &[String]| share::member(self, address, members, steps);
        ask(&mut Asker { sender: Some(sender), share, named: &|| self.named() })
    }

    /// The addresses of ours that the message is for as far as it says; of a guessed one that is elsewhere it says nothing.
    fn named(&self) -> Vec<Address> {
        if let Some(recipient) = self.recipient {
            return vec![recipient.clone()];
        }
        let mut named = match self.envelope() {
            Envelope::Found(evidence) => evidence.addresses.clone(),
            Envelope::Hold { .. } => return Vec::new(),
            Envelope::Nothing { .. } => {
                let (_, names) = visible_fields(self.mail.header);
                let guessed = evidence::guessed(self, self.mail.header, names).into_iter().flat_map(|evidence| evidence.addresses);
                guessed.filter(|address| !self.is_remote(address)).collect()
            }
        };
        if named.is_empty() {
            named.extend(self.source.address.cloned());
        }
        named
    }

    fn is_remote(&self, address: &Address) -> bool {
        self.mapping.reach(address).is_some_and(|found| found.remote)
    }

    /// Stages 2 to 8.
    fn stages(&self) -> Decision {
        let mut steps = Vec::new();
        if let Some(target) = self.source.deliver {
            let mut more = Vec::new();
            let found = self.follow(target, self.source.address, &mut more);
            let evidence = self.source.name.map_or_else(|| "the collector".to_owned(), |name| format!("collector {name}"));
            steps.push(Step { stage: "bind", evidence, addresses: vec![], rule: None, result: found.words() });
            steps.extend(more);
            return self.settle(vec![(None, found)], steps, true);
        }
        let envelope_reason = match self.envelope() {
            Envelope::Found(evidence) => return self.claimed("envelope", std::slice::from_ref(evidence), steps, true),
            Envelope::Hold { evidence, reason } => {
                let result = format!("held: {reason}");
                steps.push(Step { stage: "envelope", evidence: evidence.clone(), addresses: vec![], rule: None, result });
                let held = Some(Held { reason: reason.clone(), addresses: vec![] });
                return Decision { held, steps, ..Decision::default() };
            }
            Envelope::Nothing { evidence, reason } => {
                let result = reason.clone();
                steps.push(Step { stage: "envelope", evidence: evidence.clone(), addresses: vec![], rule: None, result });
                reason
            }
        };
        self.visible(steps, envelope_reason)
    }

    /// From what anybody can write into a header down to nothing at all.
    fn visible(&self, mut steps: Vec<Step>, envelope_reason: &str) -> Decision {
        let header = self.mail.header;
        let (stage, names) = visible_fields(header);
        let found = evidence::guessed(self, header, names);
        let here: Vec<Evidence> = found.into_iter().filter_map(|evidence| self.without_remote(stage, evidence, &mut steps)).collect();
        if !here.is_empty() {
            return self.claimed(stage, &here, steps, false);
        }
        let nobody = format!("no address of yours in {}", if stage == "resent" { "Resent-To or Resent-Cc" } else { "To or Cc" });
        steps.push(Step { stage, evidence: String::new(), addresses: vec![], rule: None, result: nobody.clone() });
        if let Some(decision) = self.by_list(&mut steps) {
            return decision;
        }
        if let Some(address) = self.source.address {
            if self.mapping.claims(address) {
                let evidence = Evidence { text: format!("the mailbox {address}"), addresses: vec![address.clone()], cut: false };
                return self.claimed("mailbox", &[evidence], steps, false);
            }
            let result = "the mapping does not name it".to_owned();
            steps.push(Step { stage: "mailbox", evidence: format!("the mailbox {address}"), addresses: vec![], rule: None, result });
        }
        let reason = format!(
            "{nobody}, and {}",
            match envelope_reason.starts_with("names") {
                true => "the provider's envelope header names none of yours either",
                false => envelope_reason,
            }
        );
        self.nobody(steps, reason)
    }

    /// Addresses that exist elsewhere count for nothing where anybody could have written them.
    fn without_remote(&self, stage: &'static str, mut evidence: Evidence, steps: &mut Vec<Step>) -> Option<Evidence> {
        let (remote, here): (Vec<_>, Vec<_>) =
            std::mem::take(&mut evidence.addresses).into_iter().partition(|address| self.is_remote(address));
        if !remote.is_empty() {
            let result = "guessed, and exists elsewhere: counts for nothing".to_owned();
            steps.push(Step { stage, evidence: evidence.text.clone(), addresses: remote, rule: None, result });
        }
        evidence.addresses = here;
        (!evidence.addresses.is_empty() || evidence.cut).then_some(evidence)
    }

    fn by_list(&self, steps: &mut Vec<Step>) -> Option<Decision> {
        let field = self.mail.header.first("List-Id")?;
        let id = list_id(&field.text());
        let Some((target, place)) = self.mapping.list(&id) else {
            steps.push(Step { stage: "list", evidence: shown(field), addresses: vec![], rule: None, result: "not in [lists]".to_owned() });
            return None;
        };
        let mut more = Vec::new();
        let found = self.follow(target, None, &mut more);
        let result = found.words();
        steps.push(Step { stage: "list", evidence: shown(field), addresses: vec![], rule: Some(place.clone()), result });
        steps.append(&mut more);
        Some(self.settle(vec![(None, found)], std::mem::take(steps), true))
    }

    fn nobody(&self, mut steps: Vec<Step>, reason: String) -> Decision {
        let mut more = Vec::new();
        let (found, result) = match self.source.unclaimed {
            None | Some(Target::Hold) => (Found { held: Some(reason.clone()), ..Found::default() }, format!("held: {reason}")),
            Some(target) => {
                let found = self.follow(target, self.source.address, &mut more);
                let result = format!("{reason}; unclaimed: {}", found.words());
                (found, result)
            }
        };
        steps.push(Step { stage: "none", evidence: String::new(), addresses: vec![], rule: None, result });
        steps.extend(more);
        self.settle(vec![(None, found)], steps, true)
    }

    /// Looks up what a stage found; a step for each address.
    fn claimed(&self, stage: &'static str, evidence: &[Evidence], mut steps: Vec<Step>, certain: bool) -> Decision {
        let mut all = Vec::new();
        for one in evidence {
            for address in &one.addresses {
                let mut more = Vec::new();
                let found = self
                    .find(address, &mut more)
                    .unwrap_or_else(|| Found { held: Some(format!("nobody claims {address}")), ..Found::default() });
                let guessed = if certain { "" } else { " (guessed)" };
                let result = format!("{}{guessed}", found.words());
                steps.push(Step { stage, evidence: one.text.clone(), addresses: vec![address.clone()], rule: found.entry.clone(), result });
                steps.extend(more);
                all.push((Some(address.clone()), found));
            }
            if one.cut {
                let held = Some(format!("it names more than {MAX_RECIPIENTS} addresses of yours"));
                all.push((None, Found { held, ..Found::default() }));
            }
        }
        self.settle(all, steps, certain)
    }

    fn for_recipient(&self, recipient: &Address) -> Decision {
        let text = format!("RCPT TO:<{recipient}>");
        let evidence = Evidence { text, addresses: vec![recipient.clone()], cut: false };
        self.claimed("envelope", &[evidence], Vec::new(), true)
    }

    /// Makes one decision of what several addresses lead to. What is uncertain goes to the tray only if nobody gets the message.
    fn settle(&self, all: Vec<(Option<Address>, Found)>, steps: Vec<Step>, certain: bool) -> Decision {
        let mut decision = Decision { steps, ..Decision::default() };
        let mut reasons: Vec<(String, Option<Address>)> = Vec::new();
        let mut discarded = false;
        for (address, found) in all {
            absorb(&mut decision, &found);
            if found.remote {
                decision.remote.extend(address.clone());
            }
            let refused = found.refused.inspect(|why| decision.refused = Some(why.clone()));
            reasons.extend(found.held.into_iter().chain(refused).map(|reason| (reason, address.clone())));
            discarded |= found.discarded;
        }
        if !reasons.is_empty() && (certain || !gets_somewhere(&decision)) {
            let reason = reasons.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>().join("; ");
            decision.held = Some(Held { reason, addresses: reasons.into_iter().filter_map(|(_, address)| address).collect() });
        }
        decision.discarded = discarded;
        ended(&mut decision);
        if let Some(folder) = self.source.folder {
            decision.recipients.iter_mut().for_each(|one| one.folder = Some(folder.to_owned()));
        }
        decision
    }

    /// What a rule's `to` is compared with: the envelope's recipients if the ISP names them, and the visible ones.
    fn rule_addresses(&self) -> Vec<String> {
        let visible = addresses(self.mail.header, &["To", "Cc", "Resent-To", "Resent-Cc"]);
        let envelope = match self.envelope() {
            Envelope::Found(evidence) => evidence.addresses.clone(),
            _ => Vec::new(),
        };
        envelope.into_iter().chain(visible).map(|address| address.key().to_owned()).collect()
    }
}

/// Whether somebody gets it, here or elsewhere.
fn gets_somewhere(decision: &Decision) -> bool {
    !decision.recipients.is_empty() || !decision.forwards.is_empty() || !decision.lmtp.is_empty()
}

/// Makes sure that something becomes of the message: thrown away is only what nobody gets, and nothing is by accident.
fn ended(decision: &mut Decision) {
    let kept = gets_somewhere(decision) || decision.held.is_some() || !decision.remote.is_empty();
    decision.discarded &= !kept;
    if !kept && !decision.discarded {
        decision.held = Some(Held { reason: "the mapping leads to nobody".to_owned(), addresses: vec![] });
    }
}

/// Adds people, forwards and LMTP destinations, each once.
fn absorb(decision: &mut Decision, found: &Found) {
    let mut merged = Found { recipients: std::mem::take(&mut decision.recipients), ..Found::default() };
    found.recipients.iter().for_each(|one| merged.add_recipient(one.clone()));
    decision.recipients = merged.recipients;
    for forward in &found.forwards {
        if !decision.forwards.iter().any(|known| known.to == forward.to) {
            decision.forwards.push(forward.clone());
        }
    }
    for destination in &found.lmtp {
        if !decision.lmtp.contains(destination) {
            decision.lmtp.push(destination.clone());
        }
    }
}

fn users_of(decision: &Decision) -> Vec<String> {
    let users = decision.recipients.iter().filter_map(|one| match &one.mailbox {
        Mailbox::User(name) => Some(name.clone()),
        Mailbox::Shared(_) => None,
    });
    users.collect()
}

/// The stage of the visible recipients, and the fields that it reads.
fn visible_fields(header: &Header<'_>) -> (&'static str, &'static [&'static str]) {
    const RESENT: &[&str] = &["Resent-To", "Resent-Cc", "Resent-Bcc"];
    match RESENT.iter().any(|name| header.first(name).is_some()) {
        true => ("resent", RESENT),
        false => ("header", &["To", "Cc", "Apparently-To"]),
    }
}

/// The mailboxes that these fields name.
fn addresses(header: &Header<'_>, names: &[&str]) -> Vec<Address> {
    let fields = names.iter().flat_map(|name| header.all(name));
    fields.flat_map(|field| address_list::mailboxes(field.value)).map(|mailbox| mailbox.address).take(MAX_RECIPIENTS).collect()
}

/// What stands in the last angle brackets (RFC 2919 §3), or the whole value, in lower case.
fn list_id(value: &str) -> String {
    let id = value.rsplit_once('<').map_or(value, |(_, id)| id.split('>').next().unwrap_or(id));
    id.trim().to_lowercase()
}

/// A field as a trace line shows it.
fn shown(field: &Field<'_>) -> String {
    let name = String::from_utf8_lossy(field.name);
    // Folding with tabs is usual, and a tab is no printable character.
    let value: Vec<u8> = field.unfolded().iter().map(|&b| if b == b'\t' { b' ' } else { b }).take(MAX_SHOWN * 4).collect();
    format!("{name}: {}", crate::message::words::lossless(&value)).chars().take(MAX_SHOWN).collect()
}
