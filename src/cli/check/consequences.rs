//! What the configuration will do to the mail, in plain words: nobody should learn from a loss what gets deleted when.

use crate::config::providers::Profiles;
use crate::config::{After, Collector, Config, Deliver, Protocol, Smarthost, SmarthostLogin, Start, Tls};
use crate::document::{duration_text, size_text};
use crate::mapping::Target;

/// A paragraph for each collector and smarthost, and one for the store.
pub fn text(config: &Config, profiles: &Profiles) -> String {
    let mut lines: Vec<String> = Vec::new();
    for collector in &config.collectors {
        lines.push(String::new());
        lines.extend(about_collector(collector, profiles));
    }
    for smarthost in &config.smarthosts {
        lines.push(String::new());
        lines.extend(about_smarthost(smarthost));
    }
    lines.push(String::new());
    lines.extend(about_store(config));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What becomes of the mail at the ISP.
pub fn fate(collector: &Collector) -> String {
    let protocol = collector.protocol.name();
    match &collector.after {
        After::Delete => format!("{protocol} mail is deleted at the ISP as soon as it is stored here"),
        After::Keep => {
            format!("{protocol} mail stays at the ISP: nothing is deleted there, so that mailbox fills up unless somebody else empties it")
        }
        After::Age(age) => format!("{protocol} mail is deleted at the ISP {} after it was stored here", duration_text(*age)),
        After::Seen => "IMAP mail stays at the ISP and is marked as read there once it is stored here".to_owned(),
        After::Move(folder) => format!("IMAP mail is moved to the folder {folder} at the ISP once it is stored here"),
    }
}

fn about_collector(collector: &Collector, profiles: &Profiles) -> Vec<String> {
    let endpoint = &collector.endpoint;
    let mut lines = vec![format!(
        "collector {}: {} at {}:{} ({}, {}){}",
        collector.name,
        collector.username,
        endpoint.host,
        endpoint.port,
        collector.protocol.name(),
        protection(endpoint.tls),
        if collector.enabled { "" } else { "; switched off" },
    )];
    let schedules: Vec<String> = collector.schedule.iter().map(ToString::to_string).collect();
    let at_once = if collector.idle { ", and at once when something arrives" } else { "" };
    lines.push(format!("  fetched {}{at_once}", schedules.join(", and ")));
    lines.push(format!("  {}", fate(collector)));
    match &collector.start {
        Start::All => {}
        Start::New => lines.push("  what is in the mailbox at the first fetch stays there; only what comes later is fetched".to_owned()),
        Start::Age(age) => lines.push(format!("  mail that is older than {} at the first fetch stays there", duration_text(*age))),
        Start::Date(date) => lines.push(format!("  mail from before {date} stays there")),
    }
    lines.push(match &collector.deliver {
        Deliver::To(target) => format!("  all of it goes to {}", target_text(target)),
        Deliver::Mapped => format!(
            "  each mail goes to whom it is for; what nobody claims {}",
            match &collector.unclaimed {
                Target::Hold => "waits in the tray".to_owned(),
                target => format!("goes to {}", target_text(target)),
            }
        ),
    });
    lines.push(format!("  of mail above {} only the headers are fetched", size_text(collector.max_size)));
    if collector.folders.len() > 1 || collector.folders.iter().any(|(_, local)| local.is_some()) {
        let folders = collector.folders.iter().map(|(upstream, local)| match local {
            Some(local) if local != upstream => format!("{upstream} (here {local})"),
            _ => upstream.clone(),
        });
        lines.push(format!("  folders: {}", folders.collect::<Vec<_>>().join(", ")));
    }
    if let Some(profile) = collector.provider.as_deref().and_then(|id| profiles.get(id)) {
        lines.extend(profile.notes.iter().map(|note| format!("  {}: {note}", profile.name)));
    }
    if collector.protocol == Protocol::Pop3 && collector.after == After::Keep {
        lines.push("  with POP3 the whole mailbox is listed at each fetch; it gets slower as it grows".to_owned());
    }
    lines
}

fn about_smarthost(smarthost: &Smarthost) -> Vec<String> {
    let endpoint = &smarthost.endpoint;
    let login = match &smarthost.login {
        SmarthostLogin::None => "without log-in".to_owned(),
        SmarthostLogin::Own(user, _) => format!("as {user}"),
        SmarthostLogin::Collector => "as the collector whose address the sender has".to_owned(),
    };
    let off = if smarthost.enabled { "" } else { "; switched off" };
    let mut lines =
        vec![format!("smarthost {}: {}:{} ({}), {login}{off}", smarthost.name, endpoint.host, endpoint.port, protection(endpoint.tls))];
    lines.push(match smarthost.senders.as_slice() {
        [] => "  takes mail from any of your addresses".to_owned(),
        senders => format!("  takes mail from {}", senders.join(", ")),
    });
    if let Some((count, period)) = smarthost.rate {
        lines.push(format!("  at most {count} mails in {}", duration_text(period)));
    }
    lines.push(format!("  mail that it does not take goes back to its sender after {}", duration_text(smarthost.expire)));
    lines
}

fn about_store(config: &Config) -> Vec<String> {
    let mut lines = vec![format!("store: {}", config.storage.path.display())];
    lines.push(match config.storage.journal {
        Some(age) => format!("  originals are kept for {}; so long a wrong mapping can be undone", duration_text(age)),
        None => "  no originals are kept: what is discarded or dropped is gone".to_owned(),
    });
    lines.push(match config.storage.tray {
        Some(age) => format!("  mail that nobody claims is thrown away after {} in the tray", duration_text(age)),
        None => "  mail that nobody claims stays in the tray until somebody gives or drops it".to_owned(),
    });
    if config.collectors.is_empty() {
        lines.push("nothing is fetched: there is no [[collector]]".to_owned());
    }
    if config.smarthosts.is_empty() {
        lines.push("nothing can be sent to the outside: there is no [[smarthost]]".to_owned());
    }
    lines
}

fn protection(tls: Tls) -> &'static str {
    match tls {
        Tls::Implicit => "TLS",
        Tls::Starttls => "STARTTLS",
        Tls::None => "NOT PROTECTED",
    }
}

