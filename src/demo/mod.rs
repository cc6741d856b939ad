//! The sandbox: a stand-in ISP on loopback, a small office, and the real gateway between them.
//!
//! Both sides are gateways of this program with files, stores and certificates of their own in one temporary folder; the office knows no
//! more of the ISP than an office knows. What is claimed to have happened is read back by [`client`], which shares no code with the servers.

mod client;
mod feed;
mod samples;
mod sandbox;
mod story;

use std::io::{IsTerminal, Write};

use jiff::Zoned;

use crate::service::{Told, platform};
use samples::CUSTOMER;

/// Plays it all; with `once` it ends there, else it stays until Ctrl-C. Whether everything was seen to happen.
pub async fn run(once: bool) -> anyhow::Result<bool> {
    let mut signals = platform::Signals::new()?;
    let folder = sandbox::Folder::new()?;
    let mut page = Page::stdout();
    let played = tokio::select! {
        played = play(&folder, &mut page, once) => Some(played),
        () = interrupted(&mut signals) => None,
    };
    drop(folder);
    match played {
        Some(played) => played,
        None => {
            page.say("\nStopped; nothing remains.");
            Ok(!once)
        }
    }
}

async fn interrupted(signals: &mut platform::Signals) {
    while signals.next().await != Told::Stop {}
}

async fn play(folder: &sandbox::Folder, page: &mut Page, once: bool) -> anyhow::Result<bool> {
    let now = Zoned::now();
    page.title("A stand-in ISP, a small office, and the real gateway between them. Everything is on 127.0.0.1.");
    let isp = sandbox::start_isp(folder, &now).await?;
    let office = sandbox::start_office(folder, &isp).await?;
    let missing = story::tell(&isp, &office, page).await?;
    let all_seen = missing.is_empty();
    if !all_seen {
        for what in &missing {
            eprintln!("mailroom: not seen: {what}");
        }
    }
    if !once {
        page.say(&format!(
            "\nThe office stays open: look around with any mail program. Write to a colleague, or to Marta Rossi <{CUSTOMER}>; other people\n\
             outside don't exist here, and mail to them comes back. Ctrl-C ends it, and nothing remains."
        ));
        feed::Feed::new(&office, page).skip().await?.until(async || Ok(false)).await?;
    }
    office.gateway.stop().await;
    isp.gateway.stop().await;
    if once {
        page.say(if all_seen { "\nAll of it was seen to happen; nothing remains." } else { "\nNot all of it was seen to happen." });
    }
    Ok(all_seen)
}

/// Where the story is told: plain lines, with a little colour on a terminal.
pub struct Page {
    colour: bool,
}

impl Page {
    fn stdout() -> Page {
        Page { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// A line. A reader that has gone (`| head`) is no reason to stop half-way.
    fn say(&mut self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// A line that stands out, with room above it.
    fn title(&mut self, line: &str) {
        match self.colour {
            true => self.say(&format!("\n\x1b[1m{line}\x1b[0m")),
            false => self.say(&format!("\n{line}")),
        }
    }

    /// Something was seen to happen, or not.
    fn tick(&mut self, seen: bool, line: &str) {
        let mark = match (seen, self.colour) {
            (true, true) => "\x1b[32m✓\x1b[0m",
            (true, false) => "✓",
            (false, true) => "\x1b[31m✗\x1b[0m",
            (false, false) => "✗",
        };
        self.say(&format!("  {mark} {line}"));
    }

    /// Dimmed on a terminal.
    fn aside(&self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}
