//! Which command is legal in which state: the table of RFC 9051 §3 and §6. Pure.

use super::command::{Command, Key, Search, Select};
use super::sequence::SequenceSet;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has logged in.
    NotAuthenticated,
    /// Somebody has; no mailbox is open.
    Authenticated,
    /// A mailbox is open.
    Selected,
}

/// The states in which a command may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    BeforeLogin,
    AfterLogin,
    Selected,
}

/// `None` if the command may be given now; else what to say.
pub fn objection(command: &Command, state: State) -> Option<&'static str> {
    match (when(command), state) {
        (When::Always, _)
        | (When::BeforeLogin, State::NotAuthenticated)
        | (When::AfterLogin, State::Authenticated | State::Selected)
        | (When::Selected, State::Selected) => None,
        (When::BeforeLogin, State::Authenticated | State::Selected) => Some("You are logged in already."),
        (When::AfterLogin | When::Selected, State::NotAuthenticated) => Some("Log in first."),
        (When::Selected, State::Authenticated) => Some("Select a mailbox first."),
    }
}

fn when(command: &Command) -> When {
    use Command as C;
    match command {
        C::Capability | C::Noop | C::Logout | C::Id(_) => When::Always,
        C::Starttls | C::Authenticate { .. } | C::Login { .. } => When::BeforeLogin,
        C::Enable(_)
        | C::Select(_)
        | C::Create { .. }
        | C::Delete(_)
        | C::Rename { .. }
        | C::Subscribe(_)
        | C::Unsubscribe(_)
        | C::List(_)
        | C::Lsub { .. }
        | C::Namespace
        | C::Status { .. }
        | C::Idle
        | C::Compress { .. }
        | C::Unauthenticate
        | C::GetQuota(_)
        | C::GetQuotaRoot(_)
        | C::SetQuota
        | C::GetAcl(_)
        | C::MyRights(_)
        | C::ListRights { .. }
        | C::GetMetadata(_)
        | C::SetMetadata { .. }
        | C::Notify(_)
        | C::ChangeAcl => When::AfterLogin,
        C::Check
        | C::Close
        | C::Unselect
        | C::Expunge { .. }
        | C::Search { .. }
        | C::Sort { .. }
        | C::Thread { .. }
        | C::Fetch { .. }
        | C::Store { .. }
        | C::Copy { .. }
        | C::Move { .. } => When::Selected,
    }
}

/// Whether EXPUNGE responses may be sent while this command is answered. Not while the client may be sending message numbers
/// that it counted before (RFC 9051 §7.5.1, RFC 7162 §3.2.10.2): FETCH, STORE and SEARCH without UID, or a UID SEARCH among numbers.
pub fn may_expunge(command: &Command) -> bool {
    let counting = matches!(
        command,
        Command::Fetch { .. } | Command::Store { .. } | Command::Search { .. } | Command::Sort { .. } | Command::Thread { .. }
    );
    !(counting && names_numbers(command))
}

/// Whether it names or asks for message numbers: what UIDONLY rules out (RFC 9586 §3).
pub fn names_numbers(command: &Command) -> bool {
    match command {
        Command::Search { search, by_uid } | Command::Sort { search, by_uid, .. } | Command::Thread { search, by_uid, .. } => {
            !by_uid || searches_numbers(search)
        }
        Command::Fetch { by_uid, .. } | Command::Store { by_uid, .. } | Command::Copy { by_uid, .. } | Command::Move { by_uid, .. } => {
            !by_uid
        }
        Command::Select(Select { qresync: Some(qresync), .. }) => qresync.numbered,
        _ => false,
    }
}

fn searches_numbers(search: &Search) -> bool {
    let mut keys: Vec<&Key> = search.keys.iter().collect();
    while let Some(key) = keys.pop() {
        match key {
            Key::Sequence(SequenceSet::Ranges(_)) => return true,
            Key::Not(key) => keys.push(key),
            Key::Or(two) => keys.extend([&two.0, &two.1]),
            Key::And(all) => keys.extend(all),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::command::{Dialect, parse};

    #[test]
    fn by_state() {
        use State::{Authenticated, NotAuthenticated, Selected};
        let check = |line: &str, legal: &[State]| {
            let command = parse(line.as_bytes(), Dialect::default()).unwrap();
            for state in [NotAuthenticated, Authenticated, Selected] {
                assert_eq!(objection(&command, state).is_none(), legal.contains(&state), "{line} {state:?}");
            }
        };
        check("a NOOP", &[NotAuthenticated, Authenticated, Selected]);
        check("a LOGIN a b", &[NotAuthenticated]);
        check("a SELECT inbox", &[Authenticated, Selected]);
        check("a LIST \"\" *", &[Authenticated, Selected]);
        check("a FETCH 1 UID", &[Selected]);
        check("a CLOSE", &[Selected]);
    }

    #[test]
    fn numbers_stay_while_they_are_in_use() {
        let check = |line: &str, expected| {
            assert_eq!(may_expunge(&parse(line.as_bytes(), Dialect::default()).unwrap()), expected, "{line}");
        };
        check("a FETCH 1 UID", false);
        check("a UID FETCH 1 UID", true);
        check("a SEARCH ALL", false);
        check("a UID SEARCH UID 1", true);
        check("a UID SEARCH 1:3", false);
        check("a UID SORT (DATE) UTF-8 NOT 3", false);
        check("a UID THREAD REFERENCES UTF-8 (OR 3 SEEN)", false);
        check("a COPY 1 x", true);
        check("a NOOP", true);
    }

    #[test]
    fn message_numbers() {
        let check = |line: &str, expected| {
            assert_eq!(names_numbers(&parse(line.as_bytes(), Dialect::default()).unwrap()), expected, "{line}");
        };
        check("a FETCH 1 UID", true);
        check("a UID FETCH 1 UID", false);
        check("a SEARCH ALL", true);
        check("a UID SEARCH OR (NOT 1:2) ALL", true);
        check("a UID SEARCH UID 1:2 $", false);
        check("a UID SORT (DATE) UTF-8 3", true);
        check("a UID THREAD REFERENCES UTF-8 ALL", false);
        check("a SELECT x (QRESYNC (1 2 1:5 (1:5 7:11)))", true);
        check("a SELECT x (QRESYNC (1 2 1:5))", false);
        check("a EXPUNGE", false);
    }
}
