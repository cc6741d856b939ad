//! Arguments of NOTIFY (RFC 5465).

use super::fetch::{FetchItem, item};
use super::lexer::Lexer;
use super::{Invalid, MAX_LIST, list, parenthesised};

/// `(filter events)` of one command.
const MAX_GROUPS: usize = 50;

/// What a client wants to be told of, from now on and unasked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// `SET STATUS`: a STATUS response for each watched mailbox first.
    pub status: bool,
    /// Of the open mailbox; `None` is nothing.
    pub selected: Option<SelectedEvents>,
    /// Of others.
    pub groups: Vec<Group>,
}

/// What is wanted of the open mailbox: new messages and removals always, since one makes no sense without the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectedEvents {
    /// `SELECTED-DELAYED`: removals wait for a command that may tell them.
    pub delayed: bool,
    /// Items that are sent of new messages.
    pub items: Vec<FetchItem>,
    /// Changed flags, too.
    pub flags: bool,
}

/// Mailboxes and what is wanted of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which.
    pub mailboxes: Mailboxes,
    /// What.
    pub events: Events,
}

/// `filter-mailboxes-other`
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the words of the RFC
pub enum Mailboxes {
    Inboxes,
    Personal,
    Subscribed,
    Subtree(Vec<String>),
    Named(Vec<String>),
}

/// What may happen to a mailbox that is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // the words of the RFC
pub struct Events {
    /// MessageNew and MessageExpunge
    pub messages: bool,
    pub flags: bool,
    pub names: bool,
    pub subscriptions: bool,
    pub metadata: bool,
    pub server_metadata: bool,
}

/// Such as we know. There are no annotations of messages here.
const BAD_EVENT: Invalid = Invalid::with_code(
    "There is no such event here.",
    "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)",
);

/// `notify = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-group *(SP event-group) / "NONE")`
pub fn notify(lexer: &mut Lexer) -> Result<Notify, Invalid> {
    let mut notify = Notify::default();
    if lexer.take_word("NONE") {
        return Ok(notify);
    }
    if !lexer.take_word("SET") {
        return Err(Invalid::new("NOTIFY takes SET or NONE."));
    }
    lexer.space()?;
    if lexer.take_word("STATUS") {
        notify.status = true;
        lexer.space()?;
    }
    let mut selected_given = false;
    let groups = list(lexer, |lexer| {
        lexer.expect(b'(')?;
        let delayed = lexer.take_word("SELECTED-DELAYED");
        if delayed || lexer.take_word("SELECTED") {
            if std::mem::replace(&mut selected_given, true) {
                return Err(Invalid::new("The open mailbox is named twice."));
            }
            lexer.space()?;
            let wanted = events(lexer)?;
            if wanted.others {
                return Err(Invalid::new("Of the open mailbox only its messages can be told."));
            }
            notify.selected = wanted.events.messages.then_some(SelectedEvents { delayed, items: wanted.items, flags: wanted.events.flags });
        } else {
            let mailboxes = mailboxes(lexer)?;
            lexer.space()?;
            let wanted = events(lexer)?;
            if !wanted.items.is_empty() {
                return Err(Invalid::new("What to fetch of new messages can be said for the open mailbox only."));
            }
            notify.groups.push(Group { mailboxes, events: wanted.events });
        }
        lexer.expect(b')')
    })?;
    if groups.len() > MAX_GROUPS {
        return Err(Invalid::with_code("This is too much to watch.", "NOTIFICATIONOVERFLOW"));
    }
    Ok(notify)
}

fn mailboxes(lexer: &mut Lexer) -> Result<Mailboxes, Invalid> {
    Ok(match lexer.word()?.to_ascii_uppercase().as_str() {
        "INBOXES" => Mailboxes::Inboxes,
        "PERSONAL" => Mailboxes::Personal,
        "SUBSCRIBED" => Mailboxes::Subscribed,
        "SUBTREE" => Mailboxes::Subtree(names(lexer)?),
        "MAILBOXES" => Mailboxes::Named(names(lexer)?),
        _ => return Err(Invalid::new("Which mailboxes?")),
    })
}

/// `SP (mailbox / "(" mailbox *(SP mailbox) ")")`
fn names(lexer: &mut Lexer) -> Result<Vec<String>, Invalid> {
    lexer.space()?;
    if lexer.peek() == Some(b'(') { parenthesised(lexer, |lexer| lexer.mailbox()) } else { Ok(vec![lexer.mailbox()?]) }
}

#[derive(Default)]
struct Wanted {
    events: Events,
    items: Vec<FetchItem>,
    /// There are events that are not about messages.
    others: bool,
}

/// `events = "(" event *(SP event) ")" / "NONE"`; one event without parentheses, as in the RFC's examples, is understood.
fn events(lexer: &mut Lexer) -> Result<Wanted, Invalid> {
    let mut wanted = Wanted::default();
    if lexer.take_word("NONE") {
        return Ok(wanted);
    }
    let (mut new, mut expunge) = (false, false);
    let mut event = |lexer: &mut Lexer| {
        match lexer.word()?.to_ascii_uppercase().as_str() {
            "MESSAGENEW" => {
                new = true;
                if lexer.rest().starts_with(b" (") {
                    lexer.space()?;
                    wanted.items = parenthesised(lexer, item)?;
                }
            }
            "MESSAGEEXPUNGE" => expunge = true,
            "FLAGCHANGE" => wanted.events.flags = true,
            "MAILBOXNAME" => wanted.events.names = true,
            "SUBSCRIPTIONCHANGE" => wanted.events.subscriptions = true,
            "MAILBOXMETADATACHANGE" => wanted.events.metadata = true,
            "SERVERMETADATACHANGE" => wanted.events.server_metadata = true,
            _ => return Err(BAD_EVENT),
        }
        Ok(())
    };
    if lexer.peek() == Some(b'(') {
        parenthesised(lexer, event)?;
    } else {
        list(lexer, &mut event)?;
    }
    wanted.others = wanted.events.names || wanted.events.subscriptions || wanted.events.metadata || wanted.events.server_metadata;
    if new != expunge || (wanted.events.flags && !new) {
        return Err(Invalid::new("MessageNew and MessageExpunge go together, and FlagChange with them."));
    }
    if wanted.items.iter().any(FetchItem::sets_seen) {
        return Err(Invalid::new("What is fetched unasked must not count as read: ask for PEEK."));
    }
    wanted.events.messages = new;
    Ok(wanted)
}

const _: () = assert!(MAX_GROUPS <= MAX_LIST);
