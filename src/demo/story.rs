//! What the sandbox shows, step by step, each step read back as a mail program would see it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Page;
use super::client::{Account, field};
use super::feed::Feed;
use super::samples::{ANNA, ANSWERED, CATCH_ALL, CUSTOMER, SAMPLES, STUDIO, Sample};
use super::sandbox::{ISP_PASSWORD, PASSWORD, PEOPLE, Side};
use crate::serve::listener::Service;

/// What the whole step may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks into a mailbox.
const GLANCE: Duration = Duration::from_millis(100);
/// Where invoices go.
const INVOICES: &str = "Rechnungen";

/// Tells it all; what was not seen to happen.
pub async fn tell(isp: &Side, office: &Side, page: &mut Page) -> anyhow::Result<Vec<String>> {
    let mut story = Story { isp, office, page, missing: Vec::new() };
    story.introduce()?;
    story.fetch().await?;
    story.read_back().await?;
    story.write_inside().await?;
    story.write_outside().await?;
    Ok(story.missing)
}

struct Story<'a> {
    isp: &'a Side,
    office: &'a Side,
    page: &'a mut Page,
    missing: Vec<String>,
}

impl<'s> Story<'s> {
    fn introduce(&mut self) -> anyhow::Result<()> {
        self.page.say("");
        self.page.say(&format!("  The ISP has three mailboxes of the office, with {} messages in them:", SAMPLES.len()));
        for (name, what, how) in [
            (CATCH_ALL, "everything @lindenhof.example", "multidrop  POP3 over TLS"),
            (ANNA, "Anna's own", "bind       POP3 with STLS"),
            (STUDIO, "shared by Anna, Ben and Carla", "share      IMAP over TLS, IDLE"),
        ] {
            self.page.say(&format!("    {name:<30} {what:<30} {how}"));
        }
        self.page.say("");
        self.page.say("  Log in to the office with any mail program:");
        let people: Vec<&str> = PEOPLE.iter().map(|(name, _)| *name).collect();
        self.page.say(&format!("    users {}; password {PASSWORD}", people.join(", ")));
        for (what, plain, tls, word) in [
            ("IMAP", Service::Imap, Service::Imaps, "STARTTLS"),
            ("POP3", Service::Pop3, Service::Pop3s, "STLS"),
            ("SMTP", Service::Submission, Service::Submissions, "STARTTLS"),
        ] {
            let (plain, tls) = (self.office.socket(plain)?, self.office.socket(tls)?);
            self.page.say(&format!("    {what}  {tls} (TLS)  {plain} (plain or {word})"));
        }
        self.page.say(&format!("    its certificate is signed by {}", self.office.ca.display()));
        Ok(())
    }

