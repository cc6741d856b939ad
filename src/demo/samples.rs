//! The sample mail that waits at the stand-in ISP, and whom each message has to reach.

use jiff::{SignedDuration, Zoned};

/// A message that waits in a mailbox at the ISP.
pub struct Sample {
    /// The ISP's user.
    pub mailbox: &'static str,
    /// With `{{3h}}` where a time three hours ago has to stand, and LF line ends.
    text: &'static str,
    /// Users here who have to get it; empty for the tray.
    pub people: &'static [&'static str],
    /// The folder, where it is not INBOX.
    pub folder: Option<&'static str>,
    /// What it is here to show.
    pub note: &'static str,
}

/// The mailbox that holds everything for the office's own domain.
pub const CATCH_ALL: &str = "lindenhof";
/// Anna's own mailbox.
pub const ANNA: &str = "anna.linden@post.example";
/// The mailbox that three people share.
pub const STUDIO: &str = "studio.lindenhof@post.example";
/// Somebody outside, who has a mailbox at the same ISP so that mail can be sent to her.
pub const CUSTOMER: &str = "m.rossi@rossi-architetti.example";

macro_rules! sample {
    ($mailbox:ident, $file:literal, $people:expr, $note:literal) => {
        sample!($mailbox, $file, $people, $note, None)
    };
    ($mailbox:ident, $file:literal, $people:expr, $note:literal, $folder:expr) => {
        Sample { mailbox: $mailbox, text: include_str!(concat!("mail/", $file)), people: &$people, folder: $folder, note: $note }
    };
}

/// All of them, oldest first in each mailbox.
pub const SAMPLES: [Sample; 16] = [
    sample!(CATCH_ALL, "catchall-01-angebot.eml", ["anna"], ""),
    sample!(CATCH_ALL, "catchall-02-order.eml", ["anna", "ben"], "one address, two people"),
    sample!(CATCH_ALL, "catchall-03-rechnung.eml", ["carla"], "into a folder", Some("Rechnungen")),
    sample!(CATCH_ALL, "catchall-04-list.eml", ["ben"], "a mailing list: To names only the list"),
    sample!(CATCH_ALL, "catchall-05-bcc.eml", ["carla"], "a blind copy: To names nobody"),
    sample!(CATCH_ALL, "catchall-06-forged.eml", ["ben"], "the Delivered-To forged below is not believed"),
    // The ISP stored it twice, for anna@ and for sales@, which is Anna and Ben: Anna gets one copy all the same.
    sample!(CATCH_ALL, "catchall-07-besuch-anna.eml", ["anna", "ben"], ""),
    sample!(CATCH_ALL, "catchall-08-besuch-ben.eml", ["anna", "ben"], ""),
    sample!(CATCH_ALL, "catchall-09-unbekannt.eml", [], ""),
    sample!(CATCH_ALL, "catchall-10-tag.eml", ["carla"], "a +tag"),
    sample!(CATCH_ALL, "catchall-11-old-domain.eml", ["ben"], "the old company's domain, rewritten"),
    sample!(ANNA, "anna-01-bank.eml", ["anna"], ""),
    sample!(ANNA, "anna-02-friend.eml", ["anna"], ""),
    sample!(STUDIO, "studio-01-by-name.eml", ["carla"], ""),
    sample!(STUDIO, "studio-02-by-tag.eml", ["ben"], ""),
    sample!(STUDIO, "studio-03-anybody.eml", ["anna"], ""),
];

/// Message-ID of the mail that Carla answers.
pub const ANSWERED: &str = "library-2f.7@rossi-architetti.example";

impl Sample {
    /// The bytes as the ISP holds them.
    pub fn bytes(&self, now: &Zoned) -> Vec<u8> {
        let mut text = String::with_capacity(self.text.len() + 200);
        let mut rest = self.text;
        while let Some((before, after)) = rest.split_once("{{") {
            text.push_str(before);
            let (hours, after) = after.split_once("h}}").unwrap_or(("0", after));
            let then = now.clone() - SignedDuration::from_hours(hours.parse().unwrap_or(0));
            text.push_str(&then.strftime("%a, %-d %b %Y %H:%M:%S %z").to_string());
            rest = after;
        }
        text.push_str(rest);
        text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes()
    }

    /// Without angle brackets.
    pub fn message_id(&self) -> &'static str {
        let after = self.text.split("\nMessage-ID: <").nth(1).unwrap_or_default();
        after.split('>').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::facts::Facts;

    #[test]
    fn the_samples_are_sound_mail() {
        let now: Zoned = "2026-06-01T12:00:00+02:00[Europe/Berlin]".parse().unwrap();
        for sample in &SAMPLES {
            let bytes = sample.bytes(&now);
            let facts = Facts::of(&bytes);
            assert_eq!(facts.message_id.as_deref(), Some(sample.message_id()));
            assert!(facts.date.is_some() && facts.from.is_some() && !facts.subject.is_empty(), "{}", sample.message_id());
            assert!(!String::from_utf8(bytes).unwrap().contains("{{"));
        }
    }
}
