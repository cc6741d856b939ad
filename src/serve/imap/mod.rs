//! The IMAP server (RFC 9051, RFC 3501 and extensions): reads commands, performs them on the store, writes what the pure half renders.
//!
//! One file a command family. Nothing here waits for a client without a deadline, and nothing holds more of a message, a mailbox or an
//! answer than a page: output leaves before more of it is made. A broken store is `NO [UNAVAILABLE]`, never a lost connection, unless
//! half of an answer is out already.

mod acl;
mod append;
mod assembly;
mod compress;
mod fetch;
mod flags;
mod folders;
mod idle;
mod input;
mod list;
mod login;
mod metadata;
mod notify;
mod outcome;
mod pages;
mod preview;
mod quota;
mod search;
mod section;
mod select;
mod shared;
mod sort;
mod sync;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::{Context, Peer, Stop, Stream};
use crate::config::Current;
use crate::imap::command::{Command, Dialect};
use crate::imap::legal::{self, State};
use crate::imap::response::{self, Outcome};
use crate::imap::sequence::Ranges;
use crate::store::{Account, Change, Store};
use crate::wire::{Connection, WireError};
use input::Input;
use notify::{Noticed, Watch};
use outcome::{Done, Failure, Performed};
use select::Selected;

/// RFC 9051 §5.4: the inactivity timer is at least 30 minutes.
const AUTOLOGOUT: Duration = Duration::from_secs(30 * 60);
/// Whoever has not logged in by then occupies a place for nothing.
const LOG_IN: Duration = Duration::from_secs(60);
/// For each piece that the client takes.
const WRITE: Duration = Duration::from_secs(300);
/// Nonsense without a sensible command in between: this is no mail client.
const MAX_BAD: u32 = 20;

/// Serves one client until it is gone.
pub async fn serve(stream: Stream, peer: Peer, context: Arc<Context>, stop: Stop) {
    let session = Session {
        wire: Connection::new(stream),
        tls: peer.tls,
        compressed: false,
        peer,
        changes: None,
        mapping: context.current.clone(),
        context,
        stop,
        account: None,
        selected: None,
        enabled: Enabled::default(),
        notify: None,
        noticed: Noticed::default(),
        own_names: Vec::new(),
        own_annotations: Vec::new(),
        annotations_told: 0,
        bad: 0,
        failed_logins: 0,
    };
    match Box::pin(session.run()).await {
        Ok(()) | Err(WireError::Closed) => (),
        Err(error) => tracing::debug!(%error, "the session broke off"),
    }
}

/// What the client switched on with ENABLE, or by using it.
#[derive(Debug, Clone, Copy, Default)]
struct Enabled {
    condstore: bool,
    qresync: bool,
    utf8: bool,
    rev2: bool,
    /// No message numbers any more, in either direction (RFC 9586).
    uid_only: bool,
    /// Others' changes of notes are told (RFC 5464 §4.1).
    metadata: bool,
}

struct Session {
    wire: Connection<Stream>,
    peer: Peer,
    tls: bool,
    compressed: bool,
    context: Arc<Context>,
    stop: Stop,
    account: Option<Account>,
    selected: Option<Box<Selected>>,
    enabled: Enabled,
    /// From log-in on.
    changes: Option<broadcast::Receiver<Change>>,
    /// Who shares what with whom may have changed with it.
    mapping: watch::Receiver<Arc<Current>>,
    noticed: Noticed,
    /// Once NOTIFY was used.
    notify: Option<Box<Watch>>,
    /// Mailboxes that this client made, removed, renamed or subscribed itself just now: no news to it.
    own_names: Vec<String>,
    /// The same of notes, by their numbers.
    own_annotations: Vec<i64>,
    /// Up to which number changes of notes were told.
    annotations_told: i64,
    bad: u32,
    failed_logins: u32,
}

/// Whether the conversation goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Go,
    StartTls,
    Compress,
    End,
}

