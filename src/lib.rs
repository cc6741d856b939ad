//! Mailroom: one program that fetches an office's mail from its ISP mailboxes, works out whom each message is for, keeps it for mail
//! programs on the LAN, and sends what they write through the ISP's smarthost.
//!
//! ```text
//!  ISP POP3/IMAP ──▶ inbound ──▶ mapping ──▶ store ──▶ serve::{pop3,imap} ──▶ LAN
//!                    fetch       who is it    mail
//!                    scheduler   for? why?    ledger
//!                                             queue
//!  ISP smarthost ◀── outbound ◀─────────────── store ◀── outbound::submit ◀── serve::smtp ◀── LAN
//!                    relay                               who may it be sent as?
//! ```
//!
//! # Words
//!
//! A *collector* is a standing order to fetch one mailbox at the ISP; a *smarthost* is the ISP's server that takes our outgoing mail.
//! The *mapping* leads from addresses to people and from people to the *identities* they send as. The *ledger* remembers every
//! upstream message ever seen; the *journal* keeps originals for a time; the *tray* holds what nobody claims; the *queue* what no
//! smarthost has taken yet.
//!
//! # Rows
//!
//! A module names only lower rows (`tests/architecture.rs` reads the `use` lines and fails on a wrong arrow). Rows 0 and 1 are plain
//! functions over values: no runtime, no database, no clock, no randomness, no log.
//!
//! | row | rooms |
//! |---|---|
//! | 5 edge | [`cli`], [`gateway`], [`service`], [`demo`] |
//! | 4 servers | [`serve`] |
//! | 3 flows | [`inbound`], [`outbound`] |
//! | 2 I/O | [`store`], the clients in [`pop3`], [`imap`] and [`smtp`], [`oauth`], [`wire`] |
//! | 1 rules | [`mapping`], [`schedule`], [`config`], [`inbound::recipients`], `outbound::{route, dsn}`, the rest of [`pop3`], [`imap`], [`smtp`] |
//! | 0 words | [`address`], [`message`], [`document`] |
//!
//! The [`store`] names no protocol; the protocols name neither the store nor each other. They meet in the flows and in [`serve`].
//! The few calls that differ between operating systems are `service::platform`, which any row may ask.
//!
//! # What always holds
//!
//! - **Commit, then acknowledge.** `DELE` upstream, `250` to a client and "relayed" in the queue follow the durable commit of what
//!   they acknowledge. Content may be committed earlier, as chunks that nothing refers to; it becomes visible together with its ledger
//!   row, its deliveries and its queue rows.
//! - **The ledger decides what is new**, never a flag upstream, never a message number. Its states: `stored → delete_sent → gone`.
//! - **Mapping is total.** Every message ends in a mailbox, in the tray, at the ISP or in a recorded discard, with a trace line a stage.
//! - **Bytes are what the ISP gave.** Our own fields stand above them, rendered once at delivery; nothing is rewritten but on the way out.
//! - **A peer's fault is a reply, a store's fault is temporary.** To a client `451`, `-ERR [SYS/TEMP]`, `NO [UNAVAILABLE]`: the mail
//!   stays where it was.
//! - **Everything that comes from a network has a limit**, a named constant beside the code that needs it. Memory does not grow with
//!   the size of a mail: large content goes through the store in chunks.
//! - **Commands and gateway meet in the database.** A command writes rows; the running gateway notices within a second. It is the same
//!   on every system, and there is no control socket to protect.
//!
//! # Three flows
//!
//! - *In*: [`inbound`] — list, compare with the ledger, retrieve, identify, map, one transaction, delete upstream.
//! - *Out*: [`outbound`] — submission commits local copies and queue rows in one transaction, then says 250; the relay takes leases on
//!   recipients and settles each of them once.
//! - *Read*: [`serve`] — a POP3 session owns a snapshot; IMAP's view of sequence numbers is a pure value ([`imap`]); changes are
//!   published after the commit.
//!
//! # The protocol pattern, three times the same
//!
//! bytes → `Command` → session: (state, command) → step → `serve` performs the step → `Reply` → bytes. What a mail transaction knows
//! lives inside the session's state, so that it can't be half reset. IMAP keeps parsing, rendering, sequence sets, the view and the
//! table of legal commands pure; its commands call the store from `serve::imap`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod cli;
pub mod config;
pub mod demo;
pub mod document;
pub mod gateway;
pub mod imap;
pub mod inbound;
pub mod mapping;
pub mod message;
pub mod oauth;
pub mod outbound;
pub mod pop3;
pub mod schedule;
pub mod serve;
pub mod service;
pub mod smtp;
pub mod store;
pub mod wire;