    async fn fetch(&mut self) -> anyhow::Result<()> {
        self.page.title("Mail is fetched. Who gets it, and why:");
        let store = self.office.store();
        let mut feed = Feed::new(self.office, self.page);
        let all_ran = async || {
            for name in ["catch-all", "anna", "studio"] {
                if store.collector_state(name).await?.last_run.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let in_time = timeout(PATIENCE, feed.until(all_ran)).await;
        if in_time.is_err() {
            self.missing.push("every mailbox fetched within a minute".into());
        }
        for name in ["catch-all", "anna", "studio"] {
            if let Some(error) = store.collector_state(name).await?.last_error {
                self.check(false, &format!("collector {name}: {error}"));
            }
        }
        in_time.unwrap_or(Ok(()))
    }

    async fn read_back(&mut self) -> anyhow::Result<()> {
        self.page.title("Read back as any mail program would:");
        for (name, full) in PEOPLE {
            let inbox = expected(name, None);
            let by_pop3 = ids(&self.at_office(name, Service::Pop3s)?.by_pop3().await?);
            let imap = self.at_office(name, Service::Imaps)?;
            let by_imap = ids(&imap.by_imap("INBOX").await?);
            self.check(by_pop3 == inbox, &format!("{full} has {} messages over POP3: what is hers or his, each once", inbox.len()));
            self.check(by_imap == inbox, &format!("{full} has the same {} over IMAP", inbox.len()));
            let invoices = expected(name, Some(INVOICES));
            if !invoices.is_empty() {
                let filed = ids(&imap.by_imap(INVOICES).await?);
                self.check(filed == invoices, &format!("{full} has {} in the folder {INVOICES}", invoices.len()));
            }
        }
        let tray = self.office.store().tray().await?;
        let unclaimed = SAMPLES.iter().filter(|sample| sample.people.is_empty()).count();
        self.check(tray.len() == unclaimed, "what nobody claims waits in the tray, with the reason");
        for held in tray {
            let line = format!("      “{}”: {}", held.subject, held.reason);
            self.page.say(&line);
        }
        let left = self.at_isp(CATCH_ALL, Service::Pop3s)?.by_pop3().await?.len();
        self.check(left == 0, "the catch-all at the ISP is empty: its mail was deleted there only when it was safe here");
        let left = self.at_isp(ANNA, Service::Pop3s)?.by_pop3().await?.len();
        self.check(left == 2, "Anna's own mailbox at the ISP kept its mail, as its collector says");
        Ok(())
    }

    async fn write_inside(&mut self) -> anyhow::Result<()> {
        self.page.title("Ben writes to Anna's outside address:");
        let message = "From: Ben Linden <ben@office.lan>\nTo: anna@lindenhof.example\nSubject: Mittagessen?\n\
            Message-ID: <mittag.1@office.lan>\nMIME-Version: 1.0\n\nUm eins im Hof?\n";
        self.at_office("ben", Service::Submissions)?.submit("ben@office.lan", "anna@lindenhof.example", message).await?;
        let anna = self.at_office("anna", Service::Imaps)?;
        let got = wait_for(&anna, |mail| field(mail, "Message-ID") == "<mittag.1@office.lan>").await?;
        self.check(got.is_some(), "Anna has it at once, and it never left the LAN");
        let outside = self.at_isp(CATCH_ALL, Service::Pop3s)?.by_pop3().await?.len();
        self.check(outside == 0 && self.office.store().queue().await?.is_empty(), "the ISP has seen nothing of it");
        Ok(())
    }

    async fn write_outside(&mut self) -> anyhow::Result<()> {
        self.page.title("Carla answers Marta Rossi, from the address that three people share:");
        let message = format!(
            "From: carla@office.lan\nTo: Marta Rossi <{CUSTOMER}>\nSubject: Re: Drawings for the library, second floor\n\
            Message-ID: <answer.1@office.lan>\nIn-Reply-To: <{ANSWERED}>\nReferences: <{ANSWERED}>\nMIME-Version: 1.0\n\n\
            Dear Marta,\n\nfour centimetres are fine, we have not cut anything yet.\n\nCarla\n"
        );
        self.at_office("carla", Service::Submissions)?.submit("carla@office.lan", CUSTOMER, &message).await?;
        let marta = self.at_isp(CUSTOMER, Service::Imaps)?;
        let got = wait_for(&marta, |mail| field(mail, "Subject").contains("Drawings")).await?;
        self.check(got.is_some(), "it left through the smarthost and arrived at the ISP");
        let Some(got) = got else { return Ok(()) };
        let from = field(&got, "From");
        self.page.say(&format!("      From: {}", crate::message::words::decode(from.as_bytes())));
        self.check(from.contains(STUDIO) && field(&got, "Return-Path").contains(STUDIO), "it came as the studio, from Carla");
        let whole = String::from_utf8_lossy(&got).into_owned();
        let traced_inside = whole.lines().filter(|line| !line.starts_with("Received:") && !line.starts_with([' ', '\t']));
        self.check(!traced_inside.collect::<String>().contains("carla@office.lan"), "no LAN address went out in it");

        self.page.title("Marta answers; the answer comes to the address that three people share:");
        let id = field(&got, "Message-ID");
        let reply = format!(
            "From: Marta Rossi <{CUSTOMER}>\nTo: {STUDIO}\nSubject: Re: Re: Drawings for the library, second floor\n\
            Message-ID: <relief.1@rossi-architetti.example>\nIn-Reply-To: {id}\nReferences: <{ANSWERED}> {id}\nMIME-Version: 1.0\n\n\
            What a relief.\n\nMarta\n"
        );
        let mut feed = Feed::new(self.office, self.page).skip().await?;
        let carla = account(self.office, "carla", PASSWORD, Service::Imaps)?;
        account(self.isp, CUSTOMER, ISP_PASSWORD, Service::Submissions)?.submit(CUSTOMER, STUDIO, &reply).await?;
        let is_reply = |mail: &Vec<u8>| field(mail, "Message-ID") == "<relief.1@rossi-architetti.example>";
        let came = async || Ok(carla.by_imap("INBOX").await?.iter().any(is_reply));
        let came = timeout(PATIENCE, feed.until(came)).await.is_ok_and(|fed| fed.is_ok());
        self.check(came, "Carla has it: IMAP IDLE brought it at once, and it answers what she wrote");
        let mut others = 0;
        for name in ["anna", "ben"] {
            let mails = self.at_office(name, Service::Imaps)?.by_imap("INBOX").await?;
            others += mails.iter().filter(|mail| is_reply(mail)).count();
        }
        self.check(others == 0, "Anna and Ben do not");
        Ok(())
    }

    fn check(&mut self, seen: bool, what: &str) {
        self.page.tick(seen, what);
        if !seen {
            self.missing.push(what.to_owned());
        }
    }

    fn at_office(&self, user: &'s str, service: Service) -> anyhow::Result<Account<'s>> {
        account(self.office, user, PASSWORD, service)
    }

    fn at_isp(&self, user: &'s str, service: Service) -> anyhow::Result<Account<'s>> {
        account(self.isp, user, ISP_PASSWORD, service)
    }
}

fn account<'u>(side: &'u Side, user: &'u str, password: &'u str, service: Service) -> anyhow::Result<Account<'u>> {
    let server: SocketAddr = side.socket(service)?;
    Ok(Account { server, ca: &side.ca, user, password })
}

/// Looks into INBOX again and again until such a message is there.
async fn wait_for(account: &Account<'_>, is_it: impl Fn(&Vec<u8>) -> bool) -> anyhow::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = account.by_imap("INBOX").await?.into_iter().find(|mail| is_it(mail)) {
            return Ok(Some(found));
        }
        sleep(GLANCE).await;
    }
    Ok(None)
}

/// How often each Message-ID occurs.
fn ids(messages: &[Vec<u8>]) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for message in messages {
        *ids.entry(field(message, "Message-ID").trim_matches(['<', '>']).to_owned()).or_default() += 1;
    }
    ids
}

/// What a person has to have in a folder: one copy of each message.
fn expected(person: &str, folder: Option<&str>) -> BTreeMap<String, usize> {
    let theirs = |sample: &&Sample| sample.folder == folder && sample.people.contains(&person);
    SAMPLES.iter().filter(theirs).map(|sample| (sample.message_id().to_owned(), 1)).collect()
}