impl Session {
    async fn run(mut self) -> Result<(), WireError> {
        let greeting = format!("* OK [CAPABILITY {}] Mailroom is ready.\r\n", self.capabilities());
        self.queue(&greeting);
        loop {
            match Box::pin(self.turn()).await? {
                Flow::Go => {}
                Flow::StartTls => self = self.start_tls().await?,
                Flow::Compress => self = self.start_compression().await?,
                Flow::End => break,
            }
        }
        self.flush().await?;
        self.wire.close(Instant::now() + WRITE).await;
        Ok(())
    }

    /// Reads one command and answers it.
    async fn turn(&mut self) -> Result<Flow, WireError> {
        let (tag, performed) = match self.read_command().await? {
            Input::Command { tag, bytes } => {
                let performed = Box::pin(self.perform(&tag, &bytes)).await;
                (tag, performed)
            }
            Input::Append { tag, command } => {
                let performed = Box::pin(self.append(command)).await;
                (tag, performed)
            }
            Input::Refused { tag, failure } => (tag, Err(failure)),
            Input::End => return Ok(Flow::End),
        };
        self.complete(&tag, performed)
    }

    /// The tagged answer.
    fn complete(&mut self, tag: &str, performed: Performed) -> Result<Flow, WireError> {
        let (outcome, code, text, flow) = match performed {
            Ok(Done { code, text, flow }) => {
                self.bad = 0;
                (Outcome::Ok, code, text, flow)
            }
            Err(Failure::Wire(error)) => return Err(error),
            Err(Failure::No { code, text }) => (Outcome::No, code, text, Flow::Go),
            Err(Failure::Bad(text)) => {
                self.bad += 1;
                (Outcome::Bad, None, text, Flow::Go)
            }
            Err(Failure::Bye(text)) => {
                self.queue(&format!("* BYE {text}\r\n"));
                return Ok(Flow::End);
            }
            Err(Failure::Ended) => return Ok(Flow::End),
        };
        self.queue(&response::tagged(tag, outcome, code.as_deref(), &text));
        if self.bad >= MAX_BAD {
            self.queue("* BYE Too many commands that make no sense.\r\n");
            return Ok(Flow::End);
        }
        if self.failed_logins >= login::MAX_FAILED {
            self.queue("* BYE Too many failed log-ins.\r\n");
            return Ok(Flow::End);
        }
        Ok(flow)
    }

    async fn perform(&mut self, tag: &str, bytes: &[u8]) -> Performed {
        let command = crate::imap::command::parse(bytes, self.dialect()).inspect_err(|invalid| {
            if let Some(selected) = self.selected.as_deref_mut().filter(|_| invalid.saves && invalid.code.is_some()) {
                selected.saved = Ranges::default();
            }
        })?;
        if let Some(objection) = legal::objection(&command, self.state()) {
            return Err(Failure::Bad(objection.into()));
        }
        self.require_uids(!legal::names_numbers(&command))?;
        self.notice_changes().await?;
        self.require_membership()?;
        self.refresh_keywords().await?;
        let may_expunge = legal::may_expunge(&command);
        let look = matches!(command, Command::Noop | Command::Check);
        let leaves = matches!(command, Command::Logout);
        let performed = self.execute(tag, command).await;
        // Behind BYE there is nothing to be told.
        if !leaves && !matches!(performed, Err(Failure::Wire(_) | Failure::Bye(_) | Failure::Ended)) {
            self.sync_behind(may_expunge, look).await?;
            self.tell_withheld();
        }
        performed
    }

