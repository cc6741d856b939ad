//! GETMETADATA and SETMETADATA (RFC 5464): notes on mailboxes and on the server. `/private` ones are one user's, `/shared` ones are for
//! everybody who reads the mailbox; those of the server are the postmaster's to write.

use std::collections::BTreeMap;

use super::Session;
use super::outcome::{Done, Failure, Performed};
use crate::imap::command::GetMetadata;
use crate::imap::response;
use crate::store::StoreError;
use crate::store::annotations::{Hook, MAX_VALUE};
use crate::store::{Folder, FolderId};

/// Whom to write to about this server: ours to say, nobody's to change.
const ADMIN: &str = "/shared/admin";

impl Session {
    pub(super) async fn get_metadata(&mut self, get: &GetMetadata) -> Performed {
        let folder = self.annotated(&get.mailbox).await?;
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let account = self.account()?.id;
        for account in [None, Some(account)] {
            for annotation in self.store().annotations(Hook { folder, account }).await? {
                found.extend(annotation.value.map(|value| (annotation.entry, value)));
            }
        }
        if folder.is_none() {
            let config = &self.context.now().config;
            found.insert(ADMIN.into(), format!("mailto:{}@{}", config.office.postmaster, config.office.lan_domain).into_bytes());
        }
        found.retain(|entry, _| get.entries.iter().any(|asked| get.depth.covers(asked, entry)));
        let longest = get.max_size.and_then(|most| found.values().map(|value| value.len() as u64).filter(|length| *length > most).max());
        found.retain(|_, value| get.max_size.is_none_or(|most| value.len() as u64 <= most));
        if !found.is_empty() {
            let mut line = format!("* METADATA {} (", self.name(&get.mailbox)).into_bytes();
            for (position, (entry, value)) in found.iter().enumerate() {
                if position > 0 {
                    line.push(b' ');
                }
                line.extend_from_slice(entry_name(entry).as_bytes());
                line.push(b' ');
                if value.contains(&0) {
                    line.push(b'~');
                }
                response::string(&mut line, value);
                self.send(&line).await?;
                line.clear();
            }
            self.queue(")\r\n");
        }
        let done = Done::ok("These are the notes.");
        Ok(match longest {
            Some(longest) => Done { code: Some(format!("METADATA LONGENTRIES {longest}")), ..done },
            None => done,
        })
    }

    pub(super) async fn set_metadata(&mut self, mailbox: &str, values: Vec<(String, Option<Vec<u8>>)>) -> Performed {
        let folder = self.annotated(mailbox).await?;
        let own = self.account()?.clone();
        let mut notes = Vec::with_capacity(values.len());
        for (entry, value) in values {
            if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
                return Err(Failure::no(&format!("METADATA MAXSIZE {MAX_VALUE}"), "This note is too long."));
            }
            let private = entry.starts_with("/private");
            if !private && folder.is_none() {
                let postmaster = self.context.now().config.office.postmaster == own.name();
                if entry == ADMIN || !postmaster {
                    return Err(Failure::no("NOPERM", "The server's shared notes are the postmaster's, and /shared/admin is ours."));
                }
            }
            notes.push((Hook { folder, account: private.then_some(own.id) }, entry, value));
        }
        match self.store().annotate(notes).await {
            Ok(change) if self.is_watching() => self.own_annotations.push(change),
            Ok(_) => {}
            Err(StoreError::Conflict(_)) => return Err(Failure::no("METADATA TOOMANY", "These would be too many notes.")),
            Err(error) => return Err(error.into()),
        }
        Ok(Done::ok("Noted."))
    }

    /// On what a note hangs; `None` is the server.
    async fn annotated(&mut self, mailbox: &str) -> Result<Option<FolderId>, Failure> {
        if mailbox.is_empty() {
            return Ok(None);
        }
        let folder: Folder = self.find(mailbox).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        Ok(Some(folder.id))
    }
}

/// An entry as it is written: names are printable ASCII, but may hold what an atom can't.
pub fn entry_name(entry: &str) -> String {
    let mut written = Vec::new();
    match entry.bytes().all(crate::imap::command::is_atom_char) {
        true => return entry.to_owned(),
        false => response::string(&mut written, entry.as_bytes()),
    }
    String::from_utf8_lossy(&written).into_owned()
}
