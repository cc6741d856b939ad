//! The main job on real servers: Dovecot and Postfix are the ISP, the program is run as an admin runs it, and what it serves is read
//! back by clients that nobody here wrote.

mod absence;
mod approval;
mod bad_input;
mod clients;
mod copies;
mod fetch;
pub mod isp;
mod lmtp;
mod oauth;
mod oauth_provider;
mod queue;
mod queue_recovery;
mod recovery;
mod relay;
mod rounds;
mod senders;

use isp::Dovecot;

/// A collector that fetches one of Dovecot's mailboxes.
pub fn collector(dovecot: &Dovecot, name: &str, protocol: &str, user: &str, more: &str) -> String {
    let port = if protocol == "pop3" { dovecot.pop3s } else { dovecot.imaps };
    format!(
        "[[collector]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nhost = \"localhost\"\nport = {port}\nca = '{}'\nusername = \"{user}\"\n\
         password = {{ file = \"isp.pass\" }}\nidle = false\n{more}\n",
        dovecot.authority.file.display()
    )
}