    async fn execute(&mut self, tag: &str, command: Command) -> Performed {
        match command {
            Command::Capability => {
                let line = format!("* CAPABILITY {}\r\n", self.capabilities());
                self.queue(&line);
                Ok(Done::ok("That is all."))
            }
            Command::Noop | Command::Check => Ok(Done::ok("Nothing else.")),
            Command::Logout => {
                self.queue("* BYE Goodbye.\r\n");
                Ok(Done { flow: Flow::End, ..Done::ok("Logged out.") })
            }
            Command::Id(fields) => self.id(&fields),
            Command::Starttls => self.allow_tls(),
            Command::Authenticate { mechanism, initial } => self.authenticate(&mechanism, initial).await,
            Command::Login { user, password } => self.login(&user, &password).await,
            Command::Enable(names) => self.enable(&names).await,
            Command::Select(select) => self.select(select).await,
            Command::Create { mailbox, special_use } => self.create(&mailbox, &special_use).await,
            Command::Delete(mailbox) => self.delete(&mailbox).await,
            Command::Rename { from, to } => self.rename(&from, &to).await,
            Command::Subscribe(mailbox) => self.subscribe(&mailbox, true).await,
            Command::Unsubscribe(mailbox) => self.subscribe(&mailbox, false).await,
            Command::List(options) => self.list(&options).await,
            Command::Lsub { reference, pattern } => self.lsub(&reference, &pattern).await,
            Command::Namespace => self.namespace().await,
            Command::Status { mailbox, items } => self.status(&mailbox, &items).await,
            Command::Idle => self.idle().await,
            Command::Compress { mechanism } => self.compress(&mechanism),
            Command::Unauthenticate => self.unauthenticate(),
            Command::GetQuota(root) => self.get_quota(&root).await,
            Command::GetQuotaRoot(mailbox) => self.get_quota_root(&mailbox).await,
            Command::SetQuota => Err(Failure::no("NOPERM", "Quotas are set by the administrator: mailroom user add --quota.")),
            Command::GetAcl(mailbox) => self.get_acl(&mailbox).await,
            Command::MyRights(mailbox) => self.my_rights(&mailbox).await,
            Command::ListRights { mailbox, identifier } => self.list_rights(&mailbox, &identifier).await,
            Command::GetMetadata(get) => self.get_metadata(&get).await,
            Command::SetMetadata { mailbox, values } => self.set_metadata(&mailbox, values).await,
            Command::Notify(notify) => Box::pin(self.set_notify(notify)).await,
            Command::ChangeAcl => Err(Failure::no("NOPERM", "Mailboxes are shared by the administrator: [shared] in the mapping files.")),
            Command::Close => self.close().await,
            Command::Unselect => self.unselect(),
            Command::Expunge { uids } => self.expunge(uids.as_ref()).await,
            Command::Search { search, by_uid } => self.search(tag, &search, by_uid).await,
            Command::Sort { search, criteria, by_uid } => self.sort(tag, &search, &criteria, by_uid).await,
            Command::Thread { search, algorithm, by_uid } => self.thread(&search, algorithm, by_uid).await,
            Command::Fetch { set, items, modifiers, by_uid } => self.fetch(&set, &items, modifiers, by_uid).await,
            Command::Store { set, mode, silent, flags, unchanged_since, by_uid } => {
                self.store_flags(&set, mode, silent, flags, unchanged_since, by_uid).await
            }
            Command::Copy { set, mailbox, by_uid } => self.copy(&set, &mailbox, by_uid).await,
            Command::Move { set, mailbox, by_uid } => self.move_messages(&set, &mailbox, by_uid).await,
        }
    }

    /// What we can do now (RFC 9051 §6.1.1).
    fn capabilities(&self) -> String {
        const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 SASL-IR LITERAL+ ENABLE ID IDLE";
        const LOGGED_IN: &str = "NAMESPACE CHILDREN UIDPLUS MOVE UNSELECT CONDSTORE QRESYNC SPECIAL-USE CREATE-SPECIAL-USE ESEARCH SEARCHRES \
                                 LIST-EXTENDED LIST-STATUS STATUS=SIZE WITHIN OBJECTID SAVEDATE SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES \
                                 MULTIAPPEND BINARY ESORT PARTIAL UTF8=ACCEPT QUOTA QUOTA=RES-STORAGE REPLACE CATENATE UIDONLY METADATA NOTIFY PREVIEW \
                                 ACL RIGHTS=kxte LIST-MYRIGHTS";
        let mut list = ALWAYS.to_owned();
        if self.account.is_some() {
            list.push(' ');
            list.push_str(LOGGED_IN);
            list.push_str(&format!(" APPENDLIMIT={}", self.max_message_size()));
            if !self.compressed {
                // Log-off would have to end the compression as well (RFC 8437 §4.1).
                list.push_str(" COMPRESS=DEFLATE UNAUTHENTICATE");
            }
            return list;
        }
        if !self.tls {
            list.push_str(" STARTTLS");
        }
        self.mechanisms().iter().for_each(|name| list.push_str(&format!(" AUTH={name}")));
        if !self.may_log_in() {
            list.push_str(" LOGINDISABLED");
        }
        list
    }

