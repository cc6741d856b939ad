//! Mails that go straight into the mailbox of one of our own people: bounces, notices of delay, confirmations, and the alarm about a
//! log-in.

use crate::address::Address;
use crate::config::{Current, Language};
use crate::inbound::letter::{self, Letter};
use crate::mapping::Mailbox;
use crate::outbound::dsn::Letterhead;
use crate::store::{Arrival, Store, StoreError};

/// Somebody who hears what became of a mail.
#[derive(Debug, Clone)]
pub struct Reader {
    mailbox: Mailbox,
    /// Of what is written to him.
    pub letterhead: Letterhead,
}

impl Reader {
    /// A mail's owner, or the postmaster if he is gone; `None`: nobody has an address here.
    pub async fn of(store: &Store, current: &Current, owner: &str) -> Result<Option<Self>, StoreError> {
        let office = &current.config.office;
        let mailbox = Mailbox::User(owner.to_owned());
        let (mailbox, name) = match store.account(&mailbox).await? {
            Some(_) => (mailbox, owner),
            None => (Mailbox::User(office.postmaster.clone()), office.postmaster.as_str()),
        };
        let Ok(from) = Address::new("MAILER-DAEMON", &office.lan_domain) else { return Ok(None) };
        let letterhead = |to| Letterhead {
            language: office.language,
            zone: office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system),
            hostname: office.hostname.clone(),
            from,
            to,
        };
        Ok(current.mapping.lan_address(name).map(|to| Self { mailbox, letterhead: letterhead(to) }))
    }

    /// The mail on its way to him.
    pub fn gets(&self, mail: Vec<u8>, now: i64) -> Arrival {
        letter::arrival(self.mailbox.clone(), &self.letterhead.to, mail, now)
    }
}

/// The postmaster's mail about a smarthost, known by name and host, that refuses our log-in.
pub fn login_alarm(current: &Current, name: &str, host: &str, reason: &str, now: i64) -> Option<Arrival> {
    let office = &current.config.office;
    let to = current.mapping.lan_address(&office.postmaster)?;
    let (subject, text) = match office.language {
        Language::English => (
            format!("The smarthost “{name}” refuses our log-in"),
            format!(
                "Outgoing mail through “{name}” ({}) waits in the queue, because the server does not accept our log-in.\n\nIt says:\n\n    {reason}\n\n\
                 Nothing is lost, and nothing bounces as long as it has not expired. Please check user name and password of this smarthost; \
                 a changed password is used at the next attempt, and “mailroom queue retry all” makes that one at once. With the same \
                 password the server is asked at most every ten minutes, so that it does not lock us out.\n",
                host
            ),
        ),
        Language::German => (
            format!("Der Postausgangsserver „{name}“ lehnt unsere Anmeldung ab"),
            format!(
                "Ausgehende E-Mails über „{name}“ ({}) warten in der Warteschlange, weil der Server unsere Anmeldung nicht annimmt.\n\nEr \
                 antwortet:\n\n    {reason}\n\nEs geht nichts verloren, und nichts kommt zurück, solange es nicht abgelaufen ist. Bitte prüfen \
                 Sie Benutzernamen und Passwort dieses Servers; ein geändertes Passwort gilt ab dem nächsten Versuch, den „mailroom queue \
                 retry all“ sofort macht. Mit demselben Passwort wird der Server höchstens alle zehn Minuten gefragt, damit er uns nicht sperrt.\n",
                host
            ),
        ),
    };
    let letter = Letter { to: &to, subject: &subject, text: &text, id: "alarm", now };
    match letter.arrival(&current.config, Mailbox::User(office.postmaster.clone())) {
        Ok(arrival) => Some(arrival),
        Err(error) => {
            tracing::error!(error, "the alarm could not be written");
            None
        }
    }
}
