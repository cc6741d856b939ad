//! Which command is legal in which state: the table of RFC 9051 §3 and §6. Pure.

use super::command::Command;

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
/// that it counted before (RFC 9051 §7.5.1): FETCH, STORE and SEARCH without UID.
pub fn may_expunge(command: &Command) -> bool {
    !matches!(
        command,
        Command::Fetch { by_uid: false, .. }
            | Command::Store { by_uid: false, .. }
            | Command::Search { by_uid: false, .. }
            | Command::Sort { by_uid: false, .. }
            | Command::Thread { by_uid: false, .. }
    )
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
}