    /// RFC 2971: who is there helps to understand a log.
    fn id(&mut self, fields: &[(String, Option<String>)]) -> Performed {
        let field = |name: &str| {
            let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
            crate::wire::redact::shown(found.and_then(|(_, value)| value.as_deref()).unwrap_or("").as_bytes())
        };
        tracing::debug!(name = field("name"), version = field("version"), "client");
        self.queue("* ID (\"name\" \"Mailroom\")\r\n");
        Ok(Done::ok("Pleased to meet you."))
    }

    /// RFC 5161. What is not known is passed over.
    async fn enable(&mut self, names: &[String]) -> Performed {
        let mut enabled = Vec::new();
        for name in names {
            match name.as_str() {
                "CONDSTORE" => self.enable_condstore().await?,
                "QRESYNC" => {
                    self.enable_condstore().await?;
                    self.enabled.qresync = true;
                }
                "IMAP4REV2" => {
                    self.enabled.rev2 = true;
                    enabled.push("IMAP4rev2");
                    continue;
                }
                "UTF8=ACCEPT" => self.enabled.utf8 = true,
                "UIDONLY" => self.enabled.uid_only = true,
                "METADATA" => {
                    if !std::mem::replace(&mut self.enabled.metadata, true) {
                        self.annotations_told = self.store().annotations_now().await?;
                    }
                }
                _ => continue,
            }
            enabled.push(name.as_str());
        }
        let space = if enabled.is_empty() { "" } else { " " };
        self.queue(&format!("* ENABLED{space}{}\r\n", enabled.join(" ")));
        Ok(Done::ok("Enabled."))
    }

    /// RFC 9586 §3: who wants UIDs alone gives UIDs alone.
    fn require_uids(&self, given: bool) -> Result<(), Failure> {
        match given || !self.enabled.uid_only {
            true => Ok(()),
            false => Err(Failure::Bad("[UIDREQUIRED] You enabled UIDONLY: name messages by their UIDs.".into())),
        }
    }

    fn state(&self) -> State {
        match (&self.account, &self.selected) {
            (None, _) => State::NotAuthenticated,
            (Some(_), None) => State::Authenticated,
            (Some(_), Some(_)) => State::Selected,
        }
    }

    fn dialect(&self) -> Dialect {
        Dialect { utf8: self.enabled.utf8 || self.enabled.rev2, utf8_strings: self.enabled.utf8 }
    }

    /// A mailbox name as this client reads it.
    fn name(&self, mailbox: &str) -> String {
        response::mailbox(mailbox, self.dialect().utf8)
    }

    fn store(&self) -> Store {
        self.context.store.clone()
    }

    /// Whose mailboxes these are. The table of states keeps everybody else from asking.
    fn account(&self) -> Result<&Account, Failure> {
        self.account.as_ref().ok_or_else(|| Failure::Bad("Log in first.".into()))
    }

    fn selected(&mut self) -> Result<&mut Selected, Failure> {
        self.selected.as_deref_mut().ok_or_else(|| Failure::Bad("Select a mailbox first.".into()))
    }

    fn max_message_size(&self) -> u64 {
        self.context.now().config.access.max_message_size
    }

    fn queue(&mut self, text: &str) {
        self.wire.queue(text.as_bytes());
    }

    /// Queues, and waits for the client if it takes too little.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.wire.queue(bytes);
        if self.wire.is_full() { self.flush().await } else { Ok(()) }
    }

    /// The same for what may be long: it is not copied.
    async fn pass(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.wire.pass(bytes, Instant::now() + WRITE).await
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.wire.flush(Instant::now() + WRITE).await
    }
}
