//! Who may do what with a mailbox (RFC 4314): a user everything with his own, the members of a shared one all but giving it away. It is the
//! mapping files that share; clients can look.

use super::Session;
use super::outcome::{Done, Failure, Performed};
use super::shared::Place;
use crate::imap::response;
use crate::store::folders::INBOX;

/// Lookup, read, seen, write, insert, post, create, delete messages, expunge.
const EVERYBODY: &str = "lrswipkte";
/// Of the tray: it is read, and mail is moved out of it.
const TRAY: &str = "lrswte";
/// What RFC 2086 called some of these (RFC 4314 §2.1.1).
const OBSOLETE: &str = "cd";

impl Session {
    pub(super) async fn my_rights(&mut self, mailbox: &str) -> Performed {
        let place = self.existing(mailbox).await?;
        let line = self.my_rights_line(mailbox, &place);
        self.queue(&line);
        Ok(Done::ok("These are your rights."))
    }

    /// `* MYRIGHTS …`, for MYRIGHTS and for LIST (RFC 8440).
    pub(super) fn my_rights_line(&self, mailbox: &str, place: &Place) -> String {
        format!("* MYRIGHTS {} {}\r\n", self.name(mailbox), rights(place))
    }

    pub(super) async fn get_acl(&mut self, mailbox: &str) -> Performed {
        let place = self.administered(mailbox).await?;
        let owner = response::mailbox(self.account()?.name(), true);
        self.queue(&format!("* ACL {} {owner} {}\r\n", self.name(mailbox), rights(&place)));
        Ok(Done::ok("This is the access control list."))
    }

    /// Nobody can be given anything here: the owner has his rights, everybody else none.
    pub(super) async fn list_rights(&mut self, mailbox: &str, identifier: &str) -> Performed {
        // It is repeated, and came in a literal perhaps: a line break in it would end the line of the answer.
        if identifier.chars().any(char::is_control) {
            return Err(Failure::Bad("An identifier holds no control characters.".into()));
        }
        let place = self.administered(mailbox).await?;
        let required = if self.account()?.name() == identifier { rights(&place) } else { "\"\"".into() };
        let mut line = format!("* LISTRIGHTS {} ", self.name(mailbox)).into_bytes();
        match identifier.is_ascii() {
            true => line.extend_from_slice(response::mailbox(identifier, true).as_bytes()),
            false => response::string(&mut line, identifier.as_bytes()),
        }
        line.extend_from_slice(format!(" {required}\r\n").as_bytes());
        self.send(&line).await?;
        Ok(Done::ok("These are the rights that can be given."))
    }

    /// Asking for others' rights takes the right to administer (RFC 4314 §4).
    async fn administered(&mut self, mailbox: &str) -> Result<Place, Failure> {
        match self.existing(mailbox).await? {
            place if place.shared.is_none() => Ok(place),
            _ => Err(Failure::no("NOPERM", "The administrator says who reads a shared mailbox.")),
        }
    }

    async fn existing(&mut self, mailbox: &str) -> Result<Place, Failure> {
        let place = self.place(mailbox).await?;
        match self.find(mailbox).await? {
            Some(_) => Ok(place),
            None => Err(Failure::nonexistent("NONEXISTENT")),
        }
    }
}

/// INBOX, a user's own or a shared one, can't be deleted; only one's own can be administered.
fn rights(place: &Place) -> String {
    if place.is_tray() {
        return TRAY.into();
    }
    let delete = if place.name == INBOX { "" } else { "x" };
    let administer = if place.shared.is_none() { "a" } else { "" };
    format!("{EVERYBODY}{delete}{administer}{OBSOLETE}")
}
