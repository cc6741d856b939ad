//! The files that `init` writes: commented, so that the next step is to edit them.

use super::answers::{Answers, CLIENT_SECRET_NAME, LogIn, PASSWORD_FILE, SECRET_NAME, Server, User, Way};

impl Answers {
    /// `mailroom.toml`
    pub fn configuration_text(&self) -> String {
        let mut text = String::from(
            "# Where mail comes from and where it leaves. `mailroom check` reads this and says what is wrong; changes take effect at once.\n\
             # Every key is explained in the annotated mailroom.toml that comes with the program.\n\n[office]\n\
             # Domains that belong to you; a provider's own does not.\n",
        );
        // With one mailbox, the domain's other addresses may be other customers': mail to them has to leave.
        let domains: Vec<String> = match self.way {
            Way::Multidrop => self.domains.iter().map(|domain| quoted(domain.as_str())).collect(),
            Way::Bind | Way::Share => Vec::new(),
        };
        line(&mut text, "domains", &format!("[{}]", domains.join(", ")));
        text.push_str("# Who gets alarms, and mail to postmaster@ and abuse@.\n");
        line(&mut text, "postmaster", &quoted(&self.users[0].name));
        if let Some(path) = &self.storage {
            text.push_str("\n[storage]\n");
            line(&mut text, "path", &quoted(&path.to_string_lossy()));
        }
        text.push_str("\n[[collector]]\nname = \"isp\"\n");
        self.server_text(&mut text, &self.server);
        line(&mut text, "protocol", &quoted(&self.protocol.name().to_lowercase()));
        self.log_in_text(&mut text);
        if self.username != self.email.to_string() {
            line(&mut text, "address", &quoted(&self.email.to_string()));
        }
        text.push_str("# What becomes of the copy at the ISP: \"delete\", \"keep\", or deleted when it has been here that long.\n");
        match &self.after {
            Some(after) => line(&mut text, "after", &quoted(after)),
            None => text.push_str(match self.protocol {
                crate::config::Protocol::Pop3 => "after = \"7d\"\n",
                crate::config::Protocol::Imap => "after = \"keep\"\n",
            }),
        }
        match self.way {
            Way::Bind => {
                text.push_str("# All of it belongs to one person. \"mapped\" would look at each mail, see mappings/office.toml.\n");
                line(&mut text, "deliver", &quoted(&self.users[0].name));
            }
            Way::Multidrop | Way::Share => {
                text.push_str("# Each mail goes to whom it is for, see mappings/office.toml; what nobody claims waits in the tray.\n");
                line(&mut text, "deliver", "\"mapped\"");
            }
        }
        if let Some(smarthost) = &self.smarthost {
            text.push_str("\n[[smarthost]]\nname = \"isp\"\n");
            self.server_text(&mut text, smarthost);
            self.log_in_text(&mut text);
            text.push_str("# The addresses that it lets you send as.\n");
            let senders = match self.way {
                Way::Multidrop => format!("[{}, {}]", quoted(&self.email.to_string()), quoted(&format!("*@{}", self.email.domain()))),
                Way::Bind | Way::Share => format!("[{}]", quoted(&self.email.to_string())),
            };
            line(&mut text, "senders", &senders);
        }
        text
    }

