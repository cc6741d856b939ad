//! Every upstream message ever seen and what became of it, per (host, login, folder).
//!
//! `stored → delete_sent → gone`; `known` is mail that was there before `start`; `remote` stays upstream whatever `after` says.

/// Which upstream mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Lower case.
    pub host: String,
    /// As configured.
    pub login: String,
    /// IMAP folder; `INBOX` for POP3.
    pub folder: String,
}

/// What the ledger learns with an arrival.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which upstream mailbox.
    pub source: Source,
    /// UIDL, or `UIDVALIDITY.UID`.
    pub uid: String,
    /// Tells equal UIDLs of one listing apart, from 0.
    pub ordinal: u32,
    /// delivered, forwarded, held, duplicate, stub, discarded, remote, quarantined, seen.
    pub outcome: String,
}