fn target_text(target: &Target) -> String {
    match target {
        Target::User(name) => name.clone(),
        Target::Group(name) => format!("the group {name}"),
        Target::Shared(name) => format!("the shared mailbox {name}"),
        Target::Forward(address) => format!("{address}, outside"),
        Target::Lmtp(server) => format!("the mail system {server}"),
        Target::Address(address) => format!("whom {address} leads to"),
        Target::Share { members, .. } => format!("one of {}", members.join(", ")),
        Target::Remote => "nobody here".to_owned(),
        Target::Hold => "the tray".to_owned(),
        Target::Discard => "nobody: it is thrown away".to_owned(),
        Target::All(targets) => targets.iter().map(target_text).collect::<Vec<_>>().join(", "),
        Target::In { to, folder } => format!("{}, folder {folder}", target_text(to)),
    }
}

#[cfg(test)]
mod tests {
    use crate::gateway::files;

    fn consequences(keys: &str) -> String {
        let file = std::path::absolute("/office/mailroom.toml").unwrap();
        let text = format!(
            "[office]\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprovider = \"gmx\"\nusername = \"u@gmx.de\"\npassword = {{ env = \"P\" }}\n{keys}"
        );
        let loaded = files::parse(&file, [(file.clone(), text)].into()).unwrap();
        super::text(&loaded.config, &loaded.profiles)
    }

    #[test]
    fn says_what_is_deleted_when() {
        let check = |keys: &str, expected: &str| {
            let text = consequences(keys);
            assert!(text.contains(expected), "{text}");
        };
        check("protocol = \"pop3\"", "POP3 mail is deleted at the ISP 7 days after it was stored here");
        check("protocol = \"imap\"", "IMAP mail stays at the ISP");
        check("after = \"delete\"", "is deleted at the ISP as soon as it is stored here");
        check("after = { move = \"Done\" }", "moved to the folder Done");
        check("deliver = [\"alice\", \"bob\"]", "all of it goes to alice, bob");
        check("", "what nobody claims waits in the tray");
        check("start = \"new\"", "only what comes later is fetched");
        check("", "nothing can be sent to the outside");
        check("", "POP3 and IMAP have to be switched on first");
    }
}