    /// `mappings/office.toml`
    pub fn mapping_text(&self) -> String {
        let mut text = String::from(
            "# Whose mail is whose. `mailroom explain FILE` says who would get a message and why; `mailroom check` finds mistakes.\n\n\
             [addresses]\n# address = who gets it: a user, a list, group:NAME, { to = \"alice\", folder = \"Sales\" }, \"hold\" (the tray) …\n",
        );
        let email = quoted(&self.email.to_string());
        let first = &self.users[0].name;
        match self.way {
            Way::Bind => {
                text.push_str("# All mail of the mailbox goes to one person (\"deliver\" in mailroom.toml); nothing needs to stand here.\n")
            }
            Way::Share => {
                let members: Vec<String> = self.users.iter().map(|user| quoted(&user.name)).collect();
                text.push_str("# One address of several people: a reply goes to the one whom it answers, the rest to \"otherwise\".\n");
                line(&mut text, &email, &format!("{{ share = [{}], otherwise = {} }}", members.join(", "), quoted(first)));
            }
            Way::Multidrop => {
                text.push_str("# A user's own name counts already: alice@ your domain is alice. These are written down to be changed.\n");
                for user in &self.users {
                    let address = self.address_of(user);
                    if address != self.email.to_string() {
                        line(&mut text, &quoted(&address), &quoted(&user.name));
                    }
                }
                line(&mut text, &email, &quoted(first));
                text.push_str("# Everything else waits in the tray until somebody looks at it.\n");
                line(&mut text, &quoted(&format!("*@{}", self.email.domain())), "\"hold\"");
            }
        }
        text.push_str("\n[senders]\n# How mail looks outside: the address and the name that others see.\n");
        for user in &self.users {
            if self.way == Way::Bind && user.name != *first {
                continue;
            }
            let name = user.full_name.as_ref().map_or_else(String::new, |name| format!(", name = {}", quoted(name)));
            line(&mut text, &key(&user.name), &format!("{{ address = {}{name} }}", quoted(&self.address_of(user))));
        }
        if self.way == Way::Bind && self.users.len() > 1 {
            text.push_str("# The others write to the outside as the same address until each has one of their own.\n");
            line(&mut text, "\"*\"", &format!("{{ address = {email} }}"));
        }
        text
    }

    /// What a user sends as.
    fn address_of(&self, user: &User) -> String {
        match self.way {
            Way::Multidrop if !user.name.contains('@') => format!("{}@{}", user.name, self.email.domain()),
            Way::Multidrop => user.name.clone(),
            Way::Bind | Way::Share => self.email.to_string(),
        }
    }

    fn server_text(&self, text: &mut String, server: &Server) {
        if let Some(provider) = &self.provider {
            line(text, "provider", &quoted(&provider.id));
        }
        if let Some(host) = &server.host {
            line(text, "host", &quoted(host));
        }
        if let Some(port) = server.port {
            line(text, "port", &port.to_string());
        }
        if let Some(tls) = &server.tls {
            line(text, "tls", &quoted(tls));
            if tls == "none" {
                line(text, "insecure", "true");
            }
        }
        if let Some(ca) = &self.ca {
            line(text, "ca", &quoted(&ca.to_string_lossy()));
        }
    }

    fn log_in_text(&self, text: &mut String) {
        line(text, "username", &quoted(&self.username));
        match &self.log_in {
            LogIn::Password { in_store: true, .. } => line(text, "password", &format!("{{ secret = {} }}", quoted(SECRET_NAME))),
            LogIn::Password { in_store: false, .. } => line(text, "password", &format!("{{ file = {} }}", quoted(PASSWORD_FILE))),
            LogIn::OAuth { provider, client_id, tenant, client_secret } => {
                let mut table = format!("provider = {}, client_id = {}", quoted(provider), quoted(client_id));
                if let Some(tenant) = tenant {
                    table.push_str(&format!(", tenant = {}", quoted(tenant)));
                }
                if client_secret.is_some() {
                    table.push_str(&format!(", client_secret = {{ secret = {} }}", quoted(CLIENT_SECRET_NAME)));
                }
                text.push_str("# `mailroom oauth login isp` logs in, once; what comes of it is kept encrypted and renews itself.\n");
                line(text, "auth", "\"oauth2\"");
                line(text, "oauth2", &format!("{{ {table} }}"));
            }
        }
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    text.push_str(&format!("{key} = {value}\n"));
}

/// A user's name as a key: bare where TOML allows it.
fn key(name: &str) -> String {
    let bare = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A TOML string: literal where a backslash (a Windows path) would need doubling.
fn quoted(text: &str) -> String {
    if text.contains('\\') && !text.contains('\'') {
        return format!("'{text}'");
    }
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_control() => vec![' '],
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive() {
        for (text, expected) in [("a", "\"a\""), ("C:\\mail", "'C:\\mail'"), ("a\"b", "\"a\\\"b\""), ("it's \\", "\"it's \\\\\"")] {
            assert_eq!(quoted(text), expected);
            let document = crate::document::Document::parse("x.toml", &format!("x = {}", quoted(text))).unwrap();
            assert_eq!(document.root().get("x").unwrap().text(), Some(text));
        }
    }
}
