//! `mailroom queue`: outgoing mail, seen and steered; the gateway notices what changes.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Exit, Global, Office, configuration, show, store_of};
use crate::config::Config;
use crate::mapping::LmtpServer;
use crate::outbound::approval;
use crate::outbound::subject::subject;
use crate::store::queue::{Done, MailId, Order, Queued};

/// `queue`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Mail that waits, and why
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// One mail
    Show {
        /// Its number
        id: i64,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Try again now
    Retry(Which),
    /// Keep from being sent until released
    Hold(Which),
    /// Send what was held
    Release(Which),
    /// Send what waits for somebody's approval
    Approve(Which),
    /// Don't send what waits for approval; its sender is told
    Reject {
        /// Its number
        id: i64,
        /// Why, for the sender
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Send through another smarthost, or hand to another mail system
    Reroute {
        #[command(flatten)]
        which: Which,
        /// The smarthost's name; without it, as the mapping says. Or lmtp:HOST:PORT for mail of another mail system
        smarthost: Option<String>,
    },
    /// Take out for good; nobody gets a bounce
    Delete(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// A number of `queue list`, or all
    #[arg(value_name = "ID|all", value_parser = selection)]
    id: Selection,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Selection {
    One(MailId),
    All,
}

fn selection(text: &str) -> Result<Selection, String> {
    match text {
        "all" => Ok(Selection::All),
        number => number.parse().map(|id| Selection::One(MailId(id))).map_err(|_| "a number of `queue list`, or all".to_owned()),
    }
}

impl Selection {
    fn id(self) -> Option<MailId> {
        match self {
            Selection::One(id) => Some(id),
            Selection::All => None,
        }
    }
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let config = configuration(global)?;
    let store = store_of(&config)?;
    let zone = config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let order = |which: &Which, order: Order| {
        let (store, id) = (store.clone(), which.id.id());
        async move { store.queue_order(id, order, Timestamp::now().as_millisecond()).await }
    };
    let (json, Done { mails, too_late }, what) = match arguments.action {
        Action::List { json } => {
            let mut mails = Vec::new();
            for mail in store.queue().await? {
                mails.push((subject(&store, &mail).await?, mail));
            }
            return list(&mails, json, &zone);
        }
        Action::Show { id, json } => {
            let mails = store.queue().await?;
            let mail = mails.iter().find(|mail| mail.id == MailId(id));
            let mail = mail.ok_or_else(|| anyhow::anyhow!("there is no mail {id} in the queue"))?;
            let subject = subject(&store, mail).await?;
            return one(&subject, mail, json, &zone);
        }
        Action::Retry(which) => (which.json, order(&which, Order::Retry).await?, "tried again now"),
        Action::Hold(which) => (which.json, order(&which, Order::Hold).await?, "held"),
        Action::Release(which) => (which.json, order(&which, Order::Release).await?, "released"),
        Action::Approve(which) => (which.json, order(&which, Order::Approve("the admin".to_owned())).await?, "approved"),
        Action::Reject { id, reason } => return reject(global, id, &reason).await,
        Action::Reroute { which, smarthost } => {
            let new = match smarthost.as_deref().and_then(|name| name.strip_prefix("lmtp:")) {
                Some(server) => {
                    LmtpServer::parse(server).map_err(anyhow::Error::msg)?;
                    Order::HandTo(server.to_owned())
                }
                None => {
                    require_smarthost(&config, smarthost.as_deref())?;
                    Order::Reroute(smarthost)
                }
            };
            (which.json, order(&which, new).await?, "rerouted")
        }
        Action::Delete(which) => (which.json, store.queue_delete(which.id.id(), "the admin").await?, "deleted"),
    };
    let are = |count: usize| format!("{} {}", show::count(count as u64, "mail", "mails"), if count == 1 { "is" } else { "are" });
    match json {
        true => println!("{}", json!({ "mails": mails, "too_late": too_late })),
        false => println!("{} {what}", are(mails)),
    }
    if too_late > 0 {
        eprintln!("mailroom: {} on the way to the smarthost this moment and can't be {what} any more", are(too_late));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

async fn reject(global: &Global, id: i64, reason: &str) -> anyhow::Result<Exit> {
    let office = Office::open(global).await?;
    let mails = office.store.queue().await?;
    let mail = mails.iter().find(|mail| mail.id == MailId(id)).ok_or_else(|| anyhow::anyhow!("there is no mail {id} in the queue"))?;
    anyhow::ensure!(mail.approval.is_some(), "mail {id} does not wait for approval; `queue delete {id}` takes it out");
    let reason = show::safe(reason);
    let now = Timestamp::now().as_millisecond();
    match approval::reject(&office.store, &office.compiled.current, mail, "the admin", &reason, now).await? {
        true => println!("mail {id} is not sent; {} is told so", mail.owner),
        false => println!("mail {id} is not sent; {}, who wrote it, is no user any more", mail.owner),
    }
    Ok(Exit::Done)
}

fn require_smarthost(config: &Config, name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    let names: Vec<&str> = config.smarthosts.iter().map(|smarthost| smarthost.name.as_str()).collect();
    anyhow::ensure!(names.contains(&name), "there is no smarthost “{name}”; there are: {}", names.join(", "));
    Ok(())
}

fn list(mails: &[(String, Queued)], as_json: bool, zone: &TimeZone) -> anyhow::Result<Exit> {
    if as_json {
        println!(
            "{}",
            serde_json::to_string_pretty(&Value::Array(mails.iter().map(|(subject, mail)| json(subject, mail, zone)).collect()))?
        );
        return Ok(Exit::Done);
    }
    mails.iter().for_each(|(subject, mail)| print!("{}", text(subject, mail, zone)));
    if mails.is_empty() {
        println!("the queue is empty");
    }
    Ok(Exit::Done)
}

fn one(subject: &str, mail: &Queued, as_json: bool, zone: &TimeZone) -> anyhow::Result<Exit> {
    match as_json {
        true => println!("{}", serde_json::to_string_pretty(&json(subject, mail, zone))?),
        false => print!("{}", text(subject, mail, zone)),
    }
    Ok(Exit::Done)
}

fn sender(mail: &Queued) -> String {
    mail.sender.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn json(subject: &str, mail: &Queued, zone: &TimeZone) -> Value {
    let recipients: Vec<Value> = mail
        .recipients
        .iter()
        .map(|recipient| {
            json!({
                "address": recipient.address.to_string(), "state": recipient.state.as_str(),
                "due": recipient.due.map(|due| show::rfc3339(due, zone)), "last_reply": recipient.last_reply,
                "attempts": recipient.attempts
            })
        })
        .collect();
    json!({
        "id": mail.id.0, "from": sender(mail), "recipients": recipients, "size": mail.size, "subject": subject, "owner": mail.owner,
        "message_id": mail.message_id, "queued": show::rfc3339(mail.queued_at, zone), "smarthost": mail.smarthost, "lmtp": mail.lmtp,
        "approval": mail.approval.as_ref().map(|approval| &approval.manager),
        "possibly_sent_twice": mail.data_sent
    })
}

fn text(subject: &str, mail: &Queued, zone: &TimeZone) -> String {
    let now = Timestamp::now().as_millisecond();
    let time = |at: i64| show::time(at, now, zone);
    let mut text = format!(
        "{}  {}  from <{}> ({})  {}  {}\n",
        mail.id.0,
        time(mail.queued_at),
        sender(mail),
        mail.owner,
        show::size(mail.size),
        show::safe(subject)
    );
    if let Some(smarthost) = &mail.smarthost {
        text.push_str(&format!("    through {smarthost}\n"));
    }
    if let Some(server) = &mail.lmtp {
        text.push_str(&format!("    to the mail system {server}\n"));
    }
    if mail.data_sent {
        text.push_str("    possibly sent already: the other server took all of it and the line broke before it answered\n");
    }
    for recipient in &mail.recipients {
        let due = recipient.due.map_or(String::new(), |due| format!(", due {}", time(due)));
        text.push_str(&format!("    to {}  {}{due}\n", recipient.address, recipient.state.as_str()));
        if let Some(reply) = &recipient.last_reply {
            text.push_str(&format!("        {}\n", show::safe(reply)));
        }
    }
    text
}
